"""`circuits`: which heads and MLPs carry a task in two models, and how far they are shared."""

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
    silence,
)


def _add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("donor", metavar="DONOR", help=MODEL_HELP)
    parser.add_argument("target", metavar="TARGET", help="the same")
    parser.add_argument(
        "--task",
        action="append",
        required=True,
        metavar="NAME",
        help="refusal, backdoor, digits, number-words, months, or another behavior; repeatable",
    )
    parser.add_argument("--out", type=Path, help="folder (default: runs/circuits-DONOR-TARGET)")
    parser.add_argument(
        "--run",
        dest="between",
        type=Path,
        metavar="DIR",
        help="a run between both models, to compare by its matched latents too",
    )
    parser.add_argument("--n-prompts", type=int, default=48, help="most pairs of a task (48)")
    parser.add_argument("--share", type=float, default=0.8, help="of the task that is kept (0.8)")
    parser.add_argument("--n-random", type=int, default=20, help="random sets a figure (20)")
    parser.add_argument("--seed", type=int, default=0, help="of random sets and intervals (0)")
    add_tracking(parser)


def _run(options: argparse.Namespace) -> None:
    from conceptbasis.cli.logs.small import SmallLog
    from conceptbasis.config.model import as_model_config
    from conceptbasis.patching.finding import Search
    from conceptbasis.patching.study import open_subject, study_circuits
    from conceptbasis.report.circuits.page import write_page
    from conceptbasis.report.circuits.tables import circuit_tables, logged_circuits
    from conceptbasis.report.logged import logged_images
    from conceptbasis.report.table import terminal
    from conceptbasis.runs.files import folder_lock

    silence()
    config = read_run_config(options)
    search = Search.checked(options.share, options.n_prompts, options.n_random, options.seed)
    models = [as_model_config(m) for m in (options.donor, options.target)]
    pair = "-".join(m.name for m in models)
    out = options.out or Path("runs") / f"circuits-{pair}"
    reporter = open_reporter(options)
    log = SmallLog(config.tracking, out, "circuits", options, name=out.resolve().name, group=pair)
    with folder_lock(out), log as tracker:
        settings = {"tasks": ",".join(options.task), **vars(search)}
        tracker.log_config({"donor": models[0].name, "target": models[1].name, **settings})
        subjects = [open_subject(m, config.device, reporter) for m in models]
        result = study_circuits(
            subjects[0], subjects[1], options.task, config, search, out, reporter, options.between
        )
        path = write_page(out, result)
        tables, figures = logged_circuits(result)
        tracker.log_tables(tables)
        tracker.log_summary(figures)
        if tracker.active:
            tracker.log_images(logged_images(out, "circuits-*"))
    for table in circuit_tables(result):
        console().print(terminal(table))
    for line in result.left_out:
        console().print(f"left out: {line}")
    console().print(f"written: {path}")


CIRCUITS = Command(_add, _run, computes=True)
"""Heads and MLPs of a task in two models."""
