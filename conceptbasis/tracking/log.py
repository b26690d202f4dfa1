"""Logging to wandb: no hidden text, no key, and no result lost to a failure.

The names of figures, tables, groups, tags and artifacts are those of docs/wandb.md.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from conceptbasis.evaluation.metrics import flat_figures
from conceptbasis.results.summary import SaeQuality, SideSummary, Summary
from conceptbasis.runs.storage import to_json
from conceptbasis.runs.summary import SUMMARY, read_summary
from conceptbasis.tracking.images import open_png
from conceptbasis.tracking.lifecycle import LoggedRun

Histograms: TypeAlias = Mapping[int, Mapping[str, tuple[Sequence[int], Sequence[float]]]]
"""By layer and name, counts and edges."""


class Rows(Protocol):
    """A table as it is logged: names of columns, and rows of plain values."""

    @property
    def head(self) -> list[str]:
        """Names of the columns."""

    @property
    def rows(self) -> list[list[Any]]:
        """Rows of plain values."""


class Tracker(LoggedRun):
    """A wandb run with all that this package logs."""

    def log_config(self, config: Mapping[str, Any]) -> None:
        """Logs the resolved configuration; of absolute paths, the last part."""
        shown = _without_folders(config)
        self._log("config", lambda run: run.config.update(shown, allow_val_change=True))

    def log_series(self, axis: str, series: Mapping[float, Mapping[str, float]]) -> None:
        """Logs figures over an axis.

        Args:
            axis: Its name.
            series: Figures by their place on it.
        """

        def log(run: Any) -> None:
            for place in sorted(series):
                run.log({axis: place, **series[place]})

        self._log(f"series over {axis}", log)

    def log_tables(self, tables: Mapping[str, Rows]) -> None:
        """Logs tables by name; they must hold no text that is not to be shared."""

        def log(run: Any) -> None:
            import wandb

            drawn = {n: wandb.Table(columns=[*t.head], data=t.rows) for n, t in tables.items()}
            run.log(drawn)

        self._log("tables", log)

    def log_figures(self, summary: Summary) -> None:
        """Logs all conditions as flat figures of the run."""
        self._log("figures", lambda run: run.summary.update(flat_figures(summary)))

    def log_artifact(self, folder: Path) -> None:
        """Logs `recipe.json` and `summary.json` of a run folder as one versioned artifact.

        A transfer that was rejected has no recipe and no such artifact.
        """
        if self._run is None or not (folder / "recipe.json").exists():
            return
        summary = read_summary(folder)
        pair = f"{summary.donor.name}-{summary.target.name}"

        def log(run: Any) -> None:
            import wandb

            artifact = wandb.Artifact(_artifact_name(f"recipe-{pair}"), type="recipe")
            for file in ("recipe.json", SUMMARY):
                artifact.add_file(str(folder / file), skip_cache=True)
            run.log_artifact(artifact)

        self._log("artifact", log)

    def log_images(self, files: Mapping[str, Path]) -> None:
        """Logs PNG files as images, by name."""

        def log(run: Any) -> None:
            run.log({name: open_png(path) for name, path in files.items()})

        if files:
            self._log("images", log)

    def log_report(self, html: Path) -> None:
        """Logs `report.html`, which holds of hidden texts their topic words only."""

        def log(run: Any) -> None:
            import wandb

            run.log({"report": wandb.Html(html.read_text(encoding="utf-8"), inject=False)})

        self._log("report", log)

    def log_sae_training(self, step: int, metrics: Mapping[str, float]) -> None:
        """Logs figures of all layers at a training step, named `layer_LL/NAME`."""
        self._log("SAE training", lambda run: run.log({"sae/step": step, **metrics}))

    def log_sae_quality(self, quality: Sequence[SaeQuality], histograms: Histograms) -> None:
        """Logs final figures and histograms of every layer's SAE."""
        plain = [{k: v for k, v in to_json(q).items() if v is not None} for q in quality]

        def log(run: Any) -> None:
            import numpy as np
            import wandb

            table = wandb.Table(columns=[*plain[0]], data=[[*row.values()] for row in plain])
            run.log({"sae_quality": table})
            for row in plain:
                section = f"layer_{row.pop('layer'):02d}"
                counted = histograms.get(int(section[6:]), {})
                drawn = {
                    f"{section}/{name}": wandb.Histogram(np_histogram=(np.array(n), np.array(ends)))
                    for name, (n, ends) in counted.items()
                }
                run.log(drawn)
                run.summary.update({f"{section}/quality/{k}": v for k, v in row.items()})

        self._log("SAE quality", log)

    def log_saes(self, described: SideSummary, *, made_here: bool) -> None:
        """Ties the SAEs of a model to the run: as its output, or as what it was given.

        The artifact names the SAEs by their hash and holds no weights. wandb records inputs of
        online runs only; an offline run has them in its configuration.

        Args:
            described: The model with its SAEs.
            made_here: Whether this run trained or loaded them for their own sake.
        """

        def log(run: Any) -> None:
            import wandb

            artifact = wandb.Artifact(_artifact_name(f"sae-{described.name}"), type="sae")
            with artifact.new_file("saes.json") as handle:
                json.dump(sae_manifest(described), handle, indent=1, sort_keys=True)
            if made_here:
                run.log_artifact(artifact)
            elif self.mode == "online":
                run.use_artifact(artifact)
            key = "saes" if made_here else f"inputs/{artifact.name}"
            run.config.update({key: described.saes.hash}, allow_val_change=True)

        self._log("SAEs", log)


def sae_manifest(described: SideSummary) -> dict[str, Any]:
    """What identifies the SAEs of a model, the same from training and from a transfer."""
    return {
        "name": described.name,
        "model": described.model,
        "model_hash": described.hash,
        "saes": to_json(described.saes),
    }


def _without_folders(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_folders(entry) for key, entry in value.items()}
    if isinstance(value, str) and value.startswith(("/", "~")):
        return Path(value).name
    return value


def _artifact_name(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", name)
