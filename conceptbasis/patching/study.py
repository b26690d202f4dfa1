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
from conceptbasis.patching.crossing import cross_use_by_depth, measure_cross_use
from conceptbasis.patching.finding import Measured, Search, depth_of, find_circuit
from conceptbasis.patching.matched import (
    match_components,
    overlap_by_latents,
    read_mapped_layers,
)
from conceptbasis.patching.overlap import overlaps_between, overlaps_within
from conceptbasis.patching.probes import make_probes
from conceptbasis.patching.tasks import find_task
from conceptbasis.patching.tasks.base import Task, TokenPairs
from conceptbasis.patching.writes import mean_writes
from conceptbasis.results.circuits import Circuit, CrossUse, ModelCircuits, Overlap, SharedCircuits
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
    """Circuits of a model, the pairs on which each was measured, and all pairs of each task."""

    circuits: ModelCircuits
    checks: Mapping[str, Measured]
    given: Mapping[str, TokenPairs]


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
        run: A run between both models, to compare by its matched latents too.

    Raises:
        ConfigError: An unknown task.
        ArtifactError: The run is not finished, or is one between other models.
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
    left_out = [NO_RUN]
    if run is not None:
        more, carried, left_out = by_latents(run, donor, target, found, search, reporter)
        overlaps += more
        crossed += carried
    result = SharedCircuits(
        SCHEMA, one, other, tuple(overlaps), tuple(crossed), tuple(left_out), asdict(search)
    )
    write_json(out / RESULT, to_json(result))
    return result


def by_latents(
    run: Path,
    donor: Subject,
    target: Subject,
    found: Sequence[Found],
    search: Search,
    reporter: Reporter,
) -> tuple[list[Overlap], list[CrossUse], list[str]]:
    """Overlap and cross-use through the matched latents of a run, and what has no match.

    Args:
        run: A run folder between both models.
        donor: The donor.
        target: The target.
        found: Circuits of both.
        search: How many random sets.
        reporter: Told the progress.

    Raises:
        ArtifactError: The run is not finished, or is one between other models.
    """
    one, other = (f.circuits for f in found)
    sides = [(s.loaded, f.circuits.model_hash) for s, f in zip((donor, target), found, strict=True)]
    mapped = read_mapped_layers(run, sides[0], sides[1], reporter)
    overlaps, crossed, left_out = [], [], []
    for mine, its in zip(one.circuits, other.circuits, strict=True):
        writes = [
            mean_writes(s.loaded, f.given[mine.task])
            for s, f in zip((donor, target), found, strict=True)
        ]
        matched = match_components(mapped, writes[0], writes[1])
        carried = frozenset(matched[c] for c in mine.members if c in matched)
        n_lost = sum(c not in matched for c in mine.members)
        if n_lost:
            left_out.append(f"{mine.task}: {n_lost} components without a match in the target")
        if not carried:
            continue
        overlaps.append(overlap_by_latents(carried, its, other, search))
        crossed.append(
            measure_cross_use(
                "latents",
                mine.task,
                [carried],
                other,
                found[1].checks[mine.task],
                search,
                lambda c: depth_of(c, other.n_layers),
            )
        )
    return overlaps, crossed, left_out


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
    circuits, checks, pairs = [], {}, {}
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
        checks[task.name], pairs[task.name] = check, given
    described = ModelCircuits(
        subject.config.name,
        subject.config.model,
        digest,
        loaded.architecture.n_layers,
        count_heads(loaded),
        tuple(circuits),
    )
    return Found(described, checks, pairs)
