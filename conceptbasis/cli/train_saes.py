"""`train-saes`: the SAEs of one model, trained, loaded or fetched."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from conceptbasis.cli.command import (
    MODEL_HELP,
    Command,
    add_tracking,
    console,
    open_reporter,
    read_run_config,
    say_next,
    silence,
)


def _add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model_config", metavar="MODEL", help=MODEL_HELP)
    parser.add_argument("--out", type=Path, help="folder for the SAEs (default: the cache)")
    parser.add_argument(
        "--logs",
        type=Path,
        metavar="DIR",
        help="folder for wandb's files (default: --out, or runs/saes-NAME)",
    )
    add_tracking(parser)


def _run(options: argparse.Namespace) -> None:
    from conceptbasis.config.model import as_model_config
    from conceptbasis.report.model_tables import quality_table
    from conceptbasis.report.table import terminal
    from conceptbasis.study.opening import add_saes, load_prompts, open_model
    from conceptbasis.tracking.saes import SaeLog

    silence()
    config, model = read_run_config(options), as_model_config(options.model_config)
    reporter = open_reporter(options, "" if sys.stderr.isatty() else model.name)
    log_folder = options.logs or options.out or Path("runs") / f"saes-{model.name}"
    # A mode or a folder that cannot be is said before the work.
    log = SaeLog(config.tracking, log_folder, model, mode=options.wandb, reused=True)
    suite = load_prompts(config, reporter)
    loaded = open_model(model, config.device, reporter)
    with log:
        saes = add_saes(model, loaded, suite, reporter, out=options.out, log=log).saes
    # Results, which --quiet prints too.
    console().print(terminal(quality_table(model.name, saes.quality, saes.left_out)))
    print(f"SAEs of {model.name}: {saes.folder or 'from a release'}")
    if log.where and not options.quiet:
        print(log.where, file=sys.stderr)
    say_next(options, "a transfer between two models", "transfer", "A.yaml", "B.yaml")


TRAIN_SAES = Command(_add, _run, computes=True)
