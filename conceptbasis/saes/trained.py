"""SAEs that are trained here: once, into a folder of their own, and read back from there."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from conceptbasis.config.model import ModelConfig, SaeTraining
from conceptbasis.data.prompts import Text
from conceptbasis.data.texts import count_classes
from conceptbasis.errors import ConfigError
from conceptbasis.models.loading.load import LoadedModel
from conceptbasis.results.summary import SaeQuality
from conceptbasis.runs.files import (
    corrupt,
    folder_hash,
    folder_lock,
    load_tensors,
    read_json,
    save_tensors,
    value_hash,
    write_json,
    writing,
)
from conceptbasis.runs.progress import Reporter
from conceptbasis.saes.published import load_folder
from conceptbasis.saes.quality import (
    Histograms,
    OrdinaryTexts,
    all_histograms,
    measure_quality,
    read_texts,
)
from conceptbasis.saes.sae import Sae
from conceptbasis.saes.training import SaeTrainingSettings, layer_folder, train_saes

QUALITY = "quality.json"
_HELD_OUT_SHARE = 0.1
Metrics = Callable[[int, Mapping[str, float]], None]
"""Told the metrics of a training step."""


@dataclass(frozen=True)
class SaeJob:
    """What SAEs are trained on.

    Args:
        config: The model's configuration.
        training: Its section `saes.train`.
        loaded: The model.
        layers: Layers that get an SAE.
        texts: What the model reads: the first tenth is held out.
        reporter: Told the progress.
        on_metrics: Told the metrics of training steps.
    """

    config: ModelConfig
    training: SaeTraining
    loaded: LoadedModel
    layers: Sequence[int]
    texts: Sequence[Text]
    reporter: Reporter
    on_metrics: Metrics | None = None

    def key(self, model_hash: str) -> str:
        """A hash of all that the SAEs depend on."""
        settings = self.training.model_dump() | {"max_norm_ratio": self.config.saes.max_norm_ratio}
        texts = [asdict(text) for text in self.texts]
        return value_hash([model_hash, settings, self.layers, self.config.site, texts])

    def read(self, texts: Sequence[Text], label: str) -> OrdinaryTexts:
        """Residuals at the ordinary sites of texts."""
        ratio = self.config.saes.max_norm_ratio
        return read_texts(
            self.loaded, texts, self.layers, self.reporter, label, max_norm_ratio=ratio
        )

    @property
    def held_out(self) -> Sequence[Text]:
        """Texts on which thresholds are set and quality is measured."""
        return self.texts[: self._n_held_out]

    @property
    def trained_on(self) -> Sequence[Text]:
        """The other texts."""
        return self.texts[self._n_held_out :]

    @property
    def _n_held_out(self) -> int:
        return max(1, round(_HELD_OUT_SHARE * len(self.texts)))


@dataclass(frozen=True)
class TrainedSaes:
    """SAEs as they were read back from their folder.

    `left_out` is the share of held-out sites that are no ordinary ones.
    """

    saes: Mapping[int, Sae]
    quality: tuple[SaeQuality, ...]
    histograms: Histograms
    left_out: float


def train_or_reuse(job: SaeJob, model_hash: str, folder: Path) -> TrainedSaes:
    """The SAEs in a folder, trained into it where they are missing or made of something else.

    Raises:
        ConfigError: if the text is shorter than one batch.
        ArtifactError: if a finished SAE was changed.
    """
    key = job.key(model_hash)
    if _is_finished(folder, key):
        job.reporter.say(f"SAEs of {job.config.name}: reused from the cache")
    else:
        with folder_lock(folder):
            _train_into(folder, key, job)
    found = read_json(folder / QUALITY)
    return TrainedSaes(
        load_folder(folder, job.config, job.loaded, job.layers),
        tuple(SaeQuality(**row) for row in found["layers"]),
        {int(layer): h for layer, h in found.get("histograms", {}).items()},
        found["left_out"],
    )


def _is_finished(folder: Path, key: str) -> bool:
    if not (folder / QUALITY).exists():
        return False
    found = read_json(folder / QUALITY, ("key", "layers", "texts", "folders", "left_out"))
    if found["key"] != key:
        return False
    for name, digest in found["folders"].items():
        if folder_hash(folder / name) != digest:
            raise corrupt(folder / name / "sae_weights.safetensors", "its hash has changed")
    return True


def _train_into(folder: Path, key: str, job: SaeJob) -> None:
    loaded, layers = job.loaded, job.layers
    activations = folder / f"activations-{key[:12]}.safetensors"
    sites = _activations(activations, job)
    _check_enough_sites(job.config.name, len(sites[layers[0]]), job.training.batch_size)
    held_out = job.read(job.held_out, "held-out activations")
    with writing(folder):
        _train_layers(folder, job, sites, held_out.residuals)
    saes = load_folder(folder, job.config, loaded, layers)
    quality = measure_quality(loaded, saes, job.held_out, held_out)
    folders = {layer_folder(layer): folder_hash(folder / layer_folder(layer)) for layer in layers}
    activations.unlink(missing_ok=True)
    found = {
        "key": key,
        "layers": [asdict(row) for row in quality],
        "texts": count_classes(job.trained_on),
        "folders": folders,
        "histograms": all_histograms(saes, held_out.residuals),
        "left_out": held_out.left_out,
    }
    write_json(folder / QUALITY, found)


def _train_layers(
    folder: Path, job: SaeJob, sites: Mapping[int, Tensor], held_out: Mapping[int, Tensor]
) -> None:
    training, layers = job.training, job.layers
    with job.reporter.bar(f"SAEs of {job.config.name}") as advance:

        def on_step(step: int, of: int, metrics: Mapping[str, float]) -> None:
            advance(step, of, "")
            if metrics and job.on_metrics is not None:
                job.on_metrics(step, metrics)

        trained = train_saes(
            lambda step: _batches(sites, training.batch_size, training.seed, step),
            d_model=job.loaded.architecture.d_model,
            layers=layers,
            settings=_settings(training),
            hook_names={layer: f"blocks.{layer}.hook_{job.config.site}" for layer in layers},
            model_name=job.config.model,
            heldout=held_out,
            checkpoint_dir=folder / "checkpoint",
            on_step=on_step,
        )
        for layer in layers:
            trained[layer].save(folder)


def _check_enough_sites(name: str, n_sites: int, batch_size: int) -> None:
    if n_sites < batch_size:
        raise ConfigError(
            f"{name}: the text for its SAEs has {n_sites} sites, fewer than one batch",
            expected=f"at least saes.train.batch_size = {batch_size} sites",
            fix="add texts, raise saes.train.n_texts, or lower saes.train.batch_size",
        )


def _settings(training: SaeTraining) -> SaeTrainingSettings:
    return SaeTrainingSettings(
        architecture=training.architecture,
        d_sae=training.d_sae,
        k=training.k,
        lr=training.lr,
        n_steps=training.n_steps,
        batch_size=training.batch_size,
        lr_warm_up_steps=min(50, training.n_steps // 10),
        lr_decay_steps=training.n_steps // 4,
        dead_feature_window=max(1, training.n_steps // 3),
        seed=training.seed,
    )


def _activations(path: Path, job: SaeJob) -> dict[int, Tensor]:
    """Residuals of all layers from one pass over the text, kept on disk until training ends."""
    if not path.exists():
        for of_other_settings in path.parent.glob("activations*.safetensors"):
            of_other_settings.unlink()
        read = job.read(job.trained_on, "activations to train on").residuals
        save_tensors(path, {str(layer): x for layer, x in read.items()})
    return {int(layer): x for layer, x in load_tensors(path).items()}


def _batches(
    sites: Mapping[int, Float[Tensor, "n d_model"]], batch_size: int, seed: int, start: int
) -> Iterator[dict[int, Tensor]]:
    """Endless shuffled batches, the same ones from any start step, so that training resumes."""
    n = len(next(iter(sites.values())))
    per_epoch = n // batch_size
    step = start
    while True:
        epoch, place = divmod(step, per_epoch)
        generator = torch.Generator().manual_seed(seed * 100_003 + epoch)
        rows = torch.randperm(n, generator=generator)
        for i in range(place, per_epoch):
            chosen = rows[i * batch_size : (i + 1) * batch_size]
            yield {layer: x[chosen] for layer, x in sites.items()}
            step += 1
