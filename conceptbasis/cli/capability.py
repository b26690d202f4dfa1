"""Commands that use a finished transfer elsewhere: capability on tasks, and export."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from conceptbasis.cli.reading import console, say_next
from conceptbasis.errors import ConfigError

if TYPE_CHECKING:
    from conceptbasis.edits.intervention import Intervention
    from conceptbasis.models.loading.load import LoadedModel


def open_finished(options: argparse.Namespace) -> tuple[LoadedModel, Intervention]:
    """The target of a finished run and its intervention.

    Raises:
        ConfigError: the model's weights are not those of the run.
    """
    from conceptbasis.config.base import parse_config
    from conceptbasis.config.model import ModelConfig
    from conceptbasis.models.loading.load import silence_transformers
    from conceptbasis.runs.files import check_run_folder
    from conceptbasis.runs.progress import Reporter
    from conceptbasis.stages.pipeline import open_model
    from conceptbasis.stages.replay import load_intervention
    from conceptbasis.study.sides import hash_model

    check_run_folder(options.folder)
    silence_transformers()
    intervention, output = load_intervention(options.folder)
    model = parse_config(ModelConfig, output.result["target"], str(options.folder))
    loaded = open_model(model, options.device, Reporter(quiet=options.quiet))
    if hash_model(loaded) != output.result["target_hash"]:
        raise ConfigError(
            f"{model.model} is not the model this transfer was made for (its weights differ)",
            expected="the target of the run",
            fix="restore that model, or run the transfer again",
        )
    return loaded, intervention


def run_capability(options: argparse.Namespace) -> None:
    """Capability before and after a finished transfer, by tasks of the harness and by texts."""
    from conceptbasis.config.prompts import SourceSection
    from conceptbasis.data.sources import read_prompts
    from conceptbasis.evaluation.capability import measure_capability
    from conceptbasis.report.model_tables import capability_table
    from conceptbasis.runs.files import write_json
    from conceptbasis.runs.progress import Reporter

    if not options.tasks and not options.text:
        raise ConfigError(
            "nothing to measure",
            expected="--tasks NAME,NAME or --text FILE, or both",
            fix="`lm-eval ls tasks` lists the tasks of the harness",
        )
    texts: list[str] = []
    if options.text:
        source = SourceSection(file=str(options.text), column=options.column)
        texts = [prompt.text for prompt in read_prompts(source)]
    loaded, intervention = open_finished(options)
    result: dict[str, Any] = measure_capability(
        loaded,
        intervention,
        Reporter(quiet=options.quiet),
        tasks=[name for name in (options.tasks or "").split(",") if name],
        texts=texts,
        limit=options.limit,
        n_shots=options.shots,
        batch_size=options.batch_size,
        chat=options.chat,
    )
    write_json(options.folder / "capability.json", result)
    console().print(capability_table(result))
    say_next(options, f"replay {options.folder}", "answers before and after")


def run_export(options: argparse.Namespace) -> None:
    """Writes a finished transfer as the file that the harness's model `steered` reads."""
    from conceptbasis.edits.intervention import edits_of
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
