"""What is logged of a run besides its figures: tables and series from the artifacts of stages.

Nothing here holds text of a prompt or of an answer, so nothing has to be removed from it later.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from conceptbasis.judges.phrases import read_answer

Results = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class LogTable:
    """Rows under the names of their columns."""

    columns: tuple[str, ...]
    rows: list[list[Any]]


def log_tables(results: Results) -> dict[str, LogTable]:
    """Tables of a transfer by name; those whose stages did not run are left out.

    Args:
        results: `result.json` by stage.
    """
    found = {
        "layer_similarity": _similarity(results.get("align", {})),
        "matches": _matches(results.get("match", {})),
        "recipe": _recipe(results),
        "recipe_stability": _stability(results.get("stability", {})),
        "concepts_over_layers": _lines(results.get("atoms", {})),
        "curve": _curve(results.get("curve", {})),
        "guard_overlap": _guard(results.get("guard", {})),
        "examples": _examples(results.get("evaluate", {})),
    }
    return {name: table for name, table in found.items() if table.rows}


def _similarity(align: Mapping[str, Any]) -> LogTable:
    matrices = ("score", "null", "decoder_score", "cka")
    chosen = {tuple(pair) for pair in align.get("layer_map") or []}
    rows: list[list[Any]] = [
        [j, i, *(align[name][j][i] for name in matrices), (j, i) in chosen]
        for j, row in enumerate(align.get("score") or [])
        for i in range(len(row))
    ]
    return LogTable(("target", "donor", "svcca", *matrices[1:], "mapped"), rows)


def _matches(match: Mapping[str, Any]) -> LogTable:
    keys = ("n_pairs", "n_eligible_donor", "n_eligible_target", "n_mutual_best", "n_one_to_one")
    columns = ("target", "donor", *keys, "r_heldout_mean")
    return LogTable(columns, [[row[c] for c in columns] for row in match.get("layers") or []])


def _recipe(results: Results) -> LogTable:
    fitted = {row["target"]: row for row in results.get("fit", {}).get("layers") or []}
    labels = {
        (row["target"], side, entry["feature"]): entry["label"]
        for row in results.get("atoms", {}).get("layers") or []
        for side in ("donor", "target")
        for entry in row[f"{side}_features"]
    }
    columns = ("target", "donor", "feature", "coefficient", "low", "high", "frequency", "density")
    rows = []
    for layer in results.get("transfer", {}).get("layers") or []:
        atoms = {a["feature"]: a for a in fitted.get(layer["target"], {}).get("atoms") or []}
        for atom in layer["donor_atoms"]:
            known = atoms.get(atom["feature"], {})
            where, matched = layer["target"], atom["target_feature"]
            rows.append(
                [where, layer["donor"], atom["feature"], atom["coefficient"]]
                + [known.get(key) for key in columns[4:]]
                + [matched, atom["r_heldout"], atom["null_quantile"]]
                + [labels.get((where, "donor", atom["feature"]))]
                + [labels.get((where, "target", matched))]
            )
    more = ("target_feature", "r_heldout", "null", "automatic_label", "target_automatic_label")
    return LogTable((*columns, *more), rows)


def _lines(atoms: Mapping[str, Any]) -> LogTable:
    keys = ("target", "donor", "feature", "similarity")
    rows = [
        [line["label"], line["contribution"], *(atom[key] for key in keys)]
        for line in atoms.get("lines") or []
        if len(line["atoms"]) > 1
        for atom in line["atoms"]
    ]
    return LogTable(("automatic_label", "contribution", *keys), rows)


def _stability(stability: Mapping[str, Any]) -> LogTable:
    figures = ("donor_jaccard", "target_jaccard", "donor_cosine", "target_cosine")
    rows = [
        [row["target"], row["donor"], figure, *(row[figure][k] for k in ("mean", "least", "most"))]
        for row in stability.get("layers") or []
        for figure in figures
        if row[figure] is not None
    ]
    return LogTable(("target", "donor", "figure", "mean", "least", "most"), rows)


def _guard(guard: Mapping[str, Any]) -> LogTable:
    rows = [
        [row["target"], k + 1, value]
        for row in guard.get("layers") or []
        for k, value in enumerate(row["overlap_curve"])
    ]
    return LogTable(("target", "k", "overlap"), rows)


def _curve(curve: Mapping[str, Any]) -> LogTable:
    rows = [
        [row["method"], *(point[key] for key in ("measure", "level", "strength", "reached"))]
        + [point["refusal"][key] for key in ("rate", "low", "high", "n")]
        + [point["kl_first_token"]["mean"], point["perplexity"]]
        for row in curve.get("methods") or []
        for point in row["points"]
    ]
    point = ("measure", "level", "strength", "reached", "refusal", "low", "high", "n")
    return LogTable(("method", *point, "kl_first_token", "perplexity"), rows)


def _examples(evaluation: Mapping[str, Any]) -> LogTable:
    rows = [
        [entry["condition"], entry["prompt"], redact_answer(entry["answer"])]
        for entry in evaluation.get("examples") or []
    ]
    return LogTable(("condition", "prompt", "answer"), rows)


def redact_answer(answer: str) -> str:
    """What kind of answer it is and how long, in place of the answer to a harmful request."""
    n_words = len(answer.split())
    kind = read_answer(answer)
    word = {"refusal": "refuses", "answer": "answers"}.get(kind, kind)
    return f"[{word}]" if not n_words else f"[{word}, {n_words} words]"


def layer_series(results: Results) -> dict[int, dict[str, float]]:
    """Per-layer figures of the stages by layer; donor and target layers share the axis."""
    series: dict[int, dict[str, float]] = defaultdict(dict)
    for layer, name, value in _layer_points(results):
        if value is not None:
            series[layer][f"layers/{name}"] = value
    return dict(series)


def _layer_points(results: Results) -> Iterator[tuple[int, str, float | None]]:
    direction, align = results.get("direction", {}), results.get("align", {})
    for key, name in (("norms", "donor/norm"), ("probe_accuracy", "donor/probe_accuracy")):
        for layer, value in enumerate(direction.get(key) or []):
            yield layer, name, value
    for entry in results.get("fit", {}).get("layers", []):
        yield entry["target"], "target/donor_cosine", entry.get("donor_cosine")
        mass = entry.get("eligible_mass") or {}
        yield entry["target"], "target/eligible_mass", mass.get("value")
    for target, donor in align.get("layer_map") or []:
        for key, name in (("score", "target/svcca"), ("null", "target/svcca_null")):
            yield target, name, align[key][target][donor]
    for entry in results.get("transfer", {}).get("layers", []):
        yield entry["target"], "target/agreement", entry.get("agreement")
        yield entry["target"], "target/strength", entry.get("strength")
    for entry in results.get("guard", {}).get("layers", []):
        yield entry["target"], "target/guard_overlap", entry.get("overlap_energy")


def sae_manifest(described: Mapping[str, Any]) -> dict[str, Any]:
    """What identifies the SAEs of a model, the same from training and from a transfer.

    Args:
        described: `donor` or `target` of a summary.
    """
    return {
        "name": described["name"],
        "model": described["model"],
        "model_hash": described["hash"],
        "saes": described["saes"],
    }
