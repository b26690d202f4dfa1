"""`export`: a finished transfer as a file for lm-evaluation-harness's model `steered`."""

from __future__ import annotations

import argparse
import json
import shlex
from collections.abc import Mapping
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
    from conceptbasis.runs.files import check_place

    check_place(options.steered)
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
    if not options.quiet:
        given = {"pretrained": loaded.name, "steer_path": str(options.steered)}
        command = ("lm-eval", "run", "--model", "steered", "--model_args", model_args(given))
        print(shlex.join((*command, "--tasks", "NAME")))


def model_args(given: Mapping[str, str]) -> str:
    """What the harness takes as `--model_args`: pairs, or JSON where a value holds a comma."""
    if any("," in value or "{" in value for value in given.values()):
        return json.dumps(given)
    return ",".join(f"{key}={value}" for key, value in given.items())


EXPORT = Command(_add, _run)
