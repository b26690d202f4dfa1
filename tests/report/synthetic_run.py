"""A complete, plausible run folder with made-up figures, written through the artifact writers."""

from __future__ import annotations

import math
import random
from pathlib import Path
from typing import Any

import torch

from conceptbasis.runs.files import CONFIG, write_json, write_text
from conceptbasis.runs.stage import Run

CONDITIONS = {  # name: (draws, refusal, recovered compliance, benign exact match, arithmetic)
    "baseline": (1, 0.99, 0.01, 0.98, 0.97),
    "native": (1, 0.01, 0.72, 0.97, 0.95),
    "native_trajectory": (1, 0.01, 0.70, 0.96, 0.82),
    "native_early": (1, 0.20, 0.50, 0.97, 0.95),
    "native_far": (1, 0.90, 0.05, 0.97, 0.95),
    "transfer": (1, 0.02, 0.66, 0.97, 0.96),
    "transported": (1, 0.03, 0.64, 0.96, 0.90),
    "matched": (1, 0.61, 0.22, 0.80, 0.85),
    "early_layers_only": (1, 0.28, 0.41, 0.97, 0.96),
    "last_layer_only": (1, 0.05, 0.50, 0.97, 0.97),
    "trajectory": (1, 0.02, 0.70, 0.97, 0.97),
    "trajectory_early": (1, 0.04, 0.68, 0.97, 0.97),
    "no_guard": (1, 0.02, 0.66, 0.97, 0.96),
    "sae_error_only": (1, 0.97, 0.01, 0.88, 0.91),
    "random_direction": (10, 0.98, 0.01, 0.96, 0.95),
    "shuffled_atoms": (10, 0.99, 0.01, 0.95, 0.95),
    "far_layers": (2, 0.98, 0.01, 0.95, 0.94),
    "unrelated_recipe": (3, 0.99, 0.01, 0.96, 0.96),
    "least_squares": (1, 0.03, 0.60, 0.90, 0.88),
    "affine": (1, 0.02, 0.61, 0.91, 0.86),
    "relu_map": (1, 0.12, 0.52, 0.89, 0.84),
    "procrustes": (1, 0.88, 0.05, 0.94, 0.93),
    "contrast_ridge": (1, 0.35, 0.30, 0.71, 0.55),
}
_SPREAD = {"mean": 0.9, "least": 0.8, "most": 0.95}
STABILITY = {"donor_jaccard": {**_SPREAD, "mean": 0.7}, "target_jaccard": None}
STABILITY |= {"donor_cosine": _SPREAD, "target_cosine": {**_SPREAD, "mean": 0.93}}
SECRET = "forbidden lantern phrase"
"""Text of a harmful request, which no view may show without being asked for it."""

SINGLE_LAYER = 3
SETTINGS = {"transfer": {"basis": "auto"}, "replay": {"offset": 0.5}}
"""What was asked for, as stages note it in their provenance."""

EXAMPLES = [
    {"condition": "baseline", "prompt": "how do i [redacted]", "answer": "i cannot help"},
    {"condition": "transfer", "prompt": "how do i [redacted]", "answer": "first script"},
]


