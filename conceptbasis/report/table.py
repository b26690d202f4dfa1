"""The one model of a table, and how it is shown: on a terminal, in HTML, as Markdown, in wandb.

A cell holds a value, not its text, so that every renderer decides how much of it is shown. HTML
takes `head` and `lines`, wandb takes `head` and `rows`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from conceptbasis.core.statistics.interval import Figure, Interval

if TYPE_CHECKING:
    from rich.table import Table as RichTable

MISSING = "–"
"""What stands where a figure does not exist."""


@dataclass(frozen=True)
class Column:
    """A column.

    Args:
        label: Its name.
        words: Whether it holds words: to the left, and they may wrap.
        unit: Largest value that makes sense (1 for shares), or None.
        spec: Format of its numbers, such as `+.3f`; by the unit where empty.
    """

    label: str
    words: bool = False
    unit: float | None = 1.0
    spec: str = ""


@dataclass(frozen=True)
class In:
    """A figure with a unit of its own, where the rows of a table differ in it."""

    figure: Figure | None
    unit: float | None


@dataclass(frozen=True)
class Change:
    """A signed change; `good` says whether it goes where it should, None where nobody minds."""

    value: float | None
    unit: float | None = 1.0
    good: bool | None = None

    def __str__(self) -> str:
        return format_delta(self.value, self.unit)


@dataclass(frozen=True)
class Label:
    """An automatic label with what has to be said about it, in plain and in bold."""

    text: str
    note: str = ""
    warning: str = ""

    def __str__(self) -> str:
        return " ".join(part for part in (self.text, self.note, self.warning) if part)


Cell: TypeAlias = str | int | float | bool | Interval | In | Change | Label | None
Row: TypeAlias = Sequence[Cell]


@dataclass(frozen=True)
class Group:
    """Heads the rows that follow it; one without a name is a rule between them."""

    name: str = ""


@dataclass(frozen=True)
class Table:
    """A table.

    Args:
        caption: What it shows.
        columns: Its columns.
        body: Rows, and headings of groups of them.
        note: What abbreviations mean.
        stack: Whether rows become small lists on a narrow page, so that none of it is hidden.
    """

    caption: str
    columns: Sequence[Column]
    body: Sequence[Row | Group]
    note: str = ""
    stack: bool = True

    @property
    def head(self) -> list[str]:
        """Names of the columns."""
        return [column.label for column in self.columns]

    @property
    def rows(self) -> list[list[Any]]:
        """Rows of plain values, without headings."""
        return [list(row) for row in self.body if not isinstance(row, Group)]

    @property
    def lines(self) -> Iterator[list[str] | str]:
        """Rows as texts; a heading is one text."""
        for row in self.body:
            yield row.name if isinstance(row, Group) else self.texts(row)

    def texts(self, row: Row) -> list[str]:
        """A row as texts."""
        return [show(cell, column) for cell, column in zip(row, self.columns, strict=True)]

    @property
    def words(self) -> frozenset[int]:
        """Columns after the first that hold words."""
        return frozenset(i for i, column in enumerate(self.columns) if i and column.words)


def columns(*names: str, words: Sequence[str] = (), unit: float | None = 1.0) -> list[Column]:
    """Columns of one unit by name; some of them hold words."""
    return [Column(name, name in words, unit) for name in names]


def show(cell: Cell, column: Column) -> str:
    """A cell as text."""
    if cell is None:
        return MISSING
    if isinstance(cell, In):
        return show(cell.figure, Column("", unit=cell.unit))
    if isinstance(cell, Interval):
        return format_interval(cell, column.unit)
    if isinstance(cell, bool) or not isinstance(cell, (int, float)):
        return str(cell)
    if column.spec:
        return format(cell, column.spec)
    return f"{cell:,}" if isinstance(cell, int) else format_number(cell, column.unit)


def terminal(table: Table, *, padding: int = 1, max_width: int | None = None) -> RichTable:
    """A table for rich.

    Args:
        table: The table.
        padding: Spaces between columns.
        max_width: Of the columns after the first; longer cells are folded.
    """
    from rich.box import SIMPLE_HEAD
    from rich.table import Table as RichTable
    from rich.text import Text

    shown = RichTable(
        title=Text(table.caption) if table.caption else None,  # Text: names are not markup
        caption=Text(table.note) if table.note else None,
        caption_justify="left",
        caption_style="none",
        title_justify="left",
        box=SIMPLE_HEAD,
        show_header=any(table.head),
        padding=(0, padding, 0, 0),
    )
    for place, column in enumerate(table.columns):
        shown.add_column(
            Text(column.label),
            justify="left" if column.words else "right",
            no_wrap=not column.words and max_width is None,
            overflow="fold",
            max_width=max_width if place else 24 if max_width else None,
        )
    for row in table.body:
        if not isinstance(row, Group):
            texts = zip(row, table.texts(row), strict=True)
            shown.add_row(*(_styled(cell, text) for cell, text in texts))
        elif row.name:
            shown.add_row(Text(row.name, style="bold"))
        else:
            shown.add_section()
    return shown


def _styled(cell: Cell, text: str) -> Any:
    """Colour repeats what sign and arrow say; it is never the only sign."""
    from rich.text import Text

    if isinstance(cell, Label):
        parts = [(cell.text, ""), (cell.note, "dim"), (cell.warning, "bold")]
        return Text(" ").join(Text(part, style=style) for part, style in parts if part)
    if isinstance(cell, Change) and cell.good is not None:
        return Text(text, style="green" if cell.good else "yellow")
    return Text(text)


def markdown(table: Table) -> str:
    """A table for documents."""
    rows = [table.head, ["---"] * len(table.columns)]
    rows += [table.texts(row) for row in table.body if not isinstance(row, Group)]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in rows) + "\n"


def as_csv(table: Table) -> str:
    """Head and values of a table; an empty cell where there is none."""
    import csv
    import io

    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows([table.head, *table.rows])
    return out.getvalue()


def as_json(table: Table) -> str:
    """Rows of a table as objects, one list."""
    import json

    rows = [dict(zip(table.head, row, strict=True)) for row in table.rows]
    return json.dumps(rows, indent=1, ensure_ascii=False) + "\n"


_LATEX = {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
    "–": "--", "−": "$-$", "→": r"$\rightarrow$", "Δ": r"$\Delta$", "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
}  # fmt: skip


def latex(table: Table) -> str:
    """A table for papers, in the rules of the package booktabs."""

    def line(cells: Sequence[str]) -> str:
        return " & ".join("".join(_LATEX.get(sign, sign) for sign in c) for c in cells) + r" \\"

    sides = "".join("l" if column.words else "r" for column in table.columns)
    body = []
    for row in table.body:
        if not isinstance(row, Group):
            body.append(line(table.texts(row)))
        elif row is not table.body[-1]:
            body += [r"\midrule", *([line([row.name])] if row.name else [])]
    rules = [rf"\begin{{tabular}}{{{sides}}}", r"\toprule", line(table.head), r"\midrule"]
    return "\n".join([*rules, *body, r"\bottomrule", r"\end{tabular}"]) + "\n"


def format_number(value: float | None, unit: float | None = 1.0) -> str:
    """A figure in at most seven characters, or a dash."""
    if value is None:
        return MISSING
    if unit is not None or abs(value) < 10:
        return f"{value:.2f}"
    return f"{value:.1f}" if abs(value) < 1000 else f"{value:.2g}"


def format_interval(figure: Figure | None, unit: float | None = 1.0) -> str:
    """`0.98 [0.96, 0.99]`, without the brackets where there is no interval."""
    if not isinstance(figure, Interval):
        return format_number(figure, unit)
    if figure.low == figure.high:  # nothing varied, so none is known
        return format_number(figure.value, unit)
    low, high = format_number(figure.low, unit), format_number(figure.high, unit)
    return f"{format_number(figure.value, unit)} [{low}, {high}]"


def format_delta(change: float | None, unit: float | None = 1.0) -> str:
    """A signed change with an arrow for its direction, or a dash."""
    if change is None:
        return MISSING
    size = format_number(abs(change), unit)
    if float(size) == 0:
        return f"{size} ="
    return f"+{size} ↑" if change > 0 else f"−{size} ↓"


def percent(share: float | None) -> str:
    """A share in per cent, or a dash."""
    return MISSING if share is None else f"{share:.0%}"
