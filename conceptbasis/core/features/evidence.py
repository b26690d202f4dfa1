"""What a feature stands for: words that separate, a spread of contexts, tokens, lines of layers."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse
import torch
from jaxtyping import Bool, Float
from torch import Tensor


@dataclass(frozen=True)
class Step:
    """One feature of a line: its layer's place, its row there, its cosine with the step before."""

    place: int
    row: int
    similarity: float | None


def word_separation(
    fires: Bool[Tensor, "n_texts n_atoms"], holds: scipy.sparse.csr_matrix
) -> Float[Tensor, "n_atoms n_words"]:
    """Score how well each word tells the texts in which an atom fires from the others.

    Formula: z = [logit(a, n₁) − logit(b, n₀)] / √(1/a + 1/(n₁−a) + 1/b + 1/(n₀−b)), each count
    raised by ½; a of n₁ firing texts and b of n₀ silent texts hold the word.

    Args:
        fires: Whether an atom fires anywhere in a text.
        holds: Whether a text holds a word, (n_texts, n_words), zeros and ones.

    Returns:
        z; positive where the word goes with firing.

    Source: log odds ratio with Haldane's correction; its use for words: Monroe, Colaresi and Quinn
    2008, section 3.3.
    """
    fired = fires.numpy().astype(np.float64)
    total = np.asarray(holds.sum(axis=0), dtype=np.float64)
    a = np.asarray(holds.T @ fired).T
    n1 = fired.sum(axis=0)[:, None]
    b, n0 = total - a, len(fired) - n1
    counts = [a + 0.5, n1 - a + 0.5, b + 0.5, n0 - b + 0.5]
    odds = np.log(counts[0] / counts[1]) - np.log(counts[2] / counts[3])
    return torch.from_numpy(odds / np.sqrt(sum(1 / c for c in counts))).float()


def spread_choice(
    peaks: Float[Tensor, " n_texts"], *, n_top: int, quantiles: Sequence[float]
) -> list[tuple[int, float]]:
    """Choose firing texts from the top and from several quantiles of their peaks.

    Formula: the n_top texts of highest peak, then for each q the firing text whose rank is nearest
    to q·(n − 1), each text once.

    Args:
        peaks: Highest activation of an atom in each text; zero where it does not fire.
        n_top: How many of the highest to take.
        quantiles: Further places to take one text from, between 0 and 1.

    Returns:
        Texts with the quantile at which each stands (1 is the highest), the highest first.
    """
    firing = (peaks > 0).nonzero()[:, 0]
    n = len(firing)
    order = firing[peaks[firing].argsort(stable=True)].tolist()
    ranks = list(range(n - 1, max(n - 1 - n_top, -1), -1))
    for quantile in quantiles:
        rank = round(quantile * (n - 1))
        if n and rank not in ranks:
            ranks.append(rank)
    return [(order[rank], rank / (n - 1) if n > 1 else 1.0) for rank in sorted(ranks, reverse=True)]


def trace_lines(
    rows: Sequence[Float[Tensor, "_ d_model"]], *, min_similarity: float
) -> list[list[Step]]:
    """Follow features from layer to layer by the likeness of their decoder rows.

    Formula: feature i of a layer goes on as feature j of the next one if each is the other's
    nearest by cosine and the cosine is at least min_similarity.

    Args:
        rows: Decoder rows of the chosen features, unit norm, layer after layer.
        min_similarity: Least cosine of a step.

    Returns:
        Every feature in exactly one line; lines in the order of their first feature.
    """
    lines: list[list[Step]] = []
    open_lines: dict[int, list[Step]] = {}
    for place, here in enumerate(rows):
        steps = _mutual_best(rows[place - 1], here, min_similarity) if place else {}
        reached: dict[int, list[Step]] = {}
        for row in range(len(here)):
            before, similarity = steps.get(row, (None, None))
            line = [] if before is None else open_lines[before]
            if before is None:
                lines.append(line)
            line.append(Step(place, row, similarity))
            reached[row] = line
        open_lines = reached
    return lines


def _mutual_best(before: Tensor, after: Tensor, least: float) -> dict[int, tuple[int, float]]:
    """For rows of `after`, the row of `before` that it continues, with the cosine."""
    if not len(before) or not len(after):
        return {}
    cosine = before.double() @ after.double().T
    forward, backward = cosine.argmax(dim=1).tolist(), cosine.argmax(dim=0).tolist()
    found = {}
    for j, i in enumerate(backward):
        if forward[i] == j and float(cosine[i, j]) >= least:
            found[j] = (i, float(cosine[i, j]))
    return found
