"""What `doctor` says: versions, devices, room, caches, and what is missing."""

from __future__ import annotations

import os
import platform
import re
import shutil
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from conceptbasis.runs.files import cache_folder
from conceptbasis.tracking.mode import key_is_configured

PYTHON = (3, 11)


def examine() -> dict[str, Any]:
    """Facts about this installation, and problems with what to do about each."""
    packages, problems = _packages()
    if tuple(map(int, platform.python_version_tuple()[:2])) < PYTHON:
        problems.append("Python is too old: install 3.11 or newer and make a new environment")
    cache = cache_folder()
    free = shutil.disk_usage(next(p for p in (cache, *cache.parents) if p.exists())).free
    if free < 2e9:
        problems.append(
            f"less than 2 GB are free beside {cache}: free some, or set CONCEPTBASIS_CACHE"
        )
    return {
        "python": platform.python_version(),
        "packages": packages,
        "machine": {
            "cores": os.cpu_count(),
            "memory_gb": _memory(),
            "devices": _devices(),
            "free_gb": round(free / 1e9, 1),
        },
        "cache": {"folder": str(cache), **_sizes(cache)},
        "wandb": "a key is configured"
        if key_is_configured()
        else "no key: runs are logged offline",
        "problems": problems,
    }


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


def _devices() -> list[str]:
    import torch

    names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return ["cpu", *(f"cuda:{i} ({name})" for i, name in enumerate(names))]


def _sizes(cache: Path) -> dict[str, dict[str, Any]]:
    return {kind: _folders(cache / kind) for kind in ("organisms", "saes")}


def _folders(root: Path) -> dict[str, Any]:
    folders = [path for path in root.glob("*") if path.is_dir()] if root.is_dir() else []
    return {"entries": len(folders), "mb": round(_bytes(folders) / 1e6, 1)}


def _bytes(folders: Iterable[Path]) -> int:
    files = (path for folder in folders for path in folder.rglob("*") if path.is_file())
    return sum(path.stat().st_size for path in files)


def doctor_view(facts: dict[str, Any]) -> RenderableType:
    """The facts as a table, problems last."""
    table = Table(box=SIMPLE_HEAD, show_header=False, padding=(0, 1, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    machine, cache = facts["machine"], facts["cache"]
    rows = {
        "python": facts["python"],
        "packages": ", ".join(f"{name} {version}" for name, version in facts["packages"].items()),
        "devices": ", ".join(machine["devices"]),
        "machine": f"{machine['cores']} cores, {machine['memory_gb']} GB memory, "
        f"{machine['free_gb']} GB free for the cache",
        "cache": cache["folder"],
        "organisms": f"{cache['organisms']['entries']} built, {cache['organisms']['mb']} MB",
        "SAEs": f"{cache['saes']['entries']} sets, {cache['saes']['mb']} MB",
        "wandb": facts["wandb"],
    }
    for name, value in rows.items():
        table.add_row(name, Text(value))
    problems = [Text(f"missing: {problem}", style="yellow") for problem in facts["problems"]]
    return Group(table, *(problems or [Text("nothing is missing", style="green")]))
