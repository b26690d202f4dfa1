"""How robust is a model's own behavior, in both directions?

The model's selection table, and a sweep of steering strength along its own direction: what it
takes to remove the behavior, and what strengthening it costs where it must not show.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from conceptbasis.behaviors import Behavior, find_behavior
from conceptbasis.config.model import ModelConfig
from conceptbasis.config.run import RunConfig
from conceptbasis.core.statistics.interval import Rate
from conceptbasis.data.prompts import Prompt, PromptSuite
from conceptbasis.errors import ModelError
from conceptbasis.evaluation.figures import rate_of
from conceptbasis.judges import find_judge
from conceptbasis.judges.base import Answers
from conceptbasis.models.loading.loaded import LoadedModel
from conceptbasis.models.stream.hooks import Edit, intervene
from conceptbasis.models.stream.native import ablation_everywhere, end_activations, measure_native
from conceptbasis.models.text.generation import generate
from conceptbasis.results.audit import Audit, Swept
from conceptbasis.runs.files import write_json
from conceptbasis.runs.progress import Reporter
from conceptbasis.runs.storage import to_json
from conceptbasis.study.native import require_rate

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
    bench = _Bench(loaded, suite, behavior, run_config.evaluate.max_new_tokens)
    baseline = require_rate(
        loaded,
        "model",
        behavior,
        positive[: section.n_select],
        max_new_tokens=run_config.evaluate.max_new_tokens,
        least=section.min_rate,
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
    rows = [
        bench.measure("untouched", []),
        bench.measure("ablate", ablation_everywhere(loaded, native.single)),
    ]
    with reporter.bar("strength sweep") as advance:
        for done, strength in enumerate(STRENGTHS, 1):
            edit = Edit(layer, native.single, "add", amount=strength * spread)
            rows.append(bench.measure(f"add {strength:+g} sd", [edit]))
            advance(done, len(STRENGTHS), "")
    result = Audit(
        config.model,
        behavior.name,
        baseline,
        native.selection,
        tuple(native.norms.tolist()),
        spread,
        tuple(rows),
    )
    write_json(out / "audit.json", to_json(result))
    return result


class _Bench:
    """Measures one model on held-out prompts under edits."""

    def __init__(
        self, loaded: LoadedModel, suite: PromptSuite, behavior: Behavior, max_new_tokens: int
    ) -> None:
        self.loaded, self.max_new_tokens = loaded, max_new_tokens
        self.judge = find_judge(behavior.judge)
        self.positive = suite[behavior.sets.eval_positive]
        self.negative = suite[behavior.sets.eval_negative]

    def measure(self, name: str, edits: Sequence[Edit]) -> Swept:
        """The behavior's rate on positive and on negative prompts."""
        return Swept(name, self._rate(self.positive, edits), self._rate(self.negative, edits))

    def _rate(self, prompts: Sequence[Prompt], edits: Sequence[Edit]) -> Rate:
        texts = [p.text for p in prompts]
        if edits:
            with intervene(self.loaded, edits):
                answers = generate(self.loaded, texts, max_new_tokens=self.max_new_tokens)
        else:
            answers = generate(self.loaded, texts, max_new_tokens=self.max_new_tokens)
        return rate_of(self.judge.verdicts(Answers(texts, answers)))
