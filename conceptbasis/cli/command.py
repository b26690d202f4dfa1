"""What a command is, and what commands share; nothing heavy is imported at the top."""

from __future__ import annotations

import argparse
import os
import re
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from conceptbasis.config.run import RunConfig
    from conceptbasis.runs.progress import Reporter


class Command(NamedTuple):
    """One command; no dataclass, whose module would cost a tenth of the time of `--help`.

    Args:
        add: Adds its arguments to a parser.
        run: Does it.
        computes: Whether it takes the settings of a run and a device.
    """

    add: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], None]
    computes: bool = False


def add_folder(parser: argparse.ArgumentParser) -> None:
    """The run folder that a command reads."""
    parser.add_argument("folder", type=Path, metavar="DIR", help="a run folder")


def add_settings(parser: argparse.ArgumentParser, text: str) -> None:
    """Single settings of a run."""
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help=text)


MODEL_HELP = (
    "a file like those in sae_configs/, a hub id, a folder, organism:FAMILY:SEED, or weights:NAME"
)


def add_tracking(parser: argparse.ArgumentParser) -> None:
    """How a command is logged."""
    parser.add_argument(
        "--wandb",
        choices=("auto", "online", "offline", "off"),
        help="how the run is logged (default: online with a key, offline without one)",
    )


def add_executor(parser: argparse.ArgumentParser) -> None:
    """Where the parts of a run are computed."""
    parser.add_argument(
        "--executor",
        metavar="NAME",
        help="serial, processes or ray (docs/scale.md; default: processes on a CPU)",
    )
    parser.add_argument(
        "--ray-address",
        metavar="HOST:PORT",
        help="a Ray cluster, with --executor ray (default: RAY_ADDRESS, or one on this machine)",
    )


def sweep_folder() -> Path | None:
    """A folder of its own for a run that an agent of a wandb sweep starts; None without one."""
    sweep, run = (os.environ.get(f"WANDB_{name}_ID", "").strip() for name in ("SWEEP", "RUN"))
    return Path("runs") / f"sweep-{sweep.rpartition('/')[2]}" / run if sweep and run else None


_SETTING = re.compile(r"--([a-z_]+)((?:\.\w+)*=.*)", re.DOTALL)


def spell_out(given: Sequence[str]) -> list[str]:
    """A command line in which `--fit.n_atoms=16`, as a sweep gives it, is `--set fit.n_atoms=16`.

    Args:
        given: The words of a command that computes.
    """
    if not any(_SETTING.fullmatch(word) for word in given):
        return [*given]
    from conceptbasis.config.run import RunConfig

    names = RunConfig.model_fields.keys() - {"device"}  # which is an option by itself
    words: list[str] = []
    for word in given:
        found = _SETTING.fullmatch(word)
        words += ["--set", word[2:]] if found and found[1] in names else [word]
    return words


def add_show_text(parser: argparse.ArgumentParser) -> None:
    """Whether hidden text is shown."""
    parser.add_argument(
        "--show-text",
        action="store_true",
        help="also show hidden example text; it is never logged",
    )


def console() -> Any:
    """Where results are printed: 80 columns of plain text when they are piped."""
    from rich.console import Console

    class _Results(Console):
        def on_broken_pipe(self) -> None:
            raise  # rich would end with 1; `main` knows what a reader that has enough means

    return _Results(width=None if sys.stdout.isatty() else 80, soft_wrap=False)


def say_next(options: argparse.Namespace, what: str, *command: object) -> None:
    """Names a useful next command, on standard error, so that results can be piped.

    Args:
        options: Nothing is said where they ask for quiet.
        what: What it is good for.
        command: Its words, quoted here for a shell.
    """
    if not options.quiet:
        sys.stdout.flush()  # results first; a reader that has enough wants nothing more
        line = shlex.join(map(str, command))
        print(f"next: conceptbasis {line}   {what}", file=sys.stderr)


def open_reporter(options: argparse.Namespace, prefix: str = "") -> Reporter:
    """What tells the progress, as loud as the command line asks."""
    from conceptbasis.runs.progress import Reporter

    return Reporter(quiet=options.quiet, verbose=options.verbose, prefix=prefix)


def silence() -> None:
    """Keeps the progress bars of transformers out of ours; it may not be imported yet."""
    os.environ["TRANSFORMERS_VERBOSITY"] = "error"
    os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
    if "transformers" in sys.modules:
        from conceptbasis.models.loading.load import silence_transformers

        silence_transformers()


def read_run_config(options: argparse.Namespace) -> RunConfig:
    """The settings that a command line asks for."""
    from conceptbasis.config.run import load_run_config

    overrides = list(options.set)
    if options.device:
        overrides.append(f"device={options.device}")
    if getattr(options, "behavior", None):
        overrides.append(f"behavior={options.behavior}")
    for name in ("executor", "ray_address"):
        if getattr(options, name, None):
            overrides.append(f"{name}={getattr(options, name)}")
    if getattr(options, "force", False):
        overrides.append("forecast.force=true")
    config = load_run_config(options.config, overrides)
    check_device(config.device)
    return config


def check_device(device: str) -> None:
    """Refuses a device that cannot be used, before anything is loaded.

    Raises:
        ConfigError: in that case.
    """
    if device != "cpu":
        from conceptbasis.models.loading import devices

        devices.check_device(device)
