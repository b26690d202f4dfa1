"""Strengths of equal damage, and what is read off a curve."""

import pytest
import torch

from conceptbasis.core.statistics.curves import (
    area_weights,
    largest_within,
    level_where,
    strength_at,
    value_at,
)
from conceptbasis.errors import NumericsError


def test_strength_of_a_quadratic_damage_is_exact_between_grid_points():
    grid = [0.5, 1.0, 1.5, 2.0]
    damages = [0.08 * s**2 for s in grid]
    for wanted in (0.1, 0.7, 1.3, 1.99):
        strength, reached = strength_at(grid, damages, 0.08 * wanted**2)
        assert reached
        assert strength == pytest.approx(wanted)


def test_damage_out_of_reach_gives_the_largest_strength_and_says_so():
    assert strength_at([1.0, 2.0], [0.01, 0.04], 0.05) == (2.0, False)


def test_a_gain_counts_as_no_damage():
    strength, reached = strength_at([1.0, 2.0], [-0.3, 0.04], 0.01)
    assert reached
    assert strength == pytest.approx(1.5)


def test_area_weights_integrate_over_the_root_of_damage():
    levels = [0.01, 0.04, 0.16]
    weights = area_weights(levels)
    root = torch.tensor([0.0, 0.1, 0.2, 0.4], dtype=torch.float64)
    values = 1 - root
    assert float(weights.sum()) == pytest.approx(1)
    assert float(weights @ values) == pytest.approx(torch.trapezoid(values, root) / 0.4)
    # The mean over levels is something else: the last step is wider than the others.
    assert float(weights @ values) != pytest.approx(float(values.mean()))


def test_the_damage_of_a_threshold_and_the_value_there_agree():
    levels, values, start = [0.01, 0.04, 0.09], [0.8, 0.4, 0.1], 1.0
    level = level_where(levels, values, start, 0.5)
    assert level is not None
    assert level == pytest.approx(0.175**2)
    assert value_at(levels, values, start, level) == pytest.approx(0.5)
    assert value_at(levels, values, start, 0.0) == start
    assert value_at(levels, values, start, 1.0) == 0.1


def test_a_rising_curve_has_a_threshold_above_its_start():
    assert level_where([0.01, 0.04], [0.6, 0.9], 0.5, 0.75) == pytest.approx(0.15**2)
    assert level_where([0.01, 0.04], [0.6, 0.7], 0.5, 0.75) is None


@pytest.mark.parametrize("levels", [[], [0.0, 0.1], [0.2, 0.1]])
def test_levels_must_ascend_from_above_zero(levels):
    with pytest.raises(NumericsError, match="levels of damage"):
        area_weights(levels)


def test_other_lengths_and_nan_are_refused():
    with pytest.raises(NumericsError, match="points"):
        value_at([0.1], [0.5, 0.4], 1.0, 0.1)
    with pytest.raises(NumericsError):
        level_where([0.1], [float("nan")], 1.0, 0.5)


@pytest.mark.parametrize("wanted", [0.013, 0.31, 1.0, 4.7])
def test_the_largest_strength_within_a_bound_is_found_from_below(wanted):
    found, damage, reached = largest_within(
        lambda s: 0.08 * s**3, 0.08 * wanted**3, start=0.05, limit=6.4, halvings=12
    )
    assert reached
    assert found == pytest.approx(wanted, rel=2e-3)
    assert damage == pytest.approx(0.08 * found**3)
    assert damage <= 0.08 * wanted**3 * (1 + 1e-9)


def test_without_damage_the_limit_is_the_strength_and_with_too_much_it_is_none():
    assert largest_within(lambda s: 0.0, 0.1, start=0.05, limit=2.0) == (2.0, 0.0, False)
    assert largest_within(lambda s: 1.0, 0.1, start=0.05, limit=2.0) == (0.0, 0.0, True)
    with pytest.raises(NumericsError, match="a damage"):
        largest_within(lambda s: float("nan"), 0.1, start=0.05, limit=2.0)
