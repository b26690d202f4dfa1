"""Logging commands that measure one thing: `audit`, `capability`, `limits`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from conceptbasis.cli.stopping import exit_code_of

if TYPE_CHECKING:
    from conceptbasis.config.run import TrackingSection
    from conceptbasis.tracking.log import Tracker


class SmallLog:
    """The wandb run of a command as a context manager; it starts before the work.

    Args:
        section: The configuration of tracking.
        folder: wandb's files go to `wandb/` below it.
        job_type: The command.
        options: The command line; `--wandb` and `--quiet` count.
        name: Name of the run.
        group: Runs that it belongs to, unless the section names a group.

    Raises:
        ConfigError: if the mode cannot be, before any work.
    """

    def __init__(
        self,
        section: TrackingSection,
        folder: Path,
        job_type: str,
        options: argparse.Namespace,
        *,
        name: str,
        group: str,
    ) -> None:
        from conceptbasis.tracking.log import Tracker

        self.quiet = options.quiet
        self.tracker = Tracker(
            section, folder, mode=options.wandb, name=name, group=group, job_type=job_type
        )

    def __enter__(self) -> Tracker:
        from conceptbasis.runs.files import versions
        from conceptbasis.tracking.checkout import code_version

        self.tracker.__enter__()
        self.tracker.log_config({"code": code_version(), "versions": versions()})
        return self.tracker

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, *details: object
    ) -> None:
        tracker = self.tracker
        if error is not None:
            tracker.end_with(exit_code_of(error))
            tracker.log_summary({"error": type(error).__name__})
        tracker.__exit__(kind, error, *details)
        if tracker.where and not self.quiet:
            print(tracker.where, file=sys.stderr)
