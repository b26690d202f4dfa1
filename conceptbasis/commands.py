"""What each command does: reads options, calls stages, prints results."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from conceptbasis.errors import ConceptBasisError, ConfigError, PromptError
from conceptbasis.progress import Reporter

if TYPE_CHECKING:
    from conceptbasis.config import ModelConfig, RunConfig
    from conceptbasis.stages.pipeline import Finished
    from conceptbasis.tracking import Tracker

_LAYER_STAGES = ("direction", "align", "fit", "transfer", "guard")


def _console() -> Any:
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else 100, soft_wrap=False)


def _run_config(options: argparse.Namespace) -> RunConfig:
    from conceptbasis.config import load_run_config

    overrides = list(options.set)
    if options.device:
        overrides.append(f"device={options.device}")
    if getattr(options, "force", False):
        overrides.append("forecast.force=true")
    if getattr(options, "wandb", None):
        overrides.append(f"tracking.mode={options.wandb}")
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


def _silence() -> None:
    """Keeps the progress bars of transformers out of ours."""
    from conceptbasis.models.loading import silence_transformers

    silence_transformers()


def run_transfer(options: argparse.Namespace) -> None:
    """Transfers from a donor to a target and prints what came of it."""
    from conceptbasis.config import load_model_config

    donor, target = load_model_config(options.donor), load_model_config(options.target)
    out = options.out or Path("runs") / f"{donor.name}-to-{target.name}"
    _transfer(donor, target, _run_config(options), out, Reporter(quiet=options.quiet))


def _transfer(
    donor: ModelConfig, target: ModelConfig, config: RunConfig, out: Path, reporter: Reporter
) -> None:
    from conceptbasis.report.html import build_report
    from conceptbasis.stages.pipeline import run_pipeline
    from conceptbasis.tracking import Tracker

    _silence()
    started = time.perf_counter()
    finished = run_pipeline(donor, target, config, out, reporter)
    report = build_report(out)
    with Tracker(config.tracking, out) as tracker:
        _log(tracker, finished, (donor, target, config), report)
    _print_outcome(finished, report, time.perf_counter() - started)


def _log(
    tracker: Tracker,
    finished: Finished,
    configs: tuple[ModelConfig, ModelConfig, RunConfig],
    report: Path,
) -> None:
    from conceptbasis.artifacts import RESULT, read_json

    donor, target, config = (c.model_dump(mode="json") for c in configs)
    tracker.log_config({"donor": donor, "target": target, "run": config})
    folder = finished.folder
    tracker.log_layers({s: read_json(folder / s / RESULT) for s in _LAYER_STAGES})
    tracker.log_conditions(finished.summary)
    tracker.log_stage_seconds(finished.seconds)
    tracker.log_artifact(folder)
    tracker.log_report(report)


def _print_outcome(finished: Finished, report: Path, seconds: float) -> None:
    from conceptbasis.report.table import before_after_table, conditions_table

    console = _console()
    console.print(before_after_table(finished.summary))
    console.print(conditions_table(finished.summary))
    folder = finished.folder
    console.print(f"finished in {seconds:.0f} s; report: {report}", highlight=False)
    console.print(f"next: conceptbasis inspect {folder}   the recipe, atom by atom")
    console.print(f"      conceptbasis replay {folder}    answers before and after")


def run_demo(options: argparse.Namespace) -> None:
    """Runs the embedded default: a Llama donor, a Mixtral target."""
    from conceptbasis.config import parse_config

    reporter = Reporter(quiet=options.quiet)
    config = _run_config(options)
    files = {side: resources.files("conceptbasis") / "demo" / f"{side}.yaml" for side in _SIDES}
    donor, target = (_demo_config(parse_config, files[side], side) for side in _SIDES)
    if not all(_is_cached(model) for model in (donor, target)):
        _prepare_side_by_side([str(files[side]) for side in _SIDES], config, reporter)
    _transfer(donor, target, config, options.out, reporter)


_SIDES = ("donor", "target")


def _demo_config(parse_config: Any, file: Any, side: str) -> ModelConfig:
    import yaml

    from conceptbasis.config import ModelConfig

    values = yaml.safe_load(file.read_text(encoding="utf-8"))
    found: ModelConfig = parse_config(ModelConfig, values, f"demo {side}")
    return found


def _is_cached(model: ModelConfig) -> bool:
    """Whether an organism and SAEs of it were made before; the transfer checks that they fit."""
    from conceptbasis.artifacts import cache_folder
    from conceptbasis.organisms.build import is_complete, organism_folder
    from conceptbasis.organisms.spec import parse_spec

    spec = parse_spec(model.model)
    saes = (cache_folder() / "saes").glob(f"{model.name}-*/quality.json")
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
    from conceptbasis.config import load_model_config
    from conceptbasis.report.model_tables import quality_table
    from conceptbasis.stages.pipeline import hash_model, load_prompts, open_model
    from conceptbasis.stages.train_sae import load_or_train
    from conceptbasis.tracking import Tracker

    _silence()
    config, model = _run_config(options), load_model_config(options.model_config)
    reporter = Reporter(quiet=options.quiet, prefix="" if sys.stderr.isatty() else model.name)
    suite = load_prompts(config)
    loaded = open_model(model, config.device, reporter)
    log_folder = options.out or Path("runs") / f"saes-{model.name}"
    with Tracker(config.tracking, log_folder, name=model.name, job_type="train_sae") as tracker:
        saes = load_or_train(model, loaded, hash_model(loaded), suite, reporter, out=options.out)
        tracker.log_config({"model": model.model_dump(mode="json")})
        for row in saes.quality:
            figures = {k: v for k, v in row.items() if k != "layer"}
            tracker.log_sae_training(row["layer"], figures, 0)
    if not options.quiet:
        _console().print(quality_table(model.name, saes.quality))
        print(f"SAEs of {model.name}: {saes.folder or 'from a release'}")


def run_audit(options: argparse.Namespace) -> None:
    """Audits one model's refusal in both directions."""
    from conceptbasis.config import load_model_config
    from conceptbasis.report.model_tables import audit_tables
    from conceptbasis.stages.audit import audit_model
    from conceptbasis.stages.pipeline import load_prompts, open_model

    _silence()
    config, model = _run_config(options), load_model_config(options.model_config)
    reporter = Reporter(quiet=options.quiet)
    out = options.out or Path("runs") / f"audit-{model.name}"
    loaded = open_model(model, config.device, reporter)
    result = audit_model(model, loaded, load_prompts(config), config, out, reporter)
    console = _console()
    for table in audit_tables(result):
        console.print(table)
    console.print(f"written: {out / 'audit.json'}")


