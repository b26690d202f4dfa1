"""`replay`: answers before and after a finished transfer."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from conceptbasis.cli.command import Command, add_folder, console, open_reporter, say_next


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
    from conceptbasis.errors import ConfigError
    from conceptbasis.models.text.lengths import check_prompts
    from conceptbasis.report.model_tables import answers_table
    from conceptbasis.report.table import terminal

    if options.max_new_tokens < 1:
        raise ConfigError(
            f"--max-new-tokens is {options.max_new_tokens}", expected="at least 1", fix="raise it"
        )
    loaded, intervention = open_finished(options)
    asked = _prompts(options)
    prompts, names = [p.text for p in asked], [p.name for p in asked]
    longest = options.max_new_tokens
    check_prompts(loaded, prompts, names, answer=longest, key="--max-new-tokens")
    _warn_of_words(options, asked)
    rows = answer_both(loaded, intervention, prompts, max_new_tokens=longest)
    console().print(terminal(answers_table([p.shown for p in asked], *rows)))
    say_next(options, "the recipe behind it", "inspect", options.folder)


def _warn_of_words(options: argparse.Namespace, asked: list[_Asked]) -> None:
    """Says which words an organism has never read; nothing else tells an answer to them apart."""
    from conceptbasis.organisms.known_words import warn_of_words
    from conceptbasis.runs.settings import read_settings

    model, _ = read_settings(options.folder)
    warning = warn_of_words({model.name: model.model}, " ".join(p.text for p in asked))
    if warning is not None:
        open_reporter(options).say(f"warning: {warning}")


class _Asked(NamedTuple):
    """A prompt, how it is shown, and how it is called in an error."""

    text: str
    shown: str
    name: str


def _prompts(options: argparse.Namespace) -> list[_Asked]:
    """The prompts to answer; the suite's own positive ones are redacted."""
    from conceptbasis.data.files import check_characters
    from conceptbasis.errors import PromptError

    given = [(f"--prompt {i}", prompt) for i, prompt in enumerate(options.prompt or (), 1)]
    for name, prompt in given:
        check_characters(prompt, name)
    given += _prompts_of_file(options.file) if options.file else []
    if not options.prompt and not options.file:
        return list(_prompts_of_run(options.folder))
    found = [_Asked(text.strip(), text.strip(), name) for name, text in given if text.strip()]
    if not found:
        raise PromptError(
            "no prompt is left",
            expected="at least one line that is not empty",
            fix="give --prompt TEXT or a file with prompts",
        )
    return found


def _prompts_of_file(file: Path) -> list[tuple[str, str]]:
    from conceptbasis.config.prompts import SourceSection
    from conceptbasis.data.files import TABLES, read_lines
    from conceptbasis.data.sources import read_prompts

    if file.suffix.lower() in TABLES:
        rows = read_prompts(SourceSection(file=str(file)))
        return [(f"{file}, row {i}", prompt.text) for i, prompt in enumerate(rows, 1)]
    return [(f"{file}, line {number}", line) for number, line in read_lines(file)]


def _prompts_of_run(folder: Path) -> Iterator[_Asked]:
    from conceptbasis.behaviors import find_behavior
    from conceptbasis.runs.settings import read_settings
    from conceptbasis.study.opening import load_prompts

    _, config = read_settings(folder)
    behavior, suite = find_behavior(config.behavior), load_prompts(config)
    for prompt in suite[behavior.sets.eval_positive][:4]:
        redacted = behavior.redact(prompt)
        yield _Asked(prompt.text, redacted, f"the run's prompt {redacted}")
    for prompt in suite[behavior.sets.eval_negative][:4]:
        yield _Asked(prompt.text, prompt.text, f"the run's prompt {prompt.text!r}")


REPLAY = Command(_add, _run)
