"""`audit`: one model's own behavior, in both directions."""

from __future__ import annotations

import argparse
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
    parser.add_argument("--out", type=Path, help="folder (default: runs/audit-NAME)")
    add_tracking(parser)


def _run(options: argparse.Namespace) -> None:
    from conceptbasis.cli.logs.small import SmallLog
    from conceptbasis.config.model import as_model_config
    from conceptbasis.evaluation.audit import audit_model
    from conceptbasis.report.model_tables import audit_tables, logged_audit, logged_sweep
    from conceptbasis.report.table import terminal
    from conceptbasis.runs.files import folder_lock
    from conceptbasis.study.answer_length import warn_of_short_answers, with_answer_length
    from conceptbasis.study.checks import check_context
    from conceptbasis.study.opening import load_prompts, open_model

    silence()
    config, model = read_run_config(options), as_model_config(options.model_config)
    reporter = open_reporter(options)
    out = options.out or Path("runs") / f"audit-{model.name}"
    names = {"name": out.resolve().name, "group": model.name}
    log = SmallLog(config.tracking, out, "audit", options, **names)
    suite = load_prompts(config, reporter)
    config = with_answer_length(config, suite)
    warn_of_short_answers(config, suite, reporter)
    with folder_lock(out), log as tracker:
        tracker.log_config(
            {n: c.model_dump(mode="json") for n, c in (("model", model), ("run", config))}
        )
        loaded = open_model(model, config.device, reporter)
        check_context([loaded], suite, config)
        result = audit_model(model, loaded, suite, config, out, reporter)
        tables, figures = logged_audit(result)
        tracker.log_series("standard_deviations", logged_sweep(result))
        tracker.log_tables(tables)
        tracker.log_summary(figures)
    for table in audit_tables(result):
        console().print(terminal(table))
    console().print(f"written: {out / 'audit.json'}")
    say_next(options, "its SAEs, for a transfer", "train-saes", options.model_config)


AUDIT = Command(_add, _run, computes=True)