def run_inspect(options: argparse.Namespace) -> None:
    """Shows a recipe, atom by atom."""
    from conceptbasis.report.inspection import as_json, print_recipe

    if options.json:
        data = as_json(options.folder, layer=options.layer, atom=options.atom)
        print(json.dumps(data, indent=1))
    else:
        print_recipe(options.folder, layer=options.layer, atom=options.atom, console=_console())


def run_compare(options: argparse.Namespace) -> None:
    """Shows finished runs side by side."""
    from conceptbasis.artifacts import read_json
    from conceptbasis.report.table import compare_table

    summaries = {str(folder): read_json(folder / "summary.json") for folder in options.folders}
    _console().print(compare_table(summaries))


def run_report(options: argparse.Namespace) -> None:
    """Rebuilds the report of a run."""
    from conceptbasis.report.html import build_report

    print(build_report(options.folder))


def run_replay(options: argparse.Namespace) -> None:
    """Prints answers before and after a finished transfer, side by side."""
    from conceptbasis.config import ModelConfig, parse_config
    from conceptbasis.report.model_tables import answers_table
    from conceptbasis.stages.pipeline import hash_model, open_model
    from conceptbasis.stages.replay import answer_both, load_intervention

    _silence()
    intervention, output = load_intervention(options.folder)
    model = parse_config(ModelConfig, output.result["target"], str(options.folder))
    loaded = open_model(model, options.device, Reporter(quiet=options.quiet))
    if hash_model(loaded) != output.result["target_hash"]:
        raise ConfigError(
            f"{model.model} is not the model this transfer was made for (its weights differ)",
            expected="the target of the run",
            fix="restore that model, or run the transfer again",
        )
    prompts, redacted = _replay_prompts(options)
    rows = answer_both(loaded, intervention, prompts, max_new_tokens=options.max_new_tokens)
    _console().print(answers_table(redacted, *rows))


def _replay_prompts(options: argparse.Namespace) -> tuple[list[str], list[str]]:
    """The prompts to answer, and how they are shown: the suite's own are redacted."""
    from conceptbasis.config import RunConfig, load_yaml, parse_config
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
    values = load_yaml(options.folder / "config.yaml")["run"]
    suite = load_prompts(parse_config(RunConfig, values, "config.yaml"))
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
        return
    if not options.name:
        raise ConfigError(
            "organisms build without a family",
            expected="conceptbasis organisms build NAME",
            fix="choose one of " + ", ".join(FAMILIES),
        )
    find_family(options.name)
    _silence()
    reporter = Reporter(quiet=options.quiet)
    spec = Spec(options.name, options.seed, options.weakened)
    if options.out:
        print(build_organism(spec, options.out, reporter))
    else:
        print(ensure_organism(spec, reporter))
