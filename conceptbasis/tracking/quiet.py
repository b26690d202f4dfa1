"""How wandb is kept quiet: where its files go, and what it may record."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def folders_of_wandb(folder: Path) -> Iterator[None]:
    """Keeps what wandb stages and caches in the run folder, unless the user chose another place."""
    chosen = {
        name: str(folder)
        for name in ("WANDB_DATA_DIR", "WANDB_CACHE_DIR")
        if name not in os.environ
    }
    os.environ.update(chosen)
    try:
        yield
    finally:
        for name in chosen:
            os.environ.pop(name, None)


_FLUSH_SECONDS = 0.2
_FLUSH = "x_transaction_log_flush_interval"
"""wandb writes what was logged to its file every 15 s: a run that is killed before loses it."""


def quiet_settings() -> Any:
    """Settings under which wandb records what is logged, and nothing of machine, code or shell.

    Records reach the file at once, so that a run that is killed keeps what it logged.
    """
    import wandb

    known = getattr(wandb.Settings, "model_fields", {})
    at_once: dict[str, Any] = {_FLUSH: _FLUSH_SECONDS} if _FLUSH in known else {}
    return wandb.Settings(
        **at_once,
        console="off",
        host="",
        username="",
        email="",
        silent=True,
        save_code=False,
        disable_code=True,
        disable_git=True,
        disable_job_creation=True,
        symlink=False,
        init_timeout=30,
        finish_timeout=120,
        x_disable_meta=True,
        x_disable_stats=True,
        x_disable_machine_info=True,
        x_save_requirements=False,
    )
