"""What a run left, as pandas data frames; no tensor library is imported but for `matches`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from conceptbasis.core.statistics.interval import Interval
from conceptbasis.errors import ConfigError
from conceptbasis.evaluation.metrics import Figures, value_of
from conceptbasis.report.artifacts import RunFolder
from conceptbasis.report.evidence import facts, redact_context
from conceptbasis.report.inspection import RecipeAtom, RecipeLayer, read_recipe
from conceptbasis.report.own_labels import Labelled, OwnLabels, read_labels
from conceptbasis.results.atoms import Atoms, Evidence, LayerAtoms

if TYPE_CHECKING:
    from pandas import DataFrame

    from conceptbasis.results.harvest import SideName
    from conceptbasis.results.summary import Summary

RECIPE = (
    "layer donor_layer latent coefficient low high frequency unstable share density "
    "target_latent r_heldout null label target_label"
)
ATOMS = "layer donor_layer side latent label density fires_on in words promotes suppresses example"
MATCHES = "layer donor_layer latent target_latent r_fit r_heldout null p"
LAYERS = (
    "layer donor_layer edited score null n_matches eligible_mass low high donor_cosine agreement "
    "n_atoms n_target_atoms"
)


def import_pandas() -> Any:
    """The library behind every frame.

    Raises:
        ConfigError: if it is not installed.
    """
    try:
        import pandas
    except ImportError as error:
        raise ConfigError(
            "pandas is not installed",
            expected="pandas, which data frames come from",
            fix="pip install 'conceptbasis[notebook]'",
        ) from error
    return pandas


def frame(columns: str | Sequence[str], rows: Iterable[Sequence[object]]) -> DataFrame:
    """A data frame from rows; `columns` is a list or words between spaces."""
    names = columns.split() if isinstance(columns, str) else list(columns)
    found: DataFrame = import_pandas().DataFrame(list(rows), columns=names)
    return found


def _whole(table: DataFrame, *names: str) -> DataFrame:
    """Numbers of latents stay whole numbers where one is missing."""
    return table.astype(dict.fromkeys(names, "Int64"))


def recipe_frame(folder: Path) -> DataFrame:
    """One row per donor atom of each edited layer."""
    layers = read_recipe(folder).layers
    rows = (_atom(layer, atom) for layer in layers for atom in layer.donor_atoms)
    return _whole(frame(RECIPE, rows), "target_latent")


def _atom(layer: RecipeLayer, atom: RecipeAtom) -> tuple[object, ...]:
    evidence = (atom.evidence, atom.target_evidence)
    return (
        layer.target,
        layer.donor,
        atom.latent,
        atom.coefficient,
        atom.low,
        atom.high,
        atom.frequency,
        atom.unstable,
        atom.share,
        atom.density,
        atom.target_latent,
        atom.r_heldout,
        atom.null_quantile,
        *(found.label if found else None for found in evidence),
    )


def atoms_frame(folder: Path) -> DataFrame:
    """One row per latent of the recipe, on both sides, with what it stands for."""
    found, own = RunFolder(folder).read("atoms", Atoms), read_labels(folder)
    layers = found.layers if found else ()
    return frame(ATOMS, (row for layer in layers for row in _latents(layer, own)))


def _latents(layer: LayerAtoms, own: OwnLabels) -> Iterator[tuple[object, ...]]:
    sides: tuple[tuple[SideName, int, Sequence[Evidence]], ...] = (
        ("donor", layer.donor, layer.donor_latents),
        ("target", layer.target, layer.target_latents),
    )
    for side, at, latents in sides:
        for evidence in latents:
            label = own.get(Labelled(side, at, evidence.latent), evidence.label)
            yield (layer.target, layer.donor, side, *_evidence(replace(evidence, label=label)))


def _evidence(found: Evidence) -> tuple[object, ...]:
    said = facts(found, " ")
    told = [said[name] for name in ("fires on", "in", "words", "promotes", "suppresses")]
    contexts = sorted(found.contexts, key=lambda context: -context.peak)
    example = "".join(redact_context(contexts[0]).pieces) if contexts else None
    return (found.latent, found.label, found.density, *told, example)


def conditions_frame(conditions: Mapping[str, Figures]) -> DataFrame:
    """One row per condition; columns are (figure, value | low | high | n)."""
    pandas = import_pandas()
    rows: dict[str, dict[tuple[str, str], float]] = {}
    for name, figures in conditions.items():
        cells = rows[name] = {}
        for key, figure in figures.items():
            cells[key, "value"] = value_of(figure)
            if isinstance(figure, Interval):
                cells |= {(key, b): getattr(figure, b) for b in ("low", "high", "n")}
    names = list(dict.fromkeys(key for cells in rows.values() for key in cells))
    order = list(dict.fromkeys(name for name, _ in names))
    names.sort(key=lambda key: order.index(key[0]))
    values = [[cells.get(key) for key in names] for cells in rows.values()]
    index = pandas.Index(list(rows), name="condition")
    columns = pandas.MultiIndex.from_tuples(names or [], names=["figure", "bound"])
    found: DataFrame = pandas.DataFrame(values, index=index, columns=columns)
    return found


def matches_frame(folder: Path) -> DataFrame:
    """One row per pair of latents that passed every test, of every pair of layers."""
    from conceptbasis.results.matching import MatchSet
    from conceptbasis.runs.graph import load_result

    parts = []
    for row in load_result(folder, "match", MatchSet).layers:
        tensors = [row.donor_ids, row.target_ids, row.r_fit, row.r_heldout]
        tensors += [row.null_quantile, row.p_value]
        n = row.n_pairs
        cells = [[row.target] * n, [row.donor] * n, *(t.tolist() for t in tensors)]
        parts += list(zip(*cells, strict=True))
    return frame(MATCHES, parts)


def layers_frame(folder: Path) -> DataFrame:
    """One row per mapped target layer: its partner, how alike they are, and what was rebuilt."""
    from conceptbasis.results.matching import Alignment, MatchSet
    from conceptbasis.results.recipe import Transfer

    run = RunFolder(folder)
    align, matches = run.read("align", Alignment), run.read("match", MatchSet)
    transfer = run.read("transfer", Transfer)
    edited = transfer.plan.layers if transfer else ()
    counts = {(m.target, m.donor): m.n_pairs for m in matches.layers} if matches else {}
    rows = []
    for row in read_recipe(folder).layers:
        at, mass = (row.target, row.donor), row.eligible_mass
        alike = [m[at[0]][at[1]] for m in (align.score, align.null)] if align else [None, None]
        rebuilt = (mass.value, mass.low, mass.high, row.donor_cosine, row.agreement)
        sizes = (len(row.donor_atoms), len(row.target_atoms))
        rows.append((*at, row.target in edited, *alike, counts.get(at), *rebuilt, *sizes))
    return frame(LAYERS, rows)


def answers_frame(folder: Path, summary: Summary, *, show_text: bool) -> DataFrame:
    """One row per condition and prompt; answers as their kind and length, unless text is asked."""
    from conceptbasis.behaviors import find_behavior
    from conceptbasis.judges import find_judge
    from conceptbasis.report.logged import redact_answer
    from conceptbasis.results.evaluation import Evaluation

    found = RunFolder(folder).read("evaluate", Evaluation)
    if found is None:
        return frame("condition prompt kind answer", ())
    judge, words = find_judge(found.primary_judge), find_behavior(summary.behavior).words
    rows = []
    for entry in found.examples:
        kind = judge.read(entry.answer) if judge.read else None
        answer = entry.answer if show_text else redact_answer(entry.answer, judge, words)
        rows.append((entry.condition, entry.prompt, kind, answer))
    return frame("condition prompt kind answer", rows)


def html_table(head: Sequence[str], lines: Iterable[Sequence[str] | str]) -> str:
    """A table as a notebook shows it; a line that is one text heads the lines after it."""
    from html import escape

    def row(cells: Iterable[str], tag: str, more: str = "") -> str:
        return "<tr>" + "".join(f"<{tag}{more}>{escape(c)}</{tag}>" for c in cells) + "</tr>"

    wide = f' colspan="{len(head)}"'
    body = [row([x], "th", wide) if isinstance(x, str) else row(x, "td") for x in lines]
    return f"<table><thead>{row(head, 'th')}</thead><tbody>{''.join(body)}</tbody></table>"


def summary_html(title: str, summary: Summary) -> str:
    """A run as a notebook shows it: its verdict, and figures before and after."""
    from html import escape

    from conceptbasis.report.run_tables import before_after, verdict_line

    table, said = before_after(summary), escape(verdict_line(summary))
    shown = html_table(table.head, table.lines)
    return f"<p><b>{escape(title)}</b><br>{said}</p>{shown}<p>{escape(table.caption)}</p>"
