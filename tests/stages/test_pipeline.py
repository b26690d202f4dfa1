"""The whole transfer: resumed where it stopped, recomputed where needed, judged after the seal."""

from __future__ import annotations

import shutil
import time
from contextlib import contextmanager
from dataclasses import replace
from typing import ClassVar

import pytest
import torch
from micro import QUIET, SMALL, run_config

from conceptbasis import pipeline
from conceptbasis.edits.finished import load_replayed
from conceptbasis.errors import ArtifactError, CoverageError, PromptError
from conceptbasis.evaluation import evaluate, measure
from conceptbasis.pipeline import admit_target, run_pipeline, run_stages
from conceptbasis.results.evaluation import Evaluation
from conceptbasis.results.recipe import Transfer
from conceptbasis.runs import files
from conceptbasis.runs.files import read_json
from conceptbasis.runs.graph import PROVENANCE, Graph, load_result
from conceptbasis.runs.progress import Reporter
from conceptbasis.runs.summary import read_summary
from conceptbasis.study import opening
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
JUDGED = {*STAGES} - {"forecast", "atoms", "stability", "evaluate"}
"""Stages that make the transfer, and what it is compared with."""


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
            name = name.rpartition(" ")[2]  # after its number
            if name in STAGES:
                said.setdefault(name, rest)
        return said


class Killed(Exception):
    """A run that ends in the middle."""


def run(world, folder, reporter=QUIET, **sections):
    donor, target = world.donor_config(), world.target_config()
    config = world.config(**sections)
    return run_pipeline(donor, target, config, folder, reporter, overwrite=True)


@contextmanager
def killed_after(name):
    """Ends a run once a stage is there, computed or reused."""
    real = Graph.run

    def dies(graph, stage, context):
        real(graph, stage, context)
        if stage.name == name:
            raise Killed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Graph, "run", dies)
        with pytest.raises(Killed):
            yield


# Resume


def test_a_run_killed_after_any_stage_goes_on_where_it_stopped(ready, sides, make_study, tmp_path):
    """Studies of models that are open already, so that only the stages cost time."""

    def stages(folder, reporter=QUIET):
        study = make_study(folder=folder, target=replace(sides.target), evaluate=SMALL)
        study.reporter = reporter
        admit_target(study)
        return run_stages(study)

    whole = stages(tmp_path / "whole").summary
    for i, name in enumerate(STAGES[1:], 1):
        lines = Lines()
        with killed_after(name):
            stages(tmp_path / "run", lines)
        said = lines.of_stages()
        assert list(said) == STAGES[: i + 1]
        assert all(said[earlier] == "reused" for earlier in STAGES[: i if i > 1 else 0])
        assert said[name].startswith("running")
        assert not (tmp_path / "run" / "summary.json").exists()
    lines = Lines()
    resumed = run(ready, tmp_path / "run", lines, evaluate=SMALL)
    assert lines.of_stages() == dict.fromkeys(STAGES, "reused")
    assert resumed.summary == whole == read_summary(tmp_path / "run")
    assert set(resumed.seconds) == set(STAGES)


class Counted:
    """What is measured, and after how many conditions that ends."""

    real = staticmethod(measure.measure_trial)
    measured: ClassVar[list[tuple[str, int]]] = []
    limit: ClassVar[int | None] = 3


def counted(bench, trial):
    if len(Counted.measured) == Counted.limit:
        raise Killed
    Counted.measured.append((trial.name, trial.draw))
    return Counted.real(bench, trial)


