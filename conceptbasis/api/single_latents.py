"""What one latent does by itself, as a data frame."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from conceptbasis.api.frames import frame
from conceptbasis.evaluation.latent import Latent, LatentEffect, intervene_on_latent
from conceptbasis.runs.progress import Reporter

if TYPE_CHECKING:
    from pandas import DataFrame

    from conceptbasis.results.harvest import SideName

EFFECTS = "prompts latent control intervention rate low high n first_words"


def intervene(
    folder: Path,
    which: tuple[SideName, int, int, float],
    n_prompts: int,
    n_controls: int,
    quiet: bool,
) -> DataFrame:
    """See `Run.intervene`."""
    side, layer, latent, times = which
    found = Latent(side, int(layer), int(latent), times)
    effects = intervene_on_latent(
        folder,
        found,
        n_prompts=n_prompts,
        n_controls=n_controls,
        device=None,
        reporter=Reporter(quiet=quiet),
    )
    return frame(EFFECTS, (_row(effect, found) for effect in effects)).astype({"latent": "Int64"})


def _row(effect: LatentEffect, which: Latent) -> tuple[object, ...]:
    found = effect.rate.interval
    figures = (found.value, found.low, found.high, found.n) if found else (None, None, None, 0)
    control = effect.latent not in (None, which.latent)
    words = ", ".join(f"{word} {share:.2f}" for word, share in effect.first_words)
    return (effect.prompts, effect.latent, control, effect.intervention, *figures, words)
