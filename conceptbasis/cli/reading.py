"""Commands that read finished runs; they load no tensor library, so that they answer at once."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from conceptbasis.errors import ConfigError

_WIDE = 400
"""Columns of a table that is made to be put into a document."""


def console() -> Any:
    """Where results are printed: 80 columns of plain text when they are piped."""
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else 80, soft_wrap=False)


def say_next(options: argparse.Namespace, command: str, what: str) -> None:
    """Names a useful next command, on standard error, so that results can be piped."""
    if not options.quiet:
        print(f"next: conceptbasis {command}   {what}", file=sys.stderr)


def run_inspect(options: argparse.Namespace) -> None:
    """Shows a recipe, atom by atom."""
    from conceptbasis.report.inspection import read_recipe
    from conceptbasis.runs.files import check_run_folder

    check_run_folder(options.folder)
    recipe = read_recipe(
        options.folder, layer=options.layer, atom=options.atom, show_text=options.show_text
    )
    if options.json:
        print(json.dumps(recipe, indent=1))
        return
    from conceptbasis.report.atom_views import print_recipe

    few = options.layer is None
    print_recipe(recipe, console(), few=few, full=options.atom is not None)
    if options.atom is None:
        layers, single = recipe["layers"], recipe["single_layer"]
        acting = next((layer for layer in layers if layer["target"] == single), layers[0])
        largest = f"--layer {acting['target']} --atom {acting['donor_atoms'][0]['feature']}"
        say_next(options, f"inspect {options.folder} {largest}", "one atom in full")
    else:
        say_next(options, f"report {options.folder}", "the same in a browser")


def run_compare(options: argparse.Namespace) -> None:
    """Shows finished runs side by side: folders, logged runs, or both."""
    from conceptbasis.report.overview_table import overview_table
    from conceptbasis.report.table import compare_table
    from conceptbasis.runs.files import SUMMARY_KEYS, check_run_folder, read_json

    for folder in options.folders:
        check_run_folder(folder)
    summaries = {
        str(folder): read_json(folder / "summary.json", SUMMARY_KEYS) for folder in options.folders
    }
    if options.wandb:
        from conceptbasis.tracking.logged_runs import read_logged_runs

        summaries |= read_logged_runs(options.wandb, options.group)
    elif options.save_workspace or options.group:
        raise ConfigError(
            "--save-workspace or --group without --wandb",
            expected="the project that is meant",
            fix="add --wandb ENTITY/PROJECT",
        )
    if not summaries:
        raise ConfigError(
            "compare without runs",
            expected="conceptbasis compare DIR [DIR ...], or --wandb ENTITY/PROJECT",
            fix="name run folders, each with a summary.json",
        )
    if options.overview:
        from rich.console import Console

        Console(width=_WIDE).print(overview_table(summaries))
    else:
        console().print(compare_table(summaries))
    if options.save_workspace:
        from conceptbasis.tracking.workspace import save_workspace

        print(f"workspace: {save_workspace(options.wandb)}")
    if options.folders:
        say_next(options, f"inspect {options.folders[0]}", "what its atoms stand for")


def run_limits(options: argparse.Namespace) -> None:
    """Draws the figures of scripts/limits.sh and judges the forecast on its runs."""
    from conceptbasis.report.limits import write_limits

    path = write_limits(options.folder, options.also)
    print(path.read_text(encoding="utf-8") if not options.quiet else path)


def run_report(options: argparse.Namespace) -> None:
    """Rebuilds the report of a run."""
    from conceptbasis.report.html import build_report
    from conceptbasis.runs.files import check_run_folder

    check_run_folder(options.folder)
    print(build_report(options.folder, show_text=options.show_text))
    say_next(options, f"replay {options.folder}", "answers before and after")


def run_doctor(options: argparse.Namespace) -> None:
    """Says what is installed, what is cached and what is missing; or what a model allows."""
    if options.model:
        from conceptbasis.config.run import load_run_config
        from conceptbasis.report.doctor_model import examine_model, model_view

        coverage = examine_model(options.model, load_run_config(None, options.set))
        if options.json:
            print(json.dumps(coverage, indent=1))
        else:
            console().print(model_view(coverage))
        return
    from conceptbasis.report.doctor import doctor_view, examine

    facts = examine()
    if options.json:
        print(json.dumps(facts, indent=1))
        return
    console().print(doctor_view(facts))
    if not facts["problems"]:
        say_next(options, "demo", "two organisms, a transfer and its report")
