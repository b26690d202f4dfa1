"""`compare`: finished runs side by side, from folders, from wandb, or both."""

from __future__ import annotations

import argparse
from pathlib import Path

from conceptbasis.cli.command import Command, console, say_next


def _add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folders", type=Path, nargs="*", metavar="DIR", help="run folders")
    parser.add_argument(
        "--wandb", metavar="ENTITY/PROJECT", help="add the runs of this wandb project"
    )
    parser.add_argument(
        "--save-workspace", action="store_true", help="save a view with panels to that project"
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--overview", action="store_true", help="print one Markdown row per run")
    form.add_argument("--csv", action="store_true", help="print every figure, one a row")
    form.add_argument("--json", action="store_true", help="the same as JSON")
    form.add_argument("--latex", action="store_true", help="print the tables for a paper")
    parser.add_argument("--group", help="only this group of the logged runs")


def _run(options: argparse.Namespace) -> None:
    from conceptbasis.errors import ConfigError
    from conceptbasis.evaluation.metrics import view_of
    from conceptbasis.report.compared.runs import compare, overview, tidy
    from conceptbasis.report.table import as_csv, as_json, latex, markdown, terminal
    from conceptbasis.runs.files import check_run_folder
    from conceptbasis.runs.summary import read_summary

    for folder in options.folders:
        check_run_folder(folder)
    runs = {str(folder): view_of(read_summary(folder)) for folder in options.folders}
    if options.wandb:
        from conceptbasis.tracking.logged_runs import read_logged_runs

        runs |= read_logged_runs(options.wandb, options.group)
    elif options.save_workspace or options.group:
        raise ConfigError(
            "--save-workspace or --group without --wandb",
            expected="the project that is meant",
            fix="add --wandb ENTITY/PROJECT",
        )
    if not runs:
        raise ConfigError(
            "compare without runs",
            expected="conceptbasis compare DIR [DIR ...], or --wandb ENTITY/PROJECT",
            fix="name run folders, each with a summary.json",
        )
    if options.overview:
        print(markdown(overview(runs)), end="")
    elif options.csv or options.json:
        print((as_csv if options.csv else as_json)(tidy(runs)), end="")
    elif options.latex:
        print("\n".join(latex(table) for table in compare(runs)), end="")
    else:
        for table in compare(runs):
            console().print(terminal(table, max_width=17))
    if options.save_workspace:
        from conceptbasis.tracking.workspace import save_workspace

        print(f"workspace: {save_workspace(options.wandb)}")
    if options.folders:
        say_next(options, "what its atoms stand for", "inspect", options.folders[0])


COMPARE = Command(_add, _run)
