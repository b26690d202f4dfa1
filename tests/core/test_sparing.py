import pytest
import torch

from conceptbasis.core.directions.rebuild import dense_rebuilt
from conceptbasis.core.directions.sparing import BenignSpread, spare_benign
from conceptbasis.errors import NumericsError


def cosine(a, b):
    return float(torch.nn.functional.cosine_similarity(a.double(), b.double(), dim=0))


def test_sparing_is_the_discriminant_and_costs_benign_variance_least(generator):
    ends = torch.randn(40, 12, generator=generator) @ torch.randn(12, 12, generator=generator)
    covariance = torch.cov(ends.double().T, correction=0)
    plain = dense_rebuilt(torch.randn(12, generator=generator))
    spread = BenignSpread.of(ends)
    spared = spare_benign(plain, spread, cosine=0.9)
    assert cosine(spared.direction, plain.steering) == pytest.approx(0.9, abs=1e-5)
    assert float(spared.direction.norm()) == pytest.approx(1)
    # (Σ + μI) direction is along the steering vector for one μ > 0, which least squares finds.
    turned, steering = spared.direction.double(), plain.steering.double()
    fitted = torch.linalg.lstsq(torch.stack([turned, -steering], 1), -covariance @ turned).solution
    assert fitted[0] > 0
    rest = covariance @ turned + fitted[0] * turned - fitted[1] * steering
    assert float(rest.norm()) < 1e-4 * float((covariance @ turned).norm())

    def ratio(r):  # benign variance per what is left of the steering vector
        r = r.double()
        return float(r @ covariance @ r / (r @ plain.steering.double()) ** 2)

    further = spare_benign(plain, spread, cosine=0.8)
    assert ratio(further.direction) < ratio(spared.direction) < ratio(plain.direction)
    assert torch.equal(spare_benign(plain, spread, cosine=1.0).direction, plain.direction)


def test_sparing_leaves_a_direction_that_benign_requests_do_not_favour():
    """Nothing to turn away from: as many requests on either side of every axis."""
    axes = torch.cat([torch.eye(12), -torch.eye(12)])
    plain = dense_rebuilt(torch.arange(1.0, 13.0))
    spared = spare_benign(plain, BenignSpread.of(axes), cosine=0.5)
    assert torch.allclose(spared.direction, plain.direction, atol=1e-6)


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_sparing_does_not_depend_on_the_length_of_the_steering_vector(generator, scale):
    spread = BenignSpread.of(torch.randn(40, 12, generator=generator))
    steering = torch.randn(12, generator=generator)
    found = [
        spare_benign(dense_rebuilt(v), spread, cosine=0.9) for v in (steering, scale * steering)
    ]
    assert cosine(found[0].direction, found[1].direction) == pytest.approx(1, abs=1e-6)
    assert cosine(found[1].direction, steering) == pytest.approx(0.9, abs=1e-5)


@pytest.mark.parametrize("ends", [torch.zeros(9, 12), torch.ones(1, 12)])
def test_sparing_without_benign_variance_is_refused(ends):
    with pytest.raises(NumericsError) as caught:
        BenignSpread.of(ends)
    assert "benign_cosine" in caught.value.fix


def test_sparing_with_another_width_is_refused(generator):
    spread = BenignSpread.of(torch.randn(30, 11, generator=generator))
    plain = dense_rebuilt(torch.randn(12, generator=generator))
    with pytest.raises(NumericsError):
        spare_benign(plain, spread, cosine=0.9)
