"""Gates read the planted difference better than the direction does, from benign rows alone."""

import pytest
import torch

from conceptbasis.core.edits.gates import fit_gate
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
