"""A transfer in wandb: it starts with the work, hears of every stage, and goes on after a stop."""

from __future__ import annotations

import sys
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from conceptbasis.cli.stopping import exit_code_of
from conceptbasis.runs.listening import Listener

if TYPE_CHECKING:
    from conceptbasis.config.model import ModelConfig
    from conceptbasis.config.run import RunConfig
    from conceptbasis.results.summary import Summary
    from conceptbasis.tracking.log import Tracker
    from conceptbasis.tracking.own_run import OwnRun
    from conceptbasis.tracking.so_far import SoFar

OPENING, FINISHED = "opening", "finished"
"""What stands in place of a stage before the first one and after the last one."""
_EVALUATE = "evaluate"


class TransferLog(Listener):
    """The wandb run of a transfer as a context manager.

    Args:
        folder: The run folder.
        configs: Donor, target and settings.
        mode: The flag of the command line.
        quiet: Whether nothing is said of where it is logged.

    Raises:
        ConfigError: if the mode cannot be, before any work.
    """

    def __init__(
        self,
        folder: Path,
        configs: tuple[ModelConfig, ModelConfig, RunConfig],
        mode: str | None,
        *,
        quiet: bool = False,
    ) -> None:
        from conceptbasis.tracking.mode import resolve_mode, with_environment

        self.folder, self.configs, self.flag, self.quiet = folder, configs, mode, quiet
        self.section = with_environment(configs[2].tracking)
        self.mode = resolve_mode(mode, self.section.mode)
        self._stage = OPENING
        self._tracker: Tracker | None = None
        self._own: OwnRun | None = None
        self._so_far: SoFar | None = None
        self._done = False

    @cached_property
    def group(self) -> str:
        """The group of a transfer and of the SAEs that are trained for it."""
        donor, target, _ = self.configs
        return self.section.group or f"{donor.name}-to-{target.name}"

    # What happens

    def on_settings(self, config: RunConfig) -> None:
        """Logs these settings, not those that were given."""
        self.configs = (*self.configs[:2], config)

    def on_begin(self, folder: Path) -> None:
        """Starts the run; one that is logged to its end waits for a stage that is computed."""
        from conceptbasis.tracking.own_run import read_own_run

        known = read_own_run(self.folder)
        if self.mode == "off":
            return
        if known is None or not known.finished or known.key != self._key:
            self._start()

    def on_stage(self, name: str, *, reused: bool) -> None:
        """Logs which stage is at work."""
        self._stage = name
        if not reused and self._tracker is None and self.mode != "off":
            self._start()
        if self._tracker is None or self._own is None or not self._tracker.active:
            return
        if not reused:  # what an earlier process has logged of it is no more
            left = tuple(stage for stage in self._own.stages if stage != name)
            self._own = replace(self._own, stages=left)
        self._tracker.log_summary({"stage": name})
        if name == _EVALUATE and not reused:
            self._tracker.attempt("conditions", self._watch_conditions)

    def on_done(self, name: str, seconds: float) -> None:
        """Logs what a stage has left, unless an earlier process did."""
        tracker = self._tracker
        if tracker is not None and tracker.active:
            tracker.attempt(f"stage {name}", lambda: self._log_stage(tracker, name, seconds))

    def on_progress(self, label: str, done: int, of: int) -> None:
        """Logs conditions as they are measured."""
        tracker = self._tracker
        if tracker is None or not tracker.active or self._so_far is None or label != _EVALUATE:
            return
        tracker.attempt("conditions", lambda: self._log_conditions(done, of))

    def finish(self, report: Path) -> None:
        """Logs the outcome; a run that is logged as it is needs no second one.

        Args:
            report: The report of the run.
        """
        from conceptbasis.runs.files import file_hash
        from conceptbasis.runs.summary import SUMMARY, read_summary
        from conceptbasis.tracking.once import is_logged, remember_logged, tracked_as

        known = tracked_as(file_hash(self.folder / SUMMARY), self.section, self.mode)
        if self.mode == "off" or (self._tracker is None and is_logged(self.folder, known)):
            return
        tracker = self._tracker or self._start()
        self._log_outcome(tracker, read_summary(self.folder), report)
        self._done = True
        if tracker.active:
            self._keep(finished=True)
            remember_logged(self.folder, known)

    # The run

    def __enter__(self) -> TransferLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, *details: object
    ) -> None:
        tracker = self._tracker
        if tracker is None:
            return
        if self._done:
            tracker.end_with(0)  # a transfer that its forecast rejects is a result too
        elif error is not None:
            tracker.end_with(exit_code_of(error))
            if tracker.active:
                tracker.log_summary({"stage": self._stage, "error": self._describe(error)})
                self._keep()
        tracker.__exit__(kind, error, *details)
        if tracker.where and not self.quiet:
            print(tracker.where, file=sys.stderr)

    @cached_property
    def _key(self) -> str:
        """What makes a run another one: its settings, without those that change no result."""
        from conceptbasis.runs.files import value_hash
        from conceptbasis.runs.overwriting import what_results_depend_on
        from conceptbasis.tracking.once import tracked_as

        settings = what_results_depend_on(self._settings())
        return tracked_as(value_hash(settings), self.section, self.mode)

    def _settings(self) -> dict[str, Any]:
        names = ("donor", "target", "run")
        return {n: c.model_dump(mode="json") for n, c in zip(names, self.configs, strict=True)}

    def _start(self) -> Tracker:
        from conceptbasis.runs.files import versions
        from conceptbasis.tracking.checkout import code_version
        from conceptbasis.tracking.log import Tracker
        from conceptbasis.tracking.own_run import find_own_run

        self._own = own = find_own_run(self.folder, self._key)
        config = self.configs[2]
        tags = [config.budget, config.replay.mode]
        self._tracker = tracker = Tracker(
            self.section, self.folder, mode=self.flag, group=self.group, tags=tags, own=own
        )
        tracker.__enter__()
        facts = {"code": code_version(), "versions": versions(), "device": config.device}
        tracker.log_config({**self._settings(), **facts})
        state = {"error": None} if own.resumed else {}
        tracker.log_summary({"stage": self._stage, **state})
        self._keep()
        return tracker

    def _keep(self, *, stage: str | None = None, finished: bool = False) -> None:
        """Remembers how far the run is logged."""
        from conceptbasis.tracking.own_run import write_own_run

        tracker, own = self._tracker, self._own
        if tracker is None or own is None or not tracker.active:
            return
        stages = own.stages if stage is None else (*own.stages, stage)
        own = replace(own, step=max(own.step, tracker.step), stages=stages, finished=finished)
        self._own = own
        tracker.attempt("record", lambda: write_own_run(self.folder, own))

    def _describe(self, error: BaseException) -> str:
        """The error without the texts that are not logged; only its kind where they are unknown."""
        from conceptbasis.behaviors import find_behavior
        from conceptbasis.errors import ConceptBasisError
        from conceptbasis.study.opening import load_prompts
        from conceptbasis.tracking.redact import describe_error

        if not isinstance(error, Exception):
            return type(error).__name__
        config = self.configs[2]
        try:
            suite, sets = load_prompts(config), find_behavior(config.behavior).sets
        except (ConceptBasisError, OSError):
            return type(error).__name__
        positive = {sets.positive, sets.eval_positive}
        hidden = [p.text for name in positive for p in suite.prompts.get(name, ())]
        return describe_error(error, hidden)

    # What is logged

    def _log_stage(self, tracker: Tracker, name: str, seconds: float) -> None:
        from conceptbasis.behaviors import find_behavior
        from conceptbasis.report.artifacts import RunFolder
        from conceptbasis.report.logged import logged_tables
        from conceptbasis.report.logged_series import logged_series

        assert self._own is not None
        if name in self._own.stages:
            return
        run, behavior = RunFolder(self.folder), find_behavior(self.configs[2].behavior)
        tracker.log_summary({f"seconds/{name}": seconds})
        for axis, rows in logged_series(run, name, behavior):
            tracker.log_series(axis, rows)
        tracker.log_tables(logged_tables(run, name, behavior))
        self._keep(stage=name)

    def _watch_conditions(self) -> None:
        from conceptbasis.behaviors import find_behavior
        from conceptbasis.tracking.so_far import SoFar

        behavior = find_behavior(self.configs[2].behavior)
        self._so_far = SoFar(self.folder / _EVALUATE / "conditions", behavior)

    def _log_conditions(self, done: int, of: int) -> None:
        from conceptbasis.evaluation.metrics import value_of

        assert self._so_far is not None
        assert self._tracker is not None
        figures = {
            f"conditions/{name}/{key}": value_of(figure)
            for name, found in self._so_far.read_new().items()
            for key, figure in found.items()
        }
        self._tracker.log_summary(figures)
        self._tracker.log_row({"progress/measured": done, "progress/of": of})

    def _log_outcome(self, tracker: Tracker, summary: Summary, report: Path) -> None:
        from conceptbasis.evaluation.metrics import view_of
        from conceptbasis.report.artifacts import RunFolder
        from conceptbasis.report.logged import logged_images
        from conceptbasis.runs.storage import to_json

        for name, provenance in RunFolder(self.folder).provenance.items():
            self._log_stage(tracker, name, provenance.seconds)
        about = view_of(summary).about
        tracker.log_config({"about": to_json(about)})
        tracker.add_tags([about.route, about.verdict.word])
        for side in (summary.donor, summary.target):
            tracker.log_saes(side, made_here=False)
        tracker.log_figures(summary)
        tracker.log_summary({"stage": FINISHED})
        tracker.log_artifact(self.folder)
        tracker.log_report(report)
        if tracker.active:
            tracker.log_images(logged_images(self.folder))