def test_evaluation_killed_in_the_middle_keeps_the_conditions_it_measured(
    ready, finished, tmp_path, monkeypatch
):
    shutil.copytree(finished.folder, tmp_path / "run")
    measured: list[tuple[str, int]] = []
    monkeypatch.setattr(Counted, "measured", measured)
    monkeypatch.setattr(measure, "measure_trial", counted)
    with pytest.raises(Killed):
        run(ready, tmp_path / "run", evaluate=SMALL)
    first = list(measured)
    assert len(first) == 3
    assert ("native", 0) in first
    assert not (tmp_path / "run" / "summary.json").exists()
    monkeypatch.setattr(Counted, "limit", None)
    run(ready, tmp_path / "run", evaluate=SMALL)
    assert not set(first) & set(measured[3:])
    assert ("transfer", 0) in measured[3:]


CURVE = {"measure": True}


def forbidden(*_, **__):
    raise AssertionError("called")


def test_a_finished_run_opens_no_model_computes_nothing_and_answers_at_once(
    ready, finished, tmp_path, monkeypatch
):
    shutil.copytree(finished.folder, tmp_path / "run")
    for module, name in (
        (opening, "load_model"),
        (opening, "load_or_train"),
        (measure, "measure_trial"),
        (evaluate, "measure_own"),
        (Graph, "_compute"),
    ):
        monkeypatch.setattr(module, name, forbidden)
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "run").rglob("*") if p.is_file()}
    lines, started = Lines(), time.process_time()
    again = run(ready, tmp_path / "run", lines, curve=CURVE)
    assert time.process_time() - started < 3
    assert again.summary == finished.summary
    assert set(again.seconds) == {*STAGES, "curve"}
    assert lines.lines == ["all stages: reused"]
    after = {p: p.stat().st_mtime_ns for p in (tmp_path / "run").rglob("*") if p.is_file()}
    assert {p: t for p, t in after.items() if p.name != ".lock"} == {
        p: t for p, t in before.items() if p.name != ".lock"
    }


@pytest.mark.parametrize("change", ["settings", "a stage is missing", "no summary", "weights"])
def test_a_run_that_is_not_whole_opens_its_models(ready, finished, tmp_path, monkeypatch, change):
    """The control of the test above."""
    monkeypatch.setenv(
        "CONCEPTBASIS_CACHE", str(shutil.copytree(ready.root / "cache", tmp_path / "c"))
    )
    folder, model = shutil.copytree(finished.folder, tmp_path / "run"), ready.target
    sections = {"curve": CURVE}
    if change == "settings":
        sections["fit"] = {"n_resamples": 21}
    elif change == "a stage is missing":
        shutil.rmtree(folder / "atoms")
    elif change == "no summary":
        (folder / "summary.json").unlink()
    else:
        model = shutil.copytree(ready.target, tmp_path / "model")
    target = ready.target_config().model_copy(update={"model": str(model)})

    def noted(*_, **__):
        raise Killed

    monkeypatch.setattr(opening, "load_model", noted)
    with pytest.raises(Killed):
        run_pipeline(
            ready.donor_config(), target, ready.config(**sections), folder, QUIET, overwrite=True
        )


def test_a_model_that_was_changed_since_is_opened_again(ready, finished, tmp_path, monkeypatch):
    folder = shutil.copytree(finished.folder, tmp_path / "run")
    model = shutil.copytree(ready.target, tmp_path / "model")
    target = ready.target_config().model_copy(update={"model": str(model)})
    configs = (ready.donor_config(), target, ready.config(curve=CURVE), folder)
    run_pipeline(*configs, QUIET, overwrite=True)
    monkeypatch.setattr(opening, "load_model", forbidden)
    run_pipeline(*configs, QUIET)
    path = next(model.glob("*.safetensors"))
    data = path.read_bytes()
    path.write_bytes(data[:-4] + b"\0\0\0\0")
    with pytest.raises(AssertionError, match="called"):
        run_pipeline(*configs, QUIET)


# Recomputation


