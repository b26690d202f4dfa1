"""Which pairs of layers are matched at all."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from conceptbasis.errors import SaeError
from conceptbasis.study.matching import nearby_pairs


def study_of(n_target: int, n_donor: int, gap: float, donors: range | None = None):
    def side(n: int, layers: range):
        return SimpleNamespace(n_layers=n, layers=tuple(layers))

    return SimpleNamespace(
        config=SimpleNamespace(align=SimpleNamespace(max_depth_gap=gap)),
        target=side(n_target, range(n_target)),
        donor=side(n_donor, donors or range(n_donor)),
    )


def test_a_quarter_of_the_pairs_of_large_models_are_matched():
    """The figure of docs/method.md; no bound matches them all."""
    pairs = nearby_pairs(study_of(32, 26, 0.15))
    assert len(pairs) == 224
    assert max(abs(t / 31 - d / 25) for t, d in pairs) <= 0.15
    assert {t for t, _ in pairs} == set(range(32))
    assert len(nearby_pairs(study_of(32, 26, 1.0))) == 32 * 26


def test_layers_without_a_partner_at_a_like_depth_are_an_error():
    with pytest.raises(SaeError, match="relative depths differ"):
        nearby_pairs(study_of(2, 26, 0.15, donors=range(10, 14)))
