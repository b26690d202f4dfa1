"""Is an atom about many things or about one? How its activation spreads over groups of texts."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from conceptbasis.errors import NumericsError


@dataclass(frozen=True)
class Concentration:
    """How the activation of each atom spreads over groups of texts, beside an even spread.

    `effective` is the number of groups that would hold the same entropy if they shared evenly;
    `largest` the share of the group that holds most, `group` that group, `expected` the share of
    texts in it. `even` is the effective number of groups of an atom that fires alike in every text.
    Atoms that fire nowhere have an effective number and shares of 0.
    """

    effective: Float[Tensor, " n_atoms"]
    largest: Float[Tensor, " n_atoms"]
    group: Int[Tensor, " n_atoms"]
    expected: Float[Tensor, " n_atoms"]
    even: float


def concentration(
    mass: Float[Tensor, "n_texts n_atoms"], groups: Int[Tensor, " n_texts"]
) -> Concentration:
    """Measure how the activation of atoms spreads over groups of texts.

    Formula: p_g = Σ_{texts of g} mass / Σ mass; effective number = exp(−Σ_g p_g log p_g); even: the
    same with p_g the share of texts in g.

    Args:
        mass: Activation of each atom in each text, not negative.
        groups: Group of each text, such as its template or its noun.

    Returns:
        The spread of every atom.

    Raises:
        NumericsError: No text, or a mass is negative or not finite.

    Source: exponential of Shannon's entropy as a number of kinds: Hill 1973, order 1.
    """
    if not len(groups) or not bool((mass >= 0).all()) or not bool(mass.isfinite().all()):
        raise NumericsError(
            f"masses of {len(groups)} texts, the least of them "
            f"{float(mass.min()) if mass.numel() else 'undefined'}",
            expected="at least one text, and finite masses of at least 0",
            fix="sum activations, which are not negative, over the sites of each text",
        )
    names, index = groups.unique(return_inverse=True)
    held = torch.zeros(len(names), mass.shape[1], dtype=torch.float64)
    held.index_add_(0, index, mass.double())
    share = held / held.sum(0).clamp(min=1e-300)
    texts = index.bincount(minlength=len(names)).double() / len(index)
    largest, place = share.max(0)
    fires = largest > 0
    return Concentration(
        (_effective(share) * fires).float(),
        largest.float(),
        names[place],
        (texts[place] * fires).float(),
        float(_effective(texts[:, None])[0]),
    )


def _effective(share: Float[Tensor, "n_groups n"]) -> Float[Tensor, " n"]:
    return torch.special.entr(share).sum(0).exp()