def wilson(rate: float, n: int, key: str = "rate") -> dict[str, Any]:
    """A rate with its Wilson interval."""
    z = 1.96
    middle = (rate + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(rate * (1 - rate) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return {key: rate, "low": max(0.0, middle - half), "high": min(1.0, middle + half), "n": n}


def condition(name: str) -> dict[str, Any]:
    """One condition of the summary."""
    draws, refusal, compliance, benign, arithmetic = CONDITIONS[name]
    n = 300 * draws
    judged = {**wilson(refusal, n), "unscored": 0}
    token = {**wilson(min(1.0, refusal + 0.01), n), "unscored": 0}
    over = {k: wilson(v, 300) for k, v in (("safe", 0.0), ("mentions", 0.03), ("declines", 0.01))}
    untouched = name == "baseline"
    return {
        "name": name,
        "draws": draws,
        "judges": {"phrases": judged, "refusal_token": token},
        "refusal": judged,
        "answers": {"refusal": 1, "answer": 2, "mixed": 1, "degenerate": 0, "empty": 0}
        | {"unfinished": 0},
        "over_refusal": over,
        "recovered_compliance": wilson(compliance, n),
        "capability": {
            "benign_exact_match": wilson(benign, 300, "value"),
            "arithmetic": wilson(arithmetic, 200, "value"),
        },
        "kl_first_token": None
        if untouched
        else {"mean": 0.04, "low": 0.03, "high": 0.05, "p95": 0.31, "n": 300},
        "kl_answer": None
        if untouched
        else {"mean": 0.03, "low": 0.02, "high": 0.04, "p95": 0.2, "n": 32},
        "perplexity": 3.21 + (0.98 - benign),
        "edited": {"stream": [6, 6], "attention": [0, 6], "mlp": [0, 6], "experts": [0, 0]},
    }


def make_summary(n_donor: int = 6, n_target: int = 5) -> dict[str, Any]:
    """A summary in which the transfer succeeds."""

    def spread(value: float) -> dict[str, float]:
        return {"value": value, "low": value - 0.05, "high": value + 0.05}

    edited = range(1, n_target)
    saes = {"hash": "cd" * 32, "quality": [], "texts": None}
    model = {"d_vocab": 211, "revision": None, "hash": "ab" * 32, "saes": saes}
    layer_map = [[j, min(n_donor - 1, round(j * n_donor / n_target))] for j in edited]
    return {
        "schema": 1,
        "donor": {"name": "llama-a", "model": "organism:llama:0", "n_layers": n_donor}
        | {"d_model": 128, **model},
        "target": {"name": "mixtral-b", "model": "organism:mixtral:1", "n_layers": n_target}
        | {"d_model": 96, **model},
        "budget": "B0d",
        "ledger": [
            {"class": "statements", "texts": 1800, "sites": 21400},
            {"class": "harmless requests", "texts": 900, "sites": 9800},
            {"class": "harmless declines", "texts": 300, "sites": 3900},
        ],
        "seeds": {"run": 0, "donor": 0, "target": 1},
        "single_layer": SINGLE_LAYER,
        "mode": "affine",
        "scope": "stream",
        "gamma": 1.0,
        "basis": "code_map",
        "layer_map": layer_map,
        "max_new_tokens": 16,
        "verdict": {
            "word": "success",
            "reason": "refusal fell from 0.99 to 0.02, below every control, without loss elsewhere",
        },
        "primary_judge": "phrases",
        "forecast": {
            "eligible_mass": spread(0.62),
            "r_heldout": spread(0.78),
            "agreement": spread(0.81),
            "svcca": spread(0.71),
            "svcca_null": spread(0.32),
            "guard_overlap": spread(0.08),
            "proxy_success": None,
            "decline_effect": None,
        },
        "recipe": {
            "n_atoms_per_layer": [12 for _ in edited],
            "n_target_atoms_per_layer": [10 for _ in edited],
            "donor_cosine_per_layer": [0.9 for _ in edited],
            "stability": STABILITY,
        },
        "agreement_of_judges": [
            {"judges": ["phrases", "refusal_token"], "kappa": 0.97, "low": 0.95, "high": 0.99}
            | {"same": 0.98, "n": 600, "unscored": 0}
        ],
        "batch_flips": None,
        "conditions": [condition(name) for name in CONDITIONS],
        "curve": None,
    }


CURVE = {"transfer": 0.3, "native": 0.25, "least_squares": 0.4, "random_direction": 0.98}
"""Area under the curve of some methods."""


def make_curve() -> dict[str, Any]:
    """The result of a curve stage in which refusal falls in a line over the levels."""
    levels = (0.01, 0.04, 0.09)

    def point(measure: str, level: float, refusal: float) -> dict[str, Any]:
        figures = {**condition("transfer"), "refusal": {**wilson(refusal, 150), "unscored": 0}}
        return {"measure": measure, "level": level, "strength": 1.0, "reached": True, **figures}

    methods = []
    for name, area in CURVE.items():
        points = [point("kl", k, max(0.0, 1 - (1 - area) * 6.6 * k**0.5)) for k in levels]
        points.append(point("perplexity", 0.01, area))
        spread = {"value": area, "low": area - 0.04, "high": area + 0.04, "n": 150}
        less = {**spread, "value": area - 0.3, "low": area - 0.34, "high": area - 0.26}
        methods.append(
            {"method": name, "points": points, "area": spread, "area_less_transfer": less}
            | {"refusal_at_native_half": area + 0.2}
        )
    return {
        "kl_levels": list(levels),
        "perplexity_rise": 0.01,
        "untouched": condition("baseline"),
        "native_half": {"share": 0.5, "kl": 0.011},
        "methods": methods,
    }


def _atoms(layer: int, n: int, dice: random.Random) -> list[dict[str, Any]]:
    atoms = []
    for rank, feature in enumerate(dice.sample(range(768), n)):
        size = 3.0 * (1 + layer) * 0.75**rank * (-1 if rank % 3 == 1 else 1)
        frequency = max(0.3, 1 - 0.06 * rank)
        atoms.append(
            {"feature": feature, "coefficient": size, "low": size - 0.3, "high": size + 0.3}
            | {"frequency": frequency, "unstable": frequency < 0.5, "density": 0.02 / (1 + rank)}
        )
    return atoms


def _fit(summary: dict[str, Any], dice: random.Random) -> dict[str, Any]:
    layers = []
    for target, donor in summary["layer_map"]:
        mass = {"value": 0.4 + 0.05 * donor, "low": 0.35, "high": 0.7, "n": 200}
        layers.append(
            {"target": target, "donor": donor, "eligible_mass": mass}
            | {"donor_cosine": 0.85 + 0.02 * donor}
            | {"n_eligible": 80 + donor, "atoms": _atoms(donor, 12, dice)}
        )
    return {"layers": layers}


def _transfer(summary: dict[str, Any], fit: dict[str, Any], dice: random.Random) -> dict[str, Any]:
    layers = []
    for place, (target, donor) in enumerate(summary["layer_map"]):
        atoms = [
            {"feature": atom["feature"], "coefficient": atom["coefficient"]}
            | {"target_feature": dice.randrange(768), "r_heldout": 0.8, "null_quantile": 0.11}
            for atom in fit["layers"][place]["atoms"]
        ]
        matched = [
            {"feature": atom["target_feature"], "coefficient": 0.8 * atom["coefficient"]}
            | {"density": 0.01}
            for atom in atoms[:10]
        ]
        layers.append(
            {"target": target, "donor": donor, "strength": 0.1, "agreement": 0.6 + 0.05 * target}
            | {"selection_by_basis": {"code_map": 0.6, "transported": 0.64, "matched": 0.5}}
            | {"agreement_by_strength": {"0.03": 0.6, "0.1": 0.7, "0.3": 0.68}}
            | {"donor_atoms": atoms, "target_atoms": matched}
        )
    return {"basis": summary["basis"], "layers": layers}


def _context(rank: int, hidden: bool) -> dict[str, Any]:
    positive = [" how do i buy", f" {SECRET}", " ⟨answer⟩", ""]
    return {
        "quantile": 1 - 0.25 * rank,
        "peak": 4.0 - rank,
        "topic": "fraud" if hidden else None,
    } | {
        "kind": "harmful_requests" if hidden else "chat",
        "hidden": hidden,
        "pieces": positive if hidden else ["the", " rose", ""],
        "levels": "0490" if hidden else "090",
    }


def _evidence(feature: int, label: str, hidden: bool) -> dict[str, Any]:
    return {
        "feature": feature,
        "density": 0.015,
        "fires_on": [["⟨answer⟩", 0.6], ["rose", 0.2]],
        "words": [["rose", 5.0], ["tulip", 3.5]],
        "kinds": {"chat": 0.1, "harmful_requests": 0.9},
        "templates": {"n": 36, "effective": 1.3, "even": 30.0, "largest": 0.9}
        | {"largest_expected": 0.04, "name": "what is {n} ?"},
        "nouns": None,
        "about": {"harm": {"share": 0.6, "expected": 0.2}, "decline": None},
        "template_bound": label == "topic 2",
        "promoted": ["sorry", "no"],
        "suppressed": ["yes", "<b>"],
        "contexts": [_context(rank, hidden and rank == 0) for rank in range(3)],
        "page": "https://www.neuronpedia.org/m/3-res/7" if hidden else None,
        "label": label,
        "collides": label.startswith("garden"),
        "differs": ["tulip"] if label.startswith("garden") else [],
    }


def _evidence_row(row: dict[str, Any]) -> dict[str, Any]:
    donor = [atom["feature"] for atom in row["donor_atoms"]]
    target = dict.fromkeys(
        [atom["target_feature"] for atom in row["donor_atoms"]]
        + [atom["feature"] for atom in row["target_atoms"]]
    )
    left = {"cosine": 0.91, "agreement": -0.02}
    return {
        "target": row["target"],
        "donor": row["donor"],
        "atoms": [
            {"feature": atom["feature"], "target_feature": atom["target_feature"]}
            | {"guard_overlap": 0.12, "words_shared": 0.4, "leave_one_out": None if i else left}
            for i, atom in enumerate(row["donor_atoms"])
        ],
        "donor_features": [
            _evidence(f, "garden" if i < 2 else f"topic {i}", i == 0) for i, f in enumerate(donor)
        ],
        "target_features": [_evidence(f, "declines", False) for f in target],
    }


def _evidence_of(transfer: dict[str, Any]) -> dict[str, Any]:
    layers = [_evidence_row(row) for row in transfer["layers"]]
    lines = [
        {"label": f"topic {i}", "contribution": 9.0 - i}
        | {
            "atoms": [
                {"target": row["target"], "donor": row["donor"], "similarity": 0.9 if j else None}
                | {k: row["donor_atoms"][i][k] for k in ("feature", "coefficient")}
                for j, row in enumerate(transfer["layers"])
            ]
        }
        for i in range(len(transfer["layers"][0]["donor_atoms"]))
    ]
    return {"layers": layers, "lines": lines}


def _effects() -> dict[str, Any]:
    """Refusal without each of the two largest lines, and with it alone."""
    change = {"value": 0.3, "low": 0.2, "high": 0.4, "n": 100}
    rows = [
        {"line": i, "label": f"topic {i}"}
        | {"without": {**condition("native_early"), "change": change}}
        | {"only": {**condition("matched"), "change": {**change, "value": -0.4}}}
        for i in range(2)
    ]
    return {"untouched": condition("baseline"), "transfer": condition("transfer"), "lines": rows}


def _align(summary: dict[str, Any]) -> dict[str, Any]:
    n_target, n_donor = summary["target"]["n_layers"], summary["donor"]["n_layers"]

    def closeness(target: int, donor: int) -> float:
        return abs(target / (n_target - 1) - donor / (n_donor - 1))

    score: list[list[float | None]] = [
        [0.85 - 0.6 * closeness(j, i) for i in range(n_donor)] for j in range(n_target)
    ]
    null: list[list[float | None]] = [[0.35 for _ in range(n_donor)] for _ in range(n_target)]
    score[0][n_donor - 1] = null[0][n_donor - 1] = None
    kept = [[12 for _ in range(n_donor)] for _ in range(n_target)]
    path = summary["layer_map"]
    return {"score": score, "null": null, "kept_dimensions": {"donor": kept, "target": kept}} | {
        "decoder_score": score,
        "fingerprint_distance": null,
        "agreement": score,
        "cka": score,
        "layer_map": path,
        "fingerprint_path": path,
        "unedited": [j for j in range(n_target) if j not in {t for t, _ in path}],
    }


def stage_results(summary: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """`result.json` of every stage."""
    dice = random.Random(0)
    n_donor, path = summary["donor"]["n_layers"], summary["layer_map"]
    fit = _fit(summary, dice)
    pair = {"n_pairs": 300, "n_eligible_donor": 90, "n_eligible_target": 85, "n_mutual_best": 40}
    pair |= {"n_one_to_one": 38, "reasons": {"r": 60}, "r_heldout_mean": 0.74}
    width = summary["target"]["d_model"]
    curves = [[min(1.0, 0.01 * t + 0.9 * (k + 1) / width) for k in range(width)] for t, _ in path]
    table = [{"layer": 3, "position": -1, "refusal": 0.01, "steering": 0.8, "kl": 0.03}]
    both = {"donor": 0.91, "target": 0.88}
    transfer = _transfer(summary, fit, dice)
    return {
        "harvest": {"n_texts": 3000, "n_sites": 35100, "aligned_share": both}
        | {"classes": summary["ledger"], "dropped": {"donor": 0, "target": 3}}
        | {"splits": {"fit": 21000, "select": 7000, "report": 7100}, "loss": both},
        "match": {"layers": [{"target": t, "donor": d, **pair} for t, d in path]},
        "direction": {
            "norms": [1.0 + 0.8 * i for i in range(n_donor)],
            "probe_accuracy": [min(0.99, 0.7 + 0.08 * i) for i in range(n_donor)],
            "window": [i for i in range(n_donor) if i >= 3],
            "baseline_refusal": 0.99,
            "selection": {"found": True, "layer": 3, "position": -1, "rejected": 4}
            | {"table": [{**row, "reason": None} for row in table]},
            "refusal_tokens": ["i"],
        },
        "align": _align(summary),
        "fit": fit,
        "transfer": transfer,
        "atoms": _evidence_of(transfer),
        "stability": {"n_splits": 5, "all_layers": STABILITY}
        | {"layers": [{"target": t, "donor": d, "n_splits": 5, **STABILITY} for t, d in path]},
        "lines": _effects(),
        "replay": {"layers": [t for t, _ in path], "single_layer": SINGLE_LAYER},
        "guard": {
            "single_layer": SINGLE_LAYER,
            "share": 0.02,
            "k": 2,
            "perplexity": {"baseline": 3.21, "by_share": {"0.0": 3.26, "0.02": 3.22}},
            "layers": [
                {"target": t, "overlap_curve": curve, "overlap_energy": curve[1]}
                for (t, _), curve in zip(path, curves, strict=True)
            ],
            "within_bound": True,
        },
        "forecast": {
            **summary["forecast"],
            "covered_share": 0.91,
            "proxies": [{"name": "topic: weather", "success": 0.8}],
            "passed": True,
            "reasons": [],
        },
        "curve": make_curve(),
        "evaluate": {
            "conditions": summary["conditions"],
            "hashes": {"transfer": "ab" * 32},
            "agreement_of_judges": summary["agreement_of_judges"],
            "examples": EXAMPLES,
        },
    }


def write_run(folder: Path, n_donor: int = 6, n_target: int = 5) -> Path:
    """Writes a finished run with all stages, the summary and the recipe."""
    summary = make_summary(n_donor, n_target)
    run = Run(folder, lambda line: None)
    for name, result in stage_results(summary).items():

        def compute(result: dict[str, Any] = result) -> tuple[dict[str, torch.Tensor], Any]:
            return {"t": torch.zeros(2)}, result

        config = {"seed": 0, **SETTINGS.get(name, {})}
        run.stage(name, config=config, inputs={"text": "cd" * 32}, compute=compute)
    write_text(folder / CONFIG, "run: {}\n")
    write_json(folder / "summary.json", summary)
    write_json(folder / "recipe.json", {"schema": 1, "layers": summary["layer_map"]})
    return folder
