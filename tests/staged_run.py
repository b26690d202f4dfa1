"""A pipeline that leaves a made-up run stage by stage and tells its listener, as the real one."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

sys.path.insert(0, str(Path(__file__).parent / "report"))
from synthetic_run import make_summary, stage_results, write_run

from conceptbasis.runs.listening import Listener

STAGES = [
    *("harvest", "direction", "match", "align", "fit", "transfer", "guard", "forecast", "replay"),
    *("atoms", "stability", "evaluate", "curve"),
]


def stub_report(folder: Path, **_: Any) -> Path:
    """A report that takes no time."""
    path = folder / "report.html"
    path.write_text("<p>report</p>")
    return path


def nothing(stage: str) -> None:
    """What happens in a stage."""


def staged(during: Callable[[str], None] = nothing, *, trains: bool = False) -> Callable[..., Any]:
    """A stand-in for `run_pipeline`.

    Args:
        trains: Whether it logs a training of the donor's SAEs.
        during: Called in every stage that is computed, by name; it may fail or end the process.
    """

    def run(donor: Any, target: Any, config: Any, folder: Path, *_: Any, **more: Any) -> Any:
        listener = more.get("listener") or Listener()
        done = SimpleNamespace(summary=make_summary(), folder=folder, seconds={})
        if (folder / "summary.json").exists():
            return done
        whole = write_run(folder.parent / f".{folder.name}-whole")
        listener.on_begin(folder)
        during("opening")
        if trains:
            with more["open_sae_log"](donor) as log:
                log.log_step(1, {"layer_00/losses/overall_loss": 1.0})
        for name in [stage for stage in STAGES if stage in stage_results(make_summary())]:
            reused = (folder / name).exists()
            listener.on_stage(name, reused=reused)
            if not reused:
                during(name)
                shutil.copytree(whole / name, folder / name)
            listener.on_done(name, 1.5)
        for path in whole.iterdir():
            if path.is_file():
                shutil.copy(path, folder / path.name)
        return done

    return run
