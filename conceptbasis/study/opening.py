"""Opens what a transfer is about: prompts, models, and their SAEs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any, Protocol, get_args

from conceptbasis.behaviors import find_behavior
from conceptbasis.behaviors.base import Behavior
from conceptbasis.config.model import ModelConfig
from conceptbasis.config.prompts import World
from conceptbasis.config.run import RunConfig
from conceptbasis.data.prompts import PromptSuite, check_disjoint
from conceptbasis.data.sources import build_from_sources
from conceptbasis.data.suites import load_concepts, load_suite
from conceptbasis.errors import ConfigError, ModelError, PromptError
from conceptbasis.models.loading.fetching import Placement
from conceptbasis.models.loading.load import LoadedModel, load_model
from conceptbasis.models.loading.placement import iter_parameters
from conceptbasis.models.text.template import ChatOptions
from conceptbasis.organisms.backdoor.suite import backdoor_suite
from conceptbasis.organisms.build import ensure_organism
from conceptbasis.organisms.packages import ensure_weights, find_weights
from conceptbasis.organisms.spec import FORM, PREFIX, parse_spec
from conceptbasis.organisms.suite import build_suite
from conceptbasis.organisms.tuned.build import tuned_suite
from conceptbasis.results.summary import SideSaes, SideSummary
from conceptbasis.runs.files import value_hash
from conceptbasis.runs.progress import Reporter
from conceptbasis.saes.build import SaeSet, load_or_train
from conceptbasis.saes.quality import Histogram
from conceptbasis.study.checks import check_direction_sets
from conceptbasis.study.study import Side


class SaeLog(Protocol):
    """What is told the figures of a training of SAEs, and what came of it."""

    def log_step(self, step: int, metrics: Mapping[str, float]) -> None:
        """Figures of all layers at a training step."""

    def log_outcome(
        self, described: SideSummary, histograms: Mapping[int, Mapping[str, Histogram]]
    ) -> None:
        """The finished SAEs."""


OpenSaeLog = Callable[[ModelConfig], AbstractContextManager[SaeLog]]
"""Gives the log of a model's SAEs before it is known whether any are trained."""


def load_prompts(config: RunConfig, reporter: Reporter | None = None) -> PromptSuite:
    """The suite that `prompts` names: a folder, sources, or a built-in world; with concepts of
    its own or with those for chat models.

    Args:
        config: The settings of a run.
        reporter: Told how many rows each source gives.
    """
    behavior = find_behavior(config.behavior)
    section, sets = config.prompts, behavior.sets
    folder = None if section.path is None else load_suite(Path(section.path).expanduser(), sets)
    if section.sets or section.texts:
        told = None if reporter is None else reporter.say
        suite = build_from_sources(section, folder, sets, told)
        check_direction_sets(suite, sets)
    elif folder is not None:
        suite = folder
        check_direction_sets(suite, sets)
    else:
        suite = _world(section.world, section.seed, reporter)
        _require_sets(suite, section.world, behavior)
    if section.concepts == "chat":
        shipped = resources.files("conceptbasis") / "chat_concepts" / "concepts.jsonl"
        suite = replace(suite, concepts=load_concepts(Path(str(shipped))))
    check_disjoint(suite, sets)
    if behavior.check is not None:
        behavior.check(suite)
    return suite


def _require_sets(suite: PromptSuite, world: World, behavior: Behavior) -> None:
    missing = [name for name in behavior.sets.required if not suite.has(name)]
    if missing:
        raise PromptError(
            f"the world {world} has no prompts of the behavior {behavior.name} "
            f"(no set {missing[0]})",
            expected="a world of that behavior, or prompts of your own",
            fix=f"set prompts.world to another of {', '.join(get_args(World))}, or prompts.path",
        )


def _world(name: World, seed: int, reporter: Reporter | None) -> PromptSuite:
    if name == "tuned":
        return tuned_suite(seed, reporter or Reporter(quiet=True))
    if name.startswith("backdoor-"):
        return backdoor_suite(name.removeprefix("backdoor-"), seed)
    return build_suite(seed)


