"""Which layer's direction is replayed, and at which layers."""

from __future__ import annotations

import pytest
import torch
from conceptbasis.edits.spread import single_layer, spread

from conceptbasis.config.transfer import ReplaySection

SINGLE = ReplaySection(directions="single", early_fraction=0.8)


@pytest.mark.parametrize(
    ("agreements", "layer"),
    [
        ({2: 0.50, 4: 0.70, 5: 0.60, 7: 0.90}, 5),  # sure enough, and deeper
        ({2: 0.50, 4: 0.70, 5: 0.50, 7: 0.90}, 4),  # deeper, but unsure
        ({2: 0.50, 5: 0.10, 7: 0.90}, 2),
        ({6: 0.80, 7: 0.90}, 7),  # nothing below 0.8 L
        ({3: -0.40, 4: -0.45, 5: -0.9}, 4),
    ],
)
def test_the_deepest_of_the_surest_layers_below_the_fraction_is_taken(agreements, layer):
    assert single_layer(agreements, SINGLE, 8) == layer


def test_a_trajectory_has_no_single_layer():
    assert single_layer({1: 0.5}, ReplaySection(directions="per_layer"), 8) is None


def test_the_direction_of_the_single_layer_is_used_at_every_layer():
    r = torch.eye(4)[:3]
    assert torch.equal(spread(r, [1, 3, 5], None), r)
    assert torch.equal(spread(r, [1, 3, 5], 3), r[1:2].expand(3, 4))
    assert torch.equal(spread(r, [1, 3, 5], 6), r[2:].expand(3, 4))  # the nearest it has
