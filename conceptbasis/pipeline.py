"""The whole transfer: two model configurations in, a judged transfer out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from conceptbasis.config.model import ModelConfig
from conceptbasis.config.run import RunConfig
from conceptbasis.data.prompts import PromptSuite
from conceptbasis.errors import CoverageError
from conceptbasis.evaluation.bench import load_section_judge
from conceptbasis.evaluation.overview import measure_overview, overview_lines, require_space
from conceptbasis.evaluation.summary import write_recipe, write_summary
from conceptbasis.methods import check_methods
from conceptbasis.models.stream.weights import check_weight_edits
from conceptbasis.results.edit import Replayed
from conceptbasis.results.summary import Summary
from conceptbasis.runs.executor import working
from conceptbasis.runs.files import CONFIG, folder_lock, value_hash, write_text
from conceptbasis.runs.graph import Graph, Stage
from conceptbasis.runs.listening import Listener
from conceptbasis.runs.overwriting import require_same_settings
from conceptbasis.runs.progress import Reporter
from conceptbasis.runs.summary import SUMMARY, read_summary
from conceptbasis.runs.where import Where
from conceptbasis.stages import STAGES
from conceptbasis.study.answer_length import warn_of_short_answers, with_answer_length
from conceptbasis.study.checks import check_budget, check_context, leave_out_long_texts
from conceptbasis.study.identity import recall, remember
from conceptbasis.study.ledger import Ledger
from conceptbasis.study.opening import OpenSaeLog, both_with_saes, load_prompts, open_model
from conceptbasis.study.study import Side, Study


@dataclass(frozen=True)
class Finished:
    """A finished transfer."""

    summary: Summary
    folder: Path
    seconds: Mapping[str, float]


def run_pipeline(
    donor_config: ModelConfig,
    target_config: ModelConfig,
    config: RunConfig,
    folder: Path,
    reporter: Reporter,
    open_sae_log: OpenSaeLog | None = None,
    *,
    overwrite: bool = False,
    listener: Listener | None = None,
) -> Finished:
    """Runs a transfer, reusing whatever the run folder already holds.

    A run in which everything can be reused opens no model.

    Args:
        donor_config: Where the intervention comes from.
        target_config: Where it is rebuilt.
        config: Settings.
        folder: The run folder.
        reporter: Told the progress.
        open_sae_log: Gives the log of SAEs that are trained on the way; None to keep none.
        overwrite: Whether a finished run with other settings in that folder may be replaced.
        listener: Told when the work begins, and what comes of it stage by stage.

    Raises:
        ConceptBasisError: whatever is wrong with the input, said before anything is written
            where it can be known before.
    """
    check_budget(target_config, config)
    check_methods(config)
    suite = load_prompts(config, reporter)
    config = with_answer_length(config, suite)
    listener = listener or Listener()
    listener.on_settings(config)
    configs = (donor_config, target_config)
    settings = _settings(donor_config, target_config, config)
    with folder_lock(folder), working(_where(config, reporter)):
        if not overwrite:
            require_same_settings(folder, settings)
        known = _recalled(configs, config, suite, folder, reporter)
        if known is not None:
            return known
        listener.on_begin(folder)
        donor, target, suite = _open_sides(configs, config, suite, folder, reporter, open_sae_log)
        study = Study(folder, config, donor, target, suite, Ledger(config.budget), reporter)
        admit_target(study)
        write_text(folder / CONFIG, yaml.safe_dump(settings, sort_keys=False))
        (folder / SUMMARY).unlink(missing_ok=True)  # one of older stages must not be taken for this
        return run_stages(study, listener)


def _where(config: RunConfig, reporter: Reporter) -> Where:
    return Where(
        config.executor,
        config.ray_address,
        config.n_workers,
        config.device,
        tuple(str(Path(name).expanduser().resolve()) for name in config.extensions),
        reporter.verbose,
    )


def _recalled(
    configs: tuple[ModelConfig, ModelConfig],
    config: RunConfig,
    suite: PromptSuite,
    folder: Path,
    reporter: Reporter,
) -> Finished | None:
    """The run as it is, where nothing that it depends on has changed."""
    texts = _hash_texts(suite)

    def unused() -> Side:
        raise RuntimeError("a side was opened to find out whether it is needed")

    sides = [recall(model, texts, unused) for model in configs]
    if sides[0] is None or sides[1] is None or not (folder / SUMMARY).exists():
        return None
    study = Study(folder, config, sides[0], sides[1], suite, Ledger(config.budget), reporter)
    graph = Graph(folder, STAGES)
    if not graph.is_up_to_date(study):
        return None
    summary = read_summary(folder)
    if summary.verdict.word == "rejected":
        return None  # it was written before the run was told to go on
    reporter.say("all stages: reused")
    return Finished(summary, folder, {name: done.seconds for name, done in graph.done.items()})


def _hash_texts(suite: PromptSuite) -> str:
    return value_hash([(t.content, t.text_class) for t in suite.texts])


def _open_sides(
    configs: tuple[ModelConfig, ModelConfig],
    config: RunConfig,
    suite: PromptSuite,
    folder: Path,
    reporter: Reporter,
    open_sae_log: OpenSaeLog | None,
) -> tuple[Side, Side, PromptSuite]:
    """Opens all models before any SAE is trained, so that a bad one costs no training; with the
    suite of which both can read every text."""
    models = [(c, open_model(c, config.device, reporter)) for c in configs]
    opened = [loaded for _, loaded in models]
    check_context(opened, suite, config)
    fitting = leave_out_long_texts(opened, suite, config, reporter)
    if config.evaluate.judge is not None:
        load_section_judge(config.evaluate.judge, config.device)
    if config.replay.mode == "orthogonalise":
        check_weight_edits(models[1][1].architecture)
    donor, target = both_with_saes(models, suite, reporter, open_sae_log)
    for side in (donor, target):
        remember(side, _hash_texts(suite))
    overview = measure_overview(donor, target, fitting, config, folder)
    for line in overview_lines(donor, target, config, overview, folder):
        reporter.say(line)
    warn_of_short_answers(config, fitting, reporter)
    require_space(overview, folder)
    return donor, target, fitting


def admit_target(study: Study) -> None:
    """Books what the target's SAEs have read, and puts the ledger before its model."""
    study.ledger.book("target.saes", study.target.saes.shown)
    study.target.guard_texts(study.ledger.gate)


def run_stages(study: Study, listener: Listener | None = None) -> Finished:
    """Runs every stage that the settings want, then writes the summary.

    Args:
        study: What the stages share.
        listener: Told what comes of them.
    """
    graph = Graph(study.folder, STAGES, listener or Listener())
    study.reporter = study.reporter.heard_by(listener)
    try:
        for stage in STAGES:
            if stage.wanted(study.config):
                _run_stage(graph, stage, study)
    except CoverageError:
        if "forecast" in graph.done:
            write_summary(study, graph)
        raise
    summary = write_summary(study, graph)
    seconds = {name: done.seconds for name, done in graph.done.items()}
    return Finished(summary, study.folder, seconds)


def _run_stage(graph: Graph, stage: Stage[object], study: Study) -> None:
    if stage.reads_labels and study.ledger.hashes is None:
        study.ledger.seal({name: done.hash for name, done in graph.done.items()})
    graph.run(stage, study)
    if stage.result is Replayed:
        write_recipe(study, graph)


def _settings(donor: ModelConfig, target: ModelConfig, config: RunConfig) -> dict[str, Any]:
    return {
        "donor": donor.model_dump(mode="json"),
        "target": target.model_dump(mode="json"),
        "run": config.model_dump(mode="json"),
    }
