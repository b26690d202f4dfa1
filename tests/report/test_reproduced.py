"""A run that is made again is the same to the bit; what differs is found and named."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from conceptbasis import pipeline
from conceptbasis.cli.main import main
from conceptbasis.report.compared.reproduced import compare_runs

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture
def pair(finished, tmp_path: Path) -> SimpleNamespace:
    """Two copies of a finished run."""
    folders = [tmp_path / name for name in ("first", "again")]
    for folder in folders:
        shutil.copytree(finished.folder, folder)
    return SimpleNamespace(first=folders[0], again=folders[1])


def change(path: Path, edit) -> None:
    plain = json.loads(path.read_text())
    edit(plain)
    path.write_text(json.dumps(plain))


def transfer_of(plain):
    return next(c for c in plain["conditions"] if c["name"] == "transfer")["figures"]


def test_a_run_that_is_made_again_is_the_same_to_the_bit(finished, tmp_path, capsys) -> None:
    out = tmp_path / "again"
    command = ["reproduce", str(finished.folder), "--out", str(out), "--quiet"]
    assert main(command) == 0
    assert capsys.readouterr().out.startswith("reproduced: every file of ")
    assert (out / "summary.json").exists()
    assert main(command) == 2
    assert "holds a finished run" in capsys.readouterr().err


def test_copies_are_the_same(pair) -> None:
    found = compare_runs(pair.first, pair.again)
    assert found.same_figures
    assert len(found.stages) > 10
    assert not any(found.stages.values())


def test_a_figure_that_differs_is_named_with_its_interval(pair) -> None:
    def raise_perplexity(plain):
        transfer_of(plain)["perplexity"] += 1.0
        transfer_of(plain)["rate"]["interval"]["value"] = 1.0
        for judge in transfer_of(plain)["judges"].values():
            judge["interval"]["value"] = 1.0

    change(pair.again / "summary.json", raise_perplexity)
    found = compare_runs(pair.first, pair.again)
    assert not found.same_figures
    by_name = {figure.name: figure for figure in found.figures}
    assert {figure.condition for figure in found.figures} == {"transfer"}
    assert by_name["perplexity"].within is None
    assert by_name["refusal"].within is False
    assert "not reproduced" in found.line
    assert "artifacts are the same" in found.line


def test_the_first_stage_whose_files_differ_and_other_versions_are_named(pair) -> None:
    path = pair.again / "match" / "provenance.json"
    name = next(iter(json.loads(path.read_text())["outputs"]))
    change(path, lambda plain: plain["outputs"].update({name: "0" * 64}))
    for stage in pair.again.glob("*/provenance.json"):
        change(stage, lambda plain: plain["versions"].update(torch="9.9"))
    found = compare_runs(pair.first, pair.again)
    assert found.same_figures
    assert [stage for stage, files in found.stages.items() if files] == ["match"]
    assert found.stages["match"] == (name,)
    assert found.surroundings["torch"][1] == "9.9"
    assert found.line == "reproduced in every figure; artifacts differ from stage match on"


def test_the_command_prints_what_differs_and_ends_with_1(pair, monkeypatch, capsys) -> None:
    def made(donor, target, config, folder, reporter):
        shutil.copytree(pair.again, folder)
        change(
            folder / "summary.json",
            lambda plain: transfer_of(plain).update(perplexity=99.0),
        )

    monkeypatch.setattr(pipeline, "run_pipeline", made)
    with pytest.raises(SystemExit) as caught:
        main(["reproduce", str(pair.first)])
    assert caught.value.code == 1
    shown = capsys.readouterr().out
    assert "perplexity" in shown
    assert "not reproduced: 1 figures differ" in shown
    assert (pair.first.parent / "first-again").is_dir()


def test_a_folder_that_is_no_run_is_refused(tmp_path, capsys) -> None:
    assert main(["reproduce", str(tmp_path)]) == 2
    assert "is not a run folder" in capsys.readouterr().err
