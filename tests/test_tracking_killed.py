"""A real offline run that is killed keeps what it logged."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from offline_runs import iter_records, values_of

RUN = """
import sys, time
from pathlib import Path
from conceptbasis.config.run import TrackingSection
from conceptbasis.tracking import quiet
from conceptbasis.tracking.log import Tracker

quiet._FLUSH_SECONDS = float(sys.argv[2])
with Tracker(TrackingSection(), Path(sys.argv[1]), mode="offline") as tracker:
    tracker.log_config({"budget": "B0d"})
    for step in (20, 40):
        tracker.log_sae_training(step, {"layer_03/losses/mse_loss": 0.5})
    assert tracker.active
    print("logged", flush=True)
    time.sleep(60)
"""


def kept_of_a_killed_run(folder: Path, flush_seconds: float) -> list[Any]:
    """Records in the file after process and service of wandb were killed, a second after logging.

    The service is in the process group of the run, so that one signal ends both.
    """
    command = [sys.executable, "-c", RUN, str(folder), str(flush_seconds)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "logged\n"
        time.sleep(1.5)
        os.killpg(process.pid, signal.SIGKILL)
    (file,) = folder.rglob("*.wandb")
    return list(iter_records(file))


def test_a_killed_run_keeps_what_it_logged(tmp_path: Path) -> None:
    from conceptbasis.tracking import quiet

    records = kept_of_a_killed_run(tmp_path, quiet._FLUSH_SECONDS)
    history = [values_of(r.history.item) for r in records if r.HasField("history")]
    assert [row["sae/step"] for row in history] == [20, 40]
    config = [values_of([*r.run.config.update, *r.config.update]) for r in records]
    assert any(values.get("budget") == "B0d" for values in config)


def test_with_wandbs_own_interval_nothing_is_kept(tmp_path: Path) -> None:
    """The control: once wandb writes at once by itself, the setting can go."""
    import wandb

    if "x_transaction_log_flush_interval" not in wandb.Settings.model_fields:
        pytest.skip("this version of wandb has no such interval")
    assert kept_of_a_killed_run(tmp_path, 15.0) == []
