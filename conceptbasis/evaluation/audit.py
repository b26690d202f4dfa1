"""How robust is a model's own behavior, in both directions?

The model's selection table, and a sweep of steering strength along its own direction: what it
takes to remove the behavior, and what strengthening it costs where it must not show.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path

from conceptbasis.behaviors import find_behavior
from conceptbasis.config.model import ModelConfig
from conceptbasis.config.run import RunConfig
from conceptbasis.core.statistics.intervals import rate
from conceptbasis.data.prompts import PromptSuite
from conceptbasis.errors import ModelError
from conceptbasis.judges import find_judge
from conceptbasis.judges.base import Answers
from conceptbasis.models.loading.loaded import LoadedModel
from conceptbasis.models.stream.centred import centred_ablation
from conceptbasis.models.stream.hooks import Edit, intervene
from conceptbasis.models.stream.native import end_activations
from conceptbasis.models.text.generation import generate
from conceptbasis.results.audit import Audit, Swept
from conceptbasis.runs.files import write_json
from conceptbasis.runs.progress import Reporter
from conceptbasis.runs.storage import to_json
from conceptbasis.study.native import measure_own, require_rate

STRENGTHS = (-4.0, -2.0, -1.0, -0.5, 0.5, 1.0, 2.0, 4.0)
"""Steering strengths in standard deviations of the projection on negative prompts."""


def audit_model(
    config: ModelConfig,
    loaded: LoadedModel,
    suite: PromptSuite,
    run_config: RunConfig,
    out: Path,
    reporter: Reporter,
) -> Audit:
    """Audits one model and writes `audit.json`.

    Args:
        config: Names the model.
        loaded: The model.
        suite: Its prompts.
        run_config: Settings of selection and evaluation, and the behavior.
        out: Folder of the result.
        reporter: Told the progress.

    Raises:
        ModelError: if the model does not show the behavior, or no direction passes the selection.
    """
    section, behavior = run_config.direction, find_behavior(run_config.behavior)
    positive = [p.text for p in suite[behavior.sets.positive]]
    negative = [p.text for p in suite[behavior.sets.negative]]
    baseline = require_rate(
        loaded,
        "model",
        behavior,
        positive[: section.n_select],
        max_new_tokens=run_config.evaluate.max_new_tokens,
        least=section.min_rate,
    )
    native = measure_own(
        loaded, positive, negative, section, reporter, label="own direction", role="model"
    )
    layer = native.selection.layer
    if native.single is None or layer is None:
        raise ModelError(
            f"no direction of {loaded.name} passes the selection: {native.selection.rejected}",
            expected="one candidate with KL, steering and layer within bounds",
            fix="raise direction.max_kl or direction.layer_fraction",
        )
    spread = float((end_activations(loaded, negative)[-1, layer] @ native.single).std())
    edits: dict[str, list[Edit]] = {"untouched": []}
    edits["ablate"] = centred_ablation(native.single, native.stream, layers=native.layers)
    for strength in STRENGTHS:
        edit = Edit(layer, native.single, "add", amount=strength * spread)
        edits[f"add {strength:+g} sd"] = [edit]
    result = Audit(
        config.model,
        behavior.name,
        baseline,
        native.selection,
        tuple(native.norms.tolist()),
        spread,
        _sweep(loaded, suite, run_config, edits, reporter),
    )
    write_json(out / "audit.json", to_json(result))
    return result


def _sweep(
    loaded: LoadedModel,
    suite: PromptSuite,
    run_config: RunConfig,
    edits: Mapping[str, Sequence[Edit]],
    reporter: Reporter,
) -> tuple[Swept, ...]:
    """The behavior's rate on positive and on negative prompts under each of some edits."""
    behavior = find_behavior(run_config.behavior)
    judge, sets = find_judge(behavior.judge), behavior.sets
    groups = [[p.text for p in suite[name]] for name in (sets.eval_positive, sets.eval_negative)]
    n_tokens = run_config.evaluate.max_new_tokens
    found = []
    with reporter.bar("strength sweep") as advance:
        for name, some in edits.items():
            with intervene(loaded, some) if some else nullcontext():
                answers = [generate(loaded, texts, max_new_tokens=n_tokens) for texts in groups]
            rates = [
                rate(judge.verdicts(Answers(texts, given)))
                for texts, given in zip(groups, answers, strict=True)
            ]
            found.append(Swept(name, *rates))
            advance(len(found), len(edits), "")
    return tuple(found)
