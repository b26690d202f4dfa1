"""Logging to wandb: one run per transfer, no text of any prompt, and no result lost to a failure.

Names of figures, everywhere the same: `conditions/NAME/METRIC` for every condition,
`transfer/METRIC` for the transfer again, `delta/METRIC` for transfer − baseline, `verdict`,
`forecast/NAME`, `seconds/STAGE`, `layers/donor/NAME` and `layers/target/NAME` over `layer`, and
`sae/layer_LL/NAME` over `sae/step`. METRIC is a key of `conceptbasis.metrics`.
"""

from __future__ import annotations

import netrc
import os
import re
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from conceptbasis.artifacts import read_json
from conceptbasis.config import TrackingSection
from conceptbasis.errors import ConfigError
from conceptbasis.metrics import TABLE_COLUMNS, condition_rows, flat_figures

Resolved = Literal["online", "offline", "off"]

_NAMED: dict[str, Resolved] = {"offline": "offline", "dryrun": "offline", "disabled": "off"}


def key_is_configured() -> bool:
    """Whether wandb would find an API key without asking: in the environment or a netrc file."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    named = os.environ.get("NETRC")
    path = Path(named).expanduser() if named else Path.home() / ".netrc"
    if not path.exists():
        return False
    import wandb

    host = urlsplit(wandb.setup().settings.base_url).netloc
    try:
        entry = netrc.netrc(path).authenticators(host)
    except (netrc.NetrcParseError, OSError):
        return False  # wandb cannot use such a file either
    return entry is not None and bool(entry[2])


def resolve_mode(mode: str) -> Resolved:
    """Turns `auto` into online with a key and offline without one; `WANDB_MODE` goes first.

    Raises:
        ConfigError: if online is asked for and there is no key, since a prompt would hang a job.
    """
    if mode in ("off", "offline"):
        return "off" if mode == "off" else "offline"
    if mode == "auto":
        named = os.environ.get("WANDB_MODE", "").lower()
        if named in _NAMED:
            return _NAMED[named]
        return "online" if key_is_configured() else "offline"
    if not key_is_configured():
        raise ConfigError(
            "tracking.mode is online, but no wandb API key is configured",
            expected="WANDB_API_KEY, or a finished `wandb login`",
            fix="log in, or set tracking.mode to offline and upload later with `wandb sync`",
        )
    return "online"


class Tracker:
    """A wandb run as a context manager; inert when tracking is off or after wandb has failed.

    Args:
        section: The configuration of tracking.
        folder: The run's folder; wandb's files go to `wandb/` below it.
        mode: Overrides the section's mode.
        name: Name of the run; the folder's name when None.
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
        tags: Sequence[str] = (),
        job_type: str = "transfer",
    ) -> None:
        self.section = section
        self.folder = folder
        self.mode = resolve_mode(mode or section.mode)
        self.name = name or folder.resolve().name
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
            group=self.section.group,
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
        self._run.define_metric("sae/*", step_metric="sae/step")

    def log_config(self, config: Mapping[str, Any]) -> None:
        """Logs the resolved configuration."""
        self._log("config", lambda r: r.config.update(dict(config), allow_val_change=True))

    def log_layers(self, stage_results: Mapping[str, Mapping[str, Any]]) -> None:
        """Logs the figures of `result.json` by stage as series with `layer` as their axis."""
        series = layer_series(stage_results)

        def log(run: Any) -> None:
            for layer in sorted(series):
                run.log({"layer": layer, **series[layer]})

        self._log("layers", log)

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
        """Logs `recipe.json` and `summary.json` of a run folder as one versioned artifact."""
        if self._run is None:
            return
        summary = read_json(folder / "summary.json")
        pair = f"{summary['donor']['name']}-{summary['target']['name']}"

        def log(run: Any) -> None:
            import wandb

            name = "recipe-" + re.sub(r"[^A-Za-z0-9_.-]+", "_", pair)
            artifact = wandb.Artifact(name, type="recipe")
            for file in ("recipe.json", "summary.json"):
                artifact.add_file(str(folder / file), skip_cache=True)
            run.log_artifact(artifact)

        self._log("artifact", log)

    def log_report(self, html: Path) -> None:
        """Logs a report; it holds no text of any prompt."""

        def log(run: Any) -> None:
            import wandb

            run.log({"report": wandb.Html(html.read_text(encoding="utf-8"), inject=False)})

        self._log("report", log)

    def log_sae_training(self, layer: int, metrics: Mapping[str, float], step: int) -> None:
        """Logs figures of one layer's SAE at a training step."""
        figures = {f"sae/layer_{layer:02d}/{name}": value for name, value in metrics.items()}
        self._log("SAE training", lambda run: run.log({"sae/step": step, **figures}))


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


def layer_series(
    stage_results: Mapping[str, Mapping[str, Any]],
) -> dict[int, dict[str, float]]:
    """Per-layer figures of the stages by layer; donor and target layers share the axis."""
    series: dict[int, dict[str, float]] = defaultdict(dict)
    for layer, name, value in _layer_points(stage_results):
        if value is not None:
            series[layer][f"layers/{name}"] = value
    return dict(series)


def _layer_points(
    results: Mapping[str, Mapping[str, Any]],
) -> Iterator[tuple[int, str, float | None]]:
    direction, align = results.get("direction", {}), results.get("align", {})
    for key, name in (("norms", "donor/norm"), ("probe_accuracy", "donor/probe_accuracy")):
        for layer, value in enumerate(direction.get(key) or []):
            yield layer, name, value
    for entry in results.get("fit", {}).get("layers", []):
        yield entry["target"], "target/donor_cosine", entry.get("donor_cosine")
        yield (
            entry["target"],
            "target/eligible_mass",
            (entry.get("eligible_mass") or {}).get("value"),
        )
    for target, donor in align.get("layer_map") or []:
        for key, name in (("score", "target/svcca"), ("null", "target/svcca_null")):
            yield target, name, align[key][target][donor]
    for entry in results.get("transfer", {}).get("layers", []):
        yield entry["target"], "target/agreement", entry.get("agreement")
        yield entry["target"], "target/strength", entry.get("strength")
    for entry in results.get("guard", {}).get("layers", []):
        yield entry["target"], "target/guard_overlap", entry.get("overlap_energy")
