"""The recipe for readers: its atoms per layer, with matches, intervals and evidence.

It reads `result.json` files only, so that `inspect` answers at once; no tensor library is imported.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from conceptbasis.errors import ArtifactError
from conceptbasis.report.evidence import join_evidence, read_evidence
from conceptbasis.runs.files import read_json
from conceptbasis.runs.stage import RESULT


def recipe_layers(folder: Path) -> list[dict[str, Any]]:
    """Joins the fitted atoms with their matches, one entry per edited target layer.

    Formula: an atom's share is |c_a| / Σ_b |c_b| over the atoms of its layer and side.

    Args:
        folder: A run folder with finished stages `fit` and `transfer`.

    Returns:
        `{target, donor, eligible_mass, donor_cosine, agreement, donor_atoms, target_atoms}` by
        target layer, atoms by falling contribution. A figure that was not computed is None.

    Raises:
        ArtifactError: if a stage is missing or corrupt.
    """
    fit_result = read_json(folder / "fit" / RESULT, ("layers",))
    fitted = {layer["target"]: layer for layer in fit_result["layers"]}
    layers = []
    for entry in read_json(folder / "transfer" / RESULT, ("layers",))["layers"]:
        fit = fitted.get(entry["target"])
        if fit is None:
            raise ArtifactError(
                f"{folder}: the transfer edits target layer {entry['target']}, which has no recipe",
                expected=f"one of the fitted target layers: {_listed(fitted)}",
                fix=f"delete {folder / 'transfer'} and run the transfer again",
            )
        layers.append(
            {
                "target": entry["target"],
                "donor": entry["donor"],
                "eligible_mass": fit.get("eligible_mass"),
                "donor_cosine": fit.get("donor_cosine"),
                "agreement": entry.get("agreement"),
                "donor_atoms": _ranked(_joined(fit["atoms"], entry["donor_atoms"])),
                "target_atoms": _ranked(entry.get("target_atoms") or []),
            }
        )
    return sorted(layers, key=lambda layer: layer["target"])


def _joined(
    fitted: Iterable[Mapping[str, Any]], matched: Iterable[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Every atom that the transfer used, with its interval and frequency from the fit."""
    by_feature = {atom["feature"]: atom for atom in fitted}
    keys = ("low", "high", "frequency", "unstable", "density")
    return [
        {**atom, **{key: by_feature.get(atom["feature"], {}).get(key) for key in keys}}
        for atom in matched
    ]


def _ranked(atoms: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    ranked = sorted(atoms, key=lambda atom: -abs(atom["coefficient"]))
    total = sum(abs(atom["coefficient"]) for atom in ranked)
    return [
        {**atom, "share": abs(atom["coefficient"]) / total if total else None} for atom in ranked
    ]


def _listed(numbers: Iterable[int]) -> str:
    return ", ".join(str(number) for number in sorted(numbers)) or "none"


def read_recipe(
    folder: Path,
    *,
    layer: int | None = None,
    atom: int | None = None,
    show_text: bool = False,
) -> dict[str, Any]:
    """The recipe with its evidence as JSON-ready data, narrowed to a layer or an atom.

    Args:
        folder: A run folder.
        layer: Target layer, or None for all.
        atom: Donor feature id, or None for all. Layers without the atom are left out, and so are
            target atoms other than the best match of the atom.
        show_text: Whether contexts on harmful topics keep their text.

    Returns:
        `layers`, the entries of `recipe_layers` that were asked for, with evidence; `lines`, the
        atoms of these traced over layers, those that weigh most at the replayed layer first, None
        where stage `atoms` has not run; `single_layer`,
        the target layer whose direction is replayed, None where each layer has its own.

    Raises:
        ArtifactError: if the layer or the atom does not exist, or a stage is missing.
    """
    layers = recipe_layers(folder)
    if layer is not None:
        existing = [entry["target"] for entry in layers]
        layers = [entry for entry in layers if entry["target"] == layer]
        if not layers:
            raise ArtifactError(
                f"the recipe in {folder} has no target layer {layer}",
                expected=f"one of the edited target layers: {_listed(existing)}",
                fix="pass one of these to --layer, or leave it out to see all of them",
            )
    layers = layers if atom is None else _with_atom(folder, layers, atom, layer)
    evidence = read_evidence(folder, show_text=show_text)
    join_evidence(layers, evidence)
    single = _single_layer(folder)
    lines = evidence and _lines_through(layers, evidence["lines"])
    if lines and single is not None:
        lines.sort(key=lambda line: -abs(weight_at(line["atoms"], single)))  # keeps order of ties
    return {"layers": layers, "lines": lines, "single_layer": single}


def weight_at(atoms: Iterable[Mapping[str, Any]], layer: int) -> float:
    """What the atoms of a line weigh at one target layer, 0 where it has none."""
    return float(sum(atom["coefficient"] for atom in atoms if atom["target"] == layer))


def _single_layer(folder: Path) -> int | None:
    path = folder / "guard" / RESULT
    found: int | None = read_json(path).get("single_layer") if path.exists() else None
    return found


def _lines_through(
    layers: Iterable[Mapping[str, Any]], lines: Iterable[Mapping[str, Any]]
) -> list[Mapping[str, Any]]:
    """The lines that run through an atom of these layers."""
    shown = {(row["target"], atom["feature"]) for row in layers for atom in row["donor_atoms"]}
    return [
        line
        for line in lines
        if any((atom["target"], atom["feature"]) in shown for atom in line["atoms"])
    ]


def _with_atom(
    folder: Path, layers: list[dict[str, Any]], atom: int, layer: int | None
) -> list[dict[str, Any]]:
    found = []
    for entry in layers:
        chosen = [a for a in entry["donor_atoms"] if a["feature"] == atom]
        if chosen:
            partners = {a.get("target_feature") for a in chosen}
            kept = [a for a in entry["target_atoms"] if a["feature"] in partners]
            found.append({**entry, "donor_atoms": chosen, "target_atoms": kept})
    if not found:
        where = f"layer {layer} of the recipe" if layer is not None else "the recipe"
        existing = {a["feature"] for entry in layers for a in entry["donor_atoms"]}
        raise ArtifactError(
            f"{where} in {folder} has no atom with donor feature {atom}",
            expected=f"one of the donor features: {_listed(existing)}",
            fix="pass one of these to --atom; run inspect without --atom to see them all",
        )
    return found
