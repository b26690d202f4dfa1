"""The life of a wandb run: it starts, goes on or fails, and none of that costs a result."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeVar

from conceptbasis.config.run import TrackingSection
from conceptbasis.evaluation.metrics import Scalar
from conceptbasis.tracking.mode import resolve_mode, tags_of_environment, with_environment
from conceptbasis.tracking.offline import sync_command
from conceptbasis.tracking.own_run import OwnRun, variables_of_one_run
from conceptbasis.tracking.patience import call_within, is_of_service, leave_service
from conceptbasis.tracking.quiet import folders_of_wandb, quiet_settings

_S = TypeVar("_S", bound="LoggedRun")

AXES = {
    "layers/*": "layer",
    "lengths/*": "answer_tokens",
    "curve/*": "first_token_kl",
    "strengths/*": "strength",
    "sweep/*": "standard_deviations",
    "layer_*": "sae/step",
    "throughput/*": "sae/step",
}
"""What series are drawn over."""


class LoggedRun:
    """A wandb run as a context manager; inert when tracking is off or after wandb has failed.

    Args:
        section: The configuration of tracking; `WANDB_PROJECT`, `WANDB_ENTITY`,
            `WANDB_RUN_GROUP`, `WANDB_TAGS` and `WANDB_NOTES` fill what it leaves open.
        folder: The run's folder; wandb's files go to `wandb/` below it.
        mode: The flag of the command line; it goes before environment and section.
        name: Name of the run; the folder's name when None.
        group: Runs that belong together, unless the section names a group.
        tags: Tags of the run.
        job_type: Kind of run.
        own: The run that is meant, where it may go on later; a new one when None.
        alone: Whether the process logs no other run, so that `WANDB_RUN_ID` and a sweep mean this.
    """

    def __init__(
        self,
        section: TrackingSection,
        folder: Path,
        *,
        mode: str | None = None,
        name: str | None = None,
        group: str | None = None,
        tags: Sequence[str] = (),
        job_type: str = "transfer",
        own: OwnRun | None = None,
        alone: bool = True,
    ) -> None:
        self.section = section = with_environment(section)
        self.folder = folder
        self.mode = resolve_mode(mode, section.mode)
        self.name = name or folder.resolve().name
        self.group = section.group or group
        self.tags = tuple(dict.fromkeys([*tags, *tags_of_environment()]))
        self.job_type = job_type
        self._own, self._alone = own, alone
        self._run: Any = None
        self._open: Any = None
        self._failed = False
        self._stack = ExitStack()
        self._exit_code: int | None = None
        self.started = False
        self.where: str | None = None  # said once the run has ended

    @property
    def active(self) -> bool:
        """Whether figures are being logged."""
        return self._run is not None

    @property
    def step(self) -> int:
        """The next step of the history."""
        return int(self._run.step) if self._run is not None else 0

    @property
    def address(self) -> str | None:
        """Where an online run is seen."""
        return None if self._run is None or self.mode != "online" else self._run.url

    def end_with(self, exit_code: int) -> None:
        """Sets the exit code with which the run will end; an exception alone makes it 1."""
        self._exit_code = exit_code

    def __enter__(self: _S) -> _S:
        if self.mode != "off":
            self._stack.enter_context(folders_of_wandb(self.folder / "wandb"))
            self.attempt("start", self._start)
        return self

    def __exit__(self, kind: type[BaseException] | None, *details: object) -> None:
        code, address = self._exit_code, self.address
        code = int(kind is not None) if code is None else code
        with self._stack:
            if self._open is not None:
                self.attempt("finish", lambda: self._open.finish(exit_code=code))
            self._run = self._open = None
        self.where = say_where(self.folder, address) if self.started else None

    def attempt(self, what: str, action: Callable[[], None]) -> None:
        """The one place where a failure of wandb is caught: logging must not cost a result.

        Args:
            what: Names the action in the message.
            action: It; a service that hangs is waited for only so long.
        """
        try:
            call_within(what, action)
        except Exception as error:
            self._run = None
            if is_of_service(error):
                self._open = None
                leave_service()
            if not self._failed:
                self._failed = True
                print(
                    f"wandb failed ({what}: {type(error).__name__}: {error}); "
                    "nothing more is logged there, the run goes on and its files are complete",
                    file=sys.stderr,
                )

    def _log(self, what: str, action: Callable[[Any], None]) -> None:
        if self._run is not None:
            self.attempt(what, lambda: action(self._run))

    def _start(self) -> None:
        import wandb

        (self.folder / "wandb").mkdir(parents=True, exist_ok=True)
        own = self._own
        with variables_of_one_run(meant=self._alone):
            self._run = self._open = wandb.init(
                mode="online" if self.mode == "online" else "offline",
                project=self.section.project,
                entity=self.section.entity,
                group=self.group,
                name=self.name,
                tags=list(self.tags),
                notes=os.environ.get("WANDB_NOTES"),
                job_type=self.job_type,
                dir=str(self.folder),
                reinit="create_new",
                settings=quiet_settings(),
                id=None if own is None else own.id,
                resume=None if own is None else "allow",
            )
        self.started = True
        for axis in ("resumed", *dict.fromkeys(AXES.values())):
            self._run.define_metric(axis, hidden=True)
        for series, axis in AXES.items():
            self._run.define_metric(series, step_metric=axis)
        if own is not None and own.resumed and self.mode == "offline":
            # Nobody tells an offline run how far it had come.
            self._run.log({"resumed": 1}, step=own.step + 1, commit=True)

    def add_tags(self, tags: Sequence[str]) -> None:
        """Adds tags that were not known when the run started."""

        def add(run: Any) -> None:
            run.tags = tuple(dict.fromkeys([*(run.tags or ()), *tags]))

        self._log("tags", add)

    def log_summary(self, figures: Mapping[str, Scalar]) -> None:
        """Logs figures of the run as a whole; a later one takes the place of an earlier one."""
        self._log("summary", lambda run: run.summary.update(dict(figures)))

    def log_row(self, row: Mapping[str, float]) -> None:
        """Logs one row of the history."""
        self._log("history", lambda run: run.log(dict(row)))


def say_where(folder: Path, address: str | None) -> str | None:
    """One line about where a run is logged, and how it is uploaded; None where it is not.

    Args:
        folder: What it is the log of.
        address: Of an online run.
    """
    if address is not None:
        return f"wandb: {address}"
    command = sync_command(folder)
    return command and f"wandb: logged offline in {folder / 'wandb'}; upload: {command}"
