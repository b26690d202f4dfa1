"""Tables about the recipe: its atoms, its stability, its concepts over layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from conceptbasis.core.statistics.interval import Interval
from conceptbasis.report.evidence import ShownFlow, label_of
from conceptbasis.report.inspection import Recipe, RecipeAtom, RecipeLayer
from conceptbasis.report.table import MISSING, Cell, Column, Row, Table, columns, format_number
from conceptbasis.results.atoms import Halves, MeasuredFlow, Range, Stability

if TYPE_CHECKING:
    from conceptbasis.behaviors.base import Words

_MOST_FLOWS = 24
_PATH = "target layer: donor latent"


def whole_number(value: int | None) -> str | None:
    """A number of a latent, which is a name and gets no separators."""
    return None if value is None else str(value)


def density(value: float | None) -> str:
    """A firing density in at most five characters."""
    if value is None:
        return MISSING
    return f"{value:.3f}"[1:] if 0.001 <= value < 1 else f"{value:.0e}"


def stability_table(stability: Stability | None) -> Table | None:
    """How alike the recipes of two halves of the prompts are, layer by layer."""
    if stability is None:
        return None
    layers = sorted(stability.layers, key=lambda row: row.target)
    named = [(f"{row.target} from {row.donor}", row.halves) for row in layers]
    rows = [(name, *_halves(h)) for name, h in [*named, ("all", stability.all_layers)]]
    names = ("donor atoms shared", "target atoms shared", "cosine in the donor")
    caption = (
        f"Recipes of two halves of the direction prompts, {stability.n_splits} splits by noun: "
        "atoms in both of those in either, and cosine of the directions; mean, least and most"
    )
    return Table(caption, columns("target layer", *names, "cosine in the target"), rows)


def _halves(found: Halves) -> list[Cell]:
    ranges = (found.donor_jaccard, found.target_jaccard, found.donor_cosine, found.target_cosine)
    return [None if r is None else _interval(r) for r in ranges]


def _interval(found: Range) -> Interval:
    return Interval(found.mean, found.least, found.most, 0)


def flows_in_brief(flows: Sequence[ShownFlow]) -> Table:
    """Concepts over layers in 80 columns, as they are ordered."""
    measured = any(flow.measured for flow in flows)
    rows: list[Row] = []
    for shown in flows:
        path = " ".join(f"{atom.target}:{atom.latent}" for atom in shown.flow.atoms)
        rates = [f.value if f else None for f in _rates(shown.measured)] if measured else []
        rows.append((shown.flow.label, shown.flow.contribution, path, *rates))
    words = ("concept over layers", "donor latent at target layer")
    head = columns(words[0], "Σ|coef|", words[1], words=words)
    head[1] = Column("Σ|coef|", spec=".1f")
    return Table("", [*head, *(columns("without", "alone") if measured else ())], rows)


def _rates(measured: MeasuredFlow | None) -> tuple[Interval | None, Interval | None]:
    """The behavior's rate without a flow, and with it alone."""
    if measured is None:
        return None, None
    found = (measured.without.figures.rate, measured.only.figures.rate)
    return found[0].interval, found[1].interval


def flows_table(recipe: Recipe, words: Words) -> Table | None:
    """Concepts over layers, with what each does to the behavior where that was measured."""
    if not recipe.flows:
        return None
    flows, shared = recipe.flows[:_MOST_FLOWS], recipe.shared
    measured = any(flow.measured for flow in flows)
    labels = _labels_at(recipe.layers, shared)
    rows: list[Row] = []
    for shown in flows:
        at = () if shared is None else (shown.weight_at(shared) or None,)
        path = ", ".join(f"{atom.target}: {atom.latent}" for atom in shown.flow.atoms)
        first = (_label_of_flow(shown, shared, labels), shown.flow.contribution)
        effect = _effect(shown.measured) if measured else ()
        rows.append((*first, *at, path, _least_similarity(shown), *effect))
    head = [Column("automatic label"), Column("Σ |coef|", spec=".1f")]
    if shared is not None:
        head.append(Column(f"coefficient at layer {shared}", spec="+.2f"))
    head += [Column(_PATH, words=True), Column("least cosine")]
    if measured:
        head += columns(f"{words.noun} without it", "change", f"{words.noun} with it alone")
    caption = f"Concepts over layers, the first {len(rows)} of {len(recipe.flows)}"
    return Table(caption, head, rows)


def _labels_at(layers: Sequence[RecipeLayer], layer: int | None) -> dict[int, str]:
    """Automatic labels of the donor latents of one target layer."""
    atoms = (atom for row in layers if row.target == layer for atom in row.donor_atoms)
    return {atom.latent: atom.evidence.label for atom in atoms if atom.evidence}


def _label_of_flow(shown: ShownFlow, shared: int | None, labels: Mapping[int, str]) -> str:
    """The label of a flow, and that of its atom at the shared layer where they differ.

    A flow takes its label from its largest atom, which may lie elsewhere.
    """
    flow = shown.flow
    here = [labels.get(atom.latent) for atom in flow.atoms if atom.target == shared]
    other = [found for found in here if found and found != flow.label]
    return f"{flow.label} (at layer {shared}: {'; '.join(other)})" if other else flow.label


def _least_similarity(shown: ShownFlow) -> float | None:
    steps = [atom.similarity for atom in shown.flow.atoms if atom.similarity is not None]
    return min(steps, default=None)


def _effect(measured: MeasuredFlow | None) -> list[Cell]:
    without, only = _rates(measured)
    return [without, measured.without.change if measured else None, only]


def donor_table(layer: RecipeLayer) -> Table:
    """The donor atoms of a layer with their best matches."""

    def row(atom: RecipeAtom) -> Row:
        frequency = format_number(atom.frequency) + (" unstable" if atom.unstable else "")
        return (
            str(atom.latent),
            f"{atom.coefficient:+.3f}",
            span(atom.bounds),
            atom.share,
            frequency,
            atom.density,
            whole_number(atom.target_latent),
            atom.r_heldout,
            atom.null_quantile,
            label_of(atom.evidence),
        )

    head = columns("donor latent", "coefficient", "95 %", "share", "frequency", "density")
    head[-1] = Column("density", spec=".1e")
    head += columns("best match", "held-out r", "null")
    head.append(Column("automatic label", words=True))
    caption = f"Donor atoms behind target layer {layer.target}"
    return Table(caption, head, [row(atom) for atom in layer.donor_atoms])


def rebuilt_table(layer: RecipeLayer) -> Table | None:
    """The target atoms of a layer; None for a route that names none."""
    rows: list[Row] = [
        (str(a.latent), a.coefficient, a.share, density(a.density), label_of(a.evidence))
        for a in layer.target_atoms
    ]
    head = [Column("target latent"), Column("coefficient", spec="+.3f")]
    head += columns("share", "fires", "automatic label", words=("automatic label",))
    return Table(f"Target atoms of target layer {layer.target}", head, rows) if rows else None


def span(bounds: tuple[float, float] | None) -> str | None:
    """Both ends of an interval."""
    return bounds and "{:+.3f}, {:+.3f}".format(*bounds)
