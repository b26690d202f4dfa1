"""Terminal view of a recipe: tables of atoms, lines over layers, and one atom in full."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from conceptbasis.evaluation.metrics import MISSING, format_number
from conceptbasis.report.evidence import is_template_bound, place_of, scope_facts

_FEW = 8  # atoms of a layer, and lines, that the overview shows
_SHADES = ("", *(f"on grey{step}" for step in (19, 23, 27)), *("on dark_goldenrod",) * 3)
_SHADES += ("black on gold3", "black on gold1", "black on yellow1")
_MARKED = 5  # level from which a piece stands in brackets where there are no colours


def recipe_view(recipe: Mapping[str, Any], *, few: bool) -> Iterator[RenderableType]:
    """The layers of a recipe as tables of at most 80 columns.

    Args:
        recipe: As `inspection.read_recipe` gives it.
        few: Whether only the largest atoms of each layer are shown.
    """
    single = recipe["single_layer"]
    if single is not None:
        yield Text(
            f"Replayed at all edited layers: the direction of target layer {single}.\n"
            "Atoms of other layers are not in the edit.",
            style="dim",
        )
    if few and recipe["lines"]:
        yield lines_table(recipe["lines"])
    for layer in recipe["layers"]:
        yield _layer_line(layer, single)
        atoms = layer["donor_atoms"][: _FEW if few else None]
        yield _figures_table(atoms)
        if any(atom["evidence"] for atom in atoms):
            yield _meanings_table(atoms)
        if not few and layer["target_atoms"]:
            yield _target_table(layer["target_atoms"])
        left = len(layer["donor_atoms"]) - len(atoms)
        if left:
            yield Text(f"… {left} more: --layer {layer['target']}\n", style="dim")
    yield Text(
        "coef: code difference with 95 % interval; freq: share of resamples that choose\n"
        "the atom, * below 0.5; fires: share of sites, donor/target; r: held-out\n"
        "correlation; null: its bound by chance; guard: energy in the guarded subspace;\n"
        "−1: cosine with the whole direction when the atom is left out; same: share of\n"
        "words both sides have; without, alone: refusal without a concept, and with it\n"
        "alone. Labels are automatic: read the contexts (--atom ID).",
        style="dim",
    )


def _layer_line(layer: Mapping[str, Any], single: int | None = None) -> Text:
    mass = layer["eligible_mass"] or {}
    replayed = " (replayed)" if layer["target"] == single else ""
    line = Text(f"target layer {layer['target']}{replayed}", style="bold")
    line.append(
        f" from donor layer {layer['donor']}: eligible mass {_number(mass.get('value'))}, "
        f"donor cosine {_number(layer['donor_cosine'])}, agreement {_number(layer['agreement'])}",
        style="not bold",
    )
    return line


def _number(value: float | None) -> str:
    return format_number(value)


def _table(*columns: str, right: Sequence[int] = (), padding: int = 1) -> Table:
    table = Table(box=SIMPLE_HEAD, padding=(0, padding, 0, 0))
    for place, name in enumerate(columns):
        numeric = place in right
        table.add_column(name, justify="right" if numeric else "left", no_wrap=numeric)
    return table


def _figures_table(atoms: Iterable[Mapping[str, Any]]) -> Table:
    names = ("donor", "coef", "95 %", "share", "freq", "fires", "target", "r", "null")
    table = _table(*names, "guard", "−1", right=range(11), padding=0)
    for atom in atoms:
        span = MISSING
        if atom["low"] is not None and atom["high"] is not None:
            span = f"{_size(atom['low'])},{_size(atom['high'])}"
        target = atom.get("target_feature")
        table.add_row(
            str(atom["feature"]),
            _size(atom["coefficient"], 2),
            span,
            _number(atom["share"]),
            _number(atom["frequency"]) + ("*" if atom["unstable"] else ""),
            f"{_density(atom['density'])}/{_density(_of(atom['target_evidence'], 'density'))}",
            MISSING if target is None else str(target),
            _number(atom.get("r_heldout")),
            _number(atom.get("null_quantile")),
            _number(atom["guard_overlap"]),
            _number(_of(atom["leave_one_out"], "cosine")),
        )
    return table


def _size(value: float, digits: int = 1) -> str:
    """A signed number in at most seven characters."""
    return f"{value:+.{digits}f}" if abs(value) < 100 else f"{value:+.3g}"


def _of(entry: Mapping[str, Any] | None, key: str) -> Any:
    return None if entry is None else entry[key]


def _density(value: float | None) -> str:
    if value is None:
        return MISSING
    return f"{value:.3f}"[1:] if 0.001 <= value < 1 else f"{value:.0e}"


def _meanings_table(atoms: Iterable[Mapping[str, Any]]) -> Table:
    table = _table("donor", "stands for", "→ target", "stands for there", "same", right=(0, 2, 4))
    for atom in atoms:
        target = atom.get("target_feature")
        table.add_row(
            str(atom["feature"]),
            _label(atom["evidence"]),
            MISSING if target is None else str(target),
            _label(atom["target_evidence"]),
            _number(atom["words_shared"]),
        )
    return table


def _label(evidence: Mapping[str, Any] | None) -> Text:
    """An automatic label, with what tells it from others of the same name."""
    if evidence is None:
        return Text(MISSING)
    label = Text(evidence["label"])
    if evidence["collides"]:
        apart = ", ".join(evidence["differs"]) or "nothing tells it apart"
        label.append(f" (shared label; {apart})", style="dim")
    if is_template_bound(evidence):
        label.append(" (one template)", style="bold")
    return label


def _target_table(atoms: Iterable[Mapping[str, Any]]) -> Table:
    table = _table("target", "coef", "share", "fires", "stands for", right=range(4))
    for atom in atoms:
        table.add_row(
            str(atom["feature"]),
            f"{atom['coefficient']:+.3f}",
            _number(atom["share"]),
            _density(atom.get("density")),
            _label(atom["evidence"]),
        )
    return table


def lines_table(lines: Sequence[Mapping[str, Any]]) -> Table:
    """Concepts over layers: the largest lines with the donor feature at each target layer."""
    measured = any(line["refusal"] for line in lines)
    names = ("without", "alone") if measured else ()
    table = _table(
        "concept over layers", "Σ|coef|", "donor feature at target layer", *names, right=(1, 3, 4)
    )
    for line in lines[:_FEW]:
        path = " ".join(f"{atom['target']}:{atom['feature']}" for atom in line["atoms"])
        found = line["refusal"] or {}
        cells = [_number(_rate(found.get(key))) for key in ("without", "only")] if measured else []
        table.add_row(Text(line["label"]), f"{line['contribution']:.1f}", path, *cells)
    return table


def _rate(condition: Mapping[str, Any] | None) -> float | None:
    return None if condition is None else condition["refusal"]["rate"]


def atom_view(layer: Mapping[str, Any], console: Console) -> Iterator[RenderableType]:
    """One atom of a layer in full, on both sides.

    Args:
        layer: A layer of `inspection.read_recipe` that was narrowed to the atom.
        console: Where it will be printed; without colours, strong pieces stand in brackets.
    """
    for atom in layer["donor_atoms"]:
        yield _layer_line(layer)
        yield _figures_table([atom])
        sides = (
            (f"donor feature {atom['feature']}", atom["evidence"]),
            (f"target feature {atom.get('target_feature')}", atom["target_evidence"]),
        )
        for name, evidence in sides:
            if evidence is None:
                yield Text(f"{name}: no evidence (stage atoms has not run)", style="dim")
            else:
                yield _evidence_view(name, evidence, coloured=console.is_terminal)
        yield Text(f"share of words that both sides have: {_number(atom['words_shared'])}\n")


def _evidence_view(name: str, evidence: Mapping[str, Any], *, coloured: bool) -> RenderableType:
    title = Text(f"{name}: ", style="bold").append(_label(evidence)).append(" (automatic label)")
    grid = Table.grid(padding=(0, 1, 0, 0))
    grid.add_column(no_wrap=True, style="dim")
    grid.add_column()
    facts = {
        "fires on": _shares((f"“{piece}”", share) for piece, share in evidence["fires_on"]),
        "in": _shares(
            (kind.replace("_", " "), share)
            for kind, share in sorted(evidence["kinds"].items(), key=lambda item: -item[1])
        ),
        "words": ", ".join(word for word, _ in evidence["words"]) or MISSING,
        **scope_facts(evidence),
        "promotes": "  ".join(evidence["promoted"]),
        "suppresses": "  ".join(evidence["suppressed"]),
    }
    if evidence["page"]:
        facts["page"] = evidence["page"]
    for label, value in facts.items():
        grid.add_row(label, Text(value))
    for context in evidence["contexts"]:
        shown = Text(f"{context['peak']:.1f}  ").append(shaded(context, coloured=coloured))
        grid.add_row(place_of(context), shown)
    return Group(title, Padding(grid, (0, 0, 1, 2)))


def _shares(pairs: Iterable[Sequence[Any]]) -> str:
    return ", ".join(f"{name} {share:.2f}" for name, share in list(pairs)[:5] if share >= 0.01)


def shaded(context: Mapping[str, Any], *, coloured: bool) -> Text:
    """A context with its pieces shaded by activation, or the strong ones in brackets."""
    text = Text()
    for piece, digit in zip(context["pieces"], context["levels"], strict=True):
        level = int(digit)
        if coloured or level < _MARKED:
            text.append(piece, style=_SHADES[level] if coloured else "")
        else:
            word = piece.lstrip()
            text.append(f"{piece[: len(piece) - len(word)]}[{word}]")
    return text


def print_recipe(recipe: Mapping[str, Any], console: Console, *, few: bool, full: bool) -> None:
    """Prints a recipe.

    Args:
        recipe: As `inspection.read_recipe` gives it.
        console: Where to print.
        few: Whether only the largest atoms of each layer are shown.
        full: Whether each atom is shown with its evidence, both sides.
    """
    parts = (
        (part for layer in recipe["layers"] for part in atom_view(layer, console))
        if full
        else recipe_view(recipe, few=few)
    )
    for part in parts:
        console.print(part, highlight=False)
