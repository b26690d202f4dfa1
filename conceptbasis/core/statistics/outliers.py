"""Which sites are ordinary: one decision for a site, over all layers that are used."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from conceptbasis.errors import NumericsError


def ordinary_sites(
    sizes: Mapping[int, Float[Tensor, "*sites"]], bounds: Mapping[int, float | None]
) -> Bool[Tensor, "*sites"]:
    """Find the sites whose norm is within the bound at every layer.

    An attention sink is large at some layers and ordinary at others, and which token is one
    depends on the layer. Asked layer by layer, other sites would be missing at each.

    Formula: ‖x_l‖ ≤ bound_l for all layers l; a layer without a bound holds no outlier.

    Args:
        sizes: Norm of each site by layer, on one device.
        bounds: By layer, the norm above which a site is an outlier, or None.

    Returns:
        True where a site is ordinary.

    Raises:
        NumericsError: No layers, or a layer whose bound is not known.
    """
    if not sizes or any(layer not in bounds for layer in sizes):
        raise NumericsError(
            f"outliers asked for at layers {sorted(sizes)} with bounds of {sorted(bounds)}",
            expected="at least one layer, and what is known of the norms of each",
            fix="read the norms of all tokens at the same layers",
        )
    keep = torch.ones_like(next(iter(sizes.values())), dtype=torch.bool)
    for layer, norms in sizes.items():
        bound = bounds[layer]
        if bound is not None:
            keep &= norms <= bound
    return keep


def require_ordinary(keep: Bool[Tensor, "*sites"]) -> None:
    """Raise when no site is ordinary.

    Args:
        keep: What `ordinary_sites` found.

    Raises:
        NumericsError: Every site is an outlier at one of the layers.
    """
    if not keep.any():
        raise NumericsError(
            f"all of {keep.numel()} sites are outliers at one of the layers",
            expected="ordinary sites: most tokens within the norm bound at every layer",
            fix="raise max_norm_ratio, or name fewer layers",
        )
