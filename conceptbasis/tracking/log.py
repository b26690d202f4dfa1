"""Logging to wandb: no harmful text, no key, and no result lost to a failure.

The names of figures, tables, groups, tags and artifacts are those of docs/wandb.md.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from conceptbasis.config.run import TrackingSection
from conceptbasis.evaluation.metrics import TABLE_COLUMNS, condition_rows, flat_figures
from conceptbasis.runs.files import read_json
from conceptbasis.tracking.mode import resolve_mode
from conceptbasis.tracking.tables import Results, layer_series, log_tables, sae_manifest


class Tracker:
    """A wandb run as a context manager; inert when tracking is off or after wandb has failed.

    Args:
        section: The configuration of tracking.
        folder: The run's folder; wandb's files go to `wandb/` below it.
        mode: The flag of the command line; it goes before environment and section.
        name: Name of the run; the folder's name when None.
        group: Runs that belong together, unless the section names a group.
        tags: Tags of the run.
        job_type: Kind of run.
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
    ) -> None:
        self.section = section
        self.folder = folder
        self.mode = resolve_mode(mode, section.mode)
        self.name = name or folder.resolve().name
        self.group = section.group or group
        self.tags = tuple(tags)
        self.job_type = job_type
        self._run: Any = None
        self._open: Any = None
        self._failed = False
        self._stack = ExitStack()

    @property
    def active(self) -> bool:
        """Whether figures are being logged."""
        return self._run is not None

    def __enter__(self) -> Tracker:
        if self.mode != "off":
            self._stack.enter_context(_folders_of_wandb(self.folder / "wandb"))
            self._attempt("start", self._start)
        return self

    def __exit__(self, kind: type[BaseException] | None, *details: object) -> None:
        with self._stack:
            if self._open is not None:
                self._attempt("finish", lambda: self._open.finish(exit_code=int(kind is not None)))
            self._run = self._open = None

    def _attempt(self, what: str, action: Callable[[], None]) -> None:
        """The one place where a failure of wandb is caught: logging must not cost a result."""
        try:
            action()
        except Exception as error:
            self._run = None
            if not self._failed:
                self._failed = True
                print(
                    f"wandb failed ({what}: {type(error).__name__}: {error}); "
                    "nothing more is logged there, the run goes on and its files are complete",
                    file=sys.stderr,
                )

    def _log(self, what: str, action: Callable[[Any], None]) -> None:
        if self._run is not None:
            self._attempt(what, lambda: action(self._run))

    def _start(self) -> None:
        import wandb

        (self.folder / "wandb").mkdir(parents=True, exist_ok=True)
        self._run = self._open = wandb.init(
            mode="online" if self.mode == "online" else "offline",
            project=self.section.project,
            entity=self.section.entity,
            group=self.group,
            name=self.name,
            tags=list(self.tags),
            job_type=self.job_type,
            dir=str(self.folder),
            reinit="create_new",
            settings=_quiet_settings(),
        )
        self._run.define_metric("layer", hidden=True)
        self._run.define_metric("layers/*", step_metric="layer")
        self._run.define_metric("sae/step", hidden=True)
        self._run.define_metric("layer_*", step_metric="sae/step")
        self._run.define_metric("throughput/*", step_metric="sae/step")

    def log_config(self, config: Mapping[str, Any]) -> None:
        """Logs the resolved configuration; of absolute paths, the last part."""
        shown = _without_folders(config)
        self._log("config", lambda run: run.config.update(shown, allow_val_change=True))

    def log_layers(self, results: Results) -> None:
        """Logs the figures of `result.json` by stage as series with `layer` as their axis."""
        series = layer_series(results)

        def log(run: Any) -> None:
            for layer in sorted(series):
                run.log({"layer": layer, **series[layer]})

        self._log("layers", log)

    def log_tables(self, results: Results) -> None:
        """Logs similarity of layers, matches, recipe, guard and redacted examples as tables."""

        def log(run: Any) -> None:
            import wandb

            tables = log_tables(results).items()
            run.log({n: wandb.Table(columns=list(t.columns), data=t.rows) for n, t in tables})

        self._log("tables", log)

    def log_conditions(self, summary: Mapping[str, Any]) -> None:
        """Logs all conditions as a table and as flat figures of the run."""

        def log(run: Any) -> None:
            import wandb

            table = wandb.Table(columns=list(TABLE_COLUMNS), data=condition_rows(summary))
            run.log({"conditions": table})
            run.summary.update(flat_figures(summary))

        self._log("conditions", log)

    def log_stage_seconds(self, seconds: Mapping[str, float]) -> None:
        """Logs the time that each stage took."""
        figures = {f"seconds/{stage}": value for stage, value in seconds.items()}
        self._log("seconds", lambda run: run.summary.update(figures))

    def log_artifact(self, folder: Path) -> None:
        """Logs `recipe.json` and `summary.json` of a run folder as one versioned artifact.

        A transfer that was declined has no recipe and no such artifact.
        """
        if self._run is None or not (folder / "recipe.json").exists():
            return
        summary = read_json(folder / "summary.json")
        pair = f"{summary['donor']['name']}-{summary['target']['name']}"

        def log(run: Any) -> None:
            import wandb

            artifact = wandb.Artifact(_artifact_name(f"recipe-{pair}"), type="recipe")
            for file in ("recipe.json", "summary.json"):
                artifact.add_file(str(folder / file), skip_cache=True)
            run.log_artifact(artifact)

        self._log("artifact", log)

    def log_report(self, html: Path) -> None:
        """Logs `report.html`, which holds of harmful requests their topic words only."""

        def log(run: Any) -> None:
            import wandb

            run.log({"report": wandb.Html(html.read_text(encoding="utf-8"), inject=False)})

        self._log("report", log)

    def log_sae_training(self, step: int, metrics: Mapping[str, float]) -> None:
        """Logs figures of all layers at a training step, named `layer_LL/NAME`."""
        self._log("SAE training", lambda run: run.log({"sae/step": step, **metrics}))

    def log_sae_quality(
        self,
        quality: Sequence[Mapping[str, Any]],
        histograms: Mapping[int, Mapping[str, tuple[Sequence[int], Sequence[float]]]],
    ) -> None:
        """Logs final figures and histograms of every layer's SAE.

        Args:
            quality: Rows of `SaeSet.quality`.
            histograms: By layer and name, counts and edges.
        """

        def log(run: Any) -> None:
            import numpy as np
            import wandb

            table = wandb.Table(columns=[*quality[0]], data=[[*row.values()] for row in quality])
            run.log({"sae_quality": table})
            for row in quality:
                section = f"layer_{row['layer']:02d}"
                drawn = {
                    f"{section}/{name}": wandb.Histogram(
                        np_histogram=(np.array(counts), np.array(edges))
                    )
                    for name, (counts, edges) in histograms.get(row["layer"], {}).items()
                }
                run.log(drawn)
                figures = {k: v for k, v in row.items() if k != "layer"}
                run.summary.update({f"{section}/quality/{k}": v for k, v in figures.items()})

        self._log("SAE quality", log)

    def log_saes(self, described: Mapping[str, Any], *, made_here: bool) -> None:
        """Ties the SAEs of a model to the run: as its output, or as what it was given.

        The artifact names the SAEs by their hash and holds no weights. wandb records inputs of
        online runs only; an offline run has them in its configuration.

        Args:
            described: As `donor` or `target` of a summary.
            made_here: Whether this run trained or loaded them for their own sake.
        """

        def log(run: Any) -> None:
            import wandb

            artifact = wandb.Artifact(_artifact_name(f"sae-{described['name']}"), type="sae")
            with artifact.new_file("saes.json") as handle:
                json.dump(sae_manifest(described), handle, indent=1, sort_keys=True)
            if made_here:
                run.log_artifact(artifact)
            elif self.mode == "online":
                run.use_artifact(artifact)
            key = "saes" if made_here else f"inputs/{artifact.name}"
            run.config.update({key: described["saes"]["hash"]}, allow_val_change=True)

        self._log("SAEs", log)


def _without_folders(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_folders(entry) for key, entry in value.items()}
    if isinstance(value, str) and value.startswith(("/", "~")):
        return Path(value).name
    return value


def _artifact_name(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", name)


@contextmanager
def _folders_of_wandb(folder: Path) -> Iterator[None]:
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


def _quiet_settings() -> Any:
    """Settings under which wandb records what is logged, and nothing of machine, code or shell."""
    import wandb

    return wandb.Settings(
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
