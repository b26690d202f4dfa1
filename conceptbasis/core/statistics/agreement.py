"""How far two judges agree beyond chance."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor

from conceptbasis.core.statistics.intervals import wilson
from conceptbasis.errors import NumericsError


@dataclass(frozen=True)
class Agreement:
    """Cohen's kappa of two judges with its interval.

    Args:
        kappa: Agreement beyond chance; None where a judge says the same of every item.
        low: Lower end of the interval, None with it.
        high: Upper end.
        same: Share of items on which both say the same, None without items.
        n: Items that both judges scored.
        unscored: Items that one of them did not.
    """

    kappa: float | None
    low: float | None
    high: float | None
    same: float | None
    n: int
    unscored: int

    def as_dict(self) -> dict[str, float | int | None]:
        """The fields under the names that result files use."""
        return dict(vars(self))


def cohens_kappa(
    first: Sequence[bool | None],
    second: Sequence[bool | None],
    *,
    generator: Generator,
    n_resamples: int = 2000,
    confidence: float = 0.95,
) -> Agreement:
    """Compute Cohen's kappa with a percentile bootstrap interval over items.

    Formula: κ = (p_o − p_e) / (1 − p_e), with p_o the share of equal verdicts and p_e = Σ_v
    p_first(v) p_second(v). κ depends on the four counts alone, so a resample draws those. One in
    which p_e = 1 has no κ and is left out. Judges that never differ leave nothing to resample: the
    lower end is then κ at Wilson's lower end of p_o, with p_e as it is.

    Args:
        first: Verdicts of one judge; None where it could not score.
        second: Verdicts of the other on the same items.
        generator: The source of randomness.
        n_resamples: Number of bootstrap draws.
        confidence: Coverage of the interval.

    Raises:
        NumericsError: The judges read different numbers of items.

    Source: Cohen 1960, Educational and Psychological Measurement 20; Efron and Tibshirani 1993;
    the end without a differing pair: ours.
    """
    if len(first) != len(second):
        raise NumericsError(
            f"judges with {len(first)} and {len(second)} verdicts",
            expected="one verdict of each on every item",
            fix="compare judges on the same answers",
        )
    cells = [
        2 * int(a) + int(b)
        for a, b in zip(first, second, strict=True)
        if a is not None and b is not None
    ]
    n, unscored = len(cells), len(first) - len(cells)
    if n == 0:
        return Agreement(None, None, None, None, 0, unscored)
    counts = torch.bincount(torch.tensor(cells), minlength=4)
    same = float(counts[0] + counts[3]) / n
    rows, columns = counts.reshape(2, 2).sum(1), counts.reshape(2, 2).sum(0)
    if n in (*rows.tolist(), *columns.tolist()):
        return Agreement(None, None, None, same, n, unscored)
    draws = torch.multinomial(
        counts / n, n_resamples * n, replacement=True, generator=generator
    ).reshape(n_resamples, n)
    drawn = torch.stack([(draws == cell).sum(1) for cell in range(4)], dim=1)
    found = _kappa(drawn)
    tail, kappa = (1 - confidence) / 2, float(_kappa(counts[None])[0])
    tails = torch.tensor([tail, 1 - tail], dtype=torch.float64)
    low, high = found[~found.isnan()].quantile(tails).tolist()
    if same == 1:
        chance = float((rows * columns).sum()) / (n * n)
        low = (wilson(n, n, confidence=confidence).low - chance) / (1 - chance)
    return Agreement(kappa, low, high, same, n, unscored)


def _kappa(counts: Int[Tensor, "n_tables 4"]) -> Float[Tensor, " n_tables"]:
    """κ of tables of counts (no/no, no/yes, yes/no, yes/yes); NaN where a judge is constant."""
    tables = counts.to(torch.float64).reshape(-1, 2, 2)
    shares = tables / tables.sum((1, 2), keepdim=True)
    observed = shares[:, 0, 0] + shares[:, 1, 1]
    expected = (shares.sum(1) * shares.sum(2)).sum(1)
    return torch.where(expected < 1, (observed - expected) / (1 - expected), float("nan"))
