"""Other faults: clocks, two runs at once, judges, broken models, memory, and wandb."""

from __future__ import annotations

import os
import resource
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import yaml

from benchmarks.faults.run import Subject
from benchmarks.faults.table import Try

_YEAR = 365 * 24 * 3600


def clocks(subject: Subject) -> Iterator[Try]:
    """Files that come from the future, and a clock that was set back in the middle of a run."""
    middle = subject.stages[len(subject.stages) // 2]
    out = subject.without(middle, subject.work / "clock")
    for path in out.rglob("*"):
        os.utime(path, (time.time() + _YEAR,) * 2)
    yield _plain(subject, out, "files a year in the future")
    out = subject.without(middle, subject.work / "clock")
    yield _plain(subject, out, "clock set back by a year", before=_set_back)


def _set_back() -> None:
    now = time.time
    time.time = lambda: now() - _YEAR


def two_at_once(subject: Subject) -> Iterator[Try]:
    """A second run in the folder of one that is at work."""
    out = subject.work / "shared"
    running = subject.start(out)
    running.reach(subject.stages[2])
    log = running.log.rename(running.log.with_suffix(".first"))
    running.log = log
    second = subject.start(out)
    code, said = second.wait(), second.said()
    lost = [] if running.wait() == 0 else [f"the first run: {running.said()}"]
    lost += subject.finish(out)
    shutil.rmtree(out)
    yield Try("two runs in one folder", said.replace(f"{out}", "FOLDER"), code, tuple(lost))


def memory(subject: Subject, megabytes: Sequence[int] = (20, 100, 300)) -> Iterator[Try]:
    """Little more memory than the libraries take; without the limit the run then goes on."""
    for more in megabytes:
        out = subject.work / "little"

        def limit(more: int = more) -> None:
            pages = int(Path("/proc/self/statm").read_text().split()[0])
            allowed = pages * os.sysconf("SC_PAGE_SIZE") + more * 2**20
            resource.setrlimit(resource.RLIMIT_AS, (allowed, allowed))

        yield _plain(subject, out, "memory limit (`ulimit -v`)", before=limit)


def broken_models(subject: Subject) -> Iterator[Try]:
    """A layer of NaN in each model; a judge that is missing, broken, or talks nonsense."""
    settings = yaml.safe_load((subject.reference / "config.yaml").read_text())
    for side in ("donor", "target"):
        broken = _with_nan(Path(settings[side]["model"]), subject.work / f"nan-{side}")
        model = {**settings[side], "model": str(broken)}
        other = _subject_of(subject, {**settings, side: model}, f"nan-{side}")
        yield _plain(
            other, subject.work / "broken", f"NaN in one layer of the {side}", repair=False
        )
    sane = settings["target"]["model"]
    for name, model in (
        ("judge missing", str(subject.work / "nowhere")),
        ("judge with NaN weights", str(_with_nan(Path(sane), subject.work / "nan-judge"))),
        ("judge that talks nonsense", sane),
    ):
        judge = {"model": model, "kind": "guard", "template": "{answer}"}
        judge |= {"positive": ["UNSAFE"], "negative": ["SAFE"], "max_new_tokens": 4}
        run = {**settings["run"], "evaluate": {**settings["run"]["evaluate"], "judge": judge}}
        other = _subject_of(subject, {**settings, "run": run}, name.replace(" ", "-"))
        yield _judged(subject, other, name)


def _judged(subject: Subject, other: Subject, name: str) -> Try:
    """A run with another judge: nothing that comes before the judging may differ."""
    out = subject.without("evaluate", subject.work / "judged")
    running = other.start(out)
    code = running.wait()
    before = subject.stages[: subject.stages.index("evaluate")]
    unlike = [d for d in _unlike(subject, out) if d.split("/")[0] in before]
    shutil.rmtree(out)
    return Try(name, running.said().replace(str(subject.work), "…"), code, tuple(unlike))


def _unlike(subject: Subject, out: Path) -> list[str]:
    from benchmarks.faults.run import differences

    return differences(subject.reference, out)


def _subject_of(subject: Subject, settings: dict, name: str) -> Subject:
    """The same run with other settings."""
    words = ["transfer", "--config"]
    for part in ("run", "donor", "target"):
        path = subject.work / f"{name}-{part}.yaml"
        path.write_text(yaml.safe_dump(settings[part]))
        words.append(str(path))
    return Subject(words, subject.work, subject.durations)


def _with_nan(folder: Path, copy: Path) -> Path:
    from safetensors.torch import load_file, save_file

    shutil.copytree(folder, copy)
    tensors = load_file(copy / "model.safetensors")
    name = next(n for n in tensors if ".1." in n and n.endswith("q_proj.weight"))
    tensors[name][:] = float("nan")
    save_file(tensors, copy / "model.safetensors", metadata={"format": "pt"})
    return copy


def _plain(
    subject: Subject,
    out: Path,
    fault: str,
    *,
    before: Callable[[], None] = lambda: None,
    repair: bool = True,
) -> Try:
    running = subject.start(out, before=before)
    code = running.wait()
    lost = subject.finish(out) if repair else []
    shutil.rmtree(out, ignore_errors=True)
    return Try(fault, running.said().replace(str(subject.work), "…"), code, tuple(lost))
