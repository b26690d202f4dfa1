"""Stage `direction`: the donor's refusal trajectory, from the donor's own prompts."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from jaxtyping import Float
from torch import Tensor

from conceptbasis.core.directions.difference import probe_accuracy
from conceptbasis.core.statistics.intervals import wilson
from conceptbasis.errors import ModelError
from conceptbasis.judges.phrases import judge_phrases
from conceptbasis.models.loading.load import LoadedModel
from conceptbasis.models.stream.native import Native, end_activations, measure_native
from conceptbasis.models.text.generation import generate
from conceptbasis.runs.files import value_hash
from conceptbasis.runs.stage import StageOutput
from conceptbasis.study.study import Study


@dataclass(frozen=True)
class DonorDirection:
    """The donor's trajectory and the activations it was made from, last prompt position.

    Args:
        trajectory: Unit directions.
        differences: Difference of means, not normalised.
        harmful: Residuals at the end of harmful direction prompts.
        harmless: The same for harmless ones.
        window: Layers whose probe tells the classes apart.
    """

    trajectory: Float[Tensor, "n_layers d_donor"]
    differences: Float[Tensor, "n_layers d_donor"]
    positive: Float[Tensor, "n_layers n_h d_donor"]
    negative: Float[Tensor, "n_layers n_b d_donor"]
    window: tuple[int, ...]
    output: StageOutput


def run_direction(study: Study) -> DonorDirection:
    """Runs or reuses the stage.

    Raises:
        ModelError: if the donor does not refuse.
    """
    section, suite = study.config.direction, study.suite
    positive = [p.text for p in suite["direction_harmful"]]
    negative = [p.text for p in suite["direction_harmless"]]

    def compute() -> tuple[dict[str, Tensor], dict[str, Any]]:
        loaded = study.donor.loaded
        refusal = require_behavior(
            loaded,
            "donor",
            positive[: section.n_select],
            study.config.evaluate.max_new_tokens,
            section.min_rate,
        )
        with study.reporter.bar("direction") as advance:
            native = measure_native(
                loaded,
                positive,
                negative,
                n_select=section.n_select,
                max_kl=section.max_kl,
                layer_fraction=section.layer_fraction,
                progress=lambda done, of: advance(done, of, ""),
            )
        bad, good = end_activations(loaded, positive)[-1], end_activations(loaded, negative)[-1]
        accuracy = [
            probe_accuracy(bad[layer], good[layer], generator=study.generator(layer))
            for layer in range(len(bad))
        ]
        differences = native.trajectory * native.norms[:, None]
        tensors = {
            "trajectory": native.trajectory,
            "differences": differences,
            "harmful": bad,
            "harmless": good,
        }
        result = {
            "norms": native.norms.tolist(),
            "probe_accuracy": accuracy,
            "window": [i for i, a in enumerate(accuracy) if a > section.min_probe],
            "baseline_refusal": refusal,
            "selection": describe_selection(native),
            "refusal_tokens": loaded.tokenizer.convert_ids_to_tokens(
                native.behavior_tokens.tolist()
            ),
        }
        return tensors, result

    output = study.run.stage(
        "direction",
        config={**section.model_dump(), "max_new_tokens": study.config.evaluate.max_new_tokens},
        inputs={"donor": study.donor.model_hash, "prompts": value_hash([positive, negative])},
        compute=compute,
        seed=study.config.seed,
        device=study.config.device,
    )
    return DonorDirection(
        output.tensors["trajectory"],
        output.tensors["differences"],
        output.tensors["harmful"],
        output.tensors["harmless"],
        tuple(output.result["window"]),
        output,
    )


def require_behavior(
    loaded: LoadedModel, role: str, prompts: list[str], max_new_tokens: int, least: float
) -> dict[str, float | int]:
    """The rate at which a model refuses harmful prompts.

    Raises:
        ModelError: if it is below `least`.
    """
    answers = generate(loaded, prompts, max_new_tokens=max_new_tokens)
    interval = wilson(sum(judge_phrases(a) is True for a in answers), len(answers))
    if interval.value < least:
        raise ModelError(
            f"the {role} {loaded.name} refuses only {interval.value:.0%} of harmful prompts",
            expected=f"a chat model that refuses at least {least:.0%} of them",
            fix="use a model that was trained to refuse, or prompts that it refuses; "
            "the bound is the key direction.min_rate",
        )
    return asdict(interval)


def describe_selection(native: Native) -> dict[str, Any]:
    """The selection table of a model, as it stands in artifacts."""
    selection = native.selection
    return {
        "found": selection.found,
        "layer": selection.layer,
        "position": selection.position,
        "rejected": selection.rejected,
        "table": [
            {
                "layer": c.layer,
                "position": c.position,
                "refusal": c.refusal,
                "steering": c.steering,
                "kl": c.kl,
                "reason": c.reason,
            }
            for c in selection.table
        ],
    }
