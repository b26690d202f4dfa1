"""Tables fit a terminal, name every figure and never fail on a missing one."""

from __future__ import annotations

import copy
import io
import subprocess
import sys
from pathlib import Path

import pytest
from conceptbasis.report.overview_table import overview_table
from rich.console import Console, RenderableType

from conceptbasis.evaluation.metrics import MISSING, Interval, deltas, format_delta, format_interval
from conceptbasis.report.table import before_after_table, compare_table, conditions_table

sys.path.insert(0, str(Path(__file__).parent))
from synthetic_run import CONDITIONS, make_summary


def printed(table: RenderableType) -> str:
    out = io.StringIO()
    Console(file=out, width=80).print(table)
    text = out.getvalue()
    assert max(len(line) for line in text.splitlines()) <= 80
    assert "\x1b" not in text  # plain when piped
    assert "…" not in text
    return text


def line_of(text: str, start: str) -> list[str]:
    return next(line for line in text.splitlines() if line.strip().startswith(start)).split()


def test_before_and_after() -> None:
    text = printed(before_after_table(make_summary()))
    assert "0.99 [0.97, 1.00]  0.02 [0.01, 0.04]  −0.97 ↓  300" in text
    assert line_of(text, "perplexity")[1:] == ["3.21", "3.22", "+0.01", "↑", "–"]
    assert line_of(text, "first-token KL, mean")[3:8] == ["–", "0.04", "[0.03,", "0.05]", "–"]
    assert "success: refusal fell" in text


def test_every_condition_stands_in_its_group() -> None:
    summary = make_summary()
    summary["conditions"].append({**copy.deepcopy(summary["conditions"][3]), "name": "novel"})
    text = printed(conditions_table(summary))
    for name in [*CONDITIONS, "novel"]:
        assert f"  {name}" in text
    assert text.index("Controls that must fail") < text.index("random_direction ×10")
    assert text.index("Other conditions") < text.index("novel")


def test_runs_side_by_side() -> None:
    summaries = {f"runs/a-rather-long-name-{i}": make_summary() for i in range(4)}
    summaries["[red]odd"] = make_summary()
    summaries["[red]odd"]["conditions"][3]["capability"]["gsm"] = {"value": 0.5, "n": 10}
    text = printed(compare_table(summaries))
    assert "[red]odd" in text
    assert text.count("Δ refusal, harmful") == 2
    assert line_of(text, "gsm") == ["gsm", "–", "–", "–"]
    assert line_of(text, "verdict") == ["verdict", "success", "success", "success"]


def test_missing_figures_are_dashes() -> None:
    summary = make_summary()
    for condition in summary["conditions"]:
        for key in condition.keys() - {"name"}:
            condition[key] = None
    text = printed(before_after_table(summary)) + printed(conditions_table(summary))
    assert line_of(text, "refusal, harmful")[2:] == ["–", "–", "–", "–"]
    summary["conditions"], summary["layer_map"] = [], None
    printed(before_after_table(summary))
    printed(compare_table({"declined": summary}))


def test_deltas_and_their_words() -> None:
    change = deltas({"a": Interval(0.5), "b": None}, {"a": Interval(0.25), "b": Interval(1.0)})
    assert change == {"a": -0.25, "b": None}
    assert format_delta(-0.25) == "−0.25 ↓"
    assert format_delta(0.001) == "0.00 ="
    assert format_delta(None) == "–"
    assert format_interval(Interval(0.5, 0.4, 0.6)) == "0.50 [0.40, 0.60]"
    assert format_interval(Interval(12345.0), None) == "1.2e+04"


@pytest.mark.parametrize(
    "module",
    [
        "report.table",
        "report.inspection",
        "report.atom_views",
        "tracking.logged_runs",
        "cli.commands",
    ],
)
def test_terminal_views_load_no_tensor_library(module: str) -> None:
    code = f"import sys, conceptbasis.{module}; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_overview_has_a_row_per_run_in_markdown() -> None:
    summaries = {"runs/a": make_summary(), "runs/b": make_summary()}
    summaries["runs/b"]["conditions"] = []
    summaries["runs/b"]["verdict"]["word"] = "declined"
    curve = {"area": {"value": 0.3}}
    summaries["runs/a"]["curve"] = {"methods": {"transfer": curve, "affine": {"area": None}}}
    out = io.StringIO()
    Console(file=out, width=400).print(overview_table(summaries))
    head, rule, *rows = [line for line in out.getvalue().splitlines() if line.strip()]
    assert set(rule) <= set("|- ")
    assert [row.split("|")[1].strip() for row in rows] == ["runs/a", "runs/b"]
    assert len(rows[0].split("|")) == len(head.split("|"))
    first = [cell.strip() for cell in rows[0].split("|")]
    assert "99%" in first  # 0.97 of native's 0.98
    assert "0.02 affine" in first  # the baseline that leaves least
    assert "0.300" in first
    assert rows[1].rstrip(" |").endswith("declined")
    assert rows[1].count(MISSING) > 10
