"""The curve stage on the finished micro run: equal damage means equal damage."""

from __future__ import annotations

import pytest
import torch

from conceptbasis.edits.intervention import apply_intervention, intervention_of
from conceptbasis.evaluation.damage import points_of
from conceptbasis.evaluation.trials import Trial
from conceptbasis.models.stream.first_token import first_token_kl
from conceptbasis.models.text.generation import first_token_logits
from conceptbasis.results.edit import Replayed
from conceptbasis.results.evaluation import Calibration, Curve
from conceptbasis.runs.storage import read_result
from conceptbasis.runs.summary import read_summary


@pytest.fixture(scope="session")
def curve(finished):
    return read_result(finished.folder / "curve", Curve)


@pytest.fixture(scope="session")
def intervention(finished):
    return intervention_of(read_result(finished.folder / "replay", Replayed))


def row_of(curve, name):
    return next(row for row in curve.methods if row.method == name)


def test_methods_native_and_a_random_direction_are_compared(curve):
    names = [row.method for row in curve.methods]
    expected = {"transported", "least_squares", "native", "shuffled_atoms", "random_direction"}
    assert {"transfer", *expected} <= set(names)
    assert len(set(names)) == len(names)
    for row in curve.methods:
        levels = tuple(p.level for p in row.points if p.measure == "kl")
        assert levels == curve.kl_levels == (0.002, 0.01)
        for point in row.points:
            rate = point.figures.rate
            assert (rate.interval.n if rate.interval else 0) + rate.unscored == 12


def test_a_strength_does_the_damage_it_was_chosen_for(curve, intervention, sides, ready):
    """On other requests than those it was found on, so within a factor, and in order."""
    points = [p for p in row_of(curve, "transfer").points if p.measure == "kl"]
    assert points[0].reached
    loaded = sides.target.loaded
    texts = [t.content[0][1] for t in ready.suite.texts if t.text_class == "chat"][:200]
    before = first_token_logits(loaded, texts)
    found = []
    for point in points:
        with apply_intervention(loaded, intervention.scaled(point.strength)):
            found.append(float(first_token_kl(before, first_token_logits(loaded, texts)).mean()))
    assert found[0] < found[1]
    for point, kl in zip(points, found, strict=True):
        assert not point.reached or 0.4 < kl / point.level < 2.5


def test_strengths_grow_with_the_level_and_the_calibration_covers_them(curve):
    for row in curve.methods:
        strengths = [p.strength for p in row.points if p.measure == "kl"]
        assert strengths == sorted(strengths)
        assert max(strengths) <= row.calibration.strength[-1] == pytest.approx(1.0)


def test_a_level_out_of_reach_is_marked(world):
    section = world.config(curve={"kl_levels": [0.01, 5.0]}).curve
    calibration = Calibration((1.0, 2.0), (0.01, 0.04), (0.02, 0.05))
    first, last, perplexity = points_of(Trial("weak"), calibration, section)
    assert (first.strength, first.reached) == (pytest.approx(1.0), True)
    assert (last.strength, last.reached) == (2.0, False)
    assert perplexity.strength == pytest.approx((0.01 / 0.02) ** 0.5)


def test_summary_repeats_areas_and_differences(curve, finished):
    methods = read_summary(finished.folder).curve.methods
    assert methods["transfer"].area == row_of(curve, "transfer").area
    assert methods["transfer"].area_less_transfer.value == 0
    for name, found in methods.items():
        assert 0 <= found.area.value <= 1, name
    random = methods["random_direction"]
    assert random.area_less_transfer.value == pytest.approx(
        random.area.value - methods["transfer"].area.value
    )


def test_scaling_an_intervention_scales_its_edit(intervention, sides):
    half, whole = intervention.scaled(0.5), intervention.scaled(1.0)
    assert (half.gamma, whole.gamma) == (0.5, 1.0)
    assert torch.equal(half.directions, whole.directions)
    with apply_intervention(sides.target.loaded, intervention.scaled(0.0)):
        same = first_token_logits(sides.target.loaded, ["what is a banana ?"])
    assert torch.equal(same, first_token_logits(sides.target.loaded, ["what is a banana ?"]))
