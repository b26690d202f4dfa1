"""Reads the file that an offline run of wandb leaves, through wandb's own record format."""

from __future__ import annotations

import json
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any


def iter_records(file: Path) -> Iterator[Any]:
    """Records of a .wandb file: a LevelDB log of protobuf messages behind a 7-byte header."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, block, position, partial = file.read_bytes(), 32768, 7, b""
    while position + 7 <= len(data):
        left = block - position % block
        if left < 7:
            position += left
            continue
        _, length, kind = struct.unpack("<IHB", data[position : position + 7])
        if kind == 0 or position + 7 + length > len(data):
            return  # the service is still writing this record
        partial += data[position + 7 : position + 7 + length]
        position += 7 + length
        if kind in (1, 4):  # a full record, or the last piece of one
            record = Record()
            record.ParseFromString(partial)
            partial = b""
            yield record


def finished_records(file: Path) -> list[Any]:
    """All records, once the service has closed the file, shortly after the run has finished."""
    for _ in range(200):
        found = list(iter_records(file))
        if found and any(record.HasField("exit") for record in found[-3:]):
            return found
        time.sleep(0.05)
    raise AssertionError("the offline run was never completed")


def name_of(item: Any) -> str:
    """The key of an item of history, summary or configuration."""
    return item.key or "/".join(item.nested_key)


def values_of(items: Any) -> dict[str, Any]:
    """Items by name."""
    return {name_of(item): json.loads(item.value_json) for item in items}


@dataclass(frozen=True)
class OfflineRun:
    """What a run logged."""

    name: str
    group: str
    job_type: str
    config: dict[str, Any]
    history: list[dict[str, Any]]
    summary: dict[str, Any]
    exit_code: int
    id: str = ""
    tags: tuple[str, ...] = ()
    notes: str = ""
    project: str = ""
    entity: str = ""
    sweep: str = ""


def read_offline_run(file: Path) -> OfflineRun:
    """The whole run of a .wandb file."""
    records = finished_records(file)
    runs = [record.run for record in records if record.HasField("run")]
    run, last = runs[0], runs[-1]
    config: dict[str, Any] = {}
    summary: dict[str, Any] = {}
    for record in records:
        config |= values_of([*record.run.config.update, *record.config.update])
        summary |= values_of(record.summary.update)
    history = [values_of(r.history.item) for r in records if r.HasField("history")]
    (code,) = [record.exit.exit_code for record in records if record.HasField("exit")]
    return OfflineRun(
        run.display_name,
        run.run_group,
        run.job_type,
        config,
        history,
        summary,
        code,
        id=run.run_id,
        tags=tuple(last.tags),
        notes=run.notes,
        project=run.project,
        entity=run.entity,
        sweep=run.sweep_id,
    )
