"""A sweep of wandb starts transfers: as its agent builds the command line, and by the agent."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

sys.path.insert(0, str(Path(__file__).parent))
from offline_runs import read_offline_run
from wandb_server import Server, environment, serving

from conceptbasis.cli.command import spell_out, sweep_folder
from conceptbasis.cli.main import build_parser, main
from conceptbasis.config.run import RunConfig, load_run_config

HERE = Path(__file__).parent
SWEEP = HERE.parent / "sae_configs" / "sweep.yaml"


def words_of_agent(parameters: dict[str, Any], command: list[str] | None = None) -> list[str]:
    """The command line that wandb's own agent builds."""
    from wandb.sdk.launch.sweeps import utils

    given = command or yaml.safe_load(SWEEP.read_text())["command"]
    parts = {"env": ["/usr/bin/env"]} | utils.create_sweep_command_args(
        {"args": {key: {"value": value} for key, value in parameters.items()}}
    )
    words: list[str] = []
    for word in utils.create_sweep_command([*given]):
        words += parts[word[2:-1]] if word.startswith("${") else [word]
    return words


def config_of(words: list[str]) -> RunConfig:
    given = spell_out(words[words.index("transfer") :])
    return load_run_config(None, build_parser(given).parse_args(given).set)


def test_the_shipped_sweep_gives_settings_that_exist() -> None:
    parameters = yaml.safe_load(SWEEP.read_text())["parameters"]
    for place in (0, -1):
        values = {key: found["values"][place] for key, found in parameters.items()}
        words = words_of_agent(values)
        assert words[:6] == ["/usr/bin/env", "python", "-m", "conceptbasis", "transfer", words[5]]
        config = config_of(words)
        assert config.fit.n_atoms == values["fit.n_atoms"]
        assert config.replay.directions == values["replay.directions"]
        assert list(config.transfer.ridges) == yaml.safe_load(values["transfer.ridges"])


def test_values_of_every_type_arrive() -> None:
    values = {
        "seed": 7,
        "budget": "B0",
        "curve.measure": True,
        "tracking.group": "null",
        "guard.shares": [0.0, 0.05],
        "match.r_min": 0.25,
        "evaluate": {"n_prompts": 12},
    }
    config = config_of(words_of_agent(values))
    assert (config.seed, config.budget, config.curve.measure) == (7, "B0", True)
    assert config.tracking.group is None
    assert config.guard.shares == (0.0, 0.05)
    assert (config.match.r_min, config.evaluate.n_prompts) == (0.25, 12)
    small = config_of(words_of_agent({"direction.max_kl": 1e-05}))
    assert small.direction.max_kl == 1e-05


def test_all_forms_of_arguments_of_an_agent_are_told_apart() -> None:
    """The other macros: `key=value` without hyphens goes to one --set each, and is documented."""
    given = [
        "transfer",
        "A",
        "B",
        "--seed=1",
        "--device=cpu",
        "--out=x",
        "--fit.n_atoms=8",
        "--no=1",
    ]
    options, left = build_parser(given).parse_known_args(spell_out(given))
    assert options.set == ["seed=1", "fit.n_atoms=8"]
    assert (options.device, str(options.out), options.models) == ("cpu", "x", ["A", "B"])
    assert left == ["--no=1"]  # no key of the settings, so an error as before


def test_an_unknown_key_of_a_sweep_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["transfer", "a", "b", "--fit.n_atms=8", "--wandb", "off"]) == 2
    assert "did you mean 'n_atoms'?" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["transfer", "a", "b", "--nonsense=8"])


def test_each_run_of_a_sweep_has_a_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WANDB_SWEEP_ID", "WANDB_RUN_ID"):
        monkeypatch.delenv(name, raising=False)
    assert sweep_folder() is None
    monkeypatch.setenv("WANDB_RUN_ID", "abc")
    assert sweep_folder() is None  # a run that somebody named
    monkeypatch.setenv("WANDB_SWEEP_ID", "team/project/s1")
    assert sweep_folder() == Path("runs/sweep-s1/abc")


AGENT = """
import sys
from wandb import wandb_agent
wandb_agent.Agent.POLL_INTERVAL = 0.2
wandb_agent.run_agent("team/p/s1")
"""


def test_an_agent_runs_a_sweep(tmp_path: Path) -> None:
    model = tmp_path / "model.yaml"
    model.write_text("model: organism:llama:0\n")
    command = ["${env}", sys.executable, str(HERE / "sweep_program.py"), "transfer"]
    command += [str(model), str(model), "--wandb", "offline", "${args}"]
    config = yaml.safe_load(SWEEP.read_text()) | {"command": command}
    with serving(Server(yaml.safe_dump(config), ({"fit.n_atoms": 8},))) as server:
        found = environment(server) | {"NETRC": str(tmp_path / "none")}
        found.pop("WANDB_MODE", None)
        done = subprocess.run(
            [sys.executable, "-c", AGENT],
            env=found,
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "runs" / "sweep-s1" / "sweeprun1"
    found_runs = [read_offline_run(path) for path in folder.glob("wandb/offline-run-*/*.wandb")]
    trained, run = sorted(found_runs, key=lambda run: run.job_type)
    assert (run.id, run.sweep, run.exit_code) == ("sweeprun1", "s1", 0), done.stderr
    assert run.config["run"]["fit"]["n_atoms"] == 8
    assert run.summary["transfer/recovered_compliance"] == 0.66
    assert (run.entity, run.project) == ("team", "p")
    assert (trained.job_type, trained.sweep) == ("train_sae", "")
    assert trained.id != run.id  # the sweep's run is the transfer
    assert trained.group == run.group
