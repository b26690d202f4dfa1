"""What killed processes leave half-written is taken away, and nothing else."""

from __future__ import annotations

import os
import subprocess
import sys

from conceptbasis.runs.files import folder_lock
from conceptbasis.runs.folders import new_folder
from conceptbasis.runs.leftovers import remove_leftovers


def ended_process() -> int:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    return process.pid


def names(folder):
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*"))


def test_temporary_files_of_ended_processes_go_when_the_folder_is_held(tmp_path):
    gone, here = ended_process(), os.getpid()
    (tmp_path / "match").mkdir()
    (tmp_path / "match" / f".result.json.{gone}.tmp").write_text("half")
    (tmp_path / f".recipe.json.{here}.tmp").write_text("at work")
    (tmp_path / ".mine.tmp").write_text("of somebody")
    (tmp_path / "result.json").write_text("whole")
    with folder_lock(tmp_path):
        left = names(tmp_path)
    assert left == [".lock", ".mine.tmp", f".recipe.json.{here}.tmp", "match", "result.json"]


def test_a_half_written_folder_goes_when_it_is_written_again(tmp_path):
    gone = ended_process()
    (tmp_path / f".model.{gone}.tmp").mkdir()
    (tmp_path / f".model.{gone}.tmp" / "weights").write_text("half")
    (tmp_path / f".other.{gone}.tmp").mkdir()  # may be written by somebody else's command
    with new_folder(tmp_path / "model") as folder:
        (folder / "weights").write_text("whole")
    assert names(tmp_path) == [f".other.{gone}.tmp", "model", "model/weights"]


def test_a_link_is_taken_away_and_not_what_it_leads_to(tmp_path):
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "file").touch()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / f".a.{ended_process()}.tmp").symlink_to(tmp_path / "kept")
    remove_leftovers(tmp_path / "run")
    assert names(tmp_path) == ["kept", "kept/file", "run"]
