"""Commands that read finished runs: what they print, where, and how they fail."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest

from conceptbasis.cli.main import main
from conceptbasis.report import doctor

sys.path.insert(0, str(Path(__file__).parent / "report"))
from synthetic_run import SECRET, write_run


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("cli") / "run")


def test_inspect_prints_results_and_the_next_command_apart(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["inspect", str(folder)]) == 0
    captured = capsys.readouterr()
    assert "target layer 1" in captured.out
    assert max(len(line) for line in captured.out.splitlines()) <= 80
    assert "\x1b" not in captured.out
    assert captured.err.startswith(f"next: conceptbasis inspect {folder} --layer 3 --atom ")
    assert main(["inspect", str(folder), "--layer", "2", "--quiet"]) == 0
    assert capsys.readouterr().err == ""


def test_inspect_for_programs(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(folder), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert len(found["layers"]) == 4
    assert SECRET not in json.dumps(found)
    assert main(["inspect", str(folder), "--json", "--show-text"]) == 0
    assert SECRET in json.dumps(json.loads(capsys.readouterr().out))


def test_compare_and_report(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", str(folder), str(folder)]) == 0
    assert "verdict" in capsys.readouterr().out
    assert main(["report", str(folder)]) == 0
    captured = capsys.readouterr()
    assert captured.out.strip() == str(folder / "report.html")
    assert "next: conceptbasis replay" in captured.err


def test_compare_for_programs_and_papers(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", str(folder), "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert {row["run"] for row in rows} == {str(folder)}
    assert main(["compare", str(folder), "--csv"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == len(rows) + 1
    assert main(["compare", str(folder), "--latex"]) == 0
    assert capsys.readouterr().out.count(r"\begin{tabular}") == 1


def test_compare_without_runs_says_what_to_give(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare"]) == 2
    assert "--wandb ENTITY/PROJECT" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["inspect", "compare", "report", "replay"])
@pytest.mark.parametrize("name", ["none", "empty", "file"])
def test_folder_that_is_no_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str, name: str
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    assert main([command, str(tmp_path / name)]) == 2
    assert f"{tmp_path / name} is not a run folder" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "name"),
    [
        ("inspect", "fit/result.json"),
        ("inspect", "transfer/result.json"),
        ("inspect", "atoms/result.json"),
        ("report", "atoms/result.json"),
        ("report", "curve/result.json"),
        ("report", "summary.json"),
        ("compare", "summary.json"),
    ],
)
def test_truncated_file_of_a_run_is_named(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str, name: str
) -> None:
    copy = shutil.copytree(folder, tmp_path / "run")
    (copy / name).write_bytes((folder / name).read_bytes()[:-9])
    assert main([command, str(copy)]) == 2
    assert f"{copy / name} is corrupt" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["compare", "report"])
def test_summary_of_another_shape_is_named(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    copy = shutil.copytree(folder, tmp_path / "run")
    (copy / "summary.json").write_text("{}")
    assert main([command, str(copy)]) == 2
    assert "does not hold schema" in capsys.readouterr().err


def test_verbose_shows_where_an_error_arose(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["inspect", str(tmp_path)]) == 2
    assert "Traceback" not in capsys.readouterr().err
    assert main(["inspect", str(tmp_path), "--verbose"]) == 2
    assert "Traceback" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["inspect", str(tmp_path), "--verbose", "--quiet"])


def test_doctor_names_versions_caches_and_no_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    key = "5ec12e7" * 6
    monkeypatch.setenv("WANDB_API_KEY", key)
    monkeypatch.setenv("CONCEPTBASIS_CACHE", str(tmp_path))
    (tmp_path / "saes" / "a").mkdir(parents=True)
    (tmp_path / "saes" / "a" / "weights").write_bytes(b"0" * 2_000_000)
    assert main(["doctor", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["cache"]["saes"] == {"entries": 1, "mb": 2.0}
    assert found["cache"]["organisms"] == {"entries": 0, "mb": 0}
    assert {"torch", "sae-lens", "wandb"} <= found["packages"].keys()
    assert found["machine"]["devices"][0] == "cpu"
    assert main(["doctor"]) == 0
    captured = capsys.readouterr()
    assert "a key is configured" in captured.out
    assert key not in captured.out + captured.err + json.dumps(found)


def test_doctor_says_what_is_missing_and_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    needed = ["nothing-of-this-name>=1.0", "torch>=999.0", "pytest>=8; extra == 'dev'"]
    monkeypatch.setattr(doctor.metadata, "requires", lambda name: needed)
    _, problems = doctor._packages()
    assert problems[0] == (
        "nothing-of-this-name is missing: pip install 'nothing-of-this-name>=1.0'"
    )
    assert "torch" in problems[1]
    assert "too old" in problems[1]
    assert len(problems) == 2


@pytest.mark.parametrize(("given", "meant"), [("trasfer", "transfer"), ("zzz", None)])
def test_a_command_that_is_nearly_right_is_named(given, meant, capsys):
    with pytest.raises(SystemExit):
        main([given])
    said = capsys.readouterr().err
    assert "invalid choice" in said
    assert ("did you mean" in said) is (meant is not None)
    assert meant is None or f"did you mean {meant!r}?" in said
