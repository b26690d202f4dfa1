"""The whole transfer: resumed where it stopped, recomputed where needed, judged after the seal."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from micro import QUIET, run_config
from test_ledger import SMALL

from conceptbasis.errors import ArtifactError, CoverageError
from conceptbasis.evaluation import measure
from conceptbasis.pipeline import run_pipeline
from conceptbasis.runs import files as artifacts
from conceptbasis.runs.progress import Reporter
from conceptbasis.runs.stage import PROVENANCE, load_stage
from conceptbasis.stages import evaluate
from conceptbasis.stages.replay import load_intervention
from conceptbasis.study.ledger import Ledger

STAGES = [
    "harvest",
    "direction",
    "match",
    "align",
    "fit",
    "transfer",
    "guard",
    "forecast",
    "replay",
    "atoms",
    "stability",
    "baselines",
    "evaluate",
]
SEALED = {*STAGES} - {"forecast", "atoms", "stability", "evaluate"}


class Lines(Reporter):
    """Keeps what stages say."""

    def __init__(self) -> None:
        super().__init__(quiet=True)
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        self.lines.append(line)

    def of_stages(self) -> dict[str, str]:
        """What was said about each stage first."""
        said: dict[str, str] = {}
        for line in self.lines:
            name, _, rest = line.partition(": ")
            if name in STAGES:
                said.setdefault(name, rest)
        return said


class Killed(Exception):
    """A run that ends in the middle."""


def run(world, folder, reporter=QUIET, on_stage=lambda output: None, **sections):
    return run_pipeline(
        world.donor_config(),
        world.target_config(),
        world.config(**sections),
        folder,
        reporter,
        on_stage,
    )


def kill_after(name):
    def on_stage(output):
        if output.name == name:
            raise Killed

    return on_stage


# Resume


def test_a_run_killed_after_any_stage_goes_on_where_it_stopped(ready, tmp_path):
    whole = run(ready, tmp_path / "whole", evaluate=SMALL).summary
    for i, name in enumerate(STAGES[1:], 1):
        lines = Lines()
        with pytest.raises(Killed):
            run(ready, tmp_path / "run", lines, kill_after(name), evaluate=SMALL)
        said = lines.of_stages()
        assert list(said) == STAGES[: i + 1]
        assert all(said[earlier] == "reused" for earlier in STAGES[: i if i > 1 else 0])
        assert said[name].startswith("computing")
        assert not (tmp_path / "run" / "summary.json").exists()
    lines = Lines()
    resumed = run(ready, tmp_path / "run", lines, evaluate=SMALL)
    assert lines.of_stages() == dict.fromkeys(STAGES, "reused")
    assert resumed.summary == whole
    assert json.loads((tmp_path / "run" / "summary.json").read_text()) == whole
    assert set(resumed.seconds) == set(STAGES)


def test_evaluation_killed_in_the_middle_keeps_the_conditions_it_measured(
    ready, finished, tmp_path, monkeypatch
):
    shutil.copytree(finished.folder, tmp_path / "run")
    real, measured = measure.measure_condition, []

    def dies_at_the_fourth(bench, condition):
        if len(measured) == 3:
            raise Killed
        measured.append((condition.name, condition.draw))
        return real(bench, condition)

    monkeypatch.setattr(measure, "measure_condition", dies_at_the_fourth)
    with pytest.raises(Killed):
        run(ready, tmp_path / "run", evaluate=SMALL)
    first = list(measured)
    assert len(first) == 3
    monkeypatch.setattr(
        measure, "measure_condition", lambda b, c: measured.append((c.name, c.draw)) or real(b, c)
    )
    run(ready, tmp_path / "run", evaluate=SMALL)
    assert not set(first) & set(measured[3:])
    assert ("native", 0) in measured[3:]


def test_a_finished_run_measures_nothing_again(ready, finished, tmp_path, monkeypatch):
    shutil.copytree(finished.folder, tmp_path / "run")
    monkeypatch.setattr(measure, "measure_condition", None)
    monkeypatch.setattr(evaluate, "measure_native", None)
    again = run(ready, tmp_path / "run", curve={"measure": True})
    assert again.summary == finished.summary


# Recomputation


@pytest.mark.parametrize(
    ("sections", "changed", "reason", "below"),
    [
        ({"fit": {"n_resamples": 21}}, "fit", "config changed: n_resamples", "transfer"),
        ({"transfer": {"n_atoms": 6}}, "transfer", "config changed: n_atoms", "guard"),
        ({"direction": {"n_select": 23}}, "direction", "config changed: n_select", None),
        ({"replay": {"layers": "early"}}, "guard", "config changed: replay", "forecast"),
        ({"evaluate": {"n_prompts": 11}}, "evaluate", "config changed: n_prompts", None),
    ],
)
def test_a_changed_key_recomputes_only_what_stands_below_it(
    ready, finished, tmp_path, monkeypatch, sections, changed, reason, below
):
    def killed(study):
        raise Killed

    shutil.copytree(finished.folder, tmp_path / "run")
    monkeypatch.setattr(evaluate, "_native", killed)
    lines = Lines()
    with pytest.raises(Killed):
        run(ready, tmp_path / "run", lines, kill_after(below or changed), **sections)
    said = lines.of_stages()
    assert reason in said[changed]
    assert said[changed].startswith("recomputing")
    above = STAGES[: STAGES.index(changed)]
    assert all(said[name] == "reused" for name in above)
    if below is not None:
        keyed = below == "forecast"  # by the replay itself, beside what the guard made of it
        cause = reason if keyed else f"inputs changed: {changed}"
        assert said[below] == f"recomputing, because {cause}"


def test_a_changed_budget_recomputes_the_text_and_all_that_follows(ready, finished, tmp_path):
    shutil.copytree(finished.folder, tmp_path / "run")
    lines = Lines()
    with pytest.raises(Killed):
        run(ready, tmp_path / "run", lines, kill_after("match"), budget="B1")
    said = lines.of_stages()
    assert said["harvest"].startswith("recomputing, because config changed: budget")
    assert said["match"] == "recomputing, because inputs changed: class_shares, harvest"
    assert said["direction"] == "reused"


def test_a_damaged_residual_file_is_named(ready, finished, tmp_path):
    shutil.copytree(finished.folder, tmp_path / "run")
    path = tmp_path / "run" / "harvest" / "target_01.safetensors"
    data = path.read_bytes()
    for damaged in (data[:-4], data[:-4] + b"\1\2\3\4"):
        path.write_bytes(damaged)
        with pytest.raises(ArtifactError, match=r"target_01\.safetensors is corrupt"):
            run(ready, tmp_path / "run")
    path.unlink()
    with pytest.raises(ArtifactError, match=r"target_01\.safetensors is corrupt"):
        run(ready, tmp_path / "run")
    path.write_bytes(data)
    with pytest.raises(Killed):
        run(ready, tmp_path / "run", on_stage=kill_after("match"))


def test_a_run_folder_is_held_by_one_process(ready, tmp_path):
    with (
        artifacts.folder_lock(tmp_path / "run"),
        pytest.raises(ArtifactError, match="in use by another process"),
    ):
        run(ready, tmp_path / "run")
    assert [p.name for p in (tmp_path / "run").iterdir()] == [".lock"]


# The order: transfer first, labels of the target after


def test_native_is_measured_after_the_seal(ready, finished, tmp_path, monkeypatch):
    shutil.copytree(finished.folder, tmp_path / "run")
    calls = []
    seal, native = Ledger.seal, evaluate.measure_native

    def seal_noted(ledger, hashes):
        calls.append(("seal", dict(hashes)))
        seal(ledger, hashes)

    def native_noted(loaded, *arguments, **keywords):
        calls.append(("native", loaded.name))
        return native(loaded, *arguments, **keywords)

    monkeypatch.setattr(Ledger, "seal", seal_noted)
    monkeypatch.setattr(evaluate, "measure_native", native_noted)
    run(ready, tmp_path / "run", evaluate=SMALL)
    assert [name for name, _ in calls] == ["seal", "native"]
    assert calls[1][1] == str(ready.target)
    assert set(calls[0][1]) == SEALED


def test_evaluation_is_tied_to_the_hashes_of_the_transfer(finished):
    found = load_stage(finished.folder, "evaluate")
    provenance = artifacts.read_json(found.folder / PROVENANCE)
    for name in SEALED:
        digest = load_stage(finished.folder, name).hash
        assert provenance["inputs"][name] == digest
        assert found.result["hashes"][name] == digest


def test_labels_are_not_read_when_nothing_was_sealed(ready, finished, tmp_path, monkeypatch):
    from conceptbasis.errors import PromptError

    shutil.copytree(finished.folder, tmp_path / "run")
    monkeypatch.setattr(Ledger, "seal", lambda ledger, hashes: None)
    with pytest.raises(PromptError, match="before the transfer is final"):
        run(ready, tmp_path / "run", evaluate=SMALL)


def test_a_run_without_controls_is_evaluated_but_never_a_success(ready, finished, tmp_path):
    shutil.copytree(finished.folder, tmp_path / "run")
    found = run(ready, tmp_path / "run", evaluate={**SMALL, "controls": False, "baselines": []})
    names = {row["name"] for row in found.summary["conditions"]}
    assert {"baseline", "transfer", "native_trajectory"} <= names
    assert not names & {"random_direction", "shuffled_atoms", "far_layers", "unrelated_recipe"}
    assert found.summary["verdict"]["word"] != "success"
    assert "without the controls" in found.summary["verdict"]["reason"]
    result = load_stage(tmp_path / "run", "evaluate").result
    assert result["capability_change"]["benign_exact_match"]["random_range"] is None


# Forecast


def test_low_coverage_declines_and_force_goes_on(ready, finished, tmp_path):
    shutil.copytree(finished.folder, tmp_path / "run")
    (tmp_path / "run" / "summary.json").unlink()
    strict = {"min_eligible_mass": 0.99}
    with pytest.raises(CoverageError, match="the forecast declines this transfer") as caught:
        run(ready, tmp_path / "run", forecast={**strict, "force": False})
    assert "least 99.0%" in caught.value.what
    assert "--force" in caught.value.fix
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["verdict"]["word"] == "declined"
    assert "matched features carry" in summary["verdict"]["reason"]
    assert summary["conditions"] == []
    assert set(summary) == set(finished.summary)
    assert summary["forecast"]["eligible_mass"] == finished.summary["forecast"]["eligible_mass"]
    lines = Lines()
    forced = run(ready, tmp_path / "run", lines, forecast={**strict, "force": True})
    assert forced.summary["verdict"]["word"] != "declined"
    assert lines.of_stages()["forecast"] == "reused"


def test_low_agreement_declines_with_its_own_reason(ready, finished, tmp_path):
    shutil.copytree(finished.folder, tmp_path / "run")
    with pytest.raises(CoverageError, match=r"projections agree at 0\.\d\d \(least 0\.99\)"):
        run(ready, tmp_path / "run", forecast={"min_agreement": 0.99, "force": False})
    with pytest.raises(Killed):
        run(
            ready,
            tmp_path / "run",
            on_stage=kill_after("forecast"),
            forecast={"min_agreement": 0.1, "force": False},
        )


def test_configuration_of_a_run_is_written_beside_it(ready, finished):
    import yaml

    values = yaml.safe_load((finished.folder / "config.yaml").read_text())
    assert values["run"] == ready.config(curve={"measure": True}).model_dump(mode="json")
    assert values["donor"]["model"] == str(ready.donor)
    assert values["run"] != run_config(ready.prompts, seed=1).model_dump(mode="json")


def test_a_run_can_replay_each_layers_own_direction(ready, finished, tmp_path):
    section = {"n_random": 1, "n_shuffled": 1, "n_unrelated": 1, "n_prompts": 10, "baselines": []}
    found = run(ready, tmp_path / "run", replay={"directions": "per_layer"}, evaluate=section)
    intervention, _ = load_intervention(tmp_path / "run")
    assert not torch.equal(intervention.directions[0], intervention.directions[-1])
    names = {row["name"] for row in found.summary["conditions"]}
    assert {"single_direction", "far_layers", "native_far"} <= names
    assert "trajectory" not in names
    assert found.summary["single_layer"] is None

    single, _ = load_intervention(finished.folder)
    chosen = finished.summary["single_layer"]
    own = load_stage(finished.folder, "transfer").tensors["direction"]
    layers = [row["target"] for row in load_stage(finished.folder, "transfer").result["layers"]]
    for row in single.directions:
        assert torch.equal(row, own[layers.index(chosen)])
    names = {row["name"] for row in finished.summary["conditions"]}
    assert "trajectory" in names


def test_only_layers_with_saes_are_read_mapped_and_edited(ready, tmp_path):
    """Large models have SAEs at a few layers; the native trajectory still knows all of them."""
    donor = ready.donor_config().model_copy(update={"layers": (1, 2, 3)})
    target = ready.target_config().model_copy(update={"layers": (1, 2)})
    folder = tmp_path / "run"
    summary = run_pipeline(donor, target, ready.config(), folder, QUIET).summary
    read = {path.stem for path in (folder / "harvest").glob("*_*.safetensors")}
    assert read == {"donor_01", "donor_02", "donor_03", "target_01", "target_02"}
    assert {t for t, _ in summary["layer_map"]} <= {1, 2}
    names = {c["name"] for c in summary["conditions"]}
    assert {"transfer", "native", "native_trajectory", "contrast_ridge"} <= names
    evaluation = load_stage(folder, "evaluate")
    assert len(evaluation.tensors["native_trajectory.direction"]) == 3
