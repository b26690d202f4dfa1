"""What each command does: reads options, calls stages, prints results."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from conceptbasis.commands_reading import console, say_next
from conceptbasis.errors import ConceptBasisError, ConfigError, CoverageError, PromptError
from conceptbasis.progress import Reporter

if TYPE_CHECKING:
    from conceptbasis.config import RunConfig
    from conceptbasis.config_model import ModelConfig
    from conceptbasis.stages.pipeline import Finished


def _run_config(options: argparse.Namespace) -> RunConfig:
    from conceptbasis.config import load_run_config

    overrides = list(options.set)
    if options.device:
        overrides.append(f"device={options.device}")
    if getattr(options, "force", False):
        overrides.append("forecast.force=true")
    config = load_run_config(options.config, overrides)
    _check_device(config.device)
    return config


def _check_device(device: str) -> None:
    if device == "cpu":
        return
    import torch

    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(
            f"device {device!r} cannot be used: {str(error).splitlines()[0]}",
            expected="cpu, or cuda where a CUDA build of torch finds a GPU",
            fix="use --device cpu, or install torch for your accelerator",
        ) from error


def _reporter(options: argparse.Namespace, prefix: str = "") -> Reporter:
    return Reporter(quiet=options.quiet, verbose=options.verbose, prefix=prefix)


def _silence() -> None:
    """Keeps the progress bars of transformers out of ours."""
    from conceptbasis.models.loading import silence_transformers

    silence_transformers()


def run_transfer(options: argparse.Namespace) -> None:
    """Transfers from a donor to a target and prints what came of it."""
    from conceptbasis.config_model import load_model_config

    donor, target = load_model_config(options.donor), load_model_config(options.target)
    out = options.out or Path("runs") / f"{donor.name}-to-{target.name}"
    configs = (donor, target, _run_config(options))
    _transfer(options, configs, out, _reporter(options))


_Configs: TypeAlias = "tuple[ModelConfig, ModelConfig, RunConfig]"


def _transfer(
    options: argparse.Namespace, configs: _Configs, out: Path, reporter: Reporter
) -> None:
    from conceptbasis.report.html import build_report
    from conceptbasis.stages.pipeline import run_pipeline
    from conceptbasis.tracking_mode import resolve_mode

    _silence()
    resolve_mode(options.wandb, configs[2].tracking.mode)  # a missing key is said before the work
    started = time.perf_counter()
    try:
        finished = run_pipeline(*configs, out, reporter)
    except CoverageError:
        if (out / "summary.json").exists():
            _log(out, configs, build_report(out), options.wandb)
        raise
    report = build_report(out)
    _log(out, configs, report, options.wandb)
    _print_outcome(finished, report, time.perf_counter() - started)
    say_next(options, f"inspect {out}", "what the atoms stand for")
    say_next(options, f"replay {out}", "answers before and after")


def _log(folder: Path, configs: _Configs, report: Path, mode: str | None) -> None:
    """Logs a run from its artifacts, so that a failure of wandb can cost nothing."""
    from conceptbasis.artifacts import read_json
    from conceptbasis.metrics import about
    from conceptbasis.report.html import read_stages
    from conceptbasis.tracking import Tracker

    summary = read_json(folder / "summary.json")
    results, provenance = read_stages(folder)
    donor, target, config = (c.model_dump(mode="json") for c in configs)
    tags = [summary["budget"], summary["basis"], summary["mode"], summary["verdict"]["word"]]
    group = f"{summary['donor']['name']}-to-{summary['target']['name']}"
    with Tracker(configs[2].tracking, folder, mode=mode, group=group, tags=tags) as tracker:
        settings = {"donor": donor, "target": target, "run": config}
        tracker.log_config({**settings, "about": about(summary)})
        for side in ("donor", "target"):
            tracker.log_saes(summary[side], made_here=False)
        tracker.log_layers(results)
        tracker.log_tables(results)
        tracker.log_conditions(summary)
        tracker.log_stage_seconds({name: p["seconds"] for name, p in provenance.items()})
        tracker.log_artifact(folder)
        tracker.log_report(report)


def _print_outcome(finished: Finished, report: Path, seconds: float) -> None:
    from conceptbasis.report.table import before_after_table, conditions_table

    out = console()
    out.print(before_after_table(finished.summary))
    out.print(conditions_table(finished.summary))
    out.print(f"finished in {seconds:.0f} s; report: {report}", highlight=False)


def run_demo(options: argparse.Namespace) -> None:
    """Runs the embedded default: a Llama donor, a Mixtral target."""
    from conceptbasis.config_base import parse_config

    reporter = _reporter(options)
    config = _run_config(options)
    files = {side: resources.files("conceptbasis") / "demo" / f"{side}.yaml" for side in _SIDES}
    donor, target = (_demo_config(parse_config, files[side], side) for side in _SIDES)
    if not all(_is_cached(model) for model in (donor, target)):
        _prepare_side_by_side([str(files[side]) for side in _SIDES], config, reporter)
    _transfer(options, (donor, target, config), options.out, reporter)


_SIDES = ("donor", "target")


def _demo_config(parse_config: Any, file: Any, side: str) -> ModelConfig:
    import yaml

    from conceptbasis.config_model import ModelConfig

    values = yaml.safe_load(file.read_text(encoding="utf-8"))
    found: ModelConfig = parse_config(ModelConfig, values, f"demo {side}")
    return found


def _is_cached(model: ModelConfig) -> bool:
    """Whether an organism and SAEs of it were made before; the transfer checks that they fit."""
    from conceptbasis.artifacts import cache_folder
    from conceptbasis.organisms.build import is_complete, organism_folder
    from conceptbasis.organisms.spec import parse_spec
    from conceptbasis.stages.train_sae import cache_stem

    spec = parse_spec(model.model)
    saes = (cache_folder() / "saes").glob(f"{cache_stem(model.model)}-*/quality.json")
    return spec is not None and is_complete(organism_folder(spec)) and any(saes)


def _prepare_side_by_side(files: list[str], config: RunConfig, reporter: Reporter) -> None:
    """Builds both organisms and their SAEs at the same time, one core each."""
    reporter.say("preparing donor and target: organisms and SAEs (cached after the first time)")
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "conceptbasis", "train-saes", "--wandb", "off"]
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


def run_train_saes(options: argparse.Namespace) -> None:
    """Trains or loads the SAEs of one model and prints their quality."""
    from conceptbasis.config_model import load_model_config
    from conceptbasis.report.model_tables import quality_table
    from conceptbasis.stages.pipeline import hash_model, load_prompts, open_model
    from conceptbasis.stages.study import Side
    from conceptbasis.stages.summary import describe_side
    from conceptbasis.stages.train_sae import load_or_train
    from conceptbasis.tracking import Tracker

    _silence()
    config, model = _run_config(options), load_model_config(options.model_config)
    reporter = _reporter(options, "" if sys.stderr.isatty() else model.name)
    suite = load_prompts(config)
    loaded = open_model(model, config.device, reporter)
    log_folder = options.out or Path("runs") / f"saes-{model.name}"
    kind = {"name": model.name, "group": model.name, "job_type": "train_sae"}
    with Tracker(config.tracking, log_folder, mode=options.wandb, **kind) as tracker:
        tracker.log_config({"model": model.model_dump(mode="json")})
        digest, steps = hash_model(loaded), tracker.log_sae_training
        saes = load_or_train(
            model, loaded, digest, suite, reporter, out=options.out, on_metrics=steps
        )
        tracker.log_sae_quality(saes.quality, saes.histograms)
        side = Side(model, loaded, digest, saes)
        tracker.log_saes(describe_side(side), made_here=True)
    if not options.quiet:
        console().print(quality_table(model.name, saes.quality))
        print(f"SAEs of {model.name}: {saes.folder or 'from a release'}")
        say_next(
            options, "transfer --donor A.yaml --target B.yaml", "a transfer between two models"
        )


def run_audit(options: argparse.Namespace) -> None:
    """Audits one model's refusal in both directions."""
    from conceptbasis.artifacts import folder_lock
    from conceptbasis.config_model import load_model_config
    from conceptbasis.report.model_tables import audit_tables
    from conceptbasis.stages.audit import audit_model
    from conceptbasis.stages.pipeline import load_prompts, open_model

    _silence()
    config, model = _run_config(options), load_model_config(options.model_config)
    reporter = _reporter(options)
    out = options.out or Path("runs") / f"audit-{model.name}"
    suite = load_prompts(config)
    with folder_lock(out):
        loaded = open_model(model, config.device, reporter)
        result = audit_model(model, loaded, suite, config, out, reporter)
    for table in audit_tables(result):
        console().print(table)
    console().print(f"written: {out / 'audit.json'}")
    say_next(options, f"train-saes {options.model_config}", "its SAEs, for a transfer")


