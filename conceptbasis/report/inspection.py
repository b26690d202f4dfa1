"""The recipe for readers: its atoms per layer, with matches, intervals and evidence.

It reads results without their tensors, so that `inspect` answers at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from conceptbasis.core.statistics.interval import Interval
from conceptbasis.errors import ArtifactError
from conceptbasis.report.artifacts import RunFolder
from conceptbasis.report.evidence import ShownFlow, Side
from conceptbasis.report.own_labels import OwnLabels, labels_at, read_labels
from conceptbasis.results.atoms import (
    Ambiguity,
    AtomPair,
    Atoms,
    Evidence,
    FlowEffects,
    LayerAtoms,
    LeaveOneOut,
)
from conceptbasis.results.recipe import (
    DonorAtom,
    FittedAtom,
    LayerRecipe,
    LayerTransfer,
    RecipeSet,
    TargetAtom,
    Transfer,
)
from conceptbasis.runs.storage import read_result


@dataclass(frozen=True)
class RecipeAtom:
    """A donor atom with its match and what both stand for.

    Args:
        latent: Donor latent.
        coefficient: Signed; positive atoms write the behavior.
        share: |c| / Σ|c| over the atoms of the layer.
        low: Bootstrap bound; None where the fit does not know the atom.
        high: Bootstrap bound.
        frequency: Share of resamples that choose it.
        unstable: Whether that share is low.
        density: Share of sites at which it fires.
        target_latent: Its best match.
        r_heldout: Their held-out correlation.
        null_quantile: Its bound by chance.
        guard_overlap: Energy of the match in the guard.
        words_shared: Share of their words that both have.
        leave_one_out: What leaving it out changes.
        ambiguity: How its match stands beside the next best.
        runner_up: What the next best stands for.
        evidence: What it stands for; None where stage `atoms` has not run.
        target_evidence: What its match stands for.
    """

    latent: int
    coefficient: float
    share: float | None
    low: float | None
    high: float | None
    frequency: float | None
    unstable: bool | None
    density: float | None
    target_latent: int | None
    r_heldout: float
    null_quantile: float
    guard_overlap: float | None
    words_shared: float | None
    leave_one_out: LeaveOneOut | None
    ambiguity: Ambiguity | None
    runner_up: Evidence | None
    evidence: Evidence | None
    target_evidence: Evidence | None

    @property
    def bounds(self) -> tuple[float, float] | None:
        """Both ends of its interval, None where the fit does not know the atom."""
        return None if self.low is None or self.high is None else (self.low, self.high)


@dataclass(frozen=True)
class RebuiltAtom:
    """A target atom, with its share of the layer's coefficients."""

    latent: int
    coefficient: float
    density: float
    share: float | None
    evidence: Evidence | None


@dataclass(frozen=True)
class RecipeLayer:
    """Both sides of an edited target layer, atoms by falling contribution."""

    target: int
    donor: int
    eligible_mass: Interval
    donor_cosine: float
    agreement: float
    donor_atoms: tuple[RecipeAtom, ...]
    target_atoms: tuple[RebuiltAtom, ...]


@dataclass(frozen=True)
class Recipe:
    """A recipe as readers see it.

    Args:
        layers: By target layer.
        flows: Concepts over layers, those that weigh most at the shared layer first; None where
            stage `atoms` has not run.
        shared: The layer whose direction is used at all edited layers; None where each has its
            own.
    """

    layers: tuple[RecipeLayer, ...]
    flows: tuple[ShownFlow, ...] | None
    shared: int | None


def read_recipe(
    folder: Path,
    *,
    layer: int | None = None,
    atom: int | None = None,
    show_text: bool = False,
) -> Recipe:
    """The recipe with its evidence, narrowed to a layer or an atom.

    Args:
        folder: A run folder with finished stages `fit` and `transfer`.
        layer: Target layer, or None for all.
        atom: Donor latent, or None for all. Layers without the atom are left out, and so are
            target atoms other than the best match of the atom.
        show_text: Whether contexts of hidden texts keep their text. For the screen of the person
            who holds the run; never for anything that is shared or logged.

    Raises:
        ArtifactError: if the layer or the atom does not exist, or a stage is missing or corrupt.
    """
    run = RunFolder(folder)
    fitted = read_result(folder / "fit", RecipeSet, tensors=False)
    recipes = {row.target: row for row in fitted.layers}
    transfer = read_result(folder / "transfer", Transfer, tensors=False)
    atoms = run.read("atoms", Atoms)
    known = {row.target: row for row in atoms.layers} if atoms else {}
    own = read_labels(folder)
    rows = _narrowed(folder, sorted(transfer.layers, key=lambda row: row.target), layer, atom)
    layers = tuple(
        _layer(
            _fitted(folder, recipes, row.target), row, known.get(row.target), atom, (own, show_text)
        )
        for row in rows
    )
    shared = transfer.plan.shared
    return Recipe(layers, _flows(run, layers, atoms, shared) if atoms else None, shared)


