"""What `doctor` says: versions, devices, room, caches, and what is missing."""

from __future__ import annotations

import os
import platform
import re
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from rich.console import Group, RenderableType
from rich.text import Text

from conceptbasis.report.table import Table, columns, terminal
from conceptbasis.runs.files import cache_folder

PYTHON = (3, 11)


@dataclass(frozen=True)
class Machine:
    """What there is to compute with."""

    cores: int | None
    memory_gb: float
    devices: tuple[str, ...]
    free_gb: float


@dataclass(frozen=True)
class Cached:
    """Folders of one kind in the cache."""

    entries: int
    mb: float


@dataclass(frozen=True)
class Cache:
    """The cache: where it is, and what it holds."""

    folder: str
    organisms: Cached
    saes: Cached


@dataclass(frozen=True)
class Facts:
    """Facts about an installation, and problems with what to do about each."""

    python: str
    packages: Mapping[str, str]
    machine: Machine
    cache: Cache
    wandb: str
    problems: tuple[str, ...]


def examine(*, has_key: bool) -> Facts:
    """Looks at this installation.

    Args:
        has_key: Whether an API key of wandb is configured.
    """
    packages, problems = _packages()
    if tuple(map(int, platform.python_version_tuple()[:2])) < PYTHON:
        problems.append("Python is too old: install 3.11 or newer and make a new environment")
    cache = cache_folder()
    free = shutil.disk_usage(next(p for p in (cache, *cache.parents) if p.exists())).free
    if free < 2e9:
        problems.append(
            f"less than 2 GB are free beside {cache}: free some, or set CONCEPTBASIS_CACHE"
        )
    return Facts(
        platform.python_version(),
        packages,
        Machine(os.cpu_count(), _memory(), _devices(), round(free / 1e9, 1)),
        Cache(str(cache), _folders(cache / "organisms"), _folders(cache / "saes")),
        "a key is configured" if has_key else "no key: runs are logged offline",
        tuple(problems),
    )


def _packages() -> tuple[dict[str, str], list[str]]:
    """Versions of what conceptbasis needs, and what is missing or too old."""
    found, problems = {}, []
    for requirement in metadata.requires("conceptbasis") or []:
        match = re.fullmatch(r"([\w.-]+)>=([\d.]+)", requirement)
        if match is None:
            continue  # an extra of development
        name, least = match.groups()
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            problems.append(f"{name} is missing: pip install '{requirement}'")
            continue
        if _parts(found[name]) < _parts(least):
            problems.append(f"{name} {found[name]} is too old: pip install '{requirement}'")
    return found, problems


def _parts(version: str) -> list[int]:
    return [int(part) for part in re.findall(r"\d+", version)[:3]]


def _memory() -> float:
    return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1)


def _devices() -> tuple[str, ...]:
    import torch

    names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return ("cpu", *(f"cuda:{i} ({name})" for i, name in enumerate(names)))


def _folders(root: Path) -> Cached:
    folders = [path for path in root.glob("*") if path.is_dir()] if root.is_dir() else []
    return Cached(len(folders), round(_bytes(folders) / 1e6, 1))


def _bytes(folders: Iterable[Path]) -> int:
    files = (path for folder in folders for path in folder.rglob("*") if path.is_file())
    return sum(path.stat().st_size for path in files)


def doctor_view(facts: Facts) -> RenderableType:
    """The facts as a table, problems last."""
    machine, cache = facts.machine, facts.cache
    rows = {
        "python": facts.python,
        "packages": ", ".join(f"{name} {version}" for name, version in facts.packages.items()),
        "devices": ", ".join(machine.devices),
        "machine": f"{machine.cores} cores, {machine.memory_gb} GB memory, "
        f"{machine.free_gb} GB free for the cache",
        "cache": cache.folder,
        "organisms": f"{cache.organisms.entries} built, {cache.organisms.mb} MB",
        "SAEs": f"{cache.saes.entries} sets, {cache.saes.mb} MB",
        "wandb": facts.wandb,
    }
    table = terminal(facts_table(rows))
    problems = [Text(f"missing: {problem}", style="yellow") for problem in facts.problems]
    return Group(table, *(problems or [Text("nothing is missing", style="green")]))


def facts_table(rows: Mapping[str, str]) -> Table:
    """Names and facts, without a head."""
    return Table("", columns("", "", words=("",)), list(rows.items()))
