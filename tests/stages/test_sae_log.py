"""SAEs that are trained on the way of a transfer are logged as `train-saes` logs them."""

from __future__ import annotations

import json
import shutil
import sys
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest
from micro import QUIET

from conceptbasis.cli.main import main
from conceptbasis.config.run import TrackingSection
from conceptbasis.saes import trained as train_sae
from conceptbasis.study.opening import add_saes, both_with_saes
from conceptbasis.tracking.saes import SaeLog

sys.path.insert(0, str(Path(__file__).parents[1]))
from offline_runs import read_offline_run

FEW = {"n_steps": 40, "n_texts": 60, "d_sae": 32, "k": 4, "batch_size": 64}
OFFLINE = TrackingSection(mode="offline")


@pytest.fixture(autouse=True)
def _without_key(monkeypatch, tmp_path):
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_DATA_DIR", "WANDB_CACHE_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    monkeypatch.setenv("CONCEPTBASIS_CACHE", str(tmp_path / "cache"))


def train_both(ready, sides, folder):
    """Both models with new SAEs, logged into a run folder; its offline runs by name."""
    models = [
        (ready.donor_config(**FEW), sides.donor.loaded),
        (ready.target_config(**FEW), sides.target.loaded),
    ]
    made = both_with_saes(models, ready.suite, QUIET, partial(SaeLog, OFFLINE, folder, mode=None))
    runs = [read_offline_run(path) for path in (folder / "wandb").glob("offline-run-*/*.wandb")]
    return made, {run.name: run for run in runs}


def test_each_model_has_a_run_with_a_section_for_each_layer(ready, sides, tmp_path):
    made, runs = train_both(ready, sides, tmp_path / "run")
    assert set(runs) == {"micro-llama", "micro-mixtral"}
    for side, run in zip(made, (runs["micro-llama"], runs["micro-mixtral"]), strict=True):
        assert (run.job_type, run.group) == ("train_sae", run.name)
        sections = {key.split("/")[0] for row in run.history for key in row} - {""}
        layers = {f"layer_{layer:02d}" for layer in side.saes.saes}
        assert layers <= sections
        assert any(row.get("throughput/sites_per_second", 0) > 0 for row in run.history)
        for layer in layers:
            curve = [row for row in run.history if f"{layer}/losses/overall_loss" in row]
            assert [row["sae/step"] for row in curve] == sorted(row["sae/step"] for row in curve)
            assert curve
            for name in ("l0", "log10_density_dead_lowest"):
                (drawn,) = [row for row in run.history if f"{layer}/{name}/_type" in row]
                assert drawn[f"{layer}/{name}/_type"] == "histogram"
                assert sum(drawn[f"{layer}/{name}/values"]) > 0
            quality = side.saes.quality[int(layer[6:])]
            assert run.summary[f"{layer}/quality/dead_share"] == quality.dead_share
        assert run.config["saes"] == side.saes.hash
        assert run.config["model"]["name"] == run.name
        assert str(ready.root) not in json.dumps(run.config)


def test_saes_that_are_reused_leave_no_run(ready, sides, tmp_path, monkeypatch):
    train_both(ready, sides, tmp_path / "first")
    monkeypatch.setattr(train_sae, "train_saes", None)
    _, runs = train_both(ready, sides, tmp_path / "second")
    assert runs == {}


def test_a_training_that_fails_ends_its_run_as_failed(ready, sides, tmp_path, monkeypatch):
    def fail(*_, on_step, **__):
        on_step(1, 40, {"layer_00/losses/overall_loss": 1.0})
        raise ZeroDivisionError

    monkeypatch.setattr(train_sae, "train_saes", fail)
    log = SaeLog(OFFLINE, tmp_path / "run", ready.donor_config(**FEW), mode=None)
    with ExitStack() as stack:
        stack.enter_context(pytest.raises(ZeroDivisionError))
        stack.enter_context(log)
        add_saes(ready.donor_config(**FEW), sides.donor.loaded, ready.suite, QUIET, log=log)
    (file,) = (tmp_path / "run" / "wandb").glob("offline-run-*/*.wandb")
    assert read_offline_run(file).exit_code == 1


def test_the_command_logs_where_it_is_told_also_saes_that_are_reused(ready, tmp_path, capsys):
    file = tmp_path / "micro.yaml"
    file.write_text(json.dumps(ready.donor_config(**FEW).model_dump(mode="json")))
    command = ["train-saes", str(file), "--wandb", "offline", "--logs", str(tmp_path / "run")]
    command += ["--set", f"prompts.path={ready.prompts}", "--out", str(tmp_path / "saes")]
    for has_curves in (True, False):
        assert main(command) == 0
        shutil.move(str(tmp_path / "run" / "wandb"), str(tmp_path / f"wandb-{has_curves}"))
        (path,) = (tmp_path / f"wandb-{has_curves}").glob("offline-run-*/*.wandb")
        run = read_offline_run(path)
        assert (run.name, run.job_type) == ("micro-llama", "train_sae")
        assert any("layer_00/losses/overall_loss" in row for row in run.history) == has_curves
        assert run.summary["layer_00/quality/l0"] > 0
    shown = capsys.readouterr()
    assert "SAEs of micro-llama" in shown.out
    assert shown.err.count("upload: wandb sync ") == 2


def test_the_command_logs_the_same_saes_once(ready, tmp_path, monkeypatch):
    file = tmp_path / "micro.yaml"
    file.write_text(json.dumps(ready.donor_config(**FEW).model_dump(mode="json")))
    command = ["train-saes", str(file), "--logs", str(tmp_path / "run"), "--quiet"]
    command += ["--set", f"prompts.path={ready.prompts}", "--out", str(tmp_path / "saes")]

    def n_logged(*more):
        assert main([*command, *more]) == 0
        return len(list((tmp_path / "run").glob("wandb/offline-run-*/*.wandb")))

    assert n_logged("--wandb", "off") == 0
    assert n_logged("--wandb", "offline") == 1  # reused, and not logged before
    assert n_logged("--wandb", "offline") == 1
    assert n_logged("--wandb", "offline", "--set", "tracking.group=g") == 1
    assert n_logged("--wandb", "offline", "--set", "tracking.project=other") == 2
    shutil.rmtree(tmp_path / "saes")
    assert n_logged("--wandb", "offline") == 3  # trained anew


def test_a_folder_for_logs_that_cannot_be_is_said_before_the_work(
    ready, tmp_path, monkeypatch, capsys
):
    file = tmp_path / "micro.yaml"
    file.write_text(json.dumps(ready.donor_config(**FEW).model_dump(mode="json")))
    (tmp_path / "afile").touch()
    monkeypatch.setattr("conceptbasis.study.opening.open_model", None)
    command = ["train-saes", str(file), "--logs", str(tmp_path / "afile" / "x")]
    assert main([*command, "--wandb", "offline"]) == 2
    assert f"cannot write {tmp_path / 'afile' / 'x'}" in capsys.readouterr().err
    with pytest.raises(TypeError, match="NoneType"):  # the control: nothing is to be written
        main([*command, "--wandb", "off", "--set", f"prompts.path={ready.prompts}"])