def _narrowed(
    folder: Path, rows: Sequence[LayerTransfer], layer: int | None, atom: int | None
) -> list[LayerTransfer]:
    """The rows of a layer, or those that have an atom."""
    kept = [row for row in rows if layer is None or row.target == layer]
    if not kept:
        raise ArtifactError(
            f"the recipe in {folder} has no target layer {layer}",
            expected=f"one of the edited target layers: {_listed(row.target for row in rows)}",
            fix="pass one of these to --layer, or leave it out to see all of them",
        )
    found = [row for row in kept if atom is None or any(a.latent == atom for a in row.donor_atoms)]
    if not found:
        where = f"layer {layer} of the recipe" if layer is not None else "the recipe"
        existing = {a.latent for row in kept for a in row.donor_atoms}
        raise ArtifactError(
            f"{where} in {folder} has no atom with donor latent {atom}",
            expected=f"one of the donor latents: {_listed(existing)}",
            fix="pass one of these to --atom; run inspect without --atom to see them all",
        )
    return found


def _listed(numbers: Iterable[int]) -> str:
    return ", ".join(str(number) for number in sorted(numbers)) or "none"


def _fitted(folder: Path, recipes: Mapping[int, LayerRecipe], target: int) -> LayerRecipe:
    if target not in recipes:
        raise ArtifactError(
            f"{folder}: the transfer edits target layer {target}, which has no recipe",
            expected=f"one of the fitted target layers: {_listed(recipes)}",
            fix=f"delete {folder / 'transfer'} and run the transfer again",
        )
    return recipes[target]


def _layer(
    recipe: LayerRecipe,
    row: LayerTransfer,
    known: LayerAtoms | None,
    atom: int | None,
    shown: tuple[OwnLabels, bool],
) -> RecipeLayer:
    """Joins a layer's fit, transfer and evidence; narrowed to an atom and its match."""
    own, show_text = shown
    mine = (labels_at(own, "donor", row.donor), labels_at(own, "target", row.target))
    donor = Side(known.donor_latents if known else (), show_text, mine[0])
    target = Side(known.target_latents if known else (), show_text, mine[1])
    fitted = {a.latent: a for a in recipe.atoms}
    pairs = {a.latent: a for a in known.atoms} if known else {}
    total = sum(abs(a.coefficient) for a in row.donor_atoms)
    written = sum(abs(a.coefficient) for a in row.target_atoms)
    chosen = [a for a in row.donor_atoms if atom in (None, a.latent)]
    matched = {a.target_latent for a in chosen}
    rebuilt = [a for a in row.target_atoms if atom is None or a.latent in matched]
    return RecipeLayer(
        row.target,
        row.donor,
        recipe.eligible_mass,
        recipe.donor_cosine,
        row.agreement,
        tuple(
            _atom(a, fitted.get(a.latent), pairs.get(a.latent), total, donor, target)
            for a in sorted(chosen, key=_size)
        ),
        tuple(
            RebuiltAtom(a.latent, a.coefficient, a.density, _share(a, written), target.of(a.latent))
            for a in sorted(rebuilt, key=_size)
        ),
    )


def _size(atom: DonorAtom | TargetAtom) -> float:
    return -abs(atom.coefficient)


def _share(atom: DonorAtom | TargetAtom, total: float) -> float | None:
    return abs(atom.coefficient) / total if total else None


def _atom(
    atom: DonorAtom,
    fit: FittedAtom | None,
    pair: AtomPair | None,
    total: float,
    donor: Side,
    target: Side,
) -> RecipeAtom:
    return RecipeAtom(
        latent=atom.latent,
        coefficient=atom.coefficient,
        share=_share(atom, total),
        low=fit.low if fit else None,
        high=fit.high if fit else None,
        frequency=fit.frequency if fit else None,
        unstable=fit.unstable if fit else None,
        density=fit.density if fit else None,
        target_latent=atom.target_latent,
        r_heldout=atom.r_heldout,
        null_quantile=atom.null_quantile,
        guard_overlap=pair.guard_overlap if pair else None,
        words_shared=pair.words_shared if pair else None,
        leave_one_out=pair.leave_one_out if pair else None,
        ambiguity=pair.ambiguity if pair else None,
        runner_up=target.of(pair.ambiguity.runner_up if pair and pair.ambiguity else None),
        evidence=donor.of(atom.latent),
        target_evidence=target.of(atom.target_latent),
    )


def _flows(
    run: RunFolder, layers: Sequence[RecipeLayer], atoms: Atoms, shared: int | None
) -> tuple[ShownFlow, ...]:
    """The flows that run through an atom of these layers, with what stage `flows` measured."""
    effects = run.read("flows", FlowEffects)
    measured = {row.flow: row for row in effects.flows} if effects else {}
    shown = {(row.target, atom.latent) for row in layers for atom in row.donor_atoms}
    found = [
        ShownFlow(flow, measured.get(place))
        for place, flow in enumerate(atoms.flows)
        if any((atom.target, atom.latent) in shown for atom in flow.atoms)
    ]
    if shared is not None:
        found.sort(key=lambda flow: -abs(flow.weight_at(shared)))  # keeps the order of ties
    return tuple(found)
