"""Runs with one thing varied: read in order, drawn, and the forecast judged on them."""

from __future__ import annotations

import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from conceptbasis.cli.main import main
from conceptbasis.core.statistics.interval import Interval, Rate
from conceptbasis.errors import ArtifactError
from conceptbasis.report.limits import calibration_table, read_limits, read_run, write_limits
from conceptbasis.report.table import markdown
from conceptbasis.results.edit import Forecast
from conceptbasis.runs.files import CONFIG, write_text
from conceptbasis.runs.summary import read_summary, write_summary

sys.path.insert(0, str(Path(__file__).parent))
from synthetic_run import make_summary, wilson, with_condition, write_stage


def make_run(folder: Path, rate: float, mass: float, *, passed: bool = True, **more: Any) -> None:
    """A run whose transfer leaves a rate, with a forecast figure."""
    summary = with_condition(make_summary(), "transfer", rate=Rate(wilson(rate, 150)))
    known = summary.forecast["eligible_mass"]
    assert known is not None
    figures = {**summary.forecast, "eligible_mass": replace(known, value=mass)}
    summary = replace(summary, forecast=figures, **more)
    write_stage(folder, "forecast", Forecast(figures, 0.9, (), (), passed, ()))
    write_summary(folder, summary)
    write_text(folder / CONFIG, "run: {forecast: {min_eligible_mass: 0.3}}\n")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A base and two axes; the fewer the atoms, the more refusal is left, and the less mass."""
    make_run(tmp_path / "base", 0.02, 0.6)
    for n, refusal, mass in ((2, 0.9, 0.1), (4, 0.6, 0.2), (16, 0.3, 0.5), (32, 0.02, 0.6)):
        make_run(tmp_path / "atoms" / str(n), refusal, mass, passed=mass >= 0.3)
    write_text(tmp_path / "atoms" / "1" / CONFIG, "run: {}\n")
    write_text(tmp_path / "atoms" / "1" / "no_transfer", "")
    write_text(tmp_path / "atoms" / "64" / CONFIG, "run: {}\n")  # killed on the way
    make_run(tmp_path / "classes" / "declines", 0.7, 0.5)
    make_run(tmp_path / "classes" / "chat", 0.1, 0.2, passed=False)
    (tmp_path / "models").mkdir()
    return tmp_path


def test_values_are_in_order_and_failures_are_kept(folder: Path) -> None:
    base, axes = read_limits(folder)
    assert base is not None
    assert list(axes) == ["atoms", "classes"]
    assert [run.value for run in axes["atoms"]] == ["1", "2", "4", "16", "32", "64"]
    assert [run.value for run in axes["classes"]] == ["chat", "declines"]
    assert axes["atoms"][0].success is None
    shares = [run.success for run in axes["atoms"][1:5]]
    assert shares == [pytest.approx((0.99 - r) / 0.98) for r in (0.9, 0.6, 0.3, 0.02)]


def test_everything_is_written(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["limits", str(folder), "--wandb", "off"]) == 0
    text = (folder / "limits.md").read_text()
    assert text.strip() in capsys.readouterr().out
    assert "| atoms | 1 | no transfer |" in text
    assert "| atoms | 64 | not finished |" in text
    assert "| atoms | 16 | 12 → 10 | 0.30 [0.23, 0.38] | 70% |" in text
    for axis in ("atoms", "classes"):
        svg = (folder / "figures" / f"limits-{axis}.svg").read_text()
        assert "recovered compliance" in svg
        assert (folder / "figures" / f"limits-{axis}.png").read_bytes()[:4] == b"\x89PNG"
        assert f"figures/limits-{axis}.svg" in text
    assert "Nothing was left to transfer at 1." in text


def test_the_forecast_is_judged_on_both_sides(folder: Path) -> None:
    base, axes = read_limits(folder)
    assert base is not None
    table = markdown(calibration_table([base, *(run for axis in axes.values() for run in axis)]))
    rows = {line.split(" | ")[0].strip("| "): line for line in table.splitlines()}
    # rejected below 0.3: atoms 2 and 4 rightly, chat wrongly; declines failed and was let through
    assert rows["eligible_mass"].endswith("| 0.3 | 1 of 4 | 1 of 3 |")
    assert rows["the forecast"].endswith("| all | 1 of 4 | 1 of 3 |")
    assert "| 7 | +" in rows["eligible_mass"]
    assert "(1 pairs)" in table
    assert rows["agreement"].split(" | ")[2] == "–"  # it never changes


def test_figures_of_other_pairs_are_out_of_pair(folder: Path) -> None:
    more = []
    for k in range(4):
        for refusal in (0.1, 0.5, 0.9):
            path = folder.parent / f"{folder.name}-pairs" / f"{k}-{refusal}"
            donor = replace(make_summary().donor, model=f"organism:other:{k}")
            make_run(path, refusal, 1 - refusal, donor=donor)
            more.append(path)
    runs = [read_run(path, "", path.name) for path in more]
    row = next(
        line
        for line in markdown(calibration_table(runs)).splitlines()
        if line.startswith("| eligible")
    )
    assert float(row.split(" | ")[3]) > 0.9
    path = write_limits(folder, more)
    assert "(5 pairs)" in path.read_text()


def test_a_figure_that_some_runs_lack_is_judged_on_the_others(folder: Path) -> None:
    summary = read_summary(folder / "base")
    figures = {k: v for k, v in summary.forecast.items() if k != "agreement"}
    figures["of_an_extension"] = Interval(0.5, 0.4, 0.6, 9)
    write_summary(folder / "base", replace(summary, forecast=figures))
    rows = {
        line.split(" | ")[0].strip("| "): line.split(" | ")[1]
        for line in write_limits(folder).read_text().splitlines()
        if line.startswith("| ")
    }
    assert (rows["eligible_mass"], rows["agreement"], rows["of_an_extension"]) == (
        "7",
        "6",
        "1",
    )


def test_limits_of_another_pair_count_as_all_their_runs(folder: Path) -> None:
    other = folder.parent / f"{folder.name}-other"
    donor = replace(make_summary().donor, model="organism:other:0")
    make_run(other / "base", 0.1, 0.6, donor=donor)
    make_run(other / "atoms" / "2", 0.9, 0.1, donor=donor)

    def row() -> str:
        text = write_limits(folder, [other]).read_text()
        assert "(2 pairs)" in text
        return next(line for line in text.splitlines() if line.startswith("| eligible_mass"))

    assert row().split(" | ")[1] == "9"
    shutil.rmtree(other / "atoms")
    assert row().split(" | ")[1] == "8"


def test_a_folder_without_runs_is_named(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "none"):
        with pytest.raises(ArtifactError, match="holds no runs"):
            read_limits(folder)


def test_an_axis_without_any_result_is_not_drawn(folder: Path) -> None:
    shutil.rmtree(folder / "classes")
    write_text(folder / "text" / "94" / CONFIG, "run: {}\n")
    assert "limits-text" not in write_limits(folder).read_text()
