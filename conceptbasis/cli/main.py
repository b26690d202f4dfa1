"""The command line: thin, lazy, and exact about what went wrong.

Nothing heavy is imported at the top, so that `conceptbasis --help` answers at once.
"""

from __future__ import annotations

import argparse
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

from conceptbasis import __version__

_EPILOG = """\
A first run:
  conceptbasis demo                      organisms, SAEs, transfer, controls and report, in minutes
  conceptbasis inspect runs/demo         the recipe, atom by atom
  conceptbasis replay runs/demo          answers before and after, side by side

Your own models: write two files like those in sae_configs/, then
  conceptbasis transfer --donor sae_configs/A.yaml --target sae_configs/B.yaml --out runs/a-to-b
Any key can be set on the way: --set budget=B0 --set fit.n_atoms=16 (docs/configuration.md).
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command.

    Returns:
        0 for success, 2 for an error of the input, 130 when interrupted.
    """
    from conceptbasis.errors import ConceptBasisError

    parser = build_parser()
    options = parser.parse_args(arguments)
    if not hasattr(options, "command"):
        parser.print_help()
        return 0
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    # Threads that spin while they wait cost small models most of a busy machine's time; read when
    # torch is first imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        _find_command(options.command)(options)
        return 0
    except ConceptBasisError as error:
        if options.verbose:
            traceback.print_exc()
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; the same command goes on where it stopped", file=sys.stderr)
        return 130


