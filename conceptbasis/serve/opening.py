"""A finished run whose models are opened when they are first asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from conceptbasis.config.model import ModelConfig
from conceptbasis.config.run import RunConfig
from conceptbasis.data.prompts import PromptSuite
from conceptbasis.edits.donor import donor_intervention
from conceptbasis.edits.finished import load_replayed
from conceptbasis.edits.intervention import Intervention, intervention_of
from conceptbasis.errors import ConfigError
from conceptbasis.models.loading.loaded import LoadedModel
from conceptbasis.organisms.known_words import warn_of_words
from conceptbasis.report.inspection import Recipe, read_recipe
from conceptbasis.results.direction import DonorDirection
from conceptbasis.results.harvest import Harvest, SideName
from conceptbasis.results.recipe import Transfer
from conceptbasis.results.summary import SideSummary, Summary
from conceptbasis.runs.files import check_run_folder
from conceptbasis.runs.graph import load_result
from conceptbasis.runs.progress import Reporter
from conceptbasis.runs.settings import read_settings
from conceptbasis.runs.summary import read_summary
from conceptbasis.saes.build import reopen_saes
from conceptbasis.saes.sae import Sae
from conceptbasis.serve.firing import NamedLatents, named_latents
from conceptbasis.study.opening import hash_model, load_prompts, open_model

SIDES: tuple[SideName, ...] = ("donor", "target")
Say = Callable[[str], None]
"""Told what is being waited for."""


@dataclass(frozen=True)
class OpenSide:
    """A model that can be asked.

    Args:
        loaded: The model.
        edit: What is done to it at strength 1.
        saes: Its SAEs, of the layers that the recipe names.
        latents: The recipe's latents by layer.
        bounds: By layer, the norm above which a token is an attention sink.
    """

    loaded: LoadedModel
    edit: Intervention
    saes: Mapping[int, Sae]
    latents: NamedLatents
    bounds: Mapping[int, float | None]


@dataclass
class ServedRun:
    """A finished run; reading it says at once what is missing, models wait until they are asked.

    Args:
        folder: The run folder.
        device: Where models are opened; None is the device of the run.
        reporter: Told what long work says.

    Raises:
        ArtifactError: The folder is no run, or the run is not finished.
    """

    folder: Path
    device: str | None = None
    reporter: Reporter = field(default_factory=lambda: Reporter(quiet=True))
    summary: Summary = field(init=False)
    recipe: Recipe = field(init=False)
    edit: Intervention = field(init=False)
    _open: dict[SideName, OpenSide] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        check_run_folder(self.folder)
        self.edit = intervention_of(load_replayed(self.folder))
        self.recipe, self.summary = read_recipe(self.folder), read_summary(self.folder)

    @cached_property
    def _settings(self) -> tuple[Mapping[SideName, ModelConfig], RunConfig]:
        read = {side: read_settings(self.folder, side) for side in SIDES}
        return {side: model for side, (model, _) in read.items()}, read["target"][1]

    @cached_property
    def _suite(self) -> PromptSuite:
        return load_prompts(self._settings[1])

    @property
    def longest_answer(self) -> int:
        """Tokens of the run's own answers."""
        return self._settings[1].evaluate.max_new_tokens

    def latents(self, side: SideName) -> NamedLatents:
        """The recipe's latents of a side, by layer."""
        return named_latents(self.recipe, side)

    def warning(self, prompt: str, side: SideName) -> str | None:
        """What is said of a prompt whose words the model has never read."""
        config = self._settings[0][side]
        return warn_of_words({config.name: config.model}, prompt)

    def side(self, name: SideName, say: Say) -> OpenSide:
        """A model, opened where it is not yet.

        Args:
            name: Which.
            say: Told what is being waited for.

        Raises:
            ConfigError: The model's weights are not those of the run.
            SaeError: Its SAEs are not those of the run.
        """
        if name not in self._open:
            self._open[name] = self._opened(name, say)
        return self._open[name]

    def _opened(self, name: SideName, say: Say) -> OpenSide:
        configs, settings = self._settings
        config, known = configs[name], _summary_of(self.summary, name)
        say(f"opening {config.name} …")
        loaded = open_model(config, self.device or settings.device, self.reporter)
        digest = hash_model(loaded)
        if digest != known.hash:
            raise ConfigError(
                f"{config.model} is not the {name} this transfer was made with (its weights "
                "differ)",
                expected=f"the {name} of the run",
                fix="restore that model, or run the transfer again",
            )
        say(f"opening the SAEs of {config.name} …")
        saes = reopen_saes(config, loaded, digest, self._suite, known.saes.hash)
        norms = load_result(self.folder, "harvest", Harvest, tensors=False).norms[name]
        ratio = settings.replay.sink_ratio
        bounds = {layer: row.bound(ratio) for layer, row in norms.items()}
        edit = self.edit if name == "target" else self._donor_edit(ratio)
        return OpenSide(loaded, edit, saes, self.latents(name), bounds)

    def _donor_edit(self, sink_ratio: float | None) -> Intervention:
        return donor_intervention(
            load_result(self.folder, "direction", DonorDirection),
            load_result(self.folder, "transfer", Transfer),
            load_replayed(self.folder),
            load_result(self.folder, "harvest", Harvest, tensors=False).norms["donor"],
            sink_ratio,
        )


def _summary_of(summary: Summary, name: SideName) -> SideSummary:
    return summary.donor if name == "donor" else summary.target
