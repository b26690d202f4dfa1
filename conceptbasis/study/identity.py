"""What a side was when it was last opened, so that a finished run need not open it again.

A record holds hashes and a list of the files behind them with sizes and times. It counts only while
every file is as it was; models of the hub without a folder of their own have no record.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from conceptbasis.config.model import ModelConfig
from conceptbasis.errors import ArtifactError
from conceptbasis.organisms.build import is_complete, organism_folder
from conceptbasis.organisms.spec import parse_spec
from conceptbasis.runs.files import cache_folder, read_json, value_hash, write_json
from conceptbasis.runs.storage import from_json, to_json
from conceptbasis.study.study import Side

Stamp = tuple[str, int, int]
"""Path, bytes, and time of the last change in nanoseconds."""


@dataclass(frozen=True)
class Identity:
    """A side that was opened.

    Args:
        model_hash: Hash of its model.
        saes_hash: Hash over its SAEs.
        layers: Layers with SAEs.
        files: The files of model and SAEs.
    """

    model_hash: str
    saes_hash: str
    layers: tuple[int, ...]
    files: tuple[Stamp, ...]


def remember(side: Side, texts_hash: str) -> None:
    """Keeps the identity of an opened side, where its files can be named."""
    folder = local_folder(side.config)
    saes = side.saes.folder
    if folder is None or saes is None:
        return
    stamps = (*_stamps(folder), *_stamps(saes))
    found = Identity(side.model_hash, side.saes_hash, side.layers, stamps)
    write_json(_path(side.config, texts_hash), to_json(found))


def recall(config: ModelConfig, texts_hash: str, open_side: Callable[[], Side]) -> Side | None:
    """A side that opens only when it is needed; None where its identity is not known.

    Args:
        config: One `sae_configs/NAME.yaml`.
        texts_hash: Hash of the texts that SAEs are trained on.
        open_side: Opens model and SAEs.
    """
    path = _path(config, texts_hash)
    if not path.exists():
        return None
    try:
        known = from_json(Identity, read_json(path), path)
    except ArtifactError:
        return None  # of another version: the side is opened and the record written anew
    if not known.files or any(_stamp(Path(stamp[0])) != stamp for stamp in known.files):
        return None
    opened: list[Side] = []

    def side() -> Side:
        if not opened:
            opened.append(open_side())
        return opened[0]

    return Side(
        config,
        known.model_hash,
        known.saes_hash,
        known.layers,
        lambda: side().loaded,
        lambda: side().saes,
    )


def local_folder(config: ModelConfig) -> Path | None:
    """The folder of a model on this machine, None where it has none."""
    if config.adapter is not None:
        return None
    if config.model.startswith(("~", "/", ".")):
        return Path(config.model).expanduser().resolve()
    spec = parse_spec(config.model)
    if spec is None:
        return None
    folder = organism_folder(spec)
    return folder if is_complete(folder) else None


def _path(config: ModelConfig, texts_hash: str) -> Path:
    key: list[Any] = [config.model_dump(mode="json"), texts_hash]
    return cache_folder() / "identities" / f"{value_hash(key)[:24]}.json"


def _stamps(folder: Path) -> list[Stamp]:
    files = sorted(p for p in folder.rglob("*") if p.is_file() and not p.name.startswith("."))
    return [stamp for file in files if (stamp := _stamp(file)) is not None]


def _stamp(path: Path) -> Stamp | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return (str(path), found.st_size, found.st_mtime_ns)
