"""`doctor`: what is installed, cached and missing; or what of a model can be read and edited."""

from __future__ import annotations

import argparse
import json

from conceptbasis.cli.command import Command, add_settings, console, say_next


def _add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument(
        "--model",
        metavar="ID",
        help="check one model instead: a hub id, a folder, or sae_configs/NAME.yaml",
    )
    add_settings(parser, "settings of the transfer for which memory is estimated")


def _run(options: argparse.Namespace) -> None:
    from dataclasses import asdict

    if options.model:
        from conceptbasis.config.run import load_run_config
        from conceptbasis.report.doctor_model import examine_model, model_view

        model = examine_model(options.model, load_run_config(None, options.set))
        if options.json:
            print(json.dumps(model.plain(), indent=1))
        else:
            console().print(model_view(model))
        return
    from conceptbasis.report.doctor import doctor_view, examine
    from conceptbasis.tracking.mode import key_is_configured

    facts = examine(has_key=key_is_configured())
    if options.json:
        print(json.dumps(asdict(facts), indent=1))
        return
    console().print(doctor_view(facts))
    if not facts.problems:
        say_next(options, "two organisms, a transfer and its report", "demo")


DOCTOR = Command(_add, _run)
