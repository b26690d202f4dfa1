"""Pairs of latents, and the best one-to-one assignment among them."""

import functools
from dataclasses import dataclass

import numpy as np
import scipy.sparse
import torch
from jaxtyping import Float, Int
from scipy.sparse.csgraph import min_weight_full_bipartite_matching
from torch import Tensor

from conceptbasis.core.statistics.finite import require_finite


@dataclass(frozen=True)
class Matches:
    """Eligible pairs, one row per pair, and what became of the other donor features.

    A donor feature counts under the first test that it fails: `dead`, `not_mutual_top_k`,
    `r_heldout`, `null`. `n_mutual_best` counts eligible pairs that are each other's best on fit
    sites; `n_one_to_one` is the size of the best one-to-one assignment within the eligible pairs.
    `assigned` adds the reason `not_assigned`.
    """

    donor_ids: Int[Tensor, " n_pairs"]
    target_ids: Int[Tensor, " n_pairs"]
    r_fit: Float[Tensor, " n_pairs"]
    r_heldout: Float[Tensor, " n_pairs"]
    null_quantile: Float[Tensor, " n_pairs"]
    p_value: Float[Tensor, " n_pairs"]
    reasons: dict[str, int]
    n_mutual_best: int
    n_one_to_one: int

    def assigned(self) -> "Matches":
        """Keep the pairs of the best one-to-one assignment, so that no feature has two partners."""
        donors, targets = one_to_one(self.donor_ids, self.target_ids, self.r_heldout)
        size = 1 + int(self.target_ids.max()) if self.target_ids.numel() else 1
        kept = torch.isin(self.donor_ids * size + self.target_ids, donors * size + targets)
        lost = self.eligible_donor.numel() - donors.numel()
        return Matches(
            self.donor_ids[kept],
            self.target_ids[kept],
            self.r_fit[kept],
            self.r_heldout[kept],
            self.null_quantile[kept],
            self.p_value[kept],
            {**self.reasons, "not_assigned": lost},
            self.n_mutual_best,
            self.n_one_to_one,
        )

    @property
    def eligible_donor(self) -> Int[Tensor, " n_donor_eligible"]:
        """Donor features with at least one eligible pair, ascending."""
        return torch.unique(self.donor_ids)

    @property
    def eligible_target(self) -> Int[Tensor, " n_target_eligible"]:
        """Target features with at least one eligible pair, ascending."""
        return torch.unique(self.target_ids)

    def best_pair(self, donor_id: int) -> int | None:
        """Return the place of a feature's pair of highest held-out r, or None without a pair."""
        return self._best_places.get(donor_id)

    @functools.cached_property
    def _best_places(self) -> dict[int, int]:
        """Place of the best pair of each donor feature: what is written last stays."""
        order = self.r_heldout.argsort(descending=True, stable=True).flip(0)
        return dict(zip(self.donor_ids[order].tolist(), order.tolist(), strict=True))

    def best_target(self, donor_id: int) -> int | None:
        """Return the eligible target of highest held-out r, or None where there is none."""
        place = self.best_pair(donor_id)
        return None if place is None else int(self.target_ids[place])


def one_to_one(
    donors: Int[Tensor, " n_pairs"],
    targets: Int[Tensor, " n_pairs"],
    r: Float[Tensor, " n_pairs"],
) -> tuple[Int[Tensor, " n_chosen"], Int[Tensor, " n_chosen"]]:
    """Choose among pairs so that no feature occurs twice and the sum of correlations is largest.

    Formula: max over partial permutations of Σ max(r_ij, 0), with r_ij = 0 for pairs not given.
    Each donor feature may stay alone at no gain, so that every one has a place in a sparse
    assignment; memory is that of the pairs.

    Args:
        donors: Donor feature of each pair.
        targets: Target feature of each pair; no pair is given twice.
        r: Their correlations; pairs that are not positive are never chosen.

    Returns:
        Donor ids and target ids of the chosen pairs, by donor id.

    Raises:
        NumericsError: A correlation is not finite.

    Source: Kuhn 1955; Jonker and Volgenant 1987 in its sparse form
    (scipy.sparse.csgraph.min_weight_full_bipartite_matching).
    """
    require_finite("correlations", r)
    donors, targets, r = donors[r > 0], targets[r > 0], r[r > 0]
    if not r.numel():
        return donors, targets
    donor_ids, rows = torch.unique(donors, return_inverse=True)
    target_ids, columns = torch.unique(targets, return_inverse=True)
    n_rows, n_columns = donor_ids.numel(), target_ids.numel()
    # Every row is chosen once, so 1 on top of all entries changes nothing and keeps those of
    # features that stay alone from being absent.
    alone = torch.arange(n_rows)
    gain = torch.cat([1 + r.to(torch.float64), torch.ones(n_rows, dtype=torch.float64)])
    places = (torch.cat([rows, alone]).numpy(), torch.cat([columns, n_columns + alone]).numpy())
    matrix = scipy.sparse.csr_matrix((gain.numpy(), places), (n_rows, n_columns + n_rows))
    chosen = min_weight_full_bipartite_matching(matrix, maximize=True)[1]
    paired = torch.from_numpy(chosen.astype(np.int64))
    matched = paired < n_columns
    return donor_ids[matched], target_ids[paired[matched]]
