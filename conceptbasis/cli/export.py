"""`export`: a finished transfer in forms that other programs load."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path

from conceptbasis.cli.command import Command, add_folder

_EPILOG = """\
One call may ask for several forms. Nothing is written before all of them are known to be possible.

which form holds which run (key replay.mode):
  --checkpoint  orthogonalise; ablate with replay.scope writers; add where the MLPs have biases
  --lora        orthogonalise; ablate with replay.scope writers; not mixtures of experts, unless
                replay.which is attention
  --json        every run
  --steered     ablate, affine and add on the stream, where no attention sinks are left alone
A transfer that is to become a checkpoint or a LoRA is made with
  conceptbasis transfer A B --set replay.mode=orthogonalise --set replay.scope=writers

examples:
  conceptbasis export runs/a --checkpoint out/merged            load it as any other model
  conceptbasis export runs/a --lora out/lora --json out/edit.json
Formats, a reader of the JSON without conceptbasis, and vLLM: docs/exports.md
"""


def _add(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _EPILOG
    add_folder(parser)
    forms = parser.add_argument_group("forms, at least one")
    for name, metavar, text in (
        ("checkpoint", "FOLDER", "the target with the edit in its weights, its tokenizer, a card"),
        ("lora", "FOLDER", "the edit as a PEFT adapter of rank one for each matrix, and a card"),
        ("json", "FILE.json", "the edit alone, for a plugin of an inference server"),
        ("steered", "FILE.pt", "file for lm-evaluation-harness's model `steered`"),
    ):
        forms.add_argument(f"--{name}", type=Path, metavar=metavar, help=text)
    parser.add_argument("--device", default="cpu", help="where the model is loaded (default: cpu)")


def _run(options: argparse.Namespace) -> None:
    from conceptbasis.cli.exported import FORMS, check_request, prepare

    check_request(options)
    target = prepare(options)
    asked = [(form, getattr(options, name)) for name, form in FORMS if getattr(options, name)]
    writers = [form(target, path) for form, path in asked]
    for write in writers:
        told, following = write()
        print(told)
        if not options.quiet:
            print(f"next: {following}", file=sys.stderr)


def model_args(given: Mapping[str, str]) -> str:
    """What the harness takes as `--model_args`: pairs, or JSON where a value holds a comma."""
    if any("," in value or "{" in value for value in given.values()):
        return json.dumps(given)
    return ",".join(f"{key}={value}" for key, value in given.items())


EXPORT = Command(_add, _run)
