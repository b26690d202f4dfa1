"""What a page offers to save: its figures as SVG, PNG and CSV, inside the page itself.

A page is one file that is passed on alone, so a link to a file beside it would lead nowhere.
"""

from __future__ import annotations

import base64
import csv
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from conceptbasis.report.figures.theme import Figure, Rendered

_KINDS = {"SVG": "image/svg+xml", "PNG": "image/png", "CSV": "text/csv"}


Values: TypeAlias = "dict[str, str | float | None]"
"""One mark of a chart: what it shows, by the name of its field."""


@dataclass(frozen=True)
class Download:
    """A file in a link.

    Args:
        kind: SVG, PNG or CSV.
        name: Of the file.
        href: A data URL.
    """

    kind: str
    name: str
    href: str


def downloads_of(figure: Figure, drawn: Rendered) -> list[Download]:
    """A figure as files: drawn twice, and the values that it shows."""
    found = [("SVG", drawn.svg.encode()), ("PNG", drawn.png)]
    rows = shown_values(figure.chart.to_dict(validate=False))
    if rows:
        found.append(("CSV", _as_csv(rows).encode()))
    return [_download(figure.name, kind, data) for kind, data in found]


def shown_values(spec: Mapping[str, object]) -> list[Values]:
    """The values of a chart: its largest set, and all others with the same columns.

    The parts of a chart have sets of their own; that of a line across it has other columns.

    Args:
        spec: The chart as Vega-Lite.
    """
    sets = [rows for rows in _values_in(spec) if rows]
    columns = set(max(sets, key=len, default=[{}])[0])
    same = [row for rows in sets for row in rows if set(row) == columns]
    return [row for place, row in enumerate(same) if row not in same[:place]]


def _values_in(part: object) -> Iterator[list[Values]]:
    """Values within `data` of a chart or of a part of it, and those it holds by name."""
    if isinstance(part, list):
        for inner in part:
            yield from _values_in(inner)
    elif isinstance(part, Mapping):
        data = part.get("data")
        if isinstance(data, Mapping) and isinstance(data.get("values"), list):
            yield data["values"]
        yield from part.get("datasets", {}).values()
        for name in ("layer", "hconcat", "vconcat", "concat", "spec"):
            yield from _values_in(part.get(name))


def _as_csv(rows: list[Values]) -> str:
    names = list(dict.fromkeys(name for row in rows for name in row))
    out = io.StringIO()
    writer = csv.DictWriter(out, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def _download(name: str, kind: str, data: bytes) -> Download:
    held = base64.b64encode(data).decode()
    return Download(kind, f"{name}.{kind.lower()}", f"data:{_KINDS[kind]};base64,{held}")
