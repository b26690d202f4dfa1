"""Which donor feature is which target feature, and which of these claims survive a null."""

import scipy.sparse
import torch
from jaxtyping import Bool, Float, Int
from torch import Generator, Tensor

from conceptbasis.core.features.matches import Matches, one_to_one
from conceptbasis.core.features.partners import (
    Batches,
    CodePair,
    Partners,
    best_partners,
    feature_stats,
    pair_correlations,
)
from conceptbasis.core.features.significance import benjamini_hochberg, pooled_p
from conceptbasis.core.statistics.finite import require_finite
from conceptbasis.errors import NumericsError


def mutual_pairs(
    partners: Partners, k: int
) -> tuple[Int[Tensor, " n_pairs"], Int[Tensor, " n_pairs"]]:
    """List the pairs in which each feature is among the other's k best.

    Formula: r_ij > 0, r_ij among the k largest of row i and of column j.

    Args:
        partners: Lists of at least k partners.
        k: How many partners each feature may name.

    Returns:
        Donor and target ids, ascending.

    Source: Lan et al. 2024 (2410.06981), section 3, made mutual.
    """
    d_target = len(partners.target_ids)
    named, naming = partners.donor_ids[:, :k], partners.target_ids[:, :k]
    ours = torch.arange(len(named))[:, None] * d_target + named
    theirs = naming * d_target + torch.arange(d_target)[:, None]
    pairs = ours[named >= 0]
    pairs = pairs[torch.isin(pairs, theirs[naming >= 0])].sort().values
    return pairs // d_target, pairs % d_target


def shift_null(
    donor_codes: scipy.sparse.csr_matrix,
    target_codes: scipy.sparse.csr_matrix,
    *,
    n_shifts: int,
    min_shift: int,
    generator: Generator,
    weights: Float[Tensor, " n_sites"] | None = None,
    device: str = "cpu",
) -> Float[Tensor, "n_shifts d_donor"]:
    """Compute each donor feature's best correlation when the sites no longer belong together.

    Formula: max_j r(z_i(t), z'_j(t + s mod n)), s uniform on [min_shift, n − min_shift]. A shift
    keeps the order of neighbouring sites, and so the autocorrelation that a shuffle would destroy.

    Args:
        donor_codes: Donor codes, in text order.
        target_codes: Target codes at the same sites; use the sites whose r is to be judged.
        n_shifts: Number of shifts drawn.
        min_shift: Least distance of a shift from both ends, longer than a text.
        generator: The source of randomness.
        weights: What each site counts, wherever its target codes come from; 1 by default.
        device: Where the search runs.

    Returns:
        The best correlation per shift and donor feature; 0 where none is positive, as for dead
        donor features.

    Raises:
        NumericsError: No shift is that far from both ends.
    """
    n = int(donor_codes.shape[0])
    if min_shift < 1 or 2 * min_shift > n:
        raise NumericsError(
            f"no shift lies at least {min_shift} sites from both ends of {n} sites",
            expected="min_shift between 1 and n / 2",
            fix="use more sites or a smaller min_shift",
        )
    shifts = torch.randint(min_shift, n - min_shift + 1, (n_shifts,), generator=generator)
    rows = []
    for shift in shifts.tolist():
        rolled = scipy.sparse.vstack([target_codes[shift:], target_codes[:shift]], format="csr")
        batches = [CodePair(donor_codes, rolled, weights)]
        found = best_partners(batches, *feature_stats(batches), k=1, device=device)
        rows.append(found.donor_r[:, 0].float())
    return torch.stack(rows)


