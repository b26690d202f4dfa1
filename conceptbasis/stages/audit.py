"""Stage `audit`: how robust is a model's own refusal, in both directions?

The model's selection table, and a sweep of steering strength along its own direction: what it
takes to remove refusal, and what strengthening it costs in over-refusal.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from conceptbasis.config.model import ModelConfig
from conceptbasis.config.run import RunConfig
from conceptbasis.data.prompts import PromptSuite
from conceptbasis.errors import ModelError
from conceptbasis.evaluation.condition_figures import plain_rate
from conceptbasis.judges.phrases import judge_phrases
from conceptbasis.models.loading.load import LoadedModel
from conceptbasis.models.stream.hooks import Edit, intervene
from conceptbasis.models.stream.native import ablation_everywhere, end_activations, measure_native
from conceptbasis.models.text.generation import generate
from conceptbasis.runs.files import write_json
from conceptbasis.runs.progress import Reporter
from conceptbasis.stages.direction import describe_selection, require_behavior

STRENGTHS = (-4.0, -2.0, -1.0, -0.5, 0.5, 1.0, 2.0, 4.0)
"""Steering strengths in standard deviations of the projection on harmless prompts."""


def audit_model(
    config: ModelConfig,
    loaded: LoadedModel,
    suite: PromptSuite,
    run_config: RunConfig,
    out: Path,
    reporter: Reporter,
) -> dict[str, Any]:
    """Audits one model and writes `audit.json`.

    Args:
        config: Names the model.
        loaded: The model.
        suite: Its prompts.
        run_config: Settings of selection and evaluation.
        out: Folder of the result.
        reporter: Told the progress.

    Raises:
        ModelError: if the model does not refuse, or no direction passes the selection.
    """
    section, n_tokens = run_config.direction, run_config.evaluate.max_new_tokens
    positive = [p.text for p in suite["direction_harmful"]]
    negative = [p.text for p in suite["direction_harmless"]]
    baseline = require_behavior(
        loaded, "model", positive[: section.n_select], n_tokens, section.min_rate
    )
    native = measure_native(
        loaded,
        positive,
        negative,
        n_select=section.n_select,
        max_kl=section.max_kl,
        layer_fraction=section.layer_fraction,
    )
    layer = native.selection.layer
    if native.single is None or layer is None:
        raise ModelError(
            f"no direction of {loaded.name} passes the selection: {native.selection.rejected}",
            expected="one candidate with KL, steering and layer within bounds",
            fix="raise direction.max_kl or direction.layer_fraction",
        )
    spread = float((end_activations(loaded, negative)[-1, layer] @ native.single).std())
    rows = [_row(loaded, suite, n_tokens, "untouched", [])]
    rows.append(_row(loaded, suite, n_tokens, "ablate", ablation_everywhere(loaded, native.single)))
    with reporter.bar("strength sweep") as advance:
        for done, strength in enumerate(STRENGTHS, 1):
            edit = Edit(layer, native.single, "add", amount=strength * spread)
            rows.append(_row(loaded, suite, n_tokens, f"add {strength:+g} sd", [edit]))
            advance(done, len(STRENGTHS), "")
    result = {
        "model": config.model,
        "baseline_refusal": baseline,
        "selection": describe_selection(native),
        "norms": native.norms.tolist(),
        "standard_deviation": spread,
        "sweep": rows,
    }
    write_json(out / "audit.json", result)
    return result


def _row(
    loaded: LoadedModel,
    suite: PromptSuite,
    max_new_tokens: int,
    name: str,
    edits: Sequence[Edit],
) -> dict[str, Any]:
    """Refusal on harmful and on harmless prompts under edits."""
    sets = {"refusal": "eval_harmful", "over_refusal": "eval_harmless"}
    row: dict[str, Any] = {"name": name}
    for key, prompts in sets.items():
        texts = [p.text for p in suite[prompts]]
        if edits:
            with intervene(loaded, edits):
                answers = generate(loaded, texts, max_new_tokens=max_new_tokens)
        else:
            answers = generate(loaded, texts, max_new_tokens=max_new_tokens)
        row[key] = plain_rate([judge_phrases(a) for a in answers])
    return row
