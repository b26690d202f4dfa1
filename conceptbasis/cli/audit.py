"""`audit`: one model's own behavior, in both directions."""

from __future__ import annotations

import argparse
from pathlib import Path

from conceptbasis.cli.command import (
    MODEL_HELP,
    Command,
    console,
    open_reporter,
    read_run_config,
    say_next,
    silence,
)


def _add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model_config", metavar="MODEL", help=MODEL_HELP)
    parser.add_argument("--out", type=Path, help="folder (default: runs/audit-NAME)")


def _run(options: argparse.Namespace) -> None:
    from conceptbasis.config.model import as_model_config
    from conceptbasis.evaluation.audit import audit_model
    from conceptbasis.report.model_tables import audit_tables
    from conceptbasis.report.table import terminal
    from conceptbasis.runs.files import folder_lock
    from conceptbasis.study.checks import check_context
    from conceptbasis.study.opening import load_prompts, open_model

    silence()
    config, model = read_run_config(options), as_model_config(options.model_config)
    reporter = open_reporter(options)
    out = options.out or Path("runs") / f"audit-{model.name}"
    suite = load_prompts(config, reporter)
    with folder_lock(out):
        loaded = open_model(model, config.device, reporter)
        check_context([loaded], suite, config)
        result = audit_model(model, loaded, suite, config, out, reporter)
    for table in audit_tables(result):
        console().print(terminal(table))
    console().print(f"written: {out / 'audit.json'}")
    say_next(options, "its SAEs, for a transfer", "train-saes", options.model_config)


AUDIT = Command(_add, _run, computes=True)
