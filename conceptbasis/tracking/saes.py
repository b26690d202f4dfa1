"""Logging the SAE training of one model, wherever it happens: by itself or inside a transfer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from conceptbasis.config.model import ModelConfig
from conceptbasis.config.run import TrackingSection
from conceptbasis.results.summary import SideSummary
from conceptbasis.tracking.log import Histograms, Tracker
from conceptbasis.tracking.once import (
    check_log_folder,
    is_logged,
    remember_logged,
    tracked_as,
)

OpenSaeLog = Callable[[ModelConfig], "SaeLog"]
"""Gives the log of a model's SAEs before it is known whether any are trained."""


class SaeLog:
    """The wandb run of one model's SAEs as a context manager; it begins with the first figures.

    SAEs that are reused give no figures while they are loaded, and so leave no run.

    Args:
        section: The configuration of tracking.
        folder: wandb's files go to `wandb/` below it.
        model: The model whose SAEs these are.
        mode: The flag of the command line.
        reused: Whether SAEs that are reused leave a run too, where they were not logged before.
        group: Runs that they belong to, unless the section names a group; the model's name when
            None.
        alone: Whether the process logs no other run, so that a sweep means this one.

    Raises:
        ArtifactError: if reused ones are to be logged and the folder cannot be written.
    """

    def __init__(
        self,
        section: TrackingSection,
        folder: Path,
        model: ModelConfig,
        *,
        mode: str | None,
        reused: bool = False,
        group: str | None = None,
        alone: bool = True,
    ) -> None:
        self._tracker = Tracker(
            section,
            folder,
            mode=mode,
            name=model.name,
            group=group or model.name,
            job_type="train_sae",
            alone=alone,
        )
        self._model = model
        self._begun = False
        self._reused = reused and self._tracker.mode != "off"
        if self._reused:
            check_log_folder(folder)

    def __enter__(self) -> SaeLog:
        return self

    def __exit__(self, kind: type[BaseException] | None, *details: object) -> None:
        if self._begun:
            self._tracker.__exit__(kind, *details)

    @property
    def where(self) -> str | None:
        """Where the run is logged, once it has ended."""
        return self._tracker.where

    def begin(self) -> None:
        """Starts the run, if it has not begun."""
        if not self._begun:
            self._begun = True
            self._tracker.__enter__()
            self._tracker.log_config({"model": self._model.model_dump(mode="json")})

    def log_step(self, step: int, metrics: Mapping[str, float]) -> None:
        """Logs figures of all layers at a training step."""
        self.begin()
        self._tracker.log_sae_training(step, metrics)

    def log_outcome(self, described: SideSummary, histograms: Histograms) -> None:
        """Logs what came of a training that was logged, or SAEs that were reused."""
        tracker, name = self._tracker, f"saes-{self._model.name}"
        key = tracked_as(described.saes.hash, tracker.section, tracker.mode)
        if self._reused and not is_logged(tracker.folder, key, name):
            self.begin()
        if not self._begun:
            return
        tracker.log_sae_quality(described.saes.quality, histograms)
        tracker.log_saes(described, made_here=True)
        if tracker.active:
            remember_logged(tracker.folder, key, name)
