"""What stages `guard`, `forecast` and `replay` leave: the edit and what was said before it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from conceptbasis.core.statistics.interval import Interval
from conceptbasis.results.layers import LayerPlan

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor


Setting: TypeAlias = Literal["gamma", "offset"]
"""What can be found on benign requests."""


@dataclass(frozen=True)
class GuardedLayer:
    """Overlap of one layer's direction with the guard.

    Args:
        target: Edited layer.
        overlap_curve: Energy inside the first k guard directions, for each k tried.
        overlap_energy: The same at the chosen k.
    """

    target: int
    overlap_curve: tuple[float, ...]
    overlap_energy: float


@dataclass(frozen=True)
class Guarded:
    """Directions kept out of the target's strongest weight subspaces.

    Args:
        share: Share of d_model that is kept out, 0 where none is needed or none is enough.
        k: The same in directions.
        within_bound: Whether benign perplexity stays within its bound.
        perplexity: Benign perplexity of the untouched target.
        perplexity_by_share: Under each share that was tried.
        layers: One row per edited layer.
        directions: Guarded unit directions, one row per edited layer.
        basis: Guard directions of each edited layer, strongest first.
    """

    share: float
    k: int
    within_bound: bool
    perplexity: float
    perplexity_by_share: Mapping[str, float]
    layers: tuple[GuardedLayer, ...]
    directions: Float[Tensor, "n_edited d_target"]
    basis: Float[Tensor, "n_edited d_target k_max"]


@dataclass(frozen=True)
class Proxy:
    """A benign behavior sent through the transfer, and the share of the native effect it had."""

    name: str
    success: float


@dataclass(frozen=True)
class Forecast:
    """Whether the transfer will work, said before the edit.

    Args:
        figures: By name: eligible_mass, r_heldout, agreement, svcca, svcca_null, guard_overlap,
            proxy_success, neighbour_effect; None where a figure does not exist.
        covered_share: Share of the recipe's latents that fire in the shared text.
        unseen_latents: Those that do not, as layer:latent.
        proxies: Benign behaviors that were sent along.
        passed: Whether no bound is broken.
        reasons: The bounds that are.
    """

    figures: Mapping[str, Interval | None]
    covered_share: float
    unseen_latents: tuple[str, ...]
    proxies: tuple[Proxy, ...]
    passed: bool
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class Strength:
    """A strength that was found on benign requests.

    Args:
        setting: What was found: `gamma` or `offset`.
        value: 0 or above; γ is its negative.
        benign_kl: Mean first-token KL it does, nats.
        bound: What was allowed.
        reached: Whether the bound stopped it, and not the largest strength tried.
        n_requests: Benign requests it was found on.
    """

    setting: Setting
    value: float
    benign_kl: float
    bound: float
    reached: bool
    n_requests: int


@dataclass(frozen=True)
class Dose:
    """How large an edit is.

    Args:
        relative: By edited layer, the root mean square of what the edit alone changes at benign
            sites, as a share of that of the stream; empty for an edit of writers or weights.
        kl: Mean first-token KL on benign requests under the edit, nats.
        random_kl: The median of the same edit along random directions.
        n_requests: Benign requests.
    """

    relative: tuple[float, ...]
    kl: float
    random_kl: float
    n_requests: int


@dataclass(frozen=True)
class Replayed:
    """The finished edit of the target.

    Args:
        plan: The edited layers, and whose direction each gets.
        mode: `ablate`, `affine`, `cap`, `add`, `raise` or `orthogonalise`.
        scope: `stream` or `writers`.
        gamma: Strength of every mode but `add`.
        which: Whether a weight edit covers all writers or attention only.
        amounts: What `add` adds, by edited layer.
        thresholds: Of `raise`, by edited layer.
        max_norms: Norm above which a position is a sink that is left alone, by edited layer.
        strength: How γ or the offset was found, None where they were given.
        dose: How large the edit is, beside random directions; None without benign requests.
        edited: Edited places as (done, of), by kind.
        target_hash: Hash of the model it belongs to.
        target_name: Name of that model.
        weights: Hashes of the weights of `target` and `donor`, whatever they are loaded as.
        architecture: The model's own row of the architecture table, if its file has one.
        directions: One row per edited layer.
        means: Where `affine` sets the component to.
        gates: What `raise` reads, and `cap` with `replay.centre: both`; None for the others.
    """

    plan: LayerPlan
    mode: str
    scope: str
    gamma: float
    which: str
    amounts: tuple[float, ...]
    thresholds: tuple[float, ...]
    max_norms: tuple[float | None, ...]
    strength: Strength | None
    dose: Dose | None
    edited: Mapping[str, tuple[int, int]]
    target_hash: str
    target_name: str
    weights: Mapping[str, str]
    architecture: Mapping[str, object] | None
    directions: Float[Tensor, "n_edited d_target"]
    means: Float[Tensor, "n_edited d_target"]
    gates: Float[Tensor, "n_edited d_target"] | None
