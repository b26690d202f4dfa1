"""How much memory a transfer needs, from sizes alone, before anything is loaded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from conceptbasis.models.fetching import DTYPES

_PACKED = {"8bit": 1.0, "4bit": 0.5}
"""Bytes a parameter of packed weights; norms and embeddings stay wider and are few."""
_FLOAT = 4
_COPIES_OF_SAE = 3
"""Encoder, decoder, and the decoder with unit rows."""
_SPARSE = 8
"""Bytes of a code that is not zero: a value and its column."""


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
        layers_at_once: Layers whose residuals are in memory during the harvest; 0 is all.
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
    3·L_s·F·d·4; codes n·L_s·L0·8; answers B·T·L·c·b + 2·B·V·4; correlations W·F·F'·12 (sums in
    float64, the result in float32, for each process). Parts follow one another, so the most at
    once is weights + SAEs + codes + the largest of the others.

    Args:
        size: The model.
        load: What is done with it.
    """
    at_once = min(load.layers_at_once or size.n_layers, size.n_layers)
    n_sae_weights = load.n_saes * load.d_sae * size.d_model
    cached = load.batch_size * load.n_tokens * size.n_layers * size.cache_width
    parts = {
        "weights": size.n_parameters * size.bytes_per_parameter,
        "residuals": 2 * load.n_sites * at_once * size.d_model * _FLOAT,
        "saes": _COPIES_OF_SAE * n_sae_weights * _FLOAT,
        "codes": load.n_sites * load.n_saes * load.l0 * _SPARSE,
        "answers": cached * max(size.bytes_per_parameter, 2)
        + 2 * load.batch_size * size.d_vocab * _FLOAT,
        "correlations": load.n_workers * load.d_sae * load.peer_d_sae * 12,
    }
    held = parts["weights"] + parts["saes"] + parts["codes"]
    return parts | {"most": held + max(parts[k] for k in ("residuals", "answers", "correlations"))}
