"""How much memory a transfer needs, from sizes alone, before anything is loaded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from conceptbasis.core.statistics.moments import moments_bytes
from conceptbasis.models.loading.fetching import DTYPES

_PACKED = {"8bit": 1.0, "4bit": 0.5}
"""Bytes a parameter of packed weights; norms and embeddings stay wider and are few."""
_FLOAT = 4
_COPIES_OF_SAE = 3
"""Encoder, decoder, and the decoder with unit rows."""
_SPARSE = 8
"""Bytes of a code that is not zero: a value and its column."""
_MATCHED_CODE = 34
"""Bytes of a code while it is matched: its split, its place by feature in float64, its moments."""
_PARTNER = 48
"""Bytes of one named partner: id and correlation, merged over shares, and sorted as a pair."""
_ROWS = 2**21
"""Bytes of rows of sums that a search has in hand (`core.partners`)."""
SHARED_MOMENTS = 2**28
"""Bytes of moments of all matched features, up to which the recipes of a layer pair share them."""
DENSE_ROWS = 2**26
"""Bytes of residuals in float64 that are added to moments at a time."""
_MADE = 5
"""Copies of moments while they are summed over weights of sites."""


@dataclass(frozen=True)
class ModelSize:
    """What of a model decides how much memory it takes.

    Args:
        n_parameters: Of the whole model, tied ones once.
        bytes_per_parameter: By dtype or packing.
        n_layers: Decoder blocks.
        d_model: Width of the stream.
        d_vocab: Rows of the embedding.
        cache_width: Numbers that a token leaves in the cache of one block: keys and values.
    """

    n_parameters: int
    bytes_per_parameter: float
    n_layers: int
    d_model: int
    d_vocab: int
    cache_width: int


@dataclass(frozen=True)
class Load:
    """What is done with a model.

    Args:
        n_sites: Harvested sites.
        n_saes: Layers with an SAE.
        d_sae: Features of each.
        l0: Active features a site.
        batch_size: Answers at a time.
        n_tokens: Tokens of a prompt with its answer.
        peer_d_sae: Features of the other model's SAEs, 0 where there is none.
        n_workers: Processes of `match`.
        layers_at_once: Layers whose residuals are in memory during the harvest; 0 is all with SAEs.
        top_k: Partners that a feature may name.
        n_atoms: Features of a recipe.
    """

    n_sites: int
    n_saes: int
    d_sae: int
    l0: float
    batch_size: int
    n_tokens: int
    peer_d_sae: int = 0
    n_workers: int = 1
    layers_at_once: int = 0
    top_k: int = 10
    n_atoms: int = 32


def model_size(
    model: Any, d_model: int, d_vocab: int, dtype: str, packing: str | None
) -> ModelSize:
    """The size of a model, which may be without weights (on the meta device).

    Args:
        model: A transformers model.
        d_model: Width of its stream.
        d_vocab: Rows of its embedding.
        dtype: How its weights are held.
        packing: 8bit, 4bit, or None.
    """
    text = model.config.get_text_config()
    heads = getattr(text, "num_attention_heads", 1)
    kv_heads = getattr(text, "num_key_value_heads", None) or heads
    d_head = getattr(text, "head_dim", None) or d_model // heads
    tied = bool(getattr(text, "tie_word_embeddings", False))
    counted = {id(p): p.numel() for p in model.parameters()}
    unembed = model.get_output_embeddings()
    embed = model.get_input_embeddings()
    twice = tied and unembed is not None and unembed.weight is not embed.weight
    return ModelSize(
        n_parameters=sum(counted.values()) - (unembed.weight.numel() if twice else 0),
        bytes_per_parameter=_PACKED[packing] if packing else DTYPES[dtype].itemsize,
        n_layers=text.num_hidden_layers,
        d_model=d_model,
        d_vocab=d_vocab,
        cache_width=2 * kv_heads * d_head,
    )


def estimate_memory(size: ModelSize, load: Load) -> dict[str, float]:
    """Bytes by part of the work, each at its largest.

    Formula: weights P·b; residuals 2·n·L_h·d·4 of the L_h layers that are harvested at
    once (as read, and once more in the order of sites); SAEs
    3·L_s·F·d·4; codes n·L_s·L0·8; answers B·T·L·c·b + 2·B·V·4; match and maps as their functions
    say. Parts follow one another, so the most at once is weights + SAEs + codes + the largest of
    the others.

    Args:
        size: The model.
        load: What is done with it.
    """
    at_once = min(load.layers_at_once or load.n_saes, load.n_saes)
    n_sae_weights = load.n_saes * load.d_sae * size.d_model
    cached = load.batch_size * load.n_tokens * size.n_layers * size.cache_width
    parts = {
        "weights": size.n_parameters * size.bytes_per_parameter,
        "saes": _COPIES_OF_SAE * n_sae_weights * _FLOAT,
        "codes": load.n_sites * load.n_saes * load.l0 * _SPARSE,
        "residuals": 2 * load.n_sites * at_once * size.d_model * _FLOAT,
        "answers": cached * max(size.bytes_per_parameter, 2)
        + 2 * load.batch_size * size.d_vocab * _FLOAT,
        "match": match_bytes(load),
        "maps": maps_bytes(load, size.d_model),
    }
    return parts | {"most": most_at_once([parts])}


def most_at_once(models: Sequence[Mapping[str, float]]) -> float:
    """Bytes of a whole transfer, from the parts of its models.

    Formula: Σ (weights + SAEs + codes) + max(Σ residuals, max of the other parts); the residuals
    of both models are in memory while their sites are aligned, the rest is done one after another.

    Args:
        models: As `estimate_memory` gives them.
    """
    held = sum(parts[name] for parts in models for name in ("weights", "saes", "codes"))
    passing = [parts[name] for parts in models for name in ("answers", "match", "maps")]
    return held + max(sum(parts["residuals"] for parts in models), *passing)


def match_bytes(load: Load) -> float:
    """Bytes of matching layer pairs: the codes of a pair and the partners, no matrix of features.

    Formula: W · (34·2·n·L0 + 48·(F + F')·k + 2²¹) for each of W processes, both sides with L0
    active features a site.

    Args:
        load: What is done.
    """
    codes = 2 * load.n_sites * load.l0 * _MATCHED_CODE
    partners = (load.d_sae + load.peer_d_sae) * load.top_k * _PARTNER
    return load.n_workers * (codes + partners + _ROWS)


def maps_bytes(load: Load, d_model: int) -> float:
    """Bytes of the ridge maps of one layer pair, if every feature is matched.

    Formula: m(a, b) = 8·(a² + a·b + a + 2·b), the moments of a inputs and b outputs: from F to F'
    codes, and from F and from F' codes to d residuals. Moments above 2²⁸ bytes are made of the
    K features of a recipe alone, so each takes min(m, 2²⁸) at most. While one is made there are
    five of it, and four copies of 2²⁶ bytes of residuals; 24·n·L0 are codes of the matched
    features.

    Args:
        load: What is done.
        d_model: Width of the residuals.
    """
    shapes = ((load.d_sae, load.peer_d_sae), (load.d_sae, d_model), (load.peer_d_sae, d_model))
    own = max(moments_bytes(load.n_atoms, d_out) for _, d_out in shapes)
    kept = [min(moments_bytes(*shape), SHARED_MOMENTS) for shape in shapes]
    codes = 3 * _SPARSE * load.n_sites * load.l0
    return sum(kept) + _MADE * max(*kept, own) + 4 * DENSE_ROWS + codes
