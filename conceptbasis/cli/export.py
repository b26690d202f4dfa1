"""`export`: a finished transfer as a file for lm-evaluation-harness's model `steered`."""

from __future__ import annotations

import argparse
from pathlib import Path

from conceptbasis.cli.command import Command, add_folder


def _add(parser: argparse.ArgumentParser) -> None:
    add_folder(parser)
    parser.add_argument(
        "--steered",
        type=Path,
        required=True,
        metavar="FILE.pt",
        help="file for lm-evaluation-harness's model `steered`",
    )
    parser.add_argument("--device", default="cpu")


def _run(options: argparse.Namespace) -> None:
    from conceptbasis.cli.finished import open_finished
    from conceptbasis.edits.intervention import edits_of
    from conceptbasis.errors import ConfigError
    from conceptbasis.models.harness import save_steered, steered_entries

    loaded, intervention = open_finished(options)
    if intervention.mode == "orthogonalise":
        raise ConfigError(
            "a weight edit has no hooks to export",
            expected="a run with replay.mode ablate, affine or add",
            fix="run the transfer again with --set replay.mode=ablate --set replay.scope=stream",
        )
    entries = steered_entries(loaded, edits_of(intervention), intervention.scope)
    save_steered(options.steered, entries)
    print(f"{options.steered}: {len(entries)} hook points")
    model = f"pretrained={loaded.name},steer_path={options.steered}"
    if not options.quiet:
        print(f"lm-eval run --model steered --model_args {model} --tasks NAME")


EXPORT = Command(_add, _run)
