"""The whole transfer, stage by stage: two model configurations in, a judged transfer out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from conceptbasis.config.model import ModelConfig
from conceptbasis.config.run import RunConfig
from conceptbasis.data.prompts import PromptSuite, check_disjoint
from conceptbasis.data.sources import build_from_sources
from conceptbasis.data.suites import load_concepts, load_suite
from conceptbasis.errors import ConfigError, CoverageError, ModelError
from conceptbasis.evaluation.conditions import Parts
from conceptbasis.evaluation.overview import measure_overview, overview_lines
from conceptbasis.evaluation.summary import write_recipe, write_summary
from conceptbasis.methods.rebuilder import Rebuilder
from conceptbasis.models.loading.fetching import Placement
from conceptbasis.models.loading.load import LoadedModel, load_model
from conceptbasis.models.stream.weights import check_weight_edits
from conceptbasis.models.text.template import ChatOptions
from conceptbasis.organisms.build import ensure_organism
from conceptbasis.organisms.spec import FORM, PREFIX, parse_spec
from conceptbasis.organisms.suite import build_suite
from conceptbasis.runs.files import CONFIG, folder_lock, write_text
from conceptbasis.runs.ledger import Ledger
from conceptbasis.runs.progress import Reporter
from conceptbasis.runs.stage import Run, StageOutput, load_stage
from conceptbasis.stages.align import run_align
from conceptbasis.stages.atoms import run_atoms
from conceptbasis.stages.baselines import run_baselines
from conceptbasis.stages.curve import run_curve
from conceptbasis.stages.direction import run_direction
from conceptbasis.stages.evaluate import run_evaluate
from conceptbasis.stages.fit import run_fit
from conceptbasis.stages.forecast import run_forecast
from conceptbasis.stages.guard import run_guard
from conceptbasis.stages.lines import run_lines
from conceptbasis.stages.match import run_match
from conceptbasis.stages.replay import run_replay
from conceptbasis.stages.stability import run_stability
from conceptbasis.stages.transfer import run_transfer
from conceptbasis.study.checks import check_budget, check_context, check_direction_sets
from conceptbasis.study.harvest import run_harvest
from conceptbasis.study.sides import add_saes, both_with_saes
from conceptbasis.study.site_weights import SiteWeights
from conceptbasis.study.study import Codes, Side, Study
from conceptbasis.tracking.saes import OpenSaeLog

StageDone = Callable[[StageOutput], None]


@dataclass(frozen=True)
class Finished:
    """A finished transfer."""

    summary: Mapping[str, Any]
    folder: Path
    seconds: Mapping[str, float]


def load_prompts(config: RunConfig) -> PromptSuite:
    """The suite that `prompts` names: a folder, sources, or the built-in world; with concepts of
    its own or with those for chat models."""
    section = config.prompts
    folder = None if section.path is None else load_suite(Path(section.path).expanduser())
    if section.sets or section.texts:
        suite = build_from_sources(section, folder)
        check_direction_sets(suite)
    elif folder is not None:
        suite = folder
        check_direction_sets(suite)
    else:
        suite = build_suite(section.seed)
    if section.concepts == "chat":
        shipped = resources.files("conceptbasis") / "chat_concepts" / "concepts.jsonl"
        suite = replace(suite, concepts=load_concepts(Path(str(shipped))))
    check_disjoint(suite)
    return suite


def open_model(config: ModelConfig, device: str, reporter: Reporter) -> LoadedModel:
    """Loads the model of a configuration; a built-in organism is built if it is missing.

    Raises:
        ConfigError: if an organism is not named as `FORM` says.
    """
    path: str | Path = config.model
    if config.model.startswith(("~", "/", ".")):
        path = Path(config.model).expanduser()
        if not (path.is_dir() or path.suffix == ".gguf"):
            raise ModelError(
                f"{config.name}: there is no model folder {path}",
                expected="a folder with config.json, safetensors and a tokenizer",
                fix="correct the key `model`; a hub id starts with neither a dot nor a slash",
            )
    if config.model.startswith(PREFIX):
        spec = parse_spec(config.model)
        if spec is None:
            raise ConfigError(
                f"{config.name}: model {config.model!r}",
                expected=f"{FORM}, for example organism:llama:0",
                fix="correct the key `model`; `conceptbasis organisms list` names the families",
            )
        path = ensure_organism(spec, reporter)
    return load_model(
        path,
        revision=config.revision,
        trust_remote_code=config.trust_remote_code,
        offline=config.offline,
        placement=Placement(
            config.dtype,
            device,
            config.device_map,
            config.max_memory,
            config.offload_folder,
            config.quantization,
        ),
        adapter=config.adapter,
        adapter_revision=config.adapter_revision,
        chat=ChatOptions(**config.chat.model_dump()),
        architecture=config.architecture,
        gguf_file=config.gguf_file,
    )


def open_side(
    config: ModelConfig, run_config: RunConfig, suite: PromptSuite, reporter: Reporter
) -> Side:
    """Loads a model and its SAEs."""
    loaded = open_model(config, run_config.device, reporter)
    return add_saes(config, loaded, suite, reporter)


def run_pipeline(
    donor_config: ModelConfig,
    target_config: ModelConfig,
    config: RunConfig,
    folder: Path,
    reporter: Reporter,
    on_stage: StageDone = lambda output: None,
    open_sae_log: OpenSaeLog | None = None,
) -> Finished:
    """Runs a transfer, reusing whatever the run folder already holds.

    Args:
        donor_config: Where the intervention comes from.
        target_config: Where it is rebuilt.
        config: Settings.
        folder: The run folder.
        reporter: Told the progress.
        on_stage: Told each finished stage.
        open_sae_log: Gives the log of SAEs that are trained on the way; None to keep none.

    Raises:
        ConceptBasisError: whatever is wrong with the input, said before anything is written
            where it can be known before.
    """
    check_budget(target_config, config)
    suite = load_prompts(config)
    with folder_lock(folder):
        # Both models are opened before any SAE is trained, so that a bad one costs no training.
        models = [
            (c, open_model(c, config.device, reporter)) for c in (donor_config, target_config)
        ]
        check_context([loaded for _, loaded in models], suite, config)
        if config.replay.mode == "orthogonalise":
            check_weight_edits(models[1][1].architecture)
        donor, target = both_with_saes(models, suite, reporter, open_sae_log)
        overview = measure_overview(donor, target, suite, config, folder)
        for line in overview_lines(donor, target, config, overview, folder):
            reporter.say(line)
        run = Run(folder, reporter.say, reporter.detail)
        ledger = Ledger(config.budget)
        for text_class, n_texts in target.saes.texts.items():
            ledger.show(text_class, n_texts, 0)
        study = Study(run, config, donor, target, suite, ledger, reporter)
        _write_config(folder, donor_config, target_config, config)
        summary = _run_stages(study, on_stage)
    return Finished(summary, folder, run.seconds)


def _run_stages(study: Study, on_stage: StageDone) -> dict[str, Any]:
    sides = {"donor": study.donor, "target": study.target}
    harvest = run_harvest(
        study.run,
        study.config,
        {name: side.loaded for name, side in sides.items()},
        {name: side.model_hash for name, side in sides.items()},
        {name: list(side.saes.saes) for name, side in sides.items()},
        study.suite,
        study.ledger,
        study.reporter,
    )
    codes = Codes(study, harvest)
    direction = run_direction(study)
    on_stage(direction.output)
    weigh = SiteWeights(harvest, direction)
    matches = run_match(study, harvest, codes, weigh)
    on_stage(matches.output)
    alignment = run_align(study, harvest, codes, matches, direction)
    on_stage(alignment.output)
    recipes = run_fit(study, codes, matches, direction, alignment)
    on_stage(recipes.output)
    rebuilder = Rebuilder(study, harvest, codes, matches, weigh)
    transfer = run_transfer(study, rebuilder, recipes, direction, alignment)
    on_stage(transfer.output)
    guarded = run_guard(study, harvest, transfer)
    on_stage(guarded.output)
    try:
        forecast = run_forecast(study, rebuilder, direction, recipes, alignment, transfer, guarded)
    except CoverageError:
        declined = load_stage(study.run.folder, "forecast")
        write_summary(study, recipes, transfer, declined)
        raise
    on_stage(forecast)
    intervention, replayed = run_replay(study, harvest, guarded)
    write_recipe(study, recipes, transfer, intervention)
    on_stage(replayed)
    atoms = run_atoms(study, rebuilder, direction, recipes, transfer, guarded)
    on_stage(atoms)
    stability = run_stability(study, rebuilder, direction, alignment, transfer)
    if stability is not None:
        on_stage(stability)
    baselines = run_baselines(study, rebuilder, direction, alignment)
    on_stage(baselines.output)
    outputs = (matches, direction, alignment, recipes, transfer, guarded, baselines)
    hashes = {o.output.name: o.output.hash for o in outputs}
    study.ledger.seal({**hashes, "harvest": harvest.hash, "replay": replayed.hash})
    parts = Parts(
        study,
        harvest,
        rebuilder,
        direction,
        alignment,
        recipes,
        transfer,
        intervention,
        baselines,
        guarded,
    )
    evaluation = run_evaluate(study, parts)
    on_stage(evaluation)
    curve = run_curve(study, parts, evaluation)
    if curve is not None:
        on_stage(curve)
    lines = run_lines(study, parts, atoms, evaluation)
    if lines is not None:
        on_stage(lines)
    return write_summary(study, recipes, transfer, forecast, evaluation, curve, stability)


def _write_config(folder: Path, donor: ModelConfig, target: ModelConfig, config: RunConfig) -> None:
    values = {
        "donor": donor.model_dump(mode="json"),
        "target": target.model_dump(mode="json"),
        "run": config.model_dump(mode="json"),
    }
    write_text(folder / CONFIG, yaml.safe_dump(values, sort_keys=False))
