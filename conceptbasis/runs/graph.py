"""The stages of a run as data: what each needs, which settings it reads, what it leaves.

A stage is a folder with `result.json`, `tensors.safetensors` and `provenance.json`. The provenance
is written last, so a stage that was killed half-way has none and is computed again. It is reused
when its settings, the hashes of what it needs and the code that computes it are unchanged.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from conceptbasis.config.extensions import extension_hashes
from conceptbasis.config.run import RunConfig
from conceptbasis.runs.code import changed_code, code_of
from conceptbasis.runs.files import corrupt, file_hash, read_json, value_hash, versions, write_json
from conceptbasis.runs.listening import Listener
from conceptbasis.runs.storage import RESULT, TENSORS, read_result, write_result

PROVENANCE = "provenance.json"
_SECTIONS = ("config", "inputs", "code", "outputs")

R = TypeVar("R")


@dataclass(frozen=True)
class Stage(Generic[R]):
    """One step of a run.

    Args:
        name: Its folder, and what it is called on screen.
        result: Class of what it leaves.
        compute: Makes it, from the context of the run and the results of `needs`, in order.
        needs: Results of earlier stages.
        sources: Names of what it reads beside them, such as `donor` or `prompts.direction`; the
            context gives their hashes.
        config: Settings it reads: a section, `section.key`, or `-section.key` to leave one out.
        wanted: Whether the settings ask for it.
        check: Refuses a result with an error, whether it was computed or reused.
        reads_labels: Whether it reads the target's labels; it cannot run before the seal.
    """

    name: str
    result: type[R]
    compute: Callable[..., R]
    needs: tuple[type, ...] = ()
    sources: tuple[str, ...] = ()
    config: tuple[str, ...] = ()
    wanted: Callable[[RunConfig], bool] = lambda config: True
    check: Callable[[RunConfig, R], None] = lambda config, result: None
    reads_labels: bool = False


class Context(Protocol):
    """What a run gives to its stages."""

    @property
    def config(self) -> RunConfig:
        """All settings."""

    def source_hash(self, name: str) -> str:
        """Hash of a source that a stage reads."""

    def say(self, line: str) -> None:
        """Prints one line."""

    def detail(self, line: str) -> None:
        """Prints one line that only some want."""

    def on_result(self, name: str, result: Any) -> None:
        """Told each result that is read or computed, such as to book what it shows."""


@dataclass
class Done(Generic[R]):
    """A finished stage; its result is read when it is first asked for."""

    stage: Stage[R]
    folder: Path
    hash: str
    seconds: float
    reused: bool
    _result: R | None = None

    @property
    def result(self) -> R:
        """What the stage left, with its tensors."""
        if self._result is None:
            self._result = read_result(self.folder, self.stage.result)
        return self._result

    def figures(self) -> R:
        """What the stage left, without its tensors."""
        return self._result or read_result(self.folder, self.stage.result, tensors=False)


@dataclass
class Graph:
    """Runs stages in their order; the order is checked against what they need.

    Args:
        folder: The run folder.
        stages: In order.
        listener: Told when a stage begins and when it is finished.
    """

    folder: Path
    stages: Sequence[Stage[Any]]
    listener: Listener = field(default_factory=Listener)
    done: dict[str, Done[Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_order(self.stages)

    def get(self, kind: type[R]) -> R:
        """The result of a class; stages that were not wanted have none (KeyError)."""
        return self._of(kind).result

    def find(self, kind: type[R]) -> Done[R] | None:
        """The finished stage that leaves a class of result, None where it did not run."""
        return next((d for d in self.done.values() if d.stage.result is kind), None)

    def _of(self, kind: type[R]) -> Done[R]:
        found = self.find(kind)
        if found is None:
            raise KeyError(kind.__name__)
        return found

    def key(self, stage: Stage[Any], context: Context) -> dict[str, Any]:
        """All that decides whether a stage is reused."""
        inputs = {self._of(kind).stage.name: self._of(kind).hash for kind in stage.needs}
        inputs |= {name: context.source_hash(name) for name in stage.sources}
        return {
            "config": config_slice(context.config, stage.config),
            "inputs": inputs,
            "seed": context.config.seed,
            "code": code_of(stage.compute) | extension_hashes(context.config.extensions),
        }

    def run(self, stage: Stage[R], context: Context) -> Done[R]:
        """Reuses a stage, or computes it and says why."""
        folder, key = self.folder / stage.name, self.key(stage, context)
        reason = reason_to_compute(folder, key)
        self.listener.on_stage(stage.name, reused=reason is None)
        if reason is None:
            done = load_done(stage, folder)
            self._say(stage, context, "reused")
        else:
            self._say(stage, context, reason)
            done = self._compute(stage, context, key, folder)
            context.detail(f"{stage.name}: {done.seconds:.1f} s")
        self.done[stage.name] = done
        context.on_result(stage.name, done.figures())
        self.listener.on_done(stage.name, done.seconds)
        stage.check(context.config, done.figures())
        return done

    def _say(self, stage: Stage[Any], context: Context, line: str) -> None:
        """One line about a stage, with its number among those that the settings want."""
        wanted = [s.name for s in self.stages if s is stage or s.wanted(context.config)]
        number = wanted.index(stage.name) + 1
        context.say(f"[{number}/{len(wanted)}] {stage.name}: {line}")

    def is_up_to_date(self, context: Context) -> bool:
        """Whether every stage that the settings want can be reused; nothing is computed."""
        for stage in self.stages:
            if not stage.wanted(context.config):
                continue
            folder = self.folder / stage.name
            if reason_to_compute(folder, self.key(stage, context)) is not None:
                return False
            done = self.done[stage.name] = load_done(stage, folder)
            stage.check(context.config, done.figures())
        return True

    def _compute(
        self, stage: Stage[R], context: Context, key: Mapping[str, Any], folder: Path
    ) -> Done[R]:
        given: list[Any] = [self._of(kind).result for kind in stage.needs]
        (folder / PROVENANCE).unlink(missing_ok=True)
        started = time.perf_counter()
        result = stage.compute(context, *given)
        seconds = time.perf_counter() - started
        write_result(folder, result)
        outputs = {name: file_hash(folder / name) for name in (TENSORS, RESULT)}
        provenance = {**key, "outputs": outputs, "versions": versions()}
        provenance |= {"device": context.config.device, "seconds": round(seconds, 3)}
        write_json(folder / PROVENANCE, provenance)
        return Done(stage, folder, value_hash(outputs), seconds, False)


def check_order(stages: Sequence[Stage[Any]]) -> None:
    """Refuses an order in which a stage comes before one it needs."""
    known: set[type] = set()
    for stage in stages:
        missing = [kind.__name__ for kind in stage.needs if kind not in known]
        if missing:
            raise ValueError(f"stage {stage.name} stands before {', '.join(missing)}")
        known.add(stage.result)


def config_slice(config: RunConfig, keys: Sequence[str]) -> dict[str, Any]:
    """The settings that keys name, flat, by dotted name.

    Args:
        config: All settings.
        keys: Sections, `section.key`, or `-section.key` to leave one out.
    """
    found: dict[str, Any] = {}
    values = config.model_dump(mode="json")
    for key in keys:
        if key.startswith("-"):
            del found[key[1:]]
            continue
        section, _, name = key.partition(".")
        inside = values[section]
        if name:
            found[key] = inside[name]
        elif isinstance(inside, dict):
            found |= {f"{section}.{n}": value for n, value in inside.items()}
        else:
            found[section] = inside
    return found


def reason_to_compute(folder: Path, key: Mapping[str, Any]) -> str | None:
    """Why a stage has to be computed, None where it can be reused."""
    path = folder / PROVENANCE
    if not path.exists():
        return "running" if not folder.exists() else "running again (it was interrupted)"
    old = read_json(path)
    if not isinstance(old, dict) or "code" not in old:
        return "running again (it was made by an older version)"
    _require_sections(path, old)
    for part in ("config", "inputs"):
        before, now = old[part], key[part]
        changed = sorted(k for k in {*before, *now} if before.get(k) != now.get(k))
        if changed:
            return f"running again, because {part} changed: {', '.join(changed)}"
    if old.get("seed") != key["seed"]:
        return f"running again, because the seed changed: {old.get('seed')} to {key['seed']}"
    changed = changed_code(old["code"], key["code"])
    if changed:
        more = f" and {len(changed) - 3} more" if len(changed) > 3 else ""
        return f"running again, because code changed: {', '.join(changed[:3])}{more}"
    return None


def load_done(stage: Stage[R], folder: Path) -> Done[R]:
    """A finished stage, its files verified against the recorded hashes.

    Raises:
        ArtifactError: if it is missing, unfinished, corrupt or was changed by hand.
    """
    provenance = verify(folder)
    digest = value_hash(provenance["outputs"])
    return Done(stage, folder, digest, float(provenance.get("seconds", 0.0)), True)


def load_result(run: Path, name: str, kind: type[R], *, tensors: bool = True) -> R:
    """The result of a finished stage of a run folder, verified against the recorded hashes.

    Raises:
        ArtifactError: if it is missing, unfinished, corrupt or was changed by hand.
    """
    verify(run / name)
    return read_result(run / name, kind, tensors=tensors)


def verify(folder: Path) -> dict[str, Any]:
    """The provenance of a finished stage, once its files are found to be those it names."""
    provenance = read_json(folder / PROVENANCE)
    _require_sections(folder / PROVENANCE, provenance)
    outputs = provenance["outputs"]
    for name in (TENSORS, RESULT):
        if name not in outputs:
            raise corrupt(folder / PROVENANCE, f"it holds no hash of {name}")
        if not (folder / name).exists():
            raise corrupt(folder / name, "missing")
        if file_hash(folder / name) != outputs[name]:
            raise corrupt(folder / name, "its hash is not the one recorded")
    return provenance


def _require_sections(path: Path, found: Any) -> None:
    if not isinstance(found, dict) or not all(isinstance(found.get(s), dict) for s in _SECTIONS):
        raise corrupt(path, f"it has not the sections {', '.join(_SECTIONS)}")
