"""The command line: thin, lazy, and exact about what went wrong.

Nothing heavy is imported at the top, so that `conceptbasis --help` answers at once.
"""

from __future__ import annotations

import argparse
import errno
import io
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TextIO, cast

from conceptbasis import __version__

if TYPE_CHECKING:
    from conceptbasis.cli.command import Command
    from conceptbasis.errors import ConceptBasisError

COMMANDS = (
    (
        "demo",
        "transfer:DEMO",
        "Build two model organisms, train their SAEs, transfer, evaluate and report.",
    ),
    (
        "transfer",
        "transfer:TRANSFER",
        "Transfer an intervention from a donor to a target and judge it.",
    ),
    (
        "train-saes",
        "train_saes:TRAIN_SAES",
        "Train, load or fetch the SAEs of one model and print their quality.",
    ),
    (
        "audit",
        "audit:AUDIT",
        "Measure a model's own direction of the behavior, weakened and strengthened.",
    ),
    ("inspect", "inspection:INSPECT", "Show what the atoms of a recipe stand for."),
    ("intervene", "intervene:INTERVENE", "Show what one latent of a recipe does by itself."),
    ("replay", "replay:REPLAY", "Show the target's answers before and after a transfer."),
    (
        "serve",
        "serve:SERVE",
        "Ask both models of a run on a local page, edit off and on, token by token.",
    ),
    (
        "capability",
        "capability:CAPABILITY",
        "Measure capability before and after a transfer: tasks, perplexity of texts.",
    ),
    ("reproduce", "reproduce:REPRODUCE", "Make a finished run again and say what differs."),
    ("export", "export:EXPORT", "Write a finished transfer for other programs."),
    ("compare", "compare:COMPARE", "Show finished runs side by side."),
    (
        "circuits",
        "studies.circuits:CIRCUITS",
        "Find the heads and MLPs that carry a task in two models, and what they share.",
    ),
    ("limits", "limits:LIMITS", "Draw figures of runs in which one thing was varied."),
    ("doctor", "doctor:DOCTOR", "Check versions, devices, caches and packages, or one model."),
    ("report", "report:REPORT", "Build report.html again from the files of a run."),
    ("organisms", "organisms:ORGANISMS", "List or build the built-in model organisms."),
)
"""Every command in the order of the help: its name, where it stands, and what it does."""

_EPILOG = """\
A first run:
  conceptbasis demo                      two models, their SAEs, a transfer and a report, in minutes
  conceptbasis inspect runs/demo         what the atoms of the recipe stand for
  conceptbasis replay runs/demo          answers before and after, side by side

Your own models: write two files like those in sae_configs/, then
  conceptbasis transfer sae_configs/A.yaml sae_configs/B.yaml --out runs/a-to-b
Settings on the command line: --set budget=B0 --set fit.n_atoms=16 (docs/configuration.md).
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command.

    Returns:
        0 for success, 2 for an error of the input or of the output, 130 when interrupted, 141
        when what reads the output has enough, as `| head` has, 143 when terminated, 129 when the
        terminal is gone.
    """
    _print_anywhere()
    try:
        try:
            return _run(sys.argv[1:] if arguments is None else arguments)
        finally:
            sys.stdout.flush()  # here, where a reader that is gone or a full device can be answered
    except BrokenPipeError:
        _drop_output(sys.stdout, sys.stderr)
        return 128 + signal.SIGPIPE
    except OSError as error:
        # Files have errors of their own, so what is left is standard output.
        if error.filename is not None or error.errno not in (errno.ENOSPC, errno.EIO, errno.EDQUOT):
            raise
        _drop_output(sys.stdout)
        print(f"error: the output cannot be written: {error.strerror}", file=sys.stderr)
        return 2


def _print_anywhere() -> None:
    """Lets a terminal whose encoding lacks a sign, such as Σ or →, show `?` in its place.

    Where standard error cannot be written, nothing fails for it.
    """
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # it was closed by the shell
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    if not isinstance(sys.stderr, _Aside):
        sys.stderr = cast(TextIO, _Aside(sys.stderr))