def _find_command(name: str) -> Callable[[argparse.Namespace], None]:
    """The function of a command; those that only read import nothing heavy."""
    from conceptbasis.cli import capability, commands, reading, transfer

    modules = (reading, capability, transfer, commands)
    return next(found for m in modules if (found := getattr(m, f"run_{name}", None)))


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    parser = argparse.ArgumentParser(
        prog="conceptbasis",
        description="Rebuild a refusal intervention found in one language model inside another, "
        "through matched sparse-autoencoder features, without refusal labels of the target.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"conceptbasis {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    _add_running(commands)
    _add_reading(commands)
    _add_models(commands)
    return parser


def _command(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    text: str,
    *,
    computes: bool = False,
) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=text, description=text)
    parser.set_defaults(command=name.replace("-", "_"))
    loudness = parser.add_mutually_exclusive_group()
    loudness.add_argument("--quiet", action="store_true", help="print results and errors only")
    loudness.add_argument("--verbose", action="store_true", help="times, and where errors arose")
    if computes:
        parser.add_argument("--config", type=Path, metavar="FILE", help="run settings (YAML)")
        parser.add_argument(
            "--set",
            action="append",
            default=[],
            metavar="KEY=VALUE",
            help="override one setting, e.g. fit.n_atoms=16; may be repeated",
        )
        parser.add_argument("--device", help="cpu, cuda or cuda:N (default: cpu)")
    return parser


def _add_tracking(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--wandb",
        choices=("auto", "online", "offline", "off"),
        help="logging (default: online with a key, offline without one)",
    )


def _add_show_text(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--show-text",
        action="store_true",
        help="show example text on harmful topics, here and nowhere else",
    )


def _add_running(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    demo = _command(
        commands,
        "demo",
        "Build two model organisms, train their SAEs, transfer, evaluate and report.",
        computes=True,
    )
    demo.add_argument("--out", type=Path, default=Path("runs/demo"), help="default: runs/demo")
    _add_tracking(demo)
    transfer = _command(
        commands,
        "transfer",
        "Transfer a refusal intervention from a donor to a target and judge it.",
        computes=True,
    )
    transfer.add_argument("--donor", type=Path, required=True, help="sae_configs/NAME.yaml")
    transfer.add_argument("--target", type=Path, required=True, help="sae_configs/NAME.yaml")
    transfer.add_argument("--out", type=Path, help="run folder (default: runs/DONOR-to-TARGET)")
    transfer.add_argument(
        "--force", action="store_true", help="go on although the forecast declines"
    )
    _add_tracking(transfer)
    train = _command(
        commands,
        "train-saes",
        "Train, load or fetch the SAEs of one model and print their quality.",
        computes=True,
    )
    train.add_argument("model_config", type=Path, metavar="sae_configs/NAME.yaml")
    train.add_argument("--out", type=Path, help="folder for the SAEs (default: the cache)")
    train.add_argument(
        "--logs",
        type=Path,
        metavar="DIR",
        help="where wandb's files go (default: that of --out, or runs/saes-NAME)",
    )
    _add_tracking(train)
    audit = _command(
        commands,
        "audit",
        "A model's own refusal: selection table and strength sweep in both directions.",
        computes=True,
    )
    audit.add_argument("model_config", type=Path, metavar="sae_configs/NAME.yaml")
    audit.add_argument("--out", type=Path, help="default: runs/audit-NAME")


def _add_reading(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    inspect = _command(commands, "inspect", "Show a recipe, atom by atom.")
    inspect.add_argument("folder", type=Path, metavar="DIR", help="a run folder")
    inspect.add_argument("--layer", type=int, help="one target layer only")
    inspect.add_argument("--atom", type=int, help="one donor feature only")
    inspect.add_argument("--json", action="store_true", help="for programs")
    _add_show_text(inspect)
    replay = _command(commands, "replay", "Apply a finished transfer: answers before and after.")
    replay.add_argument("folder", type=Path, metavar="DIR", help="a run folder")
    replay.add_argument("--prompt", action="append", help="a prompt; may be repeated")
    replay.add_argument("--file", type=Path, help="prompts, one per line")
    replay.add_argument("--max-new-tokens", type=int, default=32)
    replay.add_argument("--device", default="cpu")
    capability = _command(
        commands,
        "capability",
        "Capability before and after a finished transfer: harness tasks, perplexity of texts.",
    )
    capability.add_argument("folder", type=Path, metavar="DIR", help="a run folder")
    capability.add_argument("--tasks", metavar="NAME,NAME", help="of lm-evaluation-harness")
    capability.add_argument("--limit", type=int, help="the first items of each task only")
    capability.add_argument("--shots", type=int, help="examples before each item")
    capability.add_argument("--chat", action="store_true", help="items through the chat template")
    capability.add_argument("--text", type=Path, help="texts (.txt, .jsonl, .csv, .parquet)")
    capability.add_argument("--column", help="the column of --text")
    capability.add_argument("--batch-size", type=int, default=16)
    capability.add_argument("--device", default="cpu")
    export = _command(commands, "export", "Write a finished transfer for other programs.")
    export.add_argument("folder", type=Path, metavar="DIR", help="a run folder")
    export.add_argument(
        "--steered",
        type=Path,
        required=True,
        metavar="FILE.pt",
        help="the file of lm-evaluation-harness's model `steered`",
    )
    export.add_argument("--device", default="cpu")
    compare = _command(commands, "compare", "Show finished runs side by side.")
    compare.add_argument("folders", type=Path, nargs="*", metavar="DIR", help="run folders")
    compare.add_argument(
        "--wandb", metavar="ENTITY/PROJECT", help="add runs that were logged there"
    )
    compare.add_argument(
        "--save-workspace", action="store_true", help="save a view with panels to that project"
    )
    compare.add_argument(
        "--overview", action="store_true", help="a row per run, in Markdown, for many pairs"
    )
    compare.add_argument("--group", help="of the logged runs, one group only")
    limits = _command(commands, "limits", "Figures of runs in which one thing was varied.")
    limits.add_argument("folder", type=Path, metavar="DIR", help="what scripts/limits.sh wrote")
    limits.add_argument(
        "--also",
        type=Path,
        nargs="+",
        default=[],
        metavar="DIR",
        help="runs of other pairs, one by one or as scripts/limits.sh wrote them: the forecast is "
        "judged on them too",
    )
    doctor = _command(commands, "doctor", "Versions, devices, caches, and what is missing.")
    doctor.add_argument("--json", action="store_true", help="for programs")
    doctor.add_argument(
        "--model",
        metavar="ID",
        help="what of a model can be read and edited: a hub id, a folder, or sae_configs/NAME.yaml",
    )
    doctor.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="settings of the transfer for which memory is estimated",
    )
    report = _command(commands, "report", "Rebuild report.html from artifacts.")
    report.add_argument("folder", type=Path, metavar="DIR", help="a run folder")
    _add_show_text(report)


def _add_models(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    organisms = _command(commands, "organisms", "List or build the built-in model organisms.")
    organisms.add_argument("action", choices=("list", "build"))
    organisms.add_argument("name", nargs="?", help="family to build")
    organisms.add_argument("--seed", type=int, default=0)
    organisms.add_argument(
        "--weakened", action="store_true", help="it refuses about half of the harmful requests"
    )
    organisms.add_argument("--out", type=Path, help="folder (default: the cache)")
