"""Was a forecast right? Rank correlation with success, also out of pair, and its errors."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata

from conceptbasis.errors import NumericsError


@dataclass(frozen=True)
class Errors:
    """What a bound on a forecast figure gets wrong, each as a count of how many there were.

    `false_rejections` of `n_good` runs that worked were rejected; `missed_failures` of `n_bad` runs
    that failed were let through.
    """

    false_rejections: int
    n_good: int
    missed_failures: int
    n_bad: int


def spearman(x: Sequence[float], y: Sequence[float]) -> float | None:
    """Compute the rank correlation of two figures.

    Formula: Pearson correlation of mid-ranks.

    Args:
        x: A figure.
        y: Another figure of the same items.

    Returns:
        Between −1 and 1; None with fewer than three items, or where a figure never changes.

    Raises:
        NumericsError: The lengths differ.

    Source: Spearman 1904.
    """
    if len(x) != len(y):
        raise NumericsError(
            f"{len(x)} and {len(y)} items cannot be paired",
            expected="one value of each figure for every item",
            fix="leave out the items for which one of the figures is missing",
        )
    if len(x) < 3:
        return None
    ranks = [rankdata(values) - (len(values) + 1) / 2 for values in (x, y)]
    norms = [float(np.sqrt((r * r).sum())) for r in ranks]
    if min(norms) == 0:
        return None
    return float(ranks[0] @ ranks[1]) / (norms[0] * norms[1])


def out_of_pair(x: Sequence[float], y: Sequence[float], pairs: Sequence[str]) -> float | None:
    """Tell how well a figure ranks the success of runs of a pair that it was not tuned on.

    Formula: for each pair, y is predicted from x by the monotone fit to the runs of all other
    pairs, its direction as in those; Spearman of the predictions with y over all runs.

    Args:
        x: The forecast figure of each run.
        y: Its success.
        pairs: Its pair of models.

    Returns:
        The rank correlation; None with fewer than three pairs, since two cannot tell a figure that
        carries over from one that separates them by chance.

    Raises:
        NumericsError: The lengths differ.

    Source: isotonic regression: Barlow et al. 1972; leaving out whole pairs: ours.
    """
    from sklearn.isotonic import IsotonicRegression

    names = sorted(set(pairs))
    if len(names) < 3:
        return None
    found, known, of = np.zeros(len(x)), np.array(x, dtype=float), np.array(pairs)
    success = np.array(y, dtype=float)
    for name in names:
        inside = of == name
        rises = spearman(known[~inside].tolist(), success[~inside].tolist())
        fit = IsotonicRegression(increasing=rises is None or rises >= 0, out_of_bounds="clip")
        fit.fit(known[~inside], success[~inside])
        found[inside] = fit.predict(known[inside])
    return spearman(found.tolist(), list(y))


def forecast_errors(
    rejected: Sequence[bool], success: Sequence[float], *, least: float = 0.5
) -> Errors:
    """Count what a forecast got wrong.

    Formula: a run works if its success is at least `least`; a false rejection works and was
    rejected, a missed failure does not and was not.

    Args:
        rejected: Whether the forecast rejected each run.
        success: Its success, the share of the native reduction.
        least: Success from which on a run works.

    Returns:
        Both counts with what they are counts of.

    Raises:
        NumericsError: The lengths differ.
    """
    if len(rejected) != len(success):
        raise NumericsError(
            f"{len(rejected)} forecasts and {len(success)} outcomes",
            expected="one of each for every run",
            fix="leave out the runs that lack one",
        )
    good = [d for d, s in zip(rejected, success, strict=True) if s >= least]
    bad = [d for d, s in zip(rejected, success, strict=True) if s < least]
    return Errors(sum(good), len(good), len(bad) - sum(bad), len(bad))
