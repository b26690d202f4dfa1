"""The donor layer of the orthogonal map is the one at the same depth that was read."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from conceptbasis.core.directions import mappers
from conceptbasis.methods.procrustes import procrustes


@pytest.mark.parametrize(
    ("read", "donor"), [({8, 11, 14, 17, 20, 23}, 11), ({11, 20}, 11), (set(range(30)), 10)]
)
def test_a_donor_layer_without_saes_is_replaced_by_the_nearest(read, donor, monkeypatch):
    asked = []
    monkeypatch.setattr(mappers, "fit_orthogonal_map", lambda moments: moments)
    monkeypatch.setattr(mappers, "rebuild_by_map", lambda difference, mapped: difference)
    chosen = SimpleNamespace(
        rebuilt=SimpleNamespace(direction=torch.ones(2)), ridge=0.0, selection=1.0, agreement=1.0
    )
    bridge = SimpleNamespace(
        n_layers=18,
        n_donor_layers=30,
        sites=SimpleNamespace(layers=lambda side: read),
        moments=asked.append,
        direction=SimpleNamespace(differences=torch.eye(30), per_layer=torch.eye(30)),
        rebuilder=SimpleNamespace(fixed=lambda rebuilt, own, along: chosen),
    )
    assert mappers.layer_at_depth(6, 18, 30) == 10
    assert procrustes(bridge, (6, 14)).pair == (6, donor)
    assert asked == [(6, donor)]
