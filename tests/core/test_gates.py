"""Gates read the planted difference better than the direction does, from benign rows alone."""

import pytest
import torch

from conceptbasis.core.edits.gates import fit_gate, level_gate
from conceptbasis.errors import NumericsError

D = 12


@pytest.fixture
def planted(generator):
    """Benign rows that differ widely along an axis that the direction leans on; harmful ones are
    displaced along another."""
    axis, truth = torch.eye(D)[0], torch.eye(D)[1]
    benign = 0.3 * torch.randn(600, D, generator=generator)
    benign = benign + 3 * torch.randn(600, 1, generator=generator) * axis + 5
    fit, held_out = benign[:300], benign[300:]
    r = truth + 0.5 * axis
    return fit, held_out, held_out + 1.5 * truth, r / r.norm()


def readings(gate, x):
    return (x - gate.mean) @ gate.weights


def share_above(gate, x):
    return float((readings(gate, x) > gate.threshold).float().mean())


def test_gate_tells_the_planted_kind_apart_and_the_direction_itself_does_not(planted):
    fit, held_out, positive, r = planted
    gate = fit_gate(r, fit, quantile=0.95, shrinkage=0.1)
    plain = fit_gate(r, fit, quantile=0.95, shrinkage=None)
    assert share_above(gate, positive) > 0.9
    assert share_above(plain, positive) < 0.4
    assert share_above(gate, held_out) == pytest.approx(0.05, abs=0.03)
    assert share_above(plain, held_out) == pytest.approx(0.05, abs=0.03)


def test_gate_of_a_random_direction_does_not_tell_them_apart(planted, generator):
    fit, _, positive, _ = planted
    other = torch.randn(D, generator=generator)
    other[1] = 0
    gate = fit_gate(other / other.norm(), fit, quantile=0.95, shrinkage=0.1)
    assert share_above(gate, positive) < 0.15


@pytest.mark.parametrize("quantile", [0.0, 0.5, 0.8, 1.0])
def test_threshold_is_the_quantile_of_benign_readings_and_their_scale_is_kept(planted, quantile):
    fit, _, _, r = planted
    gate = fit_gate(r, fit, quantile=quantile, shrinkage=3.0)
    found = readings(gate, fit)
    assert float((found <= gate.threshold + 1e-3).float().mean()) == pytest.approx(
        quantile, abs=0.01
    )
    assert float(found.mean()) == pytest.approx(0, abs=1e-3)
    assert float(found.std()) == pytest.approx(float((fit @ r).std()), rel=1e-3)


def test_benign_rows_that_do_not_differ_are_an_error(planted):
    fit, _, _, r = planted
    for rows in (fit[:1], fit[:1].expand(5, D)):
        with pytest.raises(NumericsError, match="benign activations with a spread of"):
            fit_gate(r, rows, quantile=0.8, shrinkage=3.0)


def test_a_level_gate_reads_the_direction_and_both_means_alike(generator):
    r, first, second = torch.nn.functional.normalize(torch.randn(3, D, generator=generator))
    w = level_gate(r, 9 * first, 4 * second)
    assert float(w @ r) == pytest.approx(1, abs=1e-5)
    assert float(w @ (9 * first)) == pytest.approx(float(w @ (4 * second)), abs=1e-4)
    assert abs(float(r @ (9 * first - 4 * second))) > 0.1
    assert torch.equal(level_gate(r, first, first), r)


def test_positions_of_two_sorts_are_told_from_a_planted_kind_by_a_level_gate_alone(generator):
    """Words read far higher along r than ends do: the mean of one sort is wrong for the other."""
    truth, place = torch.eye(D)[0], torch.eye(D)[1]
    r = (truth - 0.6 * place) / 1.36**0.5
    noise = 0.3 * torch.randn(3, 400, D, generator=generator)
    ends, words, positive = noise[0] + 8 * place, noise[1], noise[2] + 8 * place + 3 * truth
    w = level_gate(r, ends.mean(0), words.mean(0))

    def above(read, x):
        return float(((x - ends.mean(0)) @ read > 1.5).float().mean())

    assert above(w, positive) > 0.95
    assert above(w, ends) < 0.05
    assert above(w, words) < 0.05
    assert above(r, words) > 0.95


def test_a_direction_between_the_means_leaves_nothing_to_read():
    r = torch.eye(D)[2]
    with pytest.raises(NumericsError, match="differ along a direction and nowhere else"):
        level_gate(r, 5 * r, torch.zeros(D))
