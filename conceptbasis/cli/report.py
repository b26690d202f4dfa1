"""`report`: the report of a run, drawn anew."""

from __future__ import annotations

import argparse

from conceptbasis.cli.command import Command, add_folder, add_show_text, say_next


def _add(parser: argparse.ArgumentParser) -> None:
    add_folder(parser)
    add_show_text(parser)


def _run(options: argparse.Namespace) -> None:
    from conceptbasis.report.html import build_report
    from conceptbasis.runs.files import check_run_folder

    check_run_folder(options.folder)
    print(build_report(options.folder, show_text=options.show_text))
    say_next(options, "answers before and after", "replay", options.folder)


REPORT = Command(_add, _run)