def run_replay(options: argparse.Namespace) -> None:
    """Prints answers before and after a finished transfer, side by side."""
    from conceptbasis.commands_capability import open_finished
    from conceptbasis.report.model_tables import answers_table
    from conceptbasis.stages.replay import answer_both

    loaded, intervention = open_finished(options)
    prompts, redacted = _replay_prompts(options)
    rows = answer_both(loaded, intervention, prompts, max_new_tokens=options.max_new_tokens)
    console().print(answers_table(redacted, *rows))
    say_next(options, f"inspect {options.folder}", "the recipe behind it")


def _replay_prompts(options: argparse.Namespace) -> tuple[list[str], list[str]]:
    """The prompts to answer, and how they are shown: the suite's own are redacted."""
    from conceptbasis.artifacts import CONFIG, corrupt
    from conceptbasis.config import RunConfig
    from conceptbasis.config_base import load_yaml, parse_config
    from conceptbasis.prompts import redact
    from conceptbasis.stages.pipeline import load_prompts

    given = list(options.prompt or [])
    if options.file:
        try:
            given += options.file.read_text(encoding="utf-8").splitlines()
        except OSError as error:
            raise PromptError(
                f"cannot read {options.file}: {error.strerror}",
                expected="a text file with one prompt per line",
                fix="check the path",
            ) from error
    given = [p for p in (line.strip() for line in given) if p]
    if given:
        return given, given
    if options.prompt or options.file:
        raise PromptError(
            "no prompt is left",
            expected="at least one line that is not empty",
            fix="give --prompt TEXT or a file with prompts",
        )
    path = options.folder / CONFIG
    values = load_yaml(path)
    if not isinstance(values.get("run"), dict):
        raise corrupt(path, "it holds no settings under `run`")
    suite = load_prompts(parse_config(RunConfig, values["run"], str(path)))
    chosen = [*suite["eval_harmful"][:4], *suite["eval_harmless"][:4]]
    return [p.text for p in chosen], [redact(p) for p in chosen[:4]] + [p.text for p in chosen[4:]]


