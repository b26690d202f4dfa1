"""A forward pass by hand: this file's own knowledge of each family, beside that of the table.

Attention and MLP are the model's modules; what stands between them is written out here. Whether
it is right is seen from the logits, which must be the model's own.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, replace

import torch


@dataclass(frozen=True)
class Topology:
    """The norms of a block in the order in which they act, and where its parts are."""

    before_attention: str | None = "input_layernorm"
    after_attention: str | None = None
    before_mlp: str = "post_attention_layernorm"
    after_mlp: str | None = None
    parallel: bool = False
    attention: str = "self_attn"
    embed_scale: float = 1.0
    text_tower: bool = False


SEQUENTIAL = Topology()
GEMMA = replace(SEQUENTIAL, embed_scale=16**0.5)
SANDWICH = replace(
    GEMMA,
    after_attention="post_attention_layernorm",
    before_mlp="pre_feedforward_layernorm",
    after_mlp="post_feedforward_layernorm",
)
REORDERED = Topology(
    before_attention=None,
    after_attention="post_attention_layernorm",
    before_mlp="",
    after_mlp="post_feedforward_layernorm",
)
IMAGES = replace(SEQUENTIAL, text_tower=True)
TOPOLOGIES = {
    "gpt2": Topology(before_attention="ln_1", before_mlp="ln_2", attention="attn"),
    "gpt_neox": Topology(parallel=True, attention="attention"),
    **dict.fromkeys(("llama", "mistral", "ministral3", "qwen2", "qwen3", "smollm3"), SEQUENTIAL),
    **dict.fromkeys(("phi3", "mixtral", "qwen2_moe", "qwen3_moe", "olmoe"), SEQUENTIAL),
    **dict.fromkeys(("gpt_oss", "deepseek_v3"), SEQUENTIAL),
    "gemma": GEMMA,
    **dict.fromkeys(("gemma2", "gemma3_text"), SANDWICH),
    **dict.fromkeys(("olmo2", "olmo3"), REORDERED),
    **dict.fromkeys(("qwen2_vl", "qwen2_5_vl", "qwen3_vl", "qwen3_vl_moe", "mistral3"), IMAGES),
    "gemma3": replace(SANDWICH, text_tower=True),
}


def text_body(model, topology):
    """The text model inside a causal model."""
    base = model.base_model
    return base.language_model if topology.text_tower else base


@torch.no_grad()
def hand_run(model, ids, mask, topology):
    """Sites by name, a list of layers each, and the logits."""
    body = text_body(model, topology)
    blocks = body.h if hasattr(body, "h") else body.layers
    calls = _attention_calls(model, blocks, ids, mask, topology)
    embed = body.get_input_embeddings()
    h = torch.nn.functional.embedding(ids, embed.weight) * topology.embed_scale
    if hasattr(body, "wpe"):
        h = h + body.wpe.weight[_positions(mask)]
    sites = {n: [] for n in ("resid_pre", "attn_out", "resid_mid", "mlp_out", "resid_post")}
    for block, (args, kwargs) in zip(blocks, calls, strict=True):
        attention = getattr(block, topology.attention)
        added = first(_call(attention, _norm(block, topology.before_attention, h), args, kwargs))
        added = _norm(block, topology.after_attention, added)
        mid = h + added
        read = h if topology.parallel else mid
        written = _norm(
            block, topology.after_mlp, first(block.mlp(_norm(block, topology.before_mlp, read)))
        )
        for name, value in zip(sites, (h, added, mid, written, mid + written), strict=True):
            sites[name].append(value)
        h = mid + written
    norms = ("norm", "ln_f", "final_layer_norm")
    norm = next(getattr(body, name) for name in norms if hasattr(body, name))
    logits = model.get_output_embeddings()(norm(h))
    cap = getattr(model.config.get_text_config(), "final_logit_softcapping", None)
    return sites, logits if cap is None else torch.tanh(logits / cap) * cap


def model_logits(model, ids, mask):
    """What the model itself gives."""
    with torch.no_grad():
        return model(
            input_ids=ids, attention_mask=mask, position_ids=_positions(mask), use_cache=False
        ).logits


def first(output):
    """A module's output, or the first of several."""
    return output[0] if isinstance(output, tuple) else output


def _positions(mask):
    return (mask.cumsum(-1) - 1).clamp(min=0)


def _norm(block, name, h):
    return getattr(block, name)(h) if name else h


def _attention_calls(model, blocks, ids, mask, topology):
    """With what else each attention is called: masks and rotary embeddings."""
    calls = []
    with ExitStack() as stack:
        for block in blocks:
            handle = getattr(block, topology.attention).register_forward_pre_hook(
                lambda _module, args, kwargs: calls.append((args, kwargs)), with_kwargs=True
            )
            stack.callback(handle.remove)
        model_logits(model, ids, mask)
    return calls


def _call(attention, h, args, kwargs):
    if args:
        return attention(h, *args[1:], **kwargs)
    return attention(**{**kwargs, "hidden_states": h})
