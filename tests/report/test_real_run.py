"""A run that was computed, not made up, is shown in full by every reader."""

from __future__ import annotations

import shutil

from conceptbasis.behaviors import find_behavior
from conceptbasis.cli.main import main
from conceptbasis.report.artifacts import RunFolder
from conceptbasis.report.html import FIGURES, all_tables, build_report
from conceptbasis.report.inspection import read_recipe
from conceptbasis.report.logged import logged_tables
from conceptbasis.report.logged_series import logged_series
from conceptbasis.runs.summary import read_summary
from conceptbasis.stages import STAGES


def test_every_reader_shows_a_run_of_the_pipeline(finished, tmp_path, capsys):
    copy = shutil.copytree(finished.folder, tmp_path / "run")
    run, summary = RunFolder(copy), read_summary(copy)
    order = [stage.name for stage in STAGES if stage.name in run.provenance]
    assert list(run.provenance) == order
    tables = all_tables(run, summary, read_recipe(copy))
    assert [name for name, table in tables.items() if table is None] == []
    behavior = find_behavior("refusal")
    assert len([n for stage in order for n in logged_tables(run, stage, behavior)]) == 11
    axes = {series.axis for stage in order for series in logged_series(run, stage, behavior)}
    assert axes == {"layer", "answer_tokens", "first_token_kl", "strength"}
    page = build_report(copy).read_text(encoding="utf-8")
    drawn = {path.stem for path in (copy / "figures").glob("*.svg")}
    assert drawn == set(FIGURES)
    assert "not computed in this run" not in page
    for command in (["inspect", str(copy)], ["compare", str(copy)]):
        assert main(command) == 0
        assert max(map(len, capsys.readouterr().out.splitlines())) <= 80