def run_organisms(options: argparse.Namespace) -> None:
    """Lists or builds organisms."""
    from conceptbasis.organisms.build import (
        build_organism,
        ensure_organism,
        find_family,
        is_complete,
        organism_folder,
    )
    from conceptbasis.organisms.families import FAMILIES
    from conceptbasis.organisms.spec import Spec

    if options.action == "list":
        for name, family in FAMILIES.items():
            folder = organism_folder(Spec(name, options.seed, options.weakened))
            state = f"built: {folder}" if is_complete(folder) else "not built"
            print(
                f"{name:<10} {family.config_class:<16} {family.sizes['num_hidden_layers']} layers, "
                f"width {family.sizes['hidden_size']}, {family.tokenizer} {family.d_vocab}; "
                f"seed {options.seed} {state}"
            )
        say_next(options, "organisms build NAME", "one of them, in a minute or two")
        return
    if not options.name:
        raise ConfigError(
            "organisms build without a family",
            expected="conceptbasis organisms build NAME",
            fix="choose one of " + ", ".join(FAMILIES),
        )
    find_family(options.name)
    _silence()
    reporter = _reporter(options)
    spec = Spec(options.name, options.seed, options.weakened)
    if options.out:
        print(build_organism(spec, options.out, reporter))
    else:
        print(ensure_organism(spec, reporter))
    say_next(options, "train-saes sae_configs/NAME.yaml", "its SAEs, from a file that names it")
