"""Spread over groups: even is even, one is one, and nothing is nothing."""

import pytest
import torch

from conceptbasis.core.features.concentration import concentration
from conceptbasis.errors import NumericsError

GROUPS = torch.tensor([4, 4, 7, 7, 9, 9, 9, 9])


def test_an_atom_that_fires_alike_everywhere_is_spread_as_the_texts_are():
    found = concentration(torch.full((8, 1), 0.3), GROUPS)
    assert float(found.effective[0]) == pytest.approx(found.even)
    assert float(found.largest[0]) == pytest.approx(0.5)
    assert float(found.expected[0]) == pytest.approx(0.5)
    assert int(found.group[0]) == 9
    assert found.even == pytest.approx(2**1.5)


def test_an_atom_of_one_group_has_one():
    mass = torch.zeros(8, 2)
    mass[2, 0], mass[3, 0] = 5.0, 1.0
    found = concentration(mass, GROUPS)
    assert float(found.effective[0]) == pytest.approx(1)
    assert float(found.largest[0]) == 1
    assert int(found.group[0]) == 7
    assert float(found.expected[0]) == pytest.approx(0.25)
    assert float(found.effective[1]) == float(found.largest[1]) == 0


def test_scale_does_not_matter(generator):
    mass = torch.rand(8, 3, generator=generator)
    one, ten = concentration(mass, GROUPS), concentration(10 * mass, GROUPS)
    assert torch.allclose(one.effective, ten.effective)
    assert bool((one.effective <= 3).all())


def test_masses_must_not_be_negative():
    with pytest.raises(NumericsError):
        concentration(torch.full((8, 1), -1.0), GROUPS)
    with pytest.raises(NumericsError):
        concentration(torch.zeros(0, 1), torch.zeros(0, dtype=torch.int64))