@pytest.mark.parametrize(
    ("sections", "changed", "reason", "below"),
    [
        ({"fit": {"n_resamples": 21}}, "fit", "fit.n_resamples", "transfer"),
        ({"transfer": {"n_atoms": 6}}, "transfer", "transfer.n_atoms", "guard"),
        ({"direction": {"n_select": 23}}, "direction", "direction.n_select", None),
        ({"replay": {"offset": 0.25}}, "guard", "replay.offset", "forecast"),
        ({"replay": {"layers": "early"}}, "transfer", "replay.layers", "guard"),
        ({"evaluate": {"n_prompts": 11}}, "evaluate", "evaluate.n_prompts", None),
    ],
)
def test_a_changed_key_recomputes_only_what_stands_below_it(
    ready, finished, tmp_path, sections, changed, reason, below
):
    shutil.copytree(finished.folder, tmp_path / "run")
    lines, last = Lines(), below or changed
    with pytest.MonkeyPatch.context() as patch:
        if last == "evaluate":
            patch.setattr(evaluate, "measure_own", forbidden)
            with pytest.raises(AssertionError, match="called"):
                run(ready, tmp_path / "run", lines, **sections)
        else:
            with killed_after(last):
                run(ready, tmp_path / "run", lines, **sections)
    said = lines.of_stages()
    assert said[changed] == f"running again, because config changed: {reason}"
    above = STAGES[: STAGES.index(changed)]
    assert all(said[name] == "reused" for name in above)
    if below is not None:
        keyed = reason.startswith("replay")  # they read these settings themselves
        cause = f"config changed: {reason}" if keyed else f"inputs changed: {changed}"
        assert said[below] == f"running again, because {cause}"


def test_a_changed_budget_recomputes_the_text_and_all_that_follows(ready, finished, tmp_path):
    shutil.copytree(finished.folder, tmp_path / "run")
    lines = Lines()
    with killed_after("match"):
        run(ready, tmp_path / "run", lines, budget="B1")
    said = lines.of_stages()
    assert said["harvest"] == "running again, because config changed: budget"
    assert said["match"] == "running again, because inputs changed: harvest"
    assert said["direction"] == "reused"


def test_changed_code_recomputes_the_stages_that_run_it(ready, finished, tmp_path, monkeypatch):
    """As if `fit_recipe` had been another function when the run was made."""
    shutil.copytree(finished.folder, tmp_path / "run")
    name = "core.directions.recipe.fit_recipe"
    touched = []
    for stage in STAGES:
        path = tmp_path / "run" / stage / PROVENANCE
        found = read_json(path)
        if name in found["code"]:
            touched.append(stage)
            found["code"][name] = "of yesterday"
            files.write_json(path, found)
    assert touched[0] == "fit"
    assert not {"harvest", "direction", "match", "align"} & set(touched)
    lines = Lines()
    with killed_after("guard"):
        run(ready, tmp_path / "run", lines)
    said = lines.of_stages()
    assert said["align"] == "reused"
    assert said["fit"] == f"running again, because code changed: {name}"
    again = "reused" if "transfer" not in touched else said["fit"]
    assert said["transfer"] == again  # the recipe itself is what it was
    assert said["guard"] == "reused"


def test_a_damaged_residual_file_is_named(ready, finished, tmp_path):
    shutil.copytree(finished.folder, tmp_path / "run")
    changed = {"align": {"n_null": 3}}  # something that reads the residuals again
    path = tmp_path / "run" / "harvest" / "target_01.safetensors"
    data = path.read_bytes()
    for damaged in (data[:-4], data[:-4] + b"\1\2\3\4"):
        path.write_bytes(damaged)
        with pytest.raises(ArtifactError, match=r"target_01\.safetensors is corrupt"):
            run(ready, tmp_path / "run", **changed)
    path.unlink()
    with pytest.raises(ArtifactError, match=r"target_01\.safetensors is corrupt"):
        run(ready, tmp_path / "run", **changed)
    path.write_bytes(data)
    with killed_after("align"):
        run(ready, tmp_path / "run", **changed)