def model_path(config: ModelConfig, reporter: Reporter) -> str | Path:
    """The folder or hub id that a configuration names; a built-in organism is built if missing.

    Raises:
        ModelError: if a folder is missing.
        ConfigError: if an organism is not named as `FORM` says, or weights are unknown.
    """
    if config.model.startswith(("~", "/", ".")):
        path = Path(config.model).expanduser()
        if not (path.is_dir() or path.suffix == ".gguf"):
            raise ModelError(
                f"{config.name}: there is no model folder {path}",
                expected="a folder with config.json, safetensors and a tokenizer",
                fix="correct the key `model`; a hub id starts with neither a dot nor a slash",
            )
        return path
    weights = find_weights(config.model)
    if weights is not None:
        return ensure_weights(weights, reporter)
    if config.model.startswith(PREFIX):
        spec = parse_spec(config.model)
        if spec is None:
            raise ConfigError(
                f"{config.name}: model {config.model!r}",
                expected=f"{FORM}, for example organism:llama:0",
                fix="correct the key `model`; `conceptbasis organisms list` names the families",
            )
        return ensure_organism(spec, reporter)
    return config.model


def open_model(config: ModelConfig, device: str, reporter: Reporter) -> LoadedModel:
    """Loads the model of a configuration."""
    return load_model(
        model_path(config, reporter),
        revision=config.revision,
        gguf_file=config.gguf_file,
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
        chat=_chat_options(config),
        architecture=config.architecture,
    )


def _chat_options(config: ModelConfig) -> ChatOptions:
    """What a configuration says of chats; weights without a template have one of ours."""
    options = ChatOptions(**config.chat.model_dump())
    weights = find_weights(config.model)
    if weights is None or options.template is not None:
        return options
    return replace(options, template=weights.template)


def hash_model(loaded: LoadedModel) -> str:
    """A hash of shapes and sampled values of all weights, quick for large models too."""
    known = [
        _weights(loaded.model),
        loaded.tokenizer.chat_template,
        len(loaded.tokenizer),
    ]
    return value_hash(known if loaded.file_hash is None else [*known, loaded.file_hash])


def _weights(model: Any) -> list[tuple[str, list[int], str, list[float]]]:
    parts = []
    for name, parameter in iter_parameters(model):
        flat = parameter.detach().reshape(-1)
        sample = flat[:: max(1, flat.numel() // 1024)].float().cpu()
        parts.append((name, list(parameter.shape), str(parameter.dtype), sample.tolist()))
    return parts


def open_side(
    config: ModelConfig, run_config: RunConfig, suite: PromptSuite, reporter: Reporter
) -> Side:
    """Loads a model and its SAEs."""
    return add_saes(config, open_model(config, run_config.device, reporter), suite, reporter)


def add_saes(
    config: ModelConfig,
    loaded: LoadedModel,
    suite: PromptSuite,
    reporter: Reporter,
    *,
    out: Path | None = None,
    log: SaeLog | None = None,
) -> Side:
    """A model with its SAEs, trained where they are missing.

    Args:
        config: One `sae_configs/NAME.yaml`.
        loaded: Its model.
        suite: Text to train on and to measure quality on.
        reporter: Told the progress.
        out: Where trained SAEs go; by default the cache.
        log: Told the figures of a training, and what came of it.
    """
    digest = hash_model(loaded)
    told = None if log is None else log.log_step
    saes = load_or_train(config, loaded, digest, suite, reporter, out=out, on_metrics=told)
    side = Side.of(config, loaded, digest, saes)
    if log is not None:
        log.log_outcome(describe_side(side), saes.histograms)
    return side


def both_with_saes(
    models: Sequence[tuple[ModelConfig, LoadedModel]],
    suite: PromptSuite,
    reporter: Reporter,
    open_log: OpenSaeLog | None,
) -> list[Side]:
    """Both sides; SAEs from elsewhere are checked first, so that a bad one costs no training.

    Args:
        models: Configuration and model of donor and target.
        suite: Text to train on and to measure quality on.
        reporter: Told the progress.
        open_log: Gives the log of SAEs that are trained, None to keep none.
    """
    order = sorted((0, 1), key=lambda i: models[i][0].saes.train is not None)
    sides: dict[int, Side] = {}
    for i in order:
        config, loaded = models[i]
        with nullcontext() if open_log is None else open_log(config) as log:
            sides[i] = add_saes(config, loaded, suite, reporter, log=log)
    return [sides[0], sides[1]]


def describe_side(side: Side) -> SideSummary:
    """A model with its SAEs, as it stands in a summary."""
    saes: SaeSet = side.saes
    return SideSummary(
        side.config.name,
        side.config.model,
        side.config.revision,
        side.n_layers,
        side.d_model,
        len(side.loaded.tokenizer),
        side.model_hash,
        # Nobody can say what SAEs have read that were not trained here.
        SideSaes(
            saes.hash,
            tuple(saes.quality),
            tuple(saes.warnings),
            dict(saes.texts) or None,
            saes.left_out,
        ),
    )
