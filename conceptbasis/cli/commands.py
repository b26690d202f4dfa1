"""What each command does: reads options, calls stages, prints results."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from conceptbasis.cli.reading import console, say_next
from conceptbasis.errors import ConfigError, PromptError
from conceptbasis.runs.progress import Reporter

if TYPE_CHECKING:
    from conceptbasis.config.run import RunConfig


def read_run_config(options: argparse.Namespace) -> RunConfig:
    """The settings that a command line asks for."""
    from conceptbasis.config.run import load_run_config

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


def open_reporter(options: argparse.Namespace, prefix: str = "") -> Reporter:
    """What tells the progress, as loud as the command line asks."""
    return Reporter(quiet=options.quiet, verbose=options.verbose, prefix=prefix)


def silence() -> None:
    """Keeps the progress bars of transformers out of ours."""
    from conceptbasis.models.loading.load import silence_transformers

    silence_transformers()


def run_train_saes(options: argparse.Namespace) -> None:
    """Trains or loads the SAEs of one model and prints their quality."""
    from conceptbasis.config.model import load_model_config
    from conceptbasis.report.model_tables import quality_table
    from conceptbasis.stages.pipeline import load_prompts, open_model
    from conceptbasis.study.sides import add_saes
    from conceptbasis.tracking.saes import SaeLog

    silence()
    config, model = read_run_config(options), load_model_config(options.model_config)
    reporter = open_reporter(options, "" if sys.stderr.isatty() else model.name)
    log_folder = options.logs or options.out or Path("runs") / f"saes-{model.name}"
    # A mode that cannot be is said before the work.
    log = SaeLog(config.tracking, log_folder, model, mode=options.wandb)
    suite = load_prompts(config)
    loaded = open_model(model, config.device, reporter)
    with log:
        log.begin()
        saes = add_saes(model, loaded, suite, reporter, out=options.out, log=log).saes
    if not options.quiet:
        console().print(quality_table(model.name, saes.quality))
        print(f"SAEs of {model.name}: {saes.folder or 'from a release'}")
        say_next(
            options, "transfer --donor A.yaml --target B.yaml", "a transfer between two models"
        )


def run_audit(options: argparse.Namespace) -> None:
    """Audits one model's refusal in both directions."""
    from conceptbasis.config.model import load_model_config
    from conceptbasis.report.model_tables import audit_tables
    from conceptbasis.runs.files import folder_lock
    from conceptbasis.stages.audit import audit_model
    from conceptbasis.stages.pipeline import load_prompts, open_model

    silence()
    config, model = read_run_config(options), load_model_config(options.model_config)
    reporter = open_reporter(options)
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
    from conceptbasis.cli.capability import open_finished
    from conceptbasis.report.model_tables import answers_table
    from conceptbasis.stages.replay import answer_both

    loaded, intervention = open_finished(options)
    prompts, redacted = _replay_prompts(options)
    rows = answer_both(loaded, intervention, prompts, max_new_tokens=options.max_new_tokens)
    console().print(answers_table(redacted, *rows))
    say_next(options, f"inspect {options.folder}", "the recipe behind it")


def _replay_prompts(options: argparse.Namespace) -> tuple[list[str], list[str]]:
    """The prompts to answer, and how they are shown: the suite's own are redacted."""
    from conceptbasis.config.base import load_yaml, parse_config
    from conceptbasis.config.run import RunConfig
    from conceptbasis.data.prompts import redact
    from conceptbasis.runs.files import CONFIG, corrupt
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
        TUNED,
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
        for name in TUNED:
            folder = organism_folder(Spec(name, options.seed))
            state = f"built: {folder}" if is_complete(folder) else "not built"
            print(f"{name:<10} tuned real model; seed {options.seed} {state}")
        say_next(options, "organisms build NAME", "one of them, in a minute or two")
        return
    if not options.name:
        raise ConfigError(
            "organisms build without a family",
            expected="conceptbasis organisms build NAME",
            fix="choose one of " + ", ".join((*FAMILIES, *TUNED)),
        )
    if options.name not in TUNED:
        find_family(options.name)
    silence()
    reporter = open_reporter(options)
    spec = Spec(options.name, options.seed, options.weakened)
    if options.out and options.name in TUNED:
        raise ConfigError(
            f"organisms build {options.name} with --out",
            expected="a tuned model in the cache, where its steps are kept",
            fix="leave out --out; CONCEPTBASIS_CACHE names another cache",
        )
    if options.out:
        print(build_organism(spec, options.out, reporter))
    else:
        print(ensure_organism(spec, reporter))
    say_next(options, "train-saes sae_configs/NAME.yaml", "its SAEs, from a file that names it")
