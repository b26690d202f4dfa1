"""`reproduce`: makes a finished run again and says what differs."""

from __future__ import annotations

import argparse
from pathlib import Path

from conceptbasis.cli.command import Command, add_folder, console, open_reporter, silence

_TEACHES = """\
The run is made again from its config.yaml in a folder of its own, and compared with the first:
every file of every stage by its hash, every figure, and the versions and devices behind them.
Models come from where the configuration says. SAEs that are in the cache are used as they are; to
train them anew as well, set CONCEPTBASIS_CACHE to an empty folder.

  conceptbasis reproduce runs/a                  makes runs/a-again
  conceptbasis reproduce runs/a --device cuda    does another device say the same?

Exit status: 0 where the verdict and every figure are the same, 1 where one differs.
"""


def _add(parser: argparse.ArgumentParser) -> None:
    add_folder(parser)
    parser.add_argument(
        "--out", type=Path, metavar="FOLDER", help="where it is made again (default: DIR-again)"
    )
    parser.add_argument("--device", help="cpu, cuda or cuda:N (default: that of the run)")
    parser.epilog = _TEACHES
    parser.formatter_class = argparse.RawDescriptionHelpFormatter


def _run(options: argparse.Namespace) -> None:
    from conceptbasis.cli.command import check_device
    from conceptbasis.pipeline import run_pipeline
    from conceptbasis.report.compared.reproduced import compare_runs, reproduction_tables
    from conceptbasis.report.table import terminal
    from conceptbasis.runs.files import check_run_folder
    from conceptbasis.runs.settings import read_settings
    from conceptbasis.runs.summary import read_summary

    silence()
    check_run_folder(options.folder)
    read_summary(options.folder)  # an unfinished run is refused before anything is made
    (donor, _), (target, config) = (read_settings(options.folder, s) for s in ("donor", "target"))
    device = options.device or config.device
    check_device(device)
    out = _new_folder(options)
    again = config.model_copy(update={"device": device})
    run_pipeline(donor, target, again, out, open_reporter(options))
    found = compare_runs(options.folder, out)
    for table in reproduction_tables(found):
        console().print(terminal(table))
    print(found.line)
    if not found.same_figures:
        raise SystemExit(1)


def _new_folder(options: argparse.Namespace) -> Path:
    """Where the run is made again; one that is finished would only be read.

    Raises:
        ConfigError: A finished run lies there.
    """
    from conceptbasis.errors import ConfigError

    folder: Path = options.folder
    out: Path = options.out or folder.resolve().with_name(f"{folder.resolve().name}-again")
    if (out / "summary.json").exists():
        raise ConfigError(
            f"{out} holds a finished run",
            expected="a new folder, or one in which this command was interrupted",
            fix="give another --out, or delete that folder",
        )
    return out


REPRODUCE = Command(_add, _run)
