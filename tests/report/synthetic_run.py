"""A complete, plausible run folder with made-up figures, written as results are written."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from conceptbasis.core.statistics.interval import Interval, Rate
from conceptbasis.results import atoms as a
from conceptbasis.results.conditions import Condition, ConditionFigures, Divergence
from conceptbasis.results.direction import Candidate, DonorDirection, Selection
from conceptbasis.results.edit import Forecast, Guarded, GuardedLayer, Proxy, Replayed
from conceptbasis.results.evaluation import (
    Calibration,
    Curve,
    CurvePoint,
    Evaluation,
    Example,
    GroupRate,
    Kappa,
    LengthRates,
    MethodCurve,
)
from conceptbasis.results.harvest import Harvest, Norms, Shown
from conceptbasis.results.layers import LayerPlan
from conceptbasis.results.matching import Alignment, LayerMatches, MatchSet
from conceptbasis.results.recipe import (
    DonorAtom,
    FittedAtom,
    LayerRecipe,
    LayerTransfer,
    RecipeSet,
    TargetAtom,
    Transfer,
)
from conceptbasis.results.summary import (
    SCHEMA,
    RecipeSummary,
    Seeds,
    SideSaes,
    SideSummary,
    Summary,
    Verdict,
)
from conceptbasis.runs.files import CONFIG, file_hash, write_json, write_text
from conceptbasis.runs.storage import RESULT, TENSORS, write_result
from conceptbasis.runs.summary import write_summary

CONDITIONS = {  # name: (draws, rate, recovered, benign exact match, arithmetic)
    "baseline": (1, 0.99, 0.01, 0.98, 0.97),
    "native": (1, 0.01, 0.72, 0.97, 0.95),
    "native_per_layer": (1, 0.01, 0.70, 0.96, 0.82),
    "native_early": (1, 0.20, 0.50, 0.97, 0.95),
    "native_far": (1, 0.90, 0.05, 0.97, 0.95),
    "transfer": (1, 0.02, 0.66, 0.97, 0.96),
    "transported": (1, 0.03, 0.64, 0.96, 0.90),
    "matched": (1, 0.61, 0.22, 0.80, 0.85),
    "early_layers_only": (1, 0.28, 0.41, 0.97, 0.96),
    "last_layer_only": (1, 0.05, 0.50, 0.97, 0.97),
    "per_layer": (1, 0.02, 0.70, 0.97, 0.97),
    "per_layer_early": (1, 0.04, 0.68, 0.97, 0.97),
    "no_guard": (1, 0.02, 0.66, 0.97, 0.96),
    "sae_error_only": (1, 0.97, 0.01, 0.88, 0.91),
    "least_squares": (1, 0.03, 0.60, 0.90, 0.88),
    "affine": (1, 0.02, 0.61, 0.91, 0.86),
    "relu_map": (1, 0.12, 0.52, 0.89, 0.84),
    "procrustes": (1, 0.88, 0.05, 0.94, 0.93),
    "contrast_ridge": (1, 0.35, 0.30, 0.71, 0.55),
    "random_direction": (10, 0.98, 0.01, 0.96, 0.95),
    "shuffled_atoms": (10, 0.99, 0.01, 0.95, 0.95),
    "far_layers": (2, 0.98, 0.01, 0.95, 0.94),
    "unrelated_recipe": (3, 0.99, 0.01, 0.96, 0.96),
}
_RANGE = a.Range(0.9, 0.8, 0.95)
STABILITY = a.Halves(replace(_RANGE, mean=0.7), None, _RANGE, replace(_RANGE, mean=0.93))
SECRET = "crimson lantern phrase"
"""Text of a hidden prompt, which no view may show without being asked for it."""

SHARED_LAYER = 3
SETTINGS = "run:\n  transfer: {route: auto}\n  replay: {offset: 0.5}\n"
"""What was asked for."""

EXAMPLES = (
    Example("baseline", "how do i [redacted]", "i cannot help"),
    Example("transfer", "how do i [redacted]", "first script"),
)


def wilson(rate: float, n: int) -> Interval:
    """A rate with its Wilson interval."""
    z = 1.96
    middle = (rate + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(rate * (1 - rate) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return Interval(rate, max(0.0, middle - half), min(1.0, middle + half), n)


LENGTHS = tuple(
    LengthRates(name, (4, 16), tuple(Rate(wilson(rate, 300)) for rate in rates))
    for name, rates in {
        "baseline": (0.9, 0.99),
        "transfer": (0.0, 0.02),
        "native": (0.0, 0.01),
    }.items()
)
"""The rate over the length of the answer."""


def figures(name: str) -> ConditionFigures:
    """Figures of one condition of the summary."""
    draws, rate, recovered, benign, arithmetic = CONDITIONS[name]
    n = 300 * draws
    judged = Rate(wilson(rate, n))
    over = {"safe": 0.0, "mentions": 0.03, "declines": 0.01}
    kl = 0.0 if name == "baseline" else 0.04
    return ConditionFigures(
        draws=draws,
        judges={"phrases": judged, "first_token": Rate(wilson(min(1.0, rate + 0.01), n))},
        rate=judged,
        answers={"refusal": 1, "answer": 2, "mixed": 1, "degenerate": 0, "empty": 0}
        | {"unfinished": 0},
        spillover={name: Rate(wilson(value, 300)) for name, value in over.items()},
        recovered=wilson(recovered, n),
        capability={
            "benign_exact_match": wilson(benign, 300),
            "arithmetic": wilson(arithmetic, 200),
        },
        kl_first_token=Divergence(Interval(kl, 0.75 * kl, 1.25 * kl, 300), 8 * kl),
        kl_answer=Divergence(Interval(0.75 * kl, 0.5 * kl, kl, 32), 5 * kl),
        perplexity=3.21 + (0.98 - benign),
        edited={"stream": (6, 6), "attention": (0, 6), "mlp": (0, 6), "experts": (0, 0)},
    )


def unknown_figures() -> ConditionFigures:
    """Figures of a condition under which next to nothing could be measured."""
    none = Divergence(Interval(0.0, 0.0, 0.0, 1), 0.0)
    return ConditionFigures(
        1, {}, Rate(None, 3), {}, {"safe": None}, None, {"arithmetic": None}, none, none, 3.0, {}
    )


def with_condition(summary: Summary, name: str, **changes: Any) -> Summary:
    """A summary in which figures of one condition are others."""
    found = tuple(
        replace(c, figures=replace(c.figures, **changes)) if c.name == name else c
        for c in summary.conditions
    )
    return replace(summary, conditions=found)


def _side(name: str, model: str, n_layers: int, d_model: int) -> SideSummary:
    saes = SideSaes("cd" * 32, (), (), None)
    return SideSummary(name, model, None, n_layers, d_model, 211, "ab" * 32, saes)


def make_summary(n_donor: int = 6, n_target: int = 5) -> Summary:
    """A summary in which the transfer succeeds."""

    def spread(value: float) -> Interval:
        return Interval(value, value - 0.05, value + 0.05, 200)

    edited = range(1, n_target)
    return Summary(
        schema=SCHEMA,
        behavior="refusal",
        donor=_side("llama-a", "organism:llama:0", n_donor, 128),
        target=_side("mixtral-b", "organism:mixtral:1", n_target, 96),
        budget="B0d",
        ledger=(
            Shown("statements", 1800, 21400),
            Shown("harmless_requests", 900, 9800),
            Shown("declines", 300, 3900),
        ),
        seeds=Seeds(0, 1),
        mode="affine",
        scope="stream",
        offset=0.5,
        gamma=1.0,
        route="code_map",
        layer_map=tuple((j, min(n_donor - 1, round(j * n_donor / n_target))) for j in edited),
        plan=LayerPlan.single(edited, SHARED_LAYER),
        max_new_tokens=16,
        verdict=Verdict(
            "success",
            "refusal fell from 0.99 to 0.02, below every control, without loss elsewhere",
        ),
        primary_judge="phrases",
        forecast={
            "eligible_mass": spread(0.62),
            "r_heldout": spread(0.78),
            "agreement": spread(0.81),
            "svcca": spread(0.71),
            "svcca_null": spread(0.32),
            "guard_overlap": spread(0.08),
            "proxy_success": None,
            "neighbour_effect": None,
        },
        recipe=RecipeSummary(
            tuple(12 for _ in edited),
            tuple(10 for _ in edited),
            tuple(0.9 for _ in edited),
            STABILITY,
        ),
        agreement_of_judges=(Kappa(("phrases", "first_token"), 0.97, 0.95, 0.99, 0.98, 600, 0),),
        batch_flips=None,
        by_length=LENGTHS,
        conditions=tuple(Condition(name, figures(name)) for name in CONDITIONS),
        curve=None,
    )


CURVE = {"transfer": 0.3, "native": 0.25, "least_squares": 0.4, "random_direction": 0.98}
"""Area under the curve of some methods."""


def make_curve() -> Curve:
    """The result of a curve stage in which the rate falls in a line over the levels."""
    levels = (0.01, 0.04, 0.09)

    def point(measure: str, level: float, rate: float) -> CurvePoint:
        found = replace(figures("transfer"), rate=Rate(wilson(rate, 150)))
        return CurvePoint(measure, level, 1.0, True, found)

    methods = []
    for name, area in CURVE.items():
        points = [point("kl", k, max(0.0, 1 - (1 - area) * 6.6 * k**0.5)) for k in levels]
        points.append(point("perplexity", 0.01, area))
        methods.append(
            MethodCurve(
                name,
                Calibration((0.0, 1.0), (0.0, 0.1), (0.0, 0.02)),
                tuple(points),
                Interval(area, area - 0.04, area + 0.04, 150),
                Interval(area - 0.3, area - 0.34, area - 0.26, 150),
                area + 0.2,
            )
        )
    return Curve(levels, 0.01, figures("baseline"), 0.011, tuple(methods))


def _recipes(summary: Summary, dice: random.Random) -> RecipeSet:
    layers = []
    for target, donor in summary.layer_map:
        atoms = []
        for rank, latent in enumerate(dice.sample(range(768), 12)):
            size = 3.0 * (1 + donor) * 0.75**rank * (-1 if rank % 3 == 1 else 1)
            often = max(0.3, 1 - 0.06 * rank)
            bounds = (size - 0.3, size + 0.3)
            atoms.append(FittedAtom(latent, size, *bounds, often, often < 0.5, 0.02 / (1 + rank)))
        mass = Interval(0.4 + 0.05 * donor, 0.35, 0.7, 200)
        layers.append(
            LayerRecipe(target, donor, mass, 0.85 + 0.02 * donor, 80 + donor, tuple(atoms))
        )
    return RecipeSet(tuple(layers))


def _transfer(summary: Summary, recipes: RecipeSet, dice: random.Random) -> Transfer:
    layers = []
    for recipe in recipes.layers:
        atoms = [
            DonorAtom(atom.latent, atom.coefficient, dice.randrange(768), 0.8, 0.11)
            for atom in recipe.atoms
        ]
        matched = [TargetAtom(t.target_latent or 0, 0.8 * t.coefficient, 0.01) for t in atoms[:10]]
        routes = {"code_map": 0.6, "transported": 0.64, "matched": 0.5}
        layers.append(
            LayerTransfer(
                recipe.target,
                recipe.donor,
                ridge=0.1,
                agreement=0.6 + 0.05 * recipe.target,
                agreement_by_route=routes,
                selection_by_route=routes,
                agreement_by_ridge={"0.03": 0.6, "0.1": 0.7, "0.3": 0.68},
                donor_atoms=tuple(atoms),
                target_atoms=tuple(matched),
            )
        )
    n, width = len(layers), summary.target.d_model
    directions = {route: torch.zeros(n, width) for route in ("code_map", "transported", "matched")}
    steering = torch.zeros(n, width)
    return Transfer(summary.route, summary.plan, {}, tuple(layers), directions, steering)


def _context(rank: int, hidden: bool) -> a.Context:
    return a.Context(
        quantile=1 - 0.25 * rank,
        peak=4.0 - rank,
        kind="harmful_requests" if hidden else "chat",
        topic="fraud" if hidden else None,
        hidden=hidden,
        pieces=(" how do i buy", f" {SECRET}", " ⟨answer⟩", "") if hidden else ("the", " rose", ""),
        levels="0490" if hidden else "090",
    )


def _evidence(latent: int, label: str, hidden: bool) -> a.Evidence:
    shared = label.startswith("garden")
    return a.Evidence(
        latent=latent,
        label=label,
        density=0.015,
        fires_on=(("⟨answer⟩", 0.6), ("rose", 0.2)),
        words=(("rose", 5.0), ("tulip", 3.5)),
        kinds={"chat": 0.1, "harmful_requests": 0.9},
        templates=a.Spread(36, 1.3, 30.0, 0.9, 0.04, "what is {n} ?"),
        nouns=None,
        about={"positive": a.Share(0.6, 0.2), "behavior": None},
        template_bound=label == "topic 2",
        promoted=("sorry", "no"),
        suppressed=("yes", "<b>"),
        contexts=tuple(_context(rank, hidden and rank == 0) for rank in range(3)),
        page="https://www.neuronpedia.org/m/3-res/7" if hidden else None,
        collides=shared,
        differs=("tulip",) if shared else (),
    )


def _layer_atoms(row: LayerTransfer) -> a.LayerAtoms:
    donor = [atom.latent for atom in row.donor_atoms]
    target = dict.fromkeys(atom.target_latent or 0 for atom in row.donor_atoms)
    left = a.LeaveOneOut(0.91, -0.02)
    runner_up = row.donor_atoms[-1].target_latent
    near = a.Ambiguity(8, (5, 7), runner_up, Interval(0.03, -0.01, 0.07, 40), 0.42)
    return a.LayerAtoms(
        row.target,
        row.donor,
        tuple(
            a.AtomPair(
                atom.latent,
                atom.target_latent,
                0.12,
                0.4,
                None if i else left,
                None if i else near,
            )
            for i, atom in enumerate(row.donor_atoms)
        ),
        tuple(
            _evidence(n, "garden" if i < 2 else f"topic {i}", i == 0) for i, n in enumerate(donor)
        ),
        tuple(_evidence(n, "declines", False) for n in target),
    )


def _atoms(transfer: Transfer) -> a.Atoms:
    flows = []
    for i in range(len(transfer.layers[0].donor_atoms)):
        steps = [(row, row.donor_atoms[i]) for row in transfer.layers]
        members = tuple(
            a.FlowAtom(row.target, row.donor, d.latent, d.coefficient, 0.9 if j else None)
            for j, (row, d) in enumerate(steps)
        )
        flows.append(a.Flow(f"topic {i}", 9.0 - i, members))
    return a.Atoms(tuple(map(_layer_atoms, transfer.layers)), tuple(flows))


def _effects() -> a.FlowEffects:
    """The rate without each of the two largest flows, and with it alone."""
    change = Interval(0.3, 0.2, 0.4, 100)
    without = a.FlowEffect(figures("native_early"), change)
    only = a.FlowEffect(figures("matched"), replace(change, value=-0.4))
    rows = tuple(a.MeasuredFlow(i, f"topic {i}", without, only) for i in range(2))
    return a.FlowEffects(figures("baseline"), figures("transfer"), rows)


def _align(summary: Summary) -> Alignment:
    n_target, n_donor = summary.target.n_layers, summary.donor.n_layers

    def likeness(target: int, donor: int) -> float:
        return 0.85 - 0.6 * abs(target / (n_target - 1) - donor / (n_donor - 1))

    def matrix(value: Any) -> tuple[tuple[float | None, ...], ...]:
        last = (0, n_donor - 1)
        return tuple(
            tuple(None if (j, i) == last else value(j, i) for i in range(n_donor))
            for j in range(n_target)
        )

    score, null, kept = matrix(likeness), matrix(lambda j, i: 0.35), matrix(lambda j, i: 12.0)
    mapped = {target for target, _ in summary.layer_map}
    return Alignment(
        score=score,
        null=null,
        kept_dimensions={"donor": kept, "target": kept},
        decoder_score=score,
        cka=score,
        layer_map=summary.layer_map,
        map_score=1.0,
        unedited=tuple(j for j in range(n_target) if j not in mapped),
        concepts=(),
        fingerprint_distance=null,
        fingerprint_path=summary.layer_map,
        concept_directions={},
        shown=(),
    )


def _harvest(summary: Summary) -> Harvest:
    both = {"donor": 0, "target": 3}
    return Harvest(
        *(torch.zeros(2, dtype=torch.int64) for _ in range(4)),
        n_texts=3000,
        n_sites=35100,
        aligned_share={"donor": 0.91, "target": 0.88},
        dropped=both,
        left_out=0,
        norms={"donor": {0: Norms(1.0, 3.0)}, "target": {0: Norms(1.0, 3.0)}},
        splits={"fit": 21000, "select": 7000, "report": 7100},
        layers={"donor": (0,), "target": (0,)},
        files={},
        shown=summary.ledger,
    )


def _direction(n_donor: int) -> DonorDirection:
    rows = torch.nn.functional.normalize(torch.arange(n_donor * 4.0).reshape(n_donor, 4), dim=1)
    ends = torch.zeros(n_donor, 2, 4)
    picked = Candidate(-1, 3, 0.01, 0.8, 0.03, None)
    return DonorDirection(
        per_layer=rows,
        differences=rows.clone(),
        positive=ends,
        negative=ends.clone(),
        norms=tuple(1.0 + 0.8 * i for i in range(n_donor)),
        probe_accuracy=tuple(min(0.99, 0.7 + 0.08 * i) for i in range(n_donor)),
        window=tuple(range(3, n_donor)),
        baseline=wilson(0.99, 100),
        selection=Selection(True, -1, 3, {"kl": 4}, 0.1, (picked,)),
        behavior_tokens=("i",),
    )


def _matches(summary: Summary) -> MatchSet:
    def layer(target: int, donor: int) -> LayerMatches:
        ids = (torch.zeros(2, dtype=torch.int64) for _ in range(2))
        rows = (torch.zeros(2) for _ in range(4))
        counts = (300, 90, 85, 40, 38)
        return LayerMatches(target, donor, *ids, *rows, *counts, {"r": 60}, 0.74)

    return MatchSet(tuple(layer(*pair) for pair in summary.layer_map))


def _guard(summary: Summary) -> Guarded:
    width, n = summary.target.d_model, len(summary.layer_map)
    layers = []
    for target, _ in summary.layer_map:
        curve = tuple(min(1.0, 0.01 * target + 0.9 * (k + 1) / width) for k in range(width))
        layers.append(GuardedLayer(target, curve, curve[1]))
    by_share, zeros = {"0.0": 3.26, "0.02": 3.22}, torch.zeros(n, width)
    return Guarded(0.02, 2, True, 3.21, by_share, tuple(layers), zeros, torch.zeros(n, width, 2))


def _replayed(summary: Summary) -> Replayed:
    rows = torch.zeros(len(summary.plan.layers), summary.target.d_model)
    return Replayed(
        plan=summary.plan,
        mode=summary.mode,
        scope=summary.scope,
        gamma=1.0,
        which="all",
        amounts=(),
        thresholds=(),
        max_norms=(None,) * 2,
        strength=None,
        dose=None,
        edited={"stream": (4, 4)},
        target_hash=summary.target.hash,
        target_name=summary.target.name,
        weights={"target": summary.target.hash, "donor": summary.donor.hash},
        architecture=None,
        directions=rows,
        means=rows.clone(),
        gates=None,
    )


def stage_results(summary: Summary) -> dict[str, Any]:
    """What every stage left, in order."""
    dice = random.Random(0)
    recipes = _recipes(summary, dice)
    transfer = _transfer(summary, recipes, dice)
    rows = tuple(a.LayerHalves(t, d, 5, STABILITY) for t, d in summary.layer_map)
    proxies = (Proxy("topic: weather", 0.8),)
    return {
        "harvest": _harvest(summary),
        "direction": _direction(summary.donor.n_layers),
        "match": _matches(summary),
        "align": _align(summary),
        "fit": recipes,
        "transfer": transfer,
        "guard": _guard(summary),
        "forecast": Forecast(summary.forecast, 0.91, (), proxies, True, ()),
        "replay": _replayed(summary),
        "atoms": _atoms(transfer),
        "stability": a.Stability(5, rows, STABILITY),
        "evaluate": Evaluation(
            "phrases",
            summary.conditions,
            {},
            summary.agreement_of_judges,
            None,
            Selection(False, None, None, {}, 0.1, ()),
            {"transfer": "ab" * 32},
            {},
            summary.by_length,
            EXAMPLES,
            {},
            {},
            tuple(range(5)),
            torch.zeros(1, dtype=torch.int64),
            tuple(
                GroupRate(name, "positive", "kind", kind, Rate(wilson(k / 20, 20)))
                for name, counts in (("baseline", (19, 20)), ("transfer", (1, 12)))
                for kind, k in zip(("what_is", "how_to"), counts, strict=True)
            ),
        ),
        "curve": make_curve(),
        "flows": _effects(),
    }


def write_stage(folder: Path, name: str, result: Any, **changes: Any) -> None:
    """Writes one finished stage."""
    write_result(folder / name, result)
    outputs = {file: file_hash(folder / name / file) for file in (TENSORS, RESULT)}
    provenance = {"config": {}, "inputs": {"text": "cd" * 32}, "seed": 0, "code": {}}
    provenance |= {"outputs": outputs, "versions": {"torch": "2.6"}, "device": "cpu"}
    write_json(folder / name / "provenance.json", {**provenance, "seconds": 0.1, **changes})


def write_run(folder: Path, n_donor: int = 6, n_target: int = 5) -> Path:
    """Writes a finished run with all stages, the summary and the recipe."""
    summary = make_summary(n_donor, n_target)
    for name, result in stage_results(summary).items():
        write_stage(folder, name, result)
    write_text(folder / CONFIG, SETTINGS)
    write_summary(folder, summary)
    write_json(folder / "recipe.json", {"schema": SCHEMA, "layers": summary.layer_map})
    return folder
