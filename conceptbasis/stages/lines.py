"""Stage `lines`: which concept of the recipe takes refusal away?

A line is one concept, traced over layers. The recipe is rebuilt without a line at all of its
layers, and from that line alone, by the route and the guard of the transfer; refusal is measured
under both. It is off unless `flows.n_flows` is set, since it explains a result and changes none.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from conceptbasis.core.directions.recipe import Recipe
from conceptbasis.core.statistics.intervals import paired_bootstrap
from conceptbasis.data.prompts import PromptSuite
from conceptbasis.edits.intervention import Intervention, plan_intervention
from conceptbasis.edits.strength import settle
from conceptbasis.errors import NumericsError
from conceptbasis.evaluation.condition_figures import summarise
from conceptbasis.evaluation.conditions import Condition, Parts
from conceptbasis.evaluation.measure import Bench, Outcome, measure_all
from conceptbasis.runs.stage import StageOutput
from conceptbasis.stages.evaluate import make_bench
from conceptbasis.stages.fit import RECIPE_TENSORS
from conceptbasis.study.study import Study, noun_clusters

Line = Mapping[str, Any]
_READ = ("eval_harmful", "eval_harmless")
"""Sets that are measured: what the lines are about, and the damage they do."""


@dataclass(frozen=True)
class LineRoute:
    """How part of a recipe gets into the target: exactly as the whole of it did."""

    parts: Parts

    def plan(self, recipes: Mapping[int, Recipe]) -> Intervention | None:
        """The run's own intervention with directions of these recipes; None without any.

        Args:
            recipes: By target layer; layers without features are not edited.
        """
        found = {
            pair[0]: self._direction(pair, recipes[pair[0]])
            for pair in self.parts.alignment.layer_map.pairs
            if pair[0] in (*self.parts.intervention.layers, self.parts.guarded.single)
        }
        known = {layer: r for layer, r in found.items() if r is not None}
        guarded, edited = self.parts.guarded, self.parts.intervention.layers
        if guarded.single is not None:
            # Without its own part of a recipe the one layer that counts writes nothing anywhere.
            known = {layer: known[guarded.single] for layer in edited if guarded.single in known}
        if not known:
            return None
        layers, directions = sorted(known), torch.stack([known[layer] for layer in sorted(known)])
        safe = guarded.keep_out(directions, layers)
        section = self.parts.study.config.replay
        planned = plan_intervention(self.parts.harvest, layers, safe, section)
        return settle(self.parts.study, self.parts.harvest, planned)[0]

    def _direction(self, pair: tuple[int, int], recipe: Recipe) -> Float[Tensor, " d"] | None:
        if not len(recipe.feature_ids):
            return None
        basis, r = self.parts.transfer.output.result["basis"], self.parts.direction.trajectory
        try:
            found = self.parts.rebuilder.rebuild(basis, pair, recipe, r[pair[1]])
        except NumericsError:
            return None  # what is left of the recipe writes nothing into the target
        return found.rebuilt.direction


def cut_recipes(recipes: Mapping[int, Recipe], line: Line, *, keep: bool) -> dict[int, Recipe]:
    """The recipes without the atoms of a line, or with these alone.

    Args:
        recipes: By target layer.
        line: A line of stage `atoms`.
        keep: Whether the line is what is kept.
    """
    features: dict[int, set[int]] = {}
    for atom in line["atoms"]:
        features.setdefault(atom["target"], set()).add(atom["feature"])
    return {
        layer: _cut(recipe, features.get(layer, set()), keep=keep)
        for layer, recipe in recipes.items()
    }


def _cut(recipe: Recipe, features: Collection[int], *, keep: bool) -> Recipe:
    of_line = torch.isin(recipe.feature_ids, torch.tensor(sorted(features), dtype=torch.int64))
    kept = of_line if keep else ~of_line
    return replace(recipe, **{name: getattr(recipe, name)[kept] for name in RECIPE_TENSORS})


def run_lines(
    study: Study, parts: Parts, atoms: StageOutput, evaluation: StageOutput
) -> StageOutput | None:
    """Runs or reuses the stage; None where `flows.n_flows` is 0.

    Raises:
        PromptError: if the transfer was not sealed before.
    """
    section = study.config.flows
    if section.n_flows == 0:
        return None
    study.ledger.require_sealed()

    def compute() -> tuple[dict[str, Tensor], dict[str, Any]]:
        lines = atoms.result["lines"][: section.n_flows]
        bench = make_bench(study, parts, evaluation.tensors["refusal_tokens"])
        prompts = {name: bench.suite[name] for name in _READ}
        bench = replace(bench, suite=PromptSuite(prompts, ()))
        conditions = line_conditions(LineRoute(parts), lines, section.n_prompts)
        folder = study.run.folder / "lines" / "conditions"
        with study.reporter.bar("lines") as advance:
            outcomes = measure_all(bench, conditions, folder, advance)
        return {}, _result(study, bench, lines, outcomes, section.n_prompts)

    return study.run.stage(
        "lines",
        config={
            **section.model_dump(),
            "max_new_tokens": study.config.evaluate.max_new_tokens,
        },
        inputs={"atoms": atoms.hash, "evaluate": evaluation.hash},
        compute=compute,
        seed=study.config.seed,
        device=study.config.device,
    )


def line_conditions(route: LineRoute, lines: Sequence[Line], n_prompts: int) -> list[Condition]:
    """Untouched, the whole transfer, and for each line the recipe without it and it alone."""
    recipes = route.parts.recipes.recipes
    found = [
        Condition("untouched", n_prompts=n_prompts),
        Condition("transfer", intervention=route.parts.intervention, n_prompts=n_prompts),
    ]
    for place, line in enumerate(lines):
        for name, keep in (("without", False), ("only", True)):
            planned = route.plan(cut_recipes(recipes, line, keep=keep))
            found.append(Condition(name, place, planned, n_prompts=n_prompts))
    return found


def _result(
    study: Study,
    bench: Bench,
    lines: Sequence[Line],
    outcomes: Sequence[Outcome],
    n_prompts: int,
) -> dict[str, Any]:
    untouched, transfer, *rest = outcomes
    clusters = noun_clusters(bench.suite["eval_harmful"][:n_prompts])
    rows = []
    for place, line in enumerate(lines):
        without, only = rest[2 * place : 2 * place + 2]
        rows.append(
            {
                "line": place,
                "label": line["label"],
                "without": {
                    **summarise([without]),
                    "change": _change(study, transfer, without, clusters),
                },
                "only": {**summarise([only]), "change": _change(study, untouched, only, clusters)},
            }
        )
    return {
        "untouched": summarise([untouched]),
        "transfer": summarise([transfer]),
        "lines": rows,
    }


def _change(
    study: Study, before: Outcome, after: Outcome, clusters: Tensor
) -> dict[str, Any] | None:
    """Paired change of refusal, over prompts that both have an answer to judge."""
    pairs = list(zip(before.refused("harmful"), after.refused("harmful"), strict=True))
    known = torch.tensor([a is not None and b is not None for a, b in pairs])
    if not bool(known.any()):
        return None
    values = torch.tensor([[float(bool(v)) for v in pair] for pair in pairs])[known]
    generator = study.generator(93_000)
    found = paired_bootstrap(
        values[:, 0], values[:, 1], generator=generator, clusters=clusters[known]
    )
    return asdict(found)
