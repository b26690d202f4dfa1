"""`limits`: figures of runs in which one thing was varied, and the forecast judged on them."""

from __future__ import annotations

import argparse
from pathlib import Path

from conceptbasis.cli.command import Command


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


def _run(options: argparse.Namespace) -> None:
    from conceptbasis.report.limits import write_limits

    path = write_limits(options.folder, options.also)
    print(path.read_text(encoding="utf-8") if not options.quiet else path)


LIMITS = Command(_add, _run)
