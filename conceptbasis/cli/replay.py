"""`replay`: answers before and after a finished transfer."""

from __future__ import annotations

import argparse
from pathlib import Path

from conceptbasis.cli.command import Command, add_folder, console, say_next


def _add(parser: argparse.ArgumentParser) -> None:
    add_folder(parser)
    parser.add_argument("--prompt", action="append", help="a prompt of your own; may be repeated")
    parser.add_argument(
        "--file", type=Path, help="prompts, one per line, or a .jsonl, .csv or .parquet file"
    )
    parser.add_argument("--max-new-tokens", type=int, default=32, help="longest answer")
    parser.add_argument("--device", default="cpu")


def _run(options: argparse.Namespace) -> None:
    from conceptbasis.cli.finished import open_finished
    from conceptbasis.edits.finished import answer_both
    from conceptbasis.report.model_tables import answers_table
    from conceptbasis.report.table import terminal

    loaded, intervention = open_finished(options)
    prompts, shown = _prompts(options)
    rows = answer_both(loaded, intervention, prompts, max_new_tokens=options.max_new_tokens)
    console().print(terminal(answers_table(shown, *rows)))
    say_next(options, f"inspect {options.folder}", "the recipe behind it")


def _prompts(options: argparse.Namespace) -> tuple[list[str], list[str]]:
    """The prompts to answer, and how they are shown: the suite's own positive ones are redacted."""
    from conceptbasis.config.prompts import SourceSection
    from conceptbasis.data.files import TABLES, check_characters, read_lines
    from conceptbasis.data.sources import read_prompts
    from conceptbasis.errors import PromptError

    given = list(options.prompt or [])
    for number, prompt in enumerate(given, 1):
        check_characters(prompt, f"--prompt {number}")
    if options.file and options.file.suffix.lower() in TABLES:
        given += [p.text for p in read_prompts(SourceSection(file=str(options.file)))]
    elif options.file:
        given += [line for _, line in read_lines(options.file)]
    given = [p for p in (line.strip() for line in given) if p]
    if not given and (options.prompt or options.file):
        raise PromptError(
            "no prompt is left",
            expected="at least one line that is not empty",
            fix="give --prompt TEXT or a file with prompts",
        )
    return (given, given) if given else _prompts_of_run(options.folder)


def _prompts_of_run(folder: Path) -> tuple[list[str], list[str]]:
    from conceptbasis.behaviors import find_behavior
    from conceptbasis.runs.settings import read_settings
    from conceptbasis.study.opening import load_prompts

    _, config = read_settings(folder)
    behavior, suite = find_behavior(config.behavior), load_prompts(config)
    positive = suite[behavior.sets.eval_positive][:4]
    negative = [p.text for p in suite[behavior.sets.eval_negative][:4]]
    redacted = [behavior.redact(p) for p in positive]
    return [p.text for p in positive] + negative, redacted + negative


REPLAY = Command(_add, _run)
