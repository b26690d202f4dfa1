"""Files of a finished run that are damaged: each is named, and what the error says mends it."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.faults.run import Subject
from benchmarks.faults.table import Try


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-2] ^= 1
    path.write_bytes(data)


def _nonsense(path: Path) -> None:
    path.write_text("[]")


def _empty(path: Path) -> None:
    path.write_bytes(b"")


_KINDS: dict[str, tuple[str, tuple[Callable[[Path], None], ...]]] = {
    "JSON of a stage": ("result.json", (_cut, _nonsense, _empty)),
    "tensors of a stage": ("tensors.safetensors", (_cut, _flip, _empty)),
    "provenance of a stage": ("provenance.json", (_cut, _nonsense, _empty)),
}


def stages(subject: Subject) -> Iterator[Try]:
    """Each kind of file of every stage folder, in turn cut, changed and emptied."""
    for round_ in range(len(_KINDS)):
        for number, stage in enumerate(subject.stages, round_):
            kind, (name, ways) = list(_KINDS.items())[number % len(_KINDS)]
            way = ways[number // len(_KINDS) % len(ways)]
            yield _tried(subject, kind, f"{stage}/{name}", way)


def others(subject: Subject) -> Iterator[Try]:
    """Residuals, conditions, and what stands beside the stages; what reads them runs again."""
    reference = subject.reference
    for path in sorted((reference / "harvest").glob("*_0*.safetensors")):
        name = str(path.relative_to(reference))
        for way in (_cut, _flip):
            yield _tried(subject, "residuals of a layer", name, way, again=("match", "align"))
    for path in sorted((reference / "evaluate/conditions").glob("*.json"))[::4]:
        name = str(path.relative_to(reference))
        for way in (_cut, _nonsense):
            yield _tried(subject, "a measured condition", name, way, again=("evaluate",))
    for name in ("config.yaml", "summary.json", "recipe.json", "recipe.safetensors"):
        for way in (_cut, _nonsense, _empty):
            yield _tried(subject, "files beside the stages", name, way)


def _tried(
    subject: Subject,
    kind: str,
    name: str,
    way: Callable[[Path], None],
    *,
    again: tuple[str, ...] = (),
) -> Try:
    out = shutil.copytree(subject.reference, subject.work / "damaged")
    way(out / name)
    for stage in again:
        (out / stage / "provenance.json").unlink()
    running = subject.start(out)
    code, said = running.wait(), running.said()
    if code:
        _follow(running.log.read_text(), out)
    lost = subject.finish(out)
    shutil.rmtree(out)
    return Try(f"{kind} damaged", _without_places(said, out), code, tuple(lost))


def _follow(said: str, out: Path) -> None:
    """Does what the error says, as far as a program can."""
    found = re.search(r"delete the (?:folder|file) (\S+)", said)
    if found and out in Path(found[1]).parents:
        place = Path(found[1])
        shutil.rmtree(place) if place.is_dir() else place.unlink()


def _without_places(said: str, out: Path) -> str:
    """The line with the name of the stage left out, so that equal ones count as one."""
    return re.sub(r"\w+/(\w+\.\w+)", r"STAGE/\1", said.replace(f"{out}/", "")).split(" (")[0]