def test_a_run_folder_is_held_by_one_process(ready, tmp_path):
    with (
        files.folder_lock(tmp_path / "run"),
        pytest.raises(ArtifactError, match="in use by another process"),
    ):
        run(ready, tmp_path / "run")
    assert [p.name for p in (tmp_path / "run").iterdir()] == [".lock"]


# The order: transfer first, labels of the target after


def test_native_is_measured_after_the_seal(ready, finished, tmp_path, monkeypatch):
    shutil.copytree(finished.folder, tmp_path / "run")
    calls = []
    seal, native = Ledger.seal, evaluate.measure_own

    def seal_noted(ledger, hashes):
        calls.append(("seal", dict(hashes)))
        seal(ledger, hashes)

    def native_noted(loaded, *arguments, **keywords):
        calls.append(("native", loaded.name))
        return native(loaded, *arguments, **keywords)

    monkeypatch.setattr(Ledger, "seal", seal_noted)
    monkeypatch.setattr(evaluate, "measure_own", native_noted)
    run(ready, tmp_path / "run", evaluate=SMALL)
    assert [name for name, _ in calls] == ["seal", "native"]
    assert calls[1][1] == str(ready.target)
    assert set(calls[0][1]) == {*STAGES} - {"evaluate"}


def test_evaluation_is_tied_to_the_hashes_of_the_transfer(finished):
    found = load_result(finished.folder, "evaluate", Evaluation)
    inputs = read_json(finished.folder / "evaluate" / PROVENANCE)["inputs"]
    for name in JUDGED:
        outputs = read_json(finished.folder / name / PROVENANCE)["outputs"]
        assert inputs[name] == files.value_hash(outputs) == found.hashes[name]


def test_labels_are_not_read_when_nothing_was_sealed(ready, finished, tmp_path, monkeypatch):
    shutil.copytree(finished.folder, tmp_path / "run")
    monkeypatch.setattr(Ledger, "seal", lambda ledger, hashes: None)
    with pytest.raises(PromptError, match="before the transfer is final"):
        run(ready, tmp_path / "run", evaluate=SMALL)


def test_every_stage_that_reads_labels_says_so():
    """Whoever declares the prompts of the evaluation reads them, and stands behind the rest."""
    reading = [stage.name for stage in pipeline.STAGES if stage.reads_labels]
    asked = [s.name for s in pipeline.STAGES if "prompts.evaluation" in s.sources]
    assert set(asked) <= set(reading)
    assert {"evaluate", "curve", "flows"} <= set(reading)
    names = [stage.name for stage in pipeline.STAGES]
    assert names[-len(reading) :] == reading


def test_a_run_without_controls_is_evaluated_but_never_a_success(ready, finished, tmp_path):
    shutil.copytree(finished.folder, tmp_path / "run")
    found = run(ready, tmp_path / "run", evaluate={**SMALL, "controls": False, "baselines": []})
    names = {row.name for row in found.summary.conditions}
    assert {"baseline", "transfer", "native_per_layer"} <= names
    assert not names & {"random_direction", "shuffled_atoms", "far_layers", "unrelated_recipe"}
    assert found.summary.verdict.word != "success"
    assert "without the controls" in found.summary.verdict.reason
    result = load_result(tmp_path / "run", "evaluate", Evaluation, tensors=False)
    assert result.capability_change["benign_exact_match"].random_range is None


# Forecast


def test_low_coverage_rejects_and_force_goes_on(ready, finished, tmp_path):
    shutil.copytree(finished.folder, tmp_path / "run")
    (tmp_path / "run" / "summary.json").unlink()
    strict = {"min_eligible_mass": 0.99}
    with pytest.raises(CoverageError, match="the forecast rejects this transfer") as caught:
        run(ready, tmp_path / "run", forecast={**strict, "force": False})
    assert "least 99.0%" in caught.value.what
    assert "--force" in caught.value.fix
    summary = read_summary(tmp_path / "run")
    assert summary.verdict.word == "rejected"
    assert "matched latents carry" in summary.verdict.reason
    assert summary.conditions == ()
    assert summary.primary_judge is None
    known = finished.summary.forecast["eligible_mass"]
    assert summary.forecast["eligible_mass"] == known
    lines = Lines()
    forced = run(ready, tmp_path / "run", lines, forecast={**strict, "force": True})
    assert forced.summary.verdict.word != "rejected"
    assert lines.of_stages()["forecast"] == "reused"


