"""Which pairs of layers are matched at all, and that few latents are enough to find matches."""

from __future__ import annotations

from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.sparse
import torch

from conceptbasis.config.transfer import MatchSection
from conceptbasis.errors import SaeError
from conceptbasis.stages.match import match
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


class Codes:
    """Codes of 64 latents a side, of which 32 are pairs, on 4000 fit and 2000 held-out sites."""

    def __init__(self, *, shuffled: bool) -> None:
        rng = np.random.default_rng(0)
        n, d, paired = 6000, 64, 32
        donor, target = (rng.random((n, d)) * (rng.random((n, d)) < 0.1) for _ in range(2))
        self.partner = rng.permutation(d)[:paired]
        target[:, self.partner] = donor[:, :paired] * (1 + 0.1 * rng.standard_normal((n, paired)))
        if shuffled:
            target = target[rng.permutation(n)]
        self.sides = {
            k: scipy.sparse.csr_matrix(z) for k, z in (("donor", donor), ("target", target))
        }

    def __call__(self, side, layer):
        return self.sides[side]

    def split(self, side, layer, name):
        return self.sides[side][:4000] if name == "fit" else self.sides[side][4000:]


class Weights:
    shares = None

    def __call__(self, split, share):
        return None


def matched(codes, **section):
    """The matches of a pair of layers with these codes, and what was said."""
    said = []
    reporter = SimpleNamespace(say=said.append, bar=lambda _: nullcontext(lambda *_: None))
    study = study_of(1, 1, 1.0)
    study.config.match = MatchSection(**section)
    study.config.n_workers, study.config.device = 1, "cpu"
    study.reporter = reporter
    study.weights = lambda *_: Weights()
    study.codes = lambda _: codes
    study.generator = lambda *_: torch.Generator().manual_seed(0)
    study.side = lambda _: SimpleNamespace(layers=(0,))
    return match(study, None, None).layers[0], said


def test_half_of_64_latents_are_found_by_default_and_nothing_is_said():
    codes = Codes(shuffled=False)
    found, said = matched(codes)
    assert found.donor_ids.tolist() == list(range(32))
    assert found.target_ids.tolist() == codes.partner.tolist()
    assert said == []


def test_shuffled_sites_of_64_latents_give_no_match():
    found, _ = matched(Codes(shuffled=True))
    assert found.n_pairs == 0
    # Nor does the null let chance in where no correlation is asked for.
    loose, _ = matched(Codes(shuffled=True), r_min=0.0)
    assert loose.n_eligible_donor <= 2


def test_three_shifts_on_64_latents_find_nothing_and_say_so_in_one_line():
    found, said = matched(Codes(shuffled=False), n_shifts=3)
    assert found.n_pairs == 0
    assert said == [
        "match: with 3 shifts over 64 live latents no p is below 0.053, so that no match can "
        "count; leave match.n_shifts out, or set it to 27 or more"
    ]
    enough, quiet = matched(Codes(shuffled=False), n_shifts=27)
    assert (enough.n_pairs, quiet) == (32, [])
    some, said = matched(Codes(shuffled=False), n_shifts=12)
    assert "fewer than 18 matches count as none" in said[0]
    assert some.n_pairs == 32
