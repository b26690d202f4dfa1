"""A planted world: true features seen by two dictionaries of unlike widths."""

from dataclasses import dataclass

import numpy as np
import scipy.sparse
import torch

from conceptbasis.core.features.matches import Matches
from conceptbasis.core.features.matching import eligible_pairs, shift_null
from conceptbasis.core.features.partners import CodePair

N_TRUE = 24
D_DONOR, D_TARGET = 40, 56


@dataclass(frozen=True)
class World:
    """Codes of both sides at aligned sites, decoder rows, and who is truly whom.

    Donor feature i and target feature `partner[i]` see true feature i for i < N_TRUE; the other
    features of both dictionaries are private.
    """

    donor_codes: scipy.sparse.csr_matrix
    target_codes: scipy.sparse.csr_matrix
    W_dec: torch.Tensor
    W_dec_target: torch.Tensor
    partner: torch.Tensor

    @property
    def residuals(self):
        """Donor and target residuals at the sites."""
        return tuple(
            torch.from_numpy(codes.toarray()) @ rows
            for codes, rows in (
                (self.donor_codes, self.W_dec),
                (self.target_codes, self.W_dec_target),
            )
        )


def planted_world(seed=0, n=6000, gain=1.0):
    """Two dictionaries over the same sites; gain scales the target's shared codes."""
    rng = np.random.default_rng(seed)
    generator = torch.Generator().manual_seed(seed)

    def sparse_codes(d):
        return rng.random((n, d)) * (rng.random((n, d)) < rng.uniform(0.02, 0.2, d))

    true = sparse_codes(N_TRUE)
    partner = torch.randperm(D_TARGET, generator=generator)[:N_TRUE]
    donor, target = sparse_codes(D_DONOR), sparse_codes(D_TARGET)
    donor[:, :N_TRUE] = true
    noise = 1 + 0.05 * rng.standard_normal((n, N_TRUE))
    target[:, partner.numpy()] = gain * true * noise
    rows = [
        torch.randn(d, width, generator=generator) for d, width in ((D_DONOR, 64), (D_TARGET, 96))
    ]
    unit = [side / side.norm(dim=1, keepdim=True) for side in rows]
    sides = [scipy.sparse.csr_matrix(side.astype(np.float32)) for side in (donor, target)]
    return World(*sides, *unit, partner)


def correlations(donor_codes, target_codes):
    """The whole matrix by numpy; 0 for features that do not vary."""
    with np.errstate(invalid="ignore"):
        both = np.corrcoef(donor_codes.toarray().T, target_codes.toarray().T)
    return torch.from_numpy(np.nan_to_num(both[: donor_codes.shape[1], donor_codes.shape[1] :]))


def match(world, *, shuffle=False, **options) -> Matches:
    """Eligible pairs with halves as fit and held-out sites; shuffle breaks the pairing."""
    generator = torch.Generator().manual_seed(1)
    n = world.donor_codes.shape[0]
    target = world.target_codes
    if shuffle:
        target = target[torch.randperm(n, generator=generator).numpy()]
    donor_fit, donor_held = world.donor_codes[: n // 2], world.donor_codes[n // 2 :]
    target_fit, target_held = target[: n // 2], target[n // 2 :]
    null = shift_null(donor_held, target_held, n_shifts=20, min_shift=50, generator=generator)
    fit, heldout = [CodePair(donor_fit, target_fit)], [CodePair(donor_held, target_held)]
    return eligible_pairs(fit, heldout, null, **options)


def planted_rotation(d: int, generator: torch.Generator) -> torch.Tensor:
    """A random rotation of d dimensions."""
    return torch.linalg.qr(torch.randn(d, d, generator=generator)).Q