class _Aside:
    """Standard error; where it cannot be written, work and results go on without it."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _drop_output(*streams: TextIO) -> None:
    """Sends what is left in buffers nowhere, so that Python's own exit does not fail on it."""
    for stream in streams:
        with suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _run(given: Sequence[str]) -> int:
    from conceptbasis.cli.stopping import Terminated, exit_code_of, raising_on_signals
    from conceptbasis.errors import ConceptBasisError

    parser = build_parser(given)
    options = parser.parse_args(_spelled_out(given))
    if not hasattr(options, "run"):
        parser.print_help()
        return 0
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    # Threads that spin while they wait cost small models most of a busy machine's time; read when
    # torch is first imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        with raising_on_signals():
            options.run(options)
        return 0
    except ConceptBasisError as error:
        if options.verbose:
            traceback.print_exc()
        print(f"error: {error}", file=sys.stderr)
        return 2
    except (MemoryError, RuntimeError) as error:
        if not _is_full(error):
            raise
        if options.verbose:
            traceback.print_exc()
        print(f"error: {_memory_error(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; the same command goes on where it stopped", file=sys.stderr)
        return 130
    except Terminated as error:
        print("terminated; the same command goes on where it stopped", file=sys.stderr)
        return exit_code_of(error)


def _is_full(error: Exception) -> bool:
    """Whether memory ran out; torch says so by errors of its own, and only where it is loaded."""
    if isinstance(error, MemoryError):
        return True
    from conceptbasis.models.text.batches import out_of_memory

    return out_of_memory(error)


def _memory_error(error: Exception) -> ConceptBasisError:
    from conceptbasis.errors import ConceptBasisError, reason

    return ConceptBasisError(
        f"memory ran out ({reason(error)})",
        expected="as much memory as the lines at the start of a run name",
        fix="end other programs or raise the limit, then run the same command again: finished "
        "stages are reused. `conceptbasis doctor --model` names what a model takes",
    )


def _spelled_out(given: Sequence[str]) -> Sequence[str]:
    """The command line with settings written as `--set`, where the command takes settings."""
    for name, place, _ in COMMANDS:
        if name in given[:1] and find_command(place).computes:
            from conceptbasis.cli.command import spell_out

            return spell_out(given)
    return given


def find_command(place: str) -> Command:
    """The command at `module:NAME`; only the module of the command in use is imported."""
    module, _, name = place.partition(":")
    found: Command = getattr(import_module(f"conceptbasis.cli.{module}"), name)
    return found


class _Parser(argparse.ArgumentParser):
    """A parser that names the command that was meant."""

    def error(self, message: str) -> NoReturn:
        """Ends with status 2 and the message."""
        from difflib import get_close_matches

        _, found, rest = message.partition("invalid choice: ")
        given = rest.partition(" (")[0].strip("'")
        near = get_close_matches(given, [name for name, _, _ in COMMANDS], n=1) if found else []
        super().error(message + "".join(f"; did you mean {name!r}?" for name in near))

    def _print_message(self, message: str, file: Any = None) -> None:
        (file or sys.stderr).write(message)  # argparse keeps to itself that this fails


def build_parser(given: Sequence[str]) -> argparse.ArgumentParser:
    """The parser of all commands, with the options of those that the arguments name."""
    parser = _Parser(
        prog="conceptbasis",
        description="Take an intervention on a behavior, such as refusal, from one language model "
        "(the donor) and rebuild it in another (the target) from matched latents of sparse "
        "autoencoders. No label of the behavior in the target is needed.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"conceptbasis {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    for name, place, text in COMMANDS:
        added = commands.add_parser(name, help=text, description=text)
        if name in given:
            _add(added, find_command(place))
    return parser


def _add(parser: argparse.ArgumentParser, command: Command) -> None:
    from conceptbasis.cli.command import add_settings

    parser.set_defaults(run=command.run)
    loudness = parser.add_mutually_exclusive_group()
    loudness.add_argument("--quiet", action="store_true", help="print only results and errors")
    loudness.add_argument("--verbose", action="store_true", help="also print times and tracebacks")
    if command.computes:
        parser.add_argument("--config", type=Path, metavar="FILE", help="run settings (YAML)")
        add_settings(parser, "override one setting, e.g. fit.n_atoms=16; may be repeated")
        parser.add_argument("--device", help="cpu, cuda or cuda:N (default: cpu)")
    command.add(parser)
