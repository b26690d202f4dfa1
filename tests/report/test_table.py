"""Tables fit a terminal, name every figure and never fail on a missing one."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from conceptbasis.core.statistics.interval import Interval
from conceptbasis.evaluation.metrics import view_of
from conceptbasis.report.compared.runs import compare, overview, tidy
from conceptbasis.report.run_tables import before_after, conditions_in_brief
from conceptbasis.report.table import (
    MISSING,
    Change,
    Column,
    Group,
    In,
    Label,
    Table,
    as_csv,
    as_json,
    columns,
    format_delta,
    format_interval,
    latex,
    markdown,
    terminal,
)
from conceptbasis.results.conditions import Condition
from conceptbasis.results.summary import CurveSummary, MethodArea, Summary, Verdict

sys.path.insert(0, str(Path(__file__).parent))
from synthetic_run import CONDITIONS, figures, make_summary, unknown_figures, with_condition


def printed(table: Table, max_width: int | None = None) -> str:
    out = io.StringIO()
    Console(file=out, width=80).print(terminal(table, max_width=max_width))
    text = out.getvalue()
    assert max(len(line) for line in text.splitlines()) <= 80
    assert "\x1b" not in text  # plain when piped
    assert "…" not in text
    return text


def compared(summaries: dict[str, Summary]) -> str:
    tables = compare({name: view_of(summary) for name, summary in summaries.items()})
    return "".join(printed(table, max_width=17) for table in tables)


def line_of(text: str, start: str) -> list[str]:
    return next(line for line in text.splitlines() if line.strip().startswith(start)).split()


# The model


def test_one_table_is_shown_in_every_form() -> None:
    rate = Interval(0.5, 0.4, 0.6, 10)
    table = Table(
        "caption",
        [Column("name", words=True), Column("rate"), Column("size", spec="+.1f")],
        [Group("first"), ("a", rate, 1.25), Group(), ("b", None, -2.0)],
    )
    text = printed(table)
    for part in ("caption", "first", "0.50 [0.40, 0.60]", "+1.2", MISSING):
        assert part in text
    assert list(table.lines) == [
        "first",
        ["a", "0.50 [0.40, 0.60]", "+1.2"],
        "",
        ["b", "–", "-2.0"],
    ]
    assert markdown(table).splitlines()[2:] == [
        "| a | 0.50 [0.40, 0.60] | +1.2 |",
        "| b | – | -2.0 |",
    ]
    assert (table.head, table.rows) == (
        ["name", "rate", "size"],
        [["a", rate, 1.25], ["b", None, -2.0]],
    )


def test_values_for_programs_are_whole_and_a_paper_gets_its_rules() -> None:
    columns_ = [Column("a, b", words=True), Column("50 %")]
    table = Table("", columns_, [("x_1", 0.123456), Group("more & less"), ("y", None)])
    assert as_csv(table) == '"a, b",50 %\nx_1,0.123456\ny,\n'
    assert json.loads(as_json(table)) == [
        {"a, b": "x_1", "50 %": 0.123456},
        {"a, b": "y", "50 %": None},
    ]
    assert latex(table).splitlines() == [
        r"\begin{tabular}{lr}",
        r"\toprule",
        r"a, b & 50 \% \\",
        r"\midrule",
        r"x\_1 & 0.12 \\",
        r"\midrule",
        r"more \& less \\",
        r"y & -- \\",
        r"\bottomrule",
        r"\end{tabular}",
    ]


def test_every_figure_of_every_run_is_a_row() -> None:
    views = {name: view_of(make_summary()) for name in ("runs/a", "runs/b")}
    found = tidy(views)
    assert found.head[:5] == ["run", "donor", "target", "condition", "metric"]
    key, rate = views["runs/a"].about.words.rate_key, views["runs/a"].rate("transfer")
    rates = [row for row in found.rows if row[3:5] == ["transfer", key]]
    assert [row[0] for row in rates] == ["runs/a", "runs/b"]
    assert all(row[5:] == [rate.value, rate.low, rate.high, rate.n] for row in rates)
    n_figures = sum(len(found) for view in views.values() for found in view.conditions.values())
    assert len(found.rows) == n_figures


def test_what_differs_between_runs_comes_first() -> None:
    other = replace(make_summary(), budget="B0")
    (table, *_) = compare({"a": view_of(make_summary()), "b": view_of(other)})
    assert [row[0] for row in table.rows][:2] == ["budget", "donor"]


def test_cells_carry_their_unit_and_what_is_to_be_said_about_them() -> None:
    row = (In(1234.0, None), 1234, "1234", True, Change(-0.5), Label("a", "(b)", "(c)"))
    table = Table("", columns(*"abcdef"), [row])
    assert table.texts(row) == ["1.2e+03", "1,234", "1234", "True", "−0.50 ↓", "a (b) (c)"]
    assert "1.2e+03" in printed(table)


def test_deltas_and_intervals_in_words() -> None:
    assert format_delta(-0.25) == "−0.25 ↓"
    assert format_delta(0.001) == "0.00 ="
    assert format_delta(None) == "–"
    assert format_interval(Interval(0.5, 0.4, 0.6, 1)) == "0.50 [0.40, 0.60]"
    assert format_interval(12345.0, None) == "1.2e+04"
    assert format_interval(None) == "–"


# Tables of runs


def test_before_and_after() -> None:
    text = printed(before_after(make_summary(), brief=True))
    assert "0.99 [0.97, 1.00]  0.02 [0.01, 0.04]  −0.97 ↓  300" in text
    assert line_of(text, "perplexity")[1:] == ["3.21", "3.22", "+0.01", "↑", "–"]
    assert line_of(text, "first-token KL, mean")[3:6] == ["0.00", "0.04", "[0.03,"]
    assert "success: refusal fell" in text


def test_a_change_where_the_untouched_target_was_not_measured_is_unknown() -> None:
    summary = with_condition(make_summary(), "baseline", recovered=None)
    view = view_of(summary)
    assert "recovered_compliance" not in view.deltas
    assert view.deltas["refusal"] == pytest.approx(-0.97)
    text = printed(before_after(summary, brief=True))
    assert line_of(text, "recovered compliance")[2:] == ["–", "0.66", "[0.60,", "0.71]", "–", "300"]


def test_every_condition_stands_in_its_group() -> None:
    summary = make_summary()
    novel = Condition("novel", figures("transfer"))
    summary = replace(summary, conditions=(*summary.conditions, novel))
    text = printed(conditions_in_brief(summary))
    for name in [*CONDITIONS, "novel"]:
        assert f"  {name}" in text
    assert text.index("Controls that must fail") < text.index("random_direction ×10")
    assert text.index("Other conditions") < text.index("novel")


def test_runs_side_by_side() -> None:
    summaries = {f"runs/a-rather-long-name-{i}": make_summary() for i in range(4)}
    capability = {**figures("transfer").capability, "gsm": Interval(0.5, 0.4, 0.6, 10)}
    summaries["[red]odd"] = with_condition(make_summary(), "matched", capability=capability)
    text = compared(summaries)
    assert "[red]odd" in text
    assert text.count("Δ refusal, harmful") == 2
    assert line_of(text, "gsm") == ["gsm", "–", "–", "–"]
    assert line_of(text, "verdict") == ["verdict", "success", "success", "success"]


def test_missing_figures_are_dashes() -> None:
    summary = make_summary()
    unknown = tuple(replace(c, figures=unknown_figures()) for c in summary.conditions)
    summary = replace(summary, conditions=unknown)
    text = printed(before_after(summary, brief=True)) + printed(conditions_in_brief(summary))
    assert line_of(text, "refusal, harmful")[2:] == ["–", "–", "–", "–"]
    summary = replace(summary, conditions=())
    printed(before_after(summary, brief=True))
    compared({"rejected": summary})


@pytest.mark.parametrize(
    "module",
    [
        "report.compared.runs",
        "report.inspection",
        "report.atom_views",
        "report.logged",
        "tracking.logged_runs",
        "runs.summary",
        "cli.main",
    ],
)
def test_terminal_views_load_no_tensor_library(module: str) -> None:
    code = f"import sys, conceptbasis.{module}; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_overview_has_a_row_per_run_in_markdown() -> None:
    summary = make_summary()
    area = MethodArea(Interval(0.3, 0.2, 0.4, 10), None, None)
    curve = CurveSummary((), None, {"transfer": area, "affine": replace(area, area=None)})
    rejected = replace(summary, conditions=(), verdict=Verdict("rejected", ""))
    summaries = {"runs/a": replace(summary, curve=curve), "runs/b": rejected}
    text = markdown(overview({name: view_of(s) for name, s in summaries.items()}))
    head, rule, *rows = text.splitlines()
    assert set(rule) <= set("|- ")
    assert [row.split("|")[1].strip() for row in rows] == ["runs/a", "runs/b"]
    assert len(rows[0].split("|")) == len(head.split("|"))
    first = [cell.strip() for cell in rows[0].split("|")]
    assert "99%" in first  # 0.97 of native's 0.98
    assert "0.02 affine" in first  # the baseline that leaves least
    assert "0.300" in first
    assert rows[1].rstrip(" |").endswith("rejected")
    assert rows[1].count(MISSING) > 10
