"""What one latent does by itself: answers with it taken out, with it put in, and controls."""

from __future__ import annotations

from collections import Counter
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from conceptbasis.behaviors import find_behavior
from conceptbasis.core.statistics.interval import Rate
from conceptbasis.core.statistics.intervals import rate
from conceptbasis.errors import ConfigError
from conceptbasis.evaluation.trials import prompts_by_set
from conceptbasis.judges import find_judge
from conceptbasis.judges.base import Answers
from conceptbasis.models.stream.hooks import Edit, intervene
from conceptbasis.models.text.generation import generate
from conceptbasis.results.atoms import Atoms, Evidence
from conceptbasis.results.harvest import Harvest, SideName
from conceptbasis.runs.graph import load_result
from conceptbasis.runs.seeds import generator
from conceptbasis.runs.settings import read_settings
from conceptbasis.study.opening import load_prompts, open_side

if TYPE_CHECKING:
    from conceptbasis.runs.progress import Reporter
    from conceptbasis.study.study import Side

N_WORDS = 3
"""First words that are named."""


@dataclass(frozen=True)
class Latent:
    """Which latent, and how strongly it is put in.

    Args:
        side: `donor` or `target`.
        layer: Its layer.
        latent: Its number in the SAE.
        times: What is put in, in multiples of its highest activation in the run's evidence.
    """

    side: SideName
    layer: int
    latent: int
    times: float = 1.0


@dataclass(frozen=True)
class LatentEffect:
    """Answers to one set of prompts under one intervention.

    Args:
        prompts: Short name of the set.
        intervention: What was done: `untouched`, `taken out` or `put in`.
        latent: To which latent it was done, None where nothing was done.
        amount: What was put in, as a multiple of the latent's decoder row made of unit length.
        rate: Of the behavior, by its judge.
        first_words: The commonest first words of answers with their shares.
    """

    prompts: str
    intervention: str
    latent: int | None
    amount: float | None
    rate: Rate
    first_words: tuple[tuple[str, float], ...]


def intervene_on_latent(
    folder: Path,
    which: Latent,
    *,
    n_prompts: int,
    device: str | None,
    reporter: Reporter,
    n_controls: int = 1,
) -> list[LatentEffect]:
    """Takes one latent out of the stream after its layer, or puts it in, and nothing else.

    Controls are other latents of the same SAE, drawn among those that no evidence names, taken out
    and put in to the same length. Attention sinks are left alone, as by every edit.

    Args:
        folder: A finished run.
        which: The latent.
        n_prompts: Held-out prompts of each set.
        device: A torch device; None is that of the run.
        n_controls: How many other latents.
        reporter: Told the progress.

    Raises:
        ConfigError: The run holds no evidence of that latent, or a number is below its least.
        ArtifactError: The run is not finished, or its files are corrupt.
    """
    _check_numbers(n_prompts, n_controls)
    known = _evidence(folder, which)
    peak = next((e.contexts[0].peak for e in known if e.latent == which.latent and e.contexts), 0)
    if not peak:
        raise _unknown(which, known)
    model, settings = read_settings(folder, which.side)
    config = settings.model_copy(update={"device": device or settings.device})
    suite = load_prompts(config, reporter)
    side = open_side(model, config, suite, reporter)
    bound = load_result(folder, "harvest", Harvest, tensors=False).norms[which.side][which.layer]
    sinks = bound.bound(config.replay.sink_ratio)
    named = {e.latent for e in known}
    edits = _edits(
        side, which, which.times * peak, _controls(side, which, named, n_controls), sinks
    )
    behavior = find_behavior(config.behavior)
    sets = prompts_by_set(behavior, suite, n_prompts)
    judge, found = find_judge(behavior.judge), []
    with reporter.bar("answers") as advance:
        for name, prompts in sets.items():
            texts = [p.text for p in prompts]
            for (what, latent), edit in edits.items():
                with nullcontext() if edit is None else intervene(side.loaded, [edit]):
                    said = generate(
                        side.loaded, texts, max_new_tokens=config.evaluate.max_new_tokens
                    )
                shown = rate(judge.verdicts(Answers(texts, said)))
                put = edit.amount if edit is not None and edit.mode == "add" else None
                found.append(LatentEffect(name, what, latent, put, shown, _first_words(said)))
                advance(len(found), len(sets) * len(edits), name)
    return found


def _evidence(folder: Path, which: Latent) -> list[Evidence]:
    atoms = load_result(folder, "atoms", Atoms, tensors=False)
    here = [row for row in atoms.layers if getattr(row, which.side) == which.layer]
    return [e for row in here for e in getattr(row, f"{which.side}_latents")]


def _unknown(which: Latent, known: list[Evidence]) -> ConfigError:
    some = ", ".join(str(e.latent) for e in known[:8])
    return ConfigError(
        f"the run has no evidence of latent {which.latent} at {which.side} layer {which.layer}",
        expected=f"a latent of its recipe, such as {some}"
        if some
        else f"a {which.side} layer that the run maps",
        fix="see conceptbasis inspect DIR for the latents of every layer",
    )


def _check_numbers(n_prompts: int, n_controls: int) -> None:
    if n_prompts < 1 or n_controls < 0:
        raise ConfigError(
            f"{n_prompts} prompts and {n_controls} controls",
            expected="at least 1 prompt of each set and 0 controls",
            fix="correct the number",
        )


def _controls(side: Side, which: Latent, named: set[int], n: int) -> list[int]:
    """Latents that no evidence names, in random order; the first one does not depend on `n`."""
    others = [i for i in range(side.sae(which.layer).d_sae) if i not in named]
    order = torch.randperm(len(others), generator=generator(0, "latent", which.latent))
    return [others[i] for i in order[:n].tolist()]


def _edits(
    side: Side, which: Latent, amount: float, controls: list[int], sinks: float | None
) -> dict[tuple[str, int | None], Edit | None]:
    """Nothing, then the latent out and in, then each control: by what is done, and to which."""
    rows, layer = side.sae(which.layer).W_dec.float(), which.layer
    put = amount * float(rows[which.latent].norm())
    edits: dict[tuple[str, int | None], Edit | None] = {("untouched", None): None}
    for latent in (which.latent, *controls):
        row = rows[latent] / rows[latent].norm()
        edits["taken out", latent] = Edit(layer, row, max_norm=sinks)
        edits["put in", latent] = Edit(layer, row, "add", amount=put, max_norm=sinks)
    return edits


def _first_words(answers: list[str]) -> tuple[tuple[str, float], ...]:
    first = Counter((answer.split() or ["(empty)"])[0] for answer in answers)
    return tuple((word, n / len(answers)) for word, n in first.most_common(N_WORDS))