def test_a_rejected_run_is_rejected_again_without_a_model(ready, finished, tmp_path, monkeypatch):
    shutil.copytree(finished.folder, tmp_path / "run")
    sections = {"forecast": {"min_eligible_mass": 0.99, "force": False}, "curve": CURVE}
    for _ in range(2):
        with pytest.raises(CoverageError, match="the forecast rejects this transfer"):
            run(ready, tmp_path / "run", **sections)
        assert read_summary(tmp_path / "run").verdict.word == "rejected"
        monkeypatch.setattr(opening, "load_model", forbidden)


def test_low_agreement_rejects_with_its_own_reason(ready, finished, tmp_path):
    shutil.copytree(finished.folder, tmp_path / "run")
    with pytest.raises(CoverageError, match=r"projections agree at 0\.\d\d \(least 0\.99\)"):
        run(ready, tmp_path / "run", forecast={"min_agreement": 0.99, "force": False})
    with killed_after("forecast"):
        run(ready, tmp_path / "run", forecast={"min_agreement": 0.1, "force": False})


def test_configuration_of_a_run_is_written_beside_it(ready, finished):
    import yaml

    values = yaml.safe_load((finished.folder / "config.yaml").read_text())
    assert values["run"] == ready.config(curve={"measure": True}).model_dump(mode="json")
    assert values["donor"]["model"] == str(ready.donor)
    assert values["run"] != run_config(ready.prompts, seed=1).model_dump(mode="json")


def test_a_run_can_replay_each_layers_own_direction(ready, finished, tmp_path):
    section = {"n_random": 1, "n_shuffled": 1, "n_unrelated": 1, "n_prompts": 10, "baselines": []}
    found = run(ready, tmp_path / "run", replay={"directions": "per_layer"}, evaluate=section)
    replayed = load_replayed(tmp_path / "run")
    assert not torch.equal(replayed.directions[0], replayed.directions[-1])
    names = {row.name for row in found.summary.conditions}
    assert {"single_direction", "far_layers", "native_far"} <= names
    assert "per_layer" not in names
    assert found.summary.plan.shared is None

    single, chosen = load_replayed(finished.folder), finished.summary.plan.shared
    assert single.plan == finished.summary.plan
    own = load_result(finished.folder, "transfer", Transfer).by_layer()[chosen]
    assert all(torch.equal(row, own) for row in single.directions)
    assert "per_layer" in {row.name for row in finished.summary.conditions}


def test_only_layers_with_saes_are_read_mapped_and_edited(ready, tmp_path):
    """Large models have SAEs at a few layers; `native_per_layer` still knows all of them."""
    donor = ready.donor_config().model_copy(update={"layers": (1, 2, 3)})
    target = ready.target_config().model_copy(update={"layers": (1, 2)})
    folder = tmp_path / "run"
    summary = run_pipeline(donor, target, ready.config(), folder, QUIET).summary
    read = {path.stem for path in (folder / "harvest").glob("*_*.safetensors")}
    assert read == {"donor_01", "donor_02", "donor_03", "target_01", "target_02"}
    assert {t for t, _ in summary.layer_map} <= {1, 2}
    names = {c.name for c in summary.conditions}
    assert {"transfer", "native", "native_per_layer", "contrast_ridge"} <= names
    evaluation = load_result(folder, "evaluate", Evaluation)
    assert len(evaluation.native["native_per_layer"]) == 3
