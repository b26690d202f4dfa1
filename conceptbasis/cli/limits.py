"""`limits`: figures of runs in which one thing was varied, and the forecast judged on them."""

from __future__ import annotations

import argparse
from pathlib import Path

from conceptbasis.cli.command import Command, add_tracking


def _add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, metavar="DIR", help="a folder of scripts/limits.sh")
    parser.add_argument(
        "--also",
        type=Path,
        nargs="+",
        default=[],
        metavar="DIR",
        help="runs of other pairs, on which the forecast is judged too",
    )
    add_tracking(parser)


def _run(options: argparse.Namespace) -> None:
    from conceptbasis.cli.logs.small import SmallLog
    from conceptbasis.config.run import TrackingSection
    from conceptbasis.report.limits import logged_limits, write_limits
    from conceptbasis.report.logged import logged_images

    name, folder = options.folder.resolve().name, options.folder
    with SmallLog(TrackingSection(), folder, "limits", options, name=name, group=name) as tracker:
        path = write_limits(folder, options.also)
        tracker.log_tables(logged_limits(folder, options.also))
        if tracker.active:
            tracker.log_images(logged_images(folder, "limits-*"))
    print(path.read_text(encoding="utf-8") if not options.quiet else path)


LIMITS = Command(_add, _run)