def eligible_pairs(
    fit: Batches,
    heldout: Batches,
    null: Float[Tensor, "n_shifts d_donor"],
    *,
    k: int = 10,
    r_min: float = 0.5,
    fdr: float = 0.05,
    min_density: float = 1e-4,
    donor_subset: Bool[Tensor, " d_donor"] | None = None,
    device: str = "cpu",
) -> Matches:
    """Keep the pairs that are mutual, strong on held-out sites, and above the shift null.

    Formula: mutual top k by r_fit; p = (1 + #{null ≥ r_heldout}) / (1 + #null), the null pooled
    over all live donor features of the same density decile, because a few shifts of one feature
    could never give a p small enough; Benjamini–Hochberg over the donor features that have a mutual
    pair, each by its best pair. The family is fixed by fit sites alone, so the held-out test stays
    valid. A pair is kept when its own p is within the rejected range and r_heldout > r_min.

    Args:
        fit: Codes of both sides on fit sites, which choose the pairs.
        heldout: Codes on held-out sites, which judge them.
        null: Result of `shift_null` on the held-out sites.
        k: How many partners each feature may name.
        r_min: Least held-out correlation, exclusive.
        fdr: False discovery rate over donor features.
        min_density: Features active on a smaller share of fit sites are dead.
        donor_subset: Donor features to consider; all when None. The others are not counted.
        device: Where the search for partners runs.

    Returns:
        The eligible pairs with the reasons why the other donor features were lost.

    Raises:
        NumericsError: The inputs do not belong together.

    Source: design of this library; Benjamini and Hochberg 1995.
    """
    donor, target = feature_stats(fit)
    _require_null(null, len(donor.mean))
    considered = torch.ones(len(donor.mean), dtype=torch.bool)
    if donor_subset is not None:
        considered = donor_subset.clone()
    active = (donor.density >= min_density) & (donor.sd > 0)
    live = considered & active
    partners = best_partners(
        fit,
        donor,
        target,
        k=k,
        donor_live=live,
        target_live=target.density >= min_density,
        device=device,
    )
    donors, targets = mutual_pairs(partners, k)
    r = pair_correlations(heldout, *feature_stats(heldout), donors, targets).float()
    p = pooled_p(r, donors, null, donor.density, active)
    above_null = p <= _rejection_bound(p, donors, q=fdr)
    strong = r > r_min
    kept = strong & above_null
    stages = (considered, live, _mark(donors, live), _mark(donors[strong], live))
    survivors = [int(stage.sum()) for stage in (*stages, _mark(donors[kept], live))]
    names = ("dead", "not_mutual_top_k", "r_heldout", "null")
    lost = {name: survivors[i] - survivors[i + 1] for i, name in enumerate(names)}
    donors, targets, r, p = donors[kept], targets[kept], r[kept], p[kept]
    best = partners.donor_ids[donors, 0] == targets
    return Matches(
        donors,
        targets,
        pair_correlations(fit, donor, target, donors, targets).float(),
        r,
        _quantile(null, donors),
        p,
        lost,
        int((best & (partners.target_ids[targets, 0] == donors)).sum()),
        one_to_one(donors, targets, r)[0].numel(),
    )


def _require_null(null: Tensor, d_donor: int) -> None:
    if null.shape[1] != d_donor or not len(null):
        raise NumericsError(
            f"a null of shape {tuple(null.shape)} for {d_donor} donor features",
            expected="at least one shift per donor feature",
            fix="compute it from the same pair of SAEs",
        )
    require_finite("shift null", null)


def _mark(ids: Int[Tensor, " n"], like: Bool[Tensor, " d"]) -> Bool[Tensor, " d"]:
    marked = torch.zeros_like(like)
    marked[ids] = True
    return marked


def _rejection_bound(
    p: Float[Tensor, " n_pairs"], donors: Int[Tensor, " n_pairs"], *, q: float
) -> float:
    """Largest p that Benjamini–Hochberg over donor features rejects; −1 when it rejects none."""
    features, index = torch.unique(donors, return_inverse=True)
    best = torch.ones(features.numel(), dtype=torch.float64)
    best = best.scatter_reduce(0, index, p, reduce="amin")
    rejected = best[benjamini_hochberg(best, q=q)]
    return float(rejected.max()) if rejected.numel() else -1.0


def _quantile(
    null: Float[Tensor, "n_shifts d_donor"], donors: Int[Tensor, " n_pairs"]
) -> Float[Tensor, " n_pairs"]:
    """The 0.95 quantile of each pair's own donor feature under the shifts."""
    if donors.numel() == 0:
        return torch.zeros(0)
    return torch.quantile(null[:, donors].to(torch.float64), 0.95, dim=0).float()
