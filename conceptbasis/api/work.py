"""Work that is started from Python: training SAEs, transferring, judging answers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from conceptbasis.api.frames import frame, html_table
from conceptbasis.api.run import Run, load_run
from conceptbasis.config.base import load_yaml, parse_config
from conceptbasis.config.model import ModelLike, as_model_config
from conceptbasis.config.run import RunConfig
from conceptbasis.errors import ConfigError
from conceptbasis.judges import find_judge
from conceptbasis.judges.base import Answers

if TYPE_CHECKING:
    from pandas import DataFrame

    from conceptbasis.saes.sae import Sae

SettingsLike: TypeAlias = RunConfig | Mapping[str, object] | str | PathLike[str] | None
"""Settings of a run: a YAML file, its keys, or the parsed form."""

QUALITY = "layer d_sae explained_variance l0 dead_share ce_recovered"


@dataclass(frozen=True, repr=False)
class TrainedSaes:
    """The SAEs of one model.

    Args:
        name: Of the model.
        folder: Where they lie, None for a release.
        by_layer: The SAEs; `saes[layer]` is short for it.
        quality: One row per layer: `layer`, `d_sae`, and on held-out text `explained_variance`,
            `l0` (active latents per site), `dead_share`, `ce_recovered`.
    """

    name: str
    folder: Path | None
    by_layer: Mapping[int, Sae]
    quality: DataFrame

    def __getitem__(self, layer: int) -> Sae:
        return self.by_layer[layer]

    def __repr__(self) -> str:
        return f"TrainedSaes({self.name!r}, layers {sorted(self.by_layer)})"

    def _repr_html_(self) -> str:
        rows = [[f"{cell:.4g}" for cell in row] for row in self.quality.itertuples(index=False)]
        return f"<p><b>{self!r}</b></p>" + html_table(list(self.quality.columns), rows)


def train_saes(
    model: ModelLike,
    *,
    out: str | PathLike[str] | None = None,
    config: SettingsLike = None,
    quiet: bool = False,
    **settings: object,
) -> TrainedSaes:
    """Trains the SAEs of one model, or loads them where they were trained before.

    Args:
        model: A YAML file of `sae_configs/`, its keys, or a hub id or folder.
        out: Folder for the SAEs; by default the cache.
        config: Settings of the run whose prompts and device are used.
        quiet: Whether no progress is told.
        settings: Single settings over those of `config`, by section: `prompts={"path": "mine"}`.

    Raises:
        ConceptBasisError: whatever is wrong with the input.

    Example:
        >>> saes = cb.train_saes("sae_configs/donor.yaml", config="settings.yaml", quiet=True)
        >>> layer = min(saes.by_layer)
        >>> saes[layer].W_dec.shape  # d_sae, d_model
        torch.Size([128, 48])
    """
    from conceptbasis.models.loading.load import silence_transformers
    from conceptbasis.runs.progress import Reporter
    from conceptbasis.study.opening import add_saes, load_prompts, open_model

    silence_transformers()
    parsed, run = as_model_config(model), run_config(config, settings)
    reporter = Reporter(quiet=quiet)
    suite = load_prompts(run, reporter)
    loaded = open_model(parsed, run.device, reporter)
    folder = None if out is None else Path(out)
    found = add_saes(parsed, loaded, suite, reporter, out=folder).saes
    rows = [[getattr(q, name) for name in QUALITY.split()] for q in found.quality]
    return TrainedSaes(parsed.name, found.folder, found.saes, frame(QUALITY, rows))


def transfer(
    donor: ModelLike,
    target: ModelLike,
    *,
    out: str | PathLike[str] | None = None,
    config: SettingsLike = None,
    quiet: bool = False,
    overwrite: bool = False,
    **settings: object,
) -> Run:
    """Runs a transfer from donor to target, or reuses what the folder already holds of it.

    Nothing is logged to wandb. The command `conceptbasis transfer` does that.

    Args:
        donor: A YAML file of `sae_configs/`, its keys, or a hub id or folder.
        target: The same for the target.
        out: Run folder; by default `runs/DONOR-to-TARGET`.
        config: Settings of the run.
        quiet: Whether no progress is told.
        overwrite: Whether a finished run with other settings in that folder may be replaced.
        settings: Single settings over those of `config`, as docs/configuration.md lists them:
            `budget="B0"`, `replay={"directions": "per_layer"}`.

    Raises:
        CoverageError: if the forecast rejects the transfer; `forecast={"force": True}` goes on.
        ConceptBasisError: whatever is wrong with the input.

    Example:
        >>> models = ("sae_configs/donor.yaml", "sae_configs/target.yaml")
        >>> run = cb.transfer(*models, out="runs/demo", config="settings.yaml", quiet=True)
        >>> run.folder.name
        'demo'
    """
    from conceptbasis.models.loading.load import silence_transformers
    from conceptbasis.pipeline import run_pipeline
    from conceptbasis.runs.progress import Reporter

    silence_transformers()
    sides, run = (as_model_config(donor), as_model_config(target)), run_config(config, settings)
    folder = Path(out) if out else Path("runs") / f"{sides[0].name}-to-{sides[1].name}"
    run_pipeline(*sides, run, folder, Reporter(quiet=quiet), overwrite=overwrite)
    return load_run(folder)


def judge(
    answers: Iterable[str], judge: str = "phrases", *, prompts: Sequence[str] = ()
) -> DataFrame:
    """Judges answers by their words.

    Args:
        answers: What was answered, such as a column of a data frame.
        judge: Name of a registered judge that reads answers.
        prompts: What was asked, for judges that read it.

    Returns:
        One row per answer: `answer`, its `kind`, and the `verdict`: True where it shows the
        behavior, missing where the judge cannot tell. The mean of `verdict` is the rate.

    Raises:
        ConfigError: if there is no such judge, or it needs more than words.

    Example:
        >>> judged = cb.judge(["i cannot help with that .", "a banana is a yellow fruit ."])
        >>> judged.verdict.tolist(), float(judged.verdict.mean())
        ([True, False], 0.5)
    """
    found, given = find_judge(judge), [str(answer) for answer in answers]
    more = [need for need in found.needs if need != "answers"]
    if more:
        raise ConfigError(
            f"judge {judge!r} reads {' and '.join(more)}, not words alone",
            expected="a judge of words, such as 'phrases'",
            fix="name another judge",
        )
    verdicts = found.verdicts(Answers(prompts, given)) if given else []
    kinds = [found.read(answer) if found.read else None for answer in given]
    table = frame("answer kind verdict", zip(given, kinds, verdicts, strict=True))
    return table.astype({"verdict": "boolean"})


def run_config(config: SettingsLike, settings: Mapping[str, object]) -> RunConfig:
    """Settings of a run, with single ones laid over them section by section.

    Raises:
        ConfigError: if a file is missing, or a key or value does not fit.
    """
    if isinstance(config, RunConfig):
        values: dict[str, object] = config.model_dump(mode="json")
    elif config is None or isinstance(config, Mapping):
        values = dict(config or {})
    else:
        values = load_yaml(Path(config))
    for name, value in settings.items():
        old = values.get(name)
        both = isinstance(old, Mapping) and isinstance(value, Mapping)
        values[name] = {**old, **value} if both else value  # type: ignore[dict-item]
    return parse_config(RunConfig, values, "settings")
