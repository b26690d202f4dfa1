"""A finished run stays as it is unless its settings are the same or it is said to be replaced."""

from __future__ import annotations

import json

import pytest
import yaml

from conceptbasis.errors import ConfigError
from conceptbasis.runs.overwriting import require_same_settings

SETTINGS = {
    "donor": {"model": "a"},
    "run": {
        "budget": "B0d",
        "device": "cpu",
        "fit": {"n_atoms": 32},
        "forecast": {"force": False},
        "tracking": {"project": "p"},
    },
}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(SETTINGS))
    (tmp_path / "summary.json").write_text(json.dumps({"verdict": {"word": "success"}}))
    return tmp_path


def changed(**run):
    return {**SETTINGS, "run": {**SETTINGS["run"], **run}}


def test_other_settings_are_refused_and_named(folder):
    require_same_settings(folder, SETTINGS)
    with pytest.raises(ConfigError, match=r"run\.fit\.n_atoms: 32 there, 8 here") as caught:
        require_same_settings(folder, changed(fit={"n_atoms": 8}))
    assert "--overwrite" in caught.value.fix
    with pytest.raises(ConfigError, match=r"donor\.model: a there, b here"):
        require_same_settings(folder, {**SETTINGS, "donor": {"model": "b"}})


def test_of_many_differences_three_are_named(folder):
    many = {name: {} for name in "vwxyz"}
    (folder / "config.yaml").write_text(yaml.safe_dump({"run": dict.fromkeys(many, 1)}))
    with pytest.raises(ConfigError, match="; and 2 more"):
        require_same_settings(folder, {"run": many})


@pytest.mark.parametrize(
    "run",
    [
        {"device": "cuda"},
        {"tracking": {"project": "q"}},
        {"forecast": {"force": True}},
        {"new_key": 1},
    ],
)
def test_settings_that_change_no_result_may_differ(folder, run):
    require_same_settings(folder, changed(**run))


@pytest.mark.parametrize("state", ["interrupted", "rejected", "new"])
def test_what_is_not_finished_may_go_on_with_other_settings(folder, state):
    if state == "rejected":
        (folder / "summary.json").write_text(json.dumps({"verdict": {"word": "rejected"}}))
    else:
        (folder / "summary.json").unlink()
    if state == "new":
        (folder / "config.yaml").unlink()
    require_same_settings(folder, changed(budget="B0"))
