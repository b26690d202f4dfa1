"""Stage `direction`: the donor's own directions of the behavior, from its own prompts."""

from __future__ import annotations

from conceptbasis.core.directions.difference import probe_accuracy
from conceptbasis.models.stream.native import end_activations
from conceptbasis.results.direction import DonorDirection
from conceptbasis.runs.graph import Stage
from conceptbasis.study.native import measure_own, require_behavior
from conceptbasis.study.study import Study


def direction(study: Study) -> DonorDirection:
    """Difference of means per layer, a probe at each, and the published selection.

    Raises:
        ModelError: if the donor does not show the behavior.
    """
    section, loaded = study.config.direction, study.donor.loaded
    positive, negative = ([p.text for p in study.prompts(r)] for r in ("positive", "negative"))
    baseline = require_behavior(study, "donor", positive[: section.n_select])
    native = measure_own(
        loaded, positive, negative, section, study.reporter, label="direction", role="donor"
    )
    shown, absent = (end_activations(loaded, p)[-1] for p in (positive, negative))
    accuracy = tuple(
        probe_accuracy(shown[layer], absent[layer], generator=study.generator("probe", layer))
        for layer in range(len(shown))
    )
    return DonorDirection(
        per_layer=native.per_layer,
        differences=native.per_layer * native.norms[:, None],
        positive=shown,
        negative=absent,
        norms=tuple(native.norms.tolist()),
        probe_accuracy=accuracy,
        window=tuple(i for i, a in enumerate(accuracy) if a > section.min_probe),
        baseline=baseline,
        selection=native.selection,
        behavior_tokens=tuple(
            loaded.tokenizer.convert_ids_to_tokens(native.behavior_tokens.tolist())
        ),
    )


DIRECTION = Stage(
    "direction",
    DonorDirection,
    direction,
    sources=("donor", "prompts.direction"),
    config=("direction", "behavior", "evaluate.max_new_tokens"),
)
