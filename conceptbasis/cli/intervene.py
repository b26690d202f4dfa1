"""`intervene`: what one latent of a recipe does by itself."""

from __future__ import annotations

import argparse

from conceptbasis.cli.command import Command, add_folder, console, open_reporter, silence


def _add(parser: argparse.ArgumentParser) -> None:
    add_folder(parser)
    parser.add_argument(
        "--side", choices=("donor", "target"), default="donor", help="whose latent (default: donor)"
    )
    parser.add_argument("--layer", type=int, required=True, help="layer of that model")
    parser.add_argument(
        "--latent", type=int, required=True, help="a number that `inspect` names at that layer"
    )
    parser.add_argument(
        "--times",
        type=float,
        default=1.0,
        help="what is put in, in multiples of its highest activation (default: 1)",
    )
    parser.add_argument(
        "--n-prompts", type=int, default=100, help="held-out prompts of each set (default: 100)"
    )
    parser.add_argument(
        "--n-controls", type=int, default=1, help="other latents beside it (default: 1)"
    )
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N (default: cpu)")


def _run(options: argparse.Namespace) -> None:
    from conceptbasis.cli.command import check_device
    from conceptbasis.evaluation.latent import Latent, intervene_on_latent
    from conceptbasis.report.model_tables import latent_table
    from conceptbasis.report.table import terminal
    from conceptbasis.runs.files import check_run_folder

    silence()
    check_run_folder(options.folder)
    check_device(options.device)
    which = Latent(options.side, options.layer, options.latent, options.times)
    effects = intervene_on_latent(
        options.folder,
        which,
        n_prompts=options.n_prompts,
        n_controls=options.n_controls,
        device=options.device,
        reporter=open_reporter(options),
    )
    console().print(terminal(latent_table(which, effects)))


INTERVENE = Command(_add, _run)
