"""The command line: thin, lazy, and exact about what went wrong.

Nothing heavy is imported at the top, so that `conceptbasis --help` answers at once.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from conceptbasis import __version__
from conceptbasis.cli.audit import AUDIT
from conceptbasis.cli.capability import CAPABILITY
from conceptbasis.cli.command import Command, add_settings
from conceptbasis.cli.compare import COMPARE
from conceptbasis.cli.doctor import DOCTOR
from conceptbasis.cli.export import EXPORT
from conceptbasis.cli.inspection import INSPECT
from conceptbasis.cli.limits import LIMITS
from conceptbasis.cli.organisms import ORGANISMS
from conceptbasis.cli.replay import REPLAY
from conceptbasis.cli.report import REPORT
from conceptbasis.cli.train_saes import TRAIN_SAES
from conceptbasis.cli.transfer import DEMO, TRANSFER

COMMANDS = (
    DEMO,
    TRANSFER,
    TRAIN_SAES,
    AUDIT,
    INSPECT,
    REPLAY,
    CAPABILITY,
    EXPORT,
    COMPARE,
    LIMITS,
    DOCTOR,
    REPORT,
    ORGANISMS,
)
"""Every command, in the order of the help."""

_EPILOG = """\
A first run:
  conceptbasis demo                      two models, their SAEs, a transfer and a report, in minutes
  conceptbasis inspect runs/demo         what the atoms of the recipe stand for
  conceptbasis replay runs/demo          answers before and after, side by side

Your own models: write two files like those in sae_configs/, then
  conceptbasis transfer --donor sae_configs/A.yaml --target sae_configs/B.yaml --out runs/a-to-b
Settings on the command line: --set budget=B0 --set fit.n_atoms=16 (docs/configuration.md).
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command.

    Returns:
        0 for success, 2 for an error of the input, 130 when interrupted.
    """
    from conceptbasis.errors import ConceptBasisError

    parser = build_parser()
    options = parser.parse_args(arguments)
    if not hasattr(options, "run"):
        parser.print_help()
        return 0
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    # Threads that spin while they wait cost small models most of a busy machine's time; read when
    # torch is first imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        options.run(options)
        return 0
    except ConceptBasisError as error:
        if options.verbose:
            import traceback

            traceback.print_exc()
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; the same command goes on where it stopped", file=sys.stderr)
        return 130


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    parser = argparse.ArgumentParser(
        prog="conceptbasis",
        description="Take an intervention on a behavior, such as refusal, from one language model "
        "(the donor) and rebuild it in another (the target) from matched latents of sparse "
        "autoencoders. No label of the behavior in the target is needed.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"conceptbasis {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    for command in COMMANDS:
        text = command.text
        _add(commands.add_parser(command.name, help=text, description=text), command)
    return parser


def _add(parser: argparse.ArgumentParser, command: Command) -> None:
    parser.set_defaults(run=command.run)
    loudness = parser.add_mutually_exclusive_group()
    loudness.add_argument("--quiet", action="store_true", help="print only results and errors")
    loudness.add_argument("--verbose", action="store_true", help="also print times and tracebacks")
    if command.computes:
        parser.add_argument("--config", type=Path, metavar="FILE", help="run settings (YAML)")
        add_settings(parser, "override one setting, e.g. fit.n_atoms=16; may be repeated")
        parser.add_argument("--device", help="cpu, cuda or cuda:N (default: cpu)")
    command.add(parser)
