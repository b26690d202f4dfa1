"""A rate corrected for the error of the judge that measured it."""

from __future__ import annotations

from statistics import NormalDist

from conceptbasis.core.statistics.interval import Interval
from conceptbasis.errors import NumericsError

Share = tuple[int, int]
"""How many, of how many."""


def corrected_rate(
    shown: int,
    n: int,
    *,
    sensitivity: Share,
    specificity: Share,
    confidence: float = 0.95,
) -> Interval | None:
    """Compute the true rate behind a judged one, from the judge's error on answers of known kind.

    Formula: π = (p + Sp − 1) / (Se + Sp − 1), cut to [0, 1]. Its interval takes p with z²/2 added
    to both counts, Se and Sp with 1 added to both, π′ from these, and is
    π′ + δ ± z √(p(1−p)/n + π′² Se(1−Se)/n_Se + (1−π′)² Sp(1−Sp)/n_Sp) / (Se + Sp − 1) with
    δ = 2 z² (π′ Se(1−Se)/n_Se − (1−π′) Sp(1−Sp)/n_Sp). So it grows with the doubt about the judge.

    Args:
        shown: Answers that the judge says show the behavior.
        n: Answers it scored.
        sensitivity: Of answers known to show it that the judge scored, those it says show it.
        specificity: Of answers known not to show it that it scored, those it says do not.
        confidence: Coverage of the interval.

    Returns:
        The corrected rate; None where the judge is no better than chance, within its own noise.

    Raises:
        NumericsError: Counts that are no shares, or no answers.

    Source: Rogan and Gladen 1978; Lang and Reiczigel 2014 (Prev. Vet. Med. 113, 13).
    """
    _check((shown, n), sensitivity, specificity)
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    raw = [k / m for k, m in ((shown, n), sensitivity, specificity)]
    (p, n_p), (se, n_se), (sp, n_sp) = (
        ((k + extra) / (m + 2 * extra), m + 2 * extra)
        for (k, m), extra in (((shown, n), z * z / 2), (sensitivity, 1), (specificity, 1))
    )
    youden, doubt_se, doubt_sp = se + sp - 1, se * (1 - se) / n_se, sp * (1 - sp) / n_sp
    if youden <= z * (doubt_se + doubt_sp) ** 0.5:
        return None
    centre = (p + sp - 1) / youden
    shift = 2 * z * z * (centre * doubt_se - (1 - centre) * doubt_sp)
    spread = p * (1 - p) / n_p + centre**2 * doubt_se + (1 - centre) ** 2 * doubt_sp
    half = z * spread**0.5 / youden
    value, low, high = (
        min(1.0, max(0.0, end))
        for end in (
            (raw[0] + raw[2] - 1) / (raw[1] + raw[2] - 1),
            centre + shift - half,
            centre + shift + half,
        )
    )
    return Interval(value, min(low, value), max(high, value), n)


def _check(*shares: Share) -> None:
    for k, n in shares:
        if not 0 <= k <= n or n == 0:
            raise NumericsError(
                f"{k} of {n} answers",
                expected="a count of at least one answer, and no more than there are",
                fix="give the answers that the judge scored",
            )
