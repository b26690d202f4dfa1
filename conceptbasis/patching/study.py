"""Circuits of a donor and a target for some tasks, their overlaps, and cross-use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from conceptbasis.config.model import ModelConfig
from conceptbasis.config.run import RunConfig
from conceptbasis.data.prompts import PromptSuite
from conceptbasis.models.loading.loaded import LoadedModel
from conceptbasis.models.stream.components import count_heads
from conceptbasis.patching.crossing import cross_use_by_depth
from conceptbasis.patching.finding import Measured, Search, find_circuit
from conceptbasis.patching.overlap import overlaps_between, overlaps_within
from conceptbasis.patching.probes import make_probes
from conceptbasis.patching.tasks import find_task
from conceptbasis.patching.tasks.base import Task
from conceptbasis.results.circuits import Circuit, ModelCircuits, SharedCircuits
from conceptbasis.runs.code import code_of
from conceptbasis.runs.files import read_json, value_hash, write_json
from conceptbasis.runs.progress import Reporter
from conceptbasis.runs.storage import from_json, to_json
from conceptbasis.study.opening import hash_model, load_prompts, open_model

SCHEMA = 1
RESULT, PARTS = "circuits.json", "parts"
"""File of the result, and the folder of the circuits that it was made from."""

NO_RUN = "overlap and cross-use by matched latents: no run was given (--run DIR)"


@dataclass(frozen=True)
class Subject:
    """A model that is studied.

    Args:
        config: What it is called and where it is from.
        loaded: The model.
    """

    config: ModelConfig
    loaded: LoadedModel


def open_subject(config: ModelConfig, device: str, reporter: Reporter) -> Subject:
    """Loads a model that is to be studied, under the name that its configuration gives it."""
    return Subject(config, replace(open_model(config, device, reporter), name=config.name))


@dataclass(frozen=True)
class Found:
    """Circuits of a model, with the pairs of each task on which they were measured."""

    circuits: ModelCircuits
    checks: Mapping[str, Measured]


def study_circuits(
    donor: Subject,
    target: Subject,
    names: Sequence[str],
    config: RunConfig,
    search: Search,
    out: Path,
    reporter: Reporter,
    run: Path | None = None,
) -> SharedCircuits:
    """Finds and compares circuits, and writes `circuits.json`.

    A circuit that was found before, by the same code on the same model, is read again.

    Args:
        donor: The donor.
        target: The target.
        names: Names of tasks.
        config: Prompts of the tasks that are behaviors.
        search: How circuits are found.
        out: Folder of the result.
        reporter: Told the progress.

    Raises:
        ConfigError: An unknown task.
        PromptError: Too few prompts align in a model's tokens.
        ModelError: A model does not do a task, or its components cannot be patched.
    """
    tasks = [find_task(name) for name in names]
    suites = {task.name: prompts_of(task, config, reporter) for task in tasks}
    found = [
        find_all(subject, tasks, suites, search, out / PARTS, reporter)
        for subject in (donor, target)
    ]
    one, other = (f.circuits for f in found)
    reporter.say("overlaps and cross-use")
    overlaps = [
        *overlaps_within(one, "donor", search),
        *overlaps_within(other, "target", search),
        *overlaps_between(one, other, search),
    ]
    crossed = [
        cross_use_by_depth(one, circuit, other, found[1].checks[circuit.task], search)
        for circuit in one.circuits
    ]
    result = SharedCircuits(
        SCHEMA, one, other, tuple(overlaps), tuple(crossed), (NO_RUN,), asdict(search)
    )
    write_json(out / RESULT, to_json(result))
    return result


def prompts_of(task: Task, config: RunConfig, reporter: Reporter) -> PromptSuite | None:
    """The prompt suite of a task that is a behavior, None for a task with prompts of its own."""
    if task.behavior is None:
        return None
    return load_prompts(config.model_copy(update={"behavior": task.behavior}), reporter)


def find_all(
    subject: Subject,
    tasks: Sequence[Task],
    suites: Mapping[str, PromptSuite | None],
    search: Search,
    parts: Path,
    reporter: Reporter,
) -> Found:
    """The circuits of all tasks in one model."""
    loaded, digest = subject.loaded, hash_model(subject.loaded)
    circuits, checks = [], {}
    for task in tasks:
        given = task.pairs(loaded, suites[task.name], search.n_prompts)
        key = value_hash([digest, task.name, to_json(given), asdict(search), code_of(find_circuit)])
        place = parts / f"{task.name}-{key[:16]}.json"
        if place.exists():
            circuit = from_json(Circuit, read_json(place), place)
            check = Measured.of(make_probes(loaded, given, task.name)[1])
            reporter.say(f"{task.name} in {loaded.name}: reused")
        else:
            circuit, check = find_circuit(task, loaded, given, search, reporter)
            write_json(place, to_json(circuit))
        circuits.append(circuit)
        checks[task.name] = check
    described = ModelCircuits(
        subject.config.name,
        subject.config.model,
        digest,
        loaded.architecture.n_layers,
        count_heads(loaded),
        tuple(circuits),
    )
    return Found(described, checks)
