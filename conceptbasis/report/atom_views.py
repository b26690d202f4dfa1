"""Terminal view of a recipe: tables of atoms, flows over layers, and one atom in full."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table as RichTable
from rich.text import Text

from conceptbasis.report.evidence import ambiguity_facts, facts, how_labelled, label_of, place_of
from conceptbasis.report.inspection import Recipe, RecipeAtom, RecipeLayer
from conceptbasis.report.recipe_tables import (
    density,
    flows_in_brief,
    rebuilt_table,
    whole_number,
)
from conceptbasis.report.table import Row, Table, columns, format_number, terminal
from conceptbasis.results.atoms import Context, Evidence

_FEW = 8  # atoms of a layer, and flows, that the overview shows
_SHADES = ("", *(f"on grey{step}" for step in (19, 23, 27)), *("on dark_goldenrod",) * 3)
_SHADES += ("black on gold3", "black on gold1", "black on yellow1")
_MARKED = 5  # level from which a piece stands in brackets where there are no colours
_LEGEND = (
    "coef: code difference with 95 % interval; freq: share of resamples that choose\n"
    "the atom, * below 0.5; fires: share of sites, donor/target; r: held-out\n"
    "correlation; null: its bound by chance; guard: energy in the guarded subspace;\n"
    "−1: cosine with the whole direction when the atom is left out; same: share of\n"
    "words both sides have; without, alone: rate of the behavior without a concept,\n"
    "and with it alone. Labels are automatic: read the contexts (--atom ID)."
)


def print_recipe(recipe: Recipe, console: Console, *, few: bool, full: bool) -> None:
    """Prints a recipe.

    Args:
        recipe: The recipe.
        console: Where to print; without colours, strong pieces stand in brackets.
        few: Whether only the largest atoms of each layer are shown.
        full: Whether each atom is shown with its evidence, both sides.
    """
    parts = (
        (part for layer in recipe.layers for part in _atoms_in_full(layer, console))
        if full
        else _overview(recipe, few=few)
    )
    for part in parts:
        console.print(part, highlight=False)


def _overview(recipe: Recipe, *, few: bool) -> Iterator[RenderableType]:
    """The layers of a recipe as tables of at most 80 columns."""
    if recipe.shared is not None:
        yield Text(
            f"Used at all edited layers: the direction of target layer {recipe.shared}.\n"
            "Atoms of other layers are not in the edit.",
            style="dim",
        )
    if not any(layer.target_atoms for layer in recipe.layers):
        yield Text(
            "The edit names no target latent: its route goes straight to the target's residuals.\n"
            "Targets below are the best matches of the donor's latents.",
            style="dim",
        )
    if few and recipe.flows:
        yield terminal(flows_in_brief(recipe.flows[:_FEW]))
    for layer in recipe.layers:
        yield _heading(layer, recipe.shared)
        atoms = layer.donor_atoms[: _FEW if few else None]
        yield _figures(atoms)
        if any(atom.evidence for atom in atoms):
            yield terminal(_meanings(atoms))
        rebuilt = None if few else rebuilt_table(layer)
        if rebuilt is not None:
            yield terminal(rebuilt)
        left = len(layer.donor_atoms) - len(atoms)
        if left:
            yield Text(f"… {left} more: --layer {layer.target}\n", style="dim")
    yield Text(_LEGEND, style="dim")


def _heading(layer: RecipeLayer, shared: int | None = None) -> Text:
    used = " (used at all layers)" if layer.target == shared else ""
    line = Text(f"target layer {layer.target}{used}", style="bold")
    figures = {
        "eligible mass": layer.eligible_mass.value,
        "donor cosine": layer.donor_cosine,
        "agreement": layer.agreement,
    }
    shown = ", ".join(f"{name} {format_number(value)}" for name, value in figures.items())
    return line.append(f" from donor layer {layer.donor}: {shown}", style="not bold")


def _figures(atoms: Sequence[RecipeAtom]) -> RichTable:
    names = (
        "donor",
        "coef",
        "95 %",
        "share",
        "freq",
        "fires",
        "target",
        "r",
        "null",
        "guard",
        "−1",
    )
    rows: list[Row] = [
        (
            str(atom.latent),
            _size(atom.coefficient, 2),
            atom.bounds and ",".join(map(_size, atom.bounds)),
            atom.share,
            format_number(atom.frequency) + ("*" if atom.unstable else ""),
            _fires(atom),
            whole_number(atom.target_latent),
            atom.r_heldout,
            atom.null_quantile,
            atom.guard_overlap,
            atom.leave_one_out.cosine if atom.leave_one_out else None,
        )
        for atom in atoms
    ]
    return terminal(Table("", columns(*names), rows), padding=0)


def _fires(atom: RecipeAtom) -> str:
    matched = atom.target_evidence.density if atom.target_evidence else None
    return f"{density(atom.density)}/{density(matched)}"


def _size(value: float, digits: int = 1) -> str:
    """A signed number in at most seven characters."""
    return f"{value:+.{digits}f}" if abs(value) < 100 else f"{value:+.3g}"


def _meanings(atoms: Sequence[RecipeAtom]) -> Table:
    words = ("stands for", "stands for there")
    head = columns("donor", words[0], "→ target", words[1], "same", words=words)
    rows: list[Row] = [
        (
            str(atom.latent),
            label_of(atom.evidence),
            whole_number(atom.target_latent),
            label_of(atom.target_evidence),
            atom.words_shared,
        )
        for atom in atoms
    ]
    return Table("", head, rows)


def _atoms_in_full(layer: RecipeLayer, console: Console) -> Iterator[RenderableType]:
    """The atoms of a layer that was narrowed to them, on both sides."""
    for atom in layer.donor_atoms:
        yield _heading(layer)
        yield _figures([atom])
        sides = (
            (f"donor latent {atom.latent}", atom.evidence),
            (f"target latent {atom.target_latent}", atom.target_evidence),
        )
        for name, evidence in sides:
            if evidence is None:
                yield Text(f"{name}: no evidence (stage atoms has not run)", style="dim")
            else:
                yield _evidence(name, evidence, coloured=console.is_terminal)
        yield Text(f"share of words that both sides have: {format_number(atom.words_shared)}")
        for name, said in ambiguity_facts(atom.ambiguity, atom.runner_up).items():
            yield Text(f"{name}: {said}")
        yield Text("")


def _evidence(name: str, evidence: Evidence, *, coloured: bool) -> RenderableType:
    title = Text(f"{name}: ", style="bold").append(
        f"{label_of(evidence)} ({how_labelled(evidence)})"
    )
    grid = RichTable.grid(padding=(0, 1, 0, 0))
    grid.add_column(no_wrap=True, style="dim")
    grid.add_column()
    page = {"page": evidence.page} if evidence.page else {}
    for label, value in (facts(evidence, "  ") | page).items():
        grid.add_row(label, Text(value))
    for context in evidence.contexts:
        shown = Text(f"{context.peak:.1f}  ").append(_shaded(context, coloured=coloured))
        grid.add_row(place_of(context), shown)
    return Group(title, Padding(grid, (0, 0, 1, 2)))


def _shaded(context: Context, *, coloured: bool) -> Text:
    """A context with its pieces shaded by activation, or the strong ones in brackets."""
    text = Text()
    for piece, digit in zip(context.pieces, context.levels, strict=True):
        level = int(digit)
        if coloured or level < _MARKED:
            text.append(piece, style=_SHADES[level] if coloured else "")
        else:
            word = piece.lstrip()
            text.append(f"{piece[: len(piece) - len(word)]}[{word}]")
    return text
