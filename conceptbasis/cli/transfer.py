"""Commands that transfer: one of the user's own, and the demo."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, TypeAlias

from conceptbasis.cli.command import (
    MODEL_HELP,
    Command,
    add_executor,
    add_tracking,
    console,
    open_reporter,
    read_run_config,
    say_next,
    silence,
    sweep_folder,
)
from conceptbasis.errors import ConceptBasisError, ConfigError, CoverageError

if TYPE_CHECKING:
    from conceptbasis.config.model import ModelConfig
    from conceptbasis.config.run import RunConfig
    from conceptbasis.pipeline import Finished
    from conceptbasis.runs.progress import Reporter


def _add_transfer(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "models", nargs="*", metavar="MODEL", help=f"donor and target: {MODEL_HELP}"
    )
    parser.add_argument("--donor", metavar="MODEL", help="the donor, in place of the first MODEL")
    parser.add_argument("--target", metavar="MODEL", help="the target, in place of the second")
    parser.add_argument("--behavior", metavar="NAME", help="what is transferred (default: refusal)")
    parser.add_argument(
        "--out",
        type=Path,
        help="run folder (default: runs/DONOR-to-TARGET; in a sweep runs/sweep-SWEEP/RUN)",
    )
    parser.add_argument("--force", action="store_true", help="go on when the forecast rejects")
    _add_overwrite(parser)
    add_executor(parser)
    add_tracking(parser)


def _add_demo(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, help="run folder (default: runs/demo)")
    _add_overwrite(parser)
    add_executor(parser)
    add_tracking(parser)


def _add_overwrite(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--overwrite",
        action="store_true",
        help="replace a finished run with other settings in that folder",
    )


def _run_transfer(options: argparse.Namespace) -> None:
    """Transfers from a donor to a target and prints what came of it."""
    from conceptbasis.config.model import as_model_config

    donor, target = (as_model_config(model) for model in _two_models(options))
    out = options.out or sweep_folder() or Path("runs") / f"{donor.name}-to-{target.name}"
    configs = (donor, target, read_run_config(options))
    _transfer(options, configs, out, open_reporter(options))


def _two_models(options: argparse.Namespace) -> tuple[str, str]:
    given: Iterator[str | None] = iter(options.models)
    donor = next(given, None) if options.donor is None else options.donor
    target = next(given, None) if options.target is None else options.target
    if donor is None or target is None or next(given, None) is not None:
        named = [*options.models, options.donor, options.target]
        raise ConfigError(
            f"{len(named) - named.count(None)} models",
            expected="a donor and a target",
            fix="conceptbasis transfer DONOR TARGET, or --donor DONOR --target TARGET",
        )
    return donor, target


_Configs: TypeAlias = "tuple[ModelConfig, ModelConfig, RunConfig]"


def _transfer(
    options: argparse.Namespace, configs: _Configs, out: Path, reporter: Reporter
) -> None:
    from conceptbasis.cli.logs.transfer import TransferLog
    from conceptbasis.pipeline import run_pipeline
    from conceptbasis.report.html import build_report
    from conceptbasis.tracking.saes import SaeLog

    silence()
    log = TransferLog(out, configs, options.wandb, quiet=options.quiet)

    def open_sae_log(model: ModelConfig) -> SaeLog:
        section = configs[2].tracking
        return SaeLog(section, out, model, mode=options.wandb, group=log.group, alone=False)

    started = perf_counter()
    with log:
        try:
            finished = run_pipeline(
                *configs,
                out,
                reporter,
                open_sae_log=open_sae_log,
                overwrite=options.overwrite,
                listener=log,
            )
        except CoverageError:
            if (out / "summary.json").exists():
                log.finish(build_report(out, reuse=True))
            raise
        report = build_report(out, reuse=True)
        log.finish(report)
    _print_outcome(finished, out, report, perf_counter() - started)
    say_next(options, "what the atoms stand for", "inspect", out)
    say_next(options, "answers before and after", "replay", out)


def _print_outcome(finished: Finished, folder: Path, report: Path, seconds: float) -> None:
    from conceptbasis.interpret.safety import safety_overlap
    from conceptbasis.report.artifacts import RunFolder
    from conceptbasis.report.run_tables import before_after, conditions_in_brief
    from conceptbasis.report.stage_tables import safety_sentence
    from conceptbasis.report.table import terminal

    out = console()
    out.print(terminal(before_after(finished.summary, brief=True)))
    out.print(terminal(conditions_in_brief(finished.summary)))
    if RunFolder(folder).finished("replay"):  # a rejected transfer edits nothing
        out.print(safety_sentence(safety_overlap(folder)))
    out.print(f"finished in {seconds:.0f} s; report: {report}", highlight=False)


def _run_demo(options: argparse.Namespace) -> None:
    """Runs the embedded default: a Llama donor, a Mixtral target."""
    from importlib import resources

    from conceptbasis.config.base import parse_config

    reporter = open_reporter(options)
    config = read_run_config(options)
    out = options.out or sweep_folder() or Path("runs/demo")
    files = {side: resources.files("conceptbasis") / "demo" / f"{side}.yaml" for side in _SIDES}
    donor, target = (_demo_config(parse_config, files[side], side) for side in _SIDES)
    models = {"donor": donor, "target": target}
    missing = [str(files[side]) for side in _SIDES if not _is_cached(models[side])]
    if missing:
        group = f"{donor.name}-to-{target.name}"
        _prepare_side_by_side(missing, config, reporter, _logging(options, config, out, group))
    _transfer(options, (donor, target, config), out, reporter)


_SIDES = ("donor", "target")


def _demo_config(parse_config: Any, file: Any, side: str) -> ModelConfig:
    import yaml

    from conceptbasis.config.model import ModelConfig

    values = yaml.safe_load(file.read_text(encoding="utf-8"))
    found: ModelConfig = parse_config(ModelConfig, values, f"demo {side}")
    return found


def _is_cached(model: ModelConfig) -> bool:
    """Whether an organism and SAEs of it were made before; the transfer checks that they fit."""
    from conceptbasis.organisms.build import is_complete, organism_folder
    from conceptbasis.organisms.spec import parse_spec
    from conceptbasis.runs.files import cache_folder
    from conceptbasis.saes.build import cache_stem

    spec = parse_spec(model.model)
    saes = (cache_folder() / "saes").glob(f"{cache_stem(model.model)}-*/quality.json")
    return spec is not None and is_complete(organism_folder(spec)) and any(saes)


def _logging(options: argparse.Namespace, config: RunConfig, out: Path, group: str) -> list[str]:
    """Options under which SAEs that are trained for a demo are logged as the demo is."""
    from conceptbasis.tracking.mode import resolve_mode, with_environment

    section = with_environment(config.tracking)
    arguments = ["--wandb", resolve_mode(options.wandb, section.mode), "--logs", str(out)]
    for key in sorted(section.model_fields_set & {"project", "entity"}):
        arguments += ["--set", f"tracking.{key}={getattr(section, key)}"]
    return [*arguments, "--set", f"tracking.group={section.group or group}"]


def _prepare_side_by_side(
    files: list[str], config: RunConfig, reporter: Reporter, logging: list[str]
) -> None:
    """Builds the organisms and SAEs that are missing at the same time, one core each."""
    import subprocess

    from conceptbasis.tracking.own_run import OF_ONE_RUN

    reporter.say("preparing donor and target: organisms and SAEs (cached after the first time)")
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    for name in OF_ONE_RUN:  # they mean the run of the demo
        environment.pop(name, None)
    command = [sys.executable, "-m", "conceptbasis", "train-saes", *logging]
    command += ["--set", f"prompts.seed={config.prompts.seed}"]
    if config.prompts.path:
        command += ["--set", f"prompts.path={config.prompts.path}"]
    if reporter.quiet:
        command.append("--quiet")
    processes = [subprocess.Popen([*command, file], env=environment) for file in files]
    try:
        codes = [process.wait() for process in processes]
    except BaseException:
        for process in processes:
            process.terminate()
        raise
    if any(codes):
        raise ConceptBasisError(
            "donor or target could not be prepared (the reason stands above)",
            expected="two valid organisms with SAEs",
            fix="correct what the message names and run the same command again",
        )


TRANSFER = Command(_add_transfer, _run_transfer, computes=True)
DEMO = Command(_add_demo, _run_demo, computes=True)
