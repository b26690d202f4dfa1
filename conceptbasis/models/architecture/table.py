"""Where each architecture keeps its blocks, residual writers and norms: one table, no guesses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, get_args

from conceptbasis.errors import ModelError

Orientation = Literal["out_in", "in_out"]


@dataclass(frozen=True)
class ArchitectureRow:
    """Paths of one model family; block paths are relative to a block, the rest to the body.

    Args:
        family: What people call the models of this row.
        body: Path from the causal model to the base model (no unembedding, no image tower).
        blocks: The list of decoder blocks.
        embed: The token embedding.
        position_embed: A learned position embedding that is added to the stream, if any.
        final_norm: The norm before the unembedding.
        unembed: Path from the causal model to the unembedding.
        attention: The attention module of a block.
        attention_writer: The module whose weight writes attention into the stream.
        mlp: The MLP (or mixture) module of a block.
        mlp_writer: The module whose weight writes a dense MLP into the stream.
        experts: The fused 3-D parameter of routed experts, if the family has them.
        experts_bias: The fused bias of routed experts `(n_experts, d_model)`, if any.
        experts_orientation: `out_in` is `(n_experts, d_model, d_mlp)`.
        shared_expert: The writer of the shared expert, if any.
        orientation: `out_in` for `nn.Linear`, `in_out` for Conv1D.
        attention_norm: The norm between the attention writer and the stream, if any.
        mlp_norm: The norm between the MLP writer and the stream, if any.
    """

    family: str = ""
    body: str = "model"
    blocks: str = "layers"
    embed: str = "embed_tokens"
    position_embed: str | None = None
    final_norm: str = "norm"
    unembed: str = "lm_head"
    attention: str = "self_attn"
    attention_writer: str = "self_attn.o_proj"
    mlp: str = "mlp"
    mlp_writer: str = "mlp.down_proj"
    experts: str | None = None
    experts_bias: str | None = None
    experts_orientation: Orientation = "out_in"
    shared_expert: str | None = None
    orientation: Orientation = "out_in"
    attention_norm: str | None = None
    mlp_norm: str | None = None

    @property
    def post_norm(self) -> bool:
        """True where a norm sits between a writer and the stream."""
        return self.attention_norm is not None or self.mlp_norm is not None


_PRE_NORM = ArchitectureRow()
_MIXTURE = replace(_PRE_NORM, experts="mlp.experts.down_proj")
_POST_NORM = replace(
    _PRE_NORM,
    attention_norm="post_attention_layernorm",
    mlp_norm="post_feedforward_layernorm",
)
_TEXT_TOWER = "model.language_model"

ARCHITECTURES: dict[str, ArchitectureRow] = {
    "gpt2": ArchitectureRow(
        family="GPT-2",
        body="transformer",
        blocks="h",
        embed="wte",
        position_embed="wpe",
        final_norm="ln_f",
        attention="attn",
        attention_writer="attn.c_proj",
        mlp_writer="mlp.c_proj",
        orientation="in_out",
    ),
    "gpt_neox": ArchitectureRow(
        family="GPT-NeoX, Pythia",
        body="gpt_neox",
        embed="embed_in",
        final_norm="final_layer_norm",
        attention="attention",
        attention_writer="attention.dense",
        mlp_writer="mlp.dense_4h_to_h",
    ),
    "llama": replace(_PRE_NORM, family="Llama 2, 3.x"),
    "mistral": replace(_PRE_NORM, family="Mistral"),
    "ministral3": replace(_PRE_NORM, family="Ministral 3 (text)"),
    "qwen2": replace(_PRE_NORM, family="Qwen2, Qwen2.5"),
    "qwen3": replace(_PRE_NORM, family="Qwen3"),
    "smollm3": replace(_PRE_NORM, family="SmolLM3"),
    "phi3": replace(_PRE_NORM, family="Phi-3, Phi-4"),
    "gemma": replace(_PRE_NORM, family="Gemma"),
    "gemma2": replace(_POST_NORM, family="Gemma 2"),
    "gemma3_text": replace(_POST_NORM, family="Gemma 3 (text)"),
    "olmo2": replace(_POST_NORM, family="OLMo 2"),
    "olmo3": replace(_POST_NORM, family="OLMo 3"),
    "mixtral": replace(_MIXTURE, family="Mixtral"),
    "qwen2_moe": replace(_MIXTURE, family="Qwen2-MoE", shared_expert="mlp.shared_expert.down_proj"),
    "qwen3_moe": replace(_MIXTURE, family="Qwen3-MoE"),
    "olmoe": replace(_MIXTURE, family="OLMoE"),
    "gpt_oss": replace(
        _MIXTURE,
        family="GPT-OSS",
        experts_bias="mlp.experts.down_proj_bias",
        experts_orientation="in_out",
    ),
    "deepseek_v3": replace(
        _MIXTURE, family="DeepSeek-V3, R1", shared_expert="mlp.shared_experts.down_proj"
    ),
    "gemma3": replace(_POST_NORM, family="Gemma 3 (with images)", body=_TEXT_TOWER),
    "qwen2_vl": replace(_PRE_NORM, family="Qwen2-VL", body=_TEXT_TOWER),
    "qwen2_5_vl": replace(_PRE_NORM, family="Qwen2.5-VL", body=_TEXT_TOWER),
    "qwen3_vl": replace(_PRE_NORM, family="Qwen3-VL", body=_TEXT_TOWER),
    "qwen3_vl_moe": replace(_MIXTURE, family="Qwen3-VL-MoE", body=_TEXT_TOWER),
    "mistral3": replace(_PRE_NORM, family="Mistral 3 (with images)", body=_TEXT_TOWER),
}


def parse_row(values: Mapping[str, Any]) -> ArchitectureRow:
    """The row that a user wrote: fields of `ArchitectureRow`, over those of the row `like`.

    Args:
        values: The key `architecture` of a model configuration.

    Returns:
        The row; `resolve` checks it against the model, and `prove_adapter` against its numbers.

    Raises:
        ModelError: An unknown field, an unknown `like`, or a value that is no path.
    """
    changes = dict(values)
    like = changes.pop("like", None)
    if like is not None and like not in ARCHITECTURES:
        raise _bad_row(f"like: {like!r}", f"one of {', '.join(sorted(ARCHITECTURES))}")
    changes.setdefault("family", "a row of your own" + (f", like {like}" if like else ""))
    known = [field.name for field in fields(ArchitectureRow)]
    base = ARCHITECTURES[like] if like is not None else _PRE_NORM
    defaults = {name: getattr(_PRE_NORM, name) for name in known}
    for name, value in changes.items():
        if name not in known:
            raise _bad_row(f"the unknown field {name!r}", f"like, {', '.join(known)}")
        if name.endswith("orientation"):
            if value not in get_args(Orientation):
                raise _bad_row(f"{name}: {value!r}", f"one of {get_args(Orientation)}")
        elif not (isinstance(value, str) and value) and not (
            value is None and (defaults[name] is None)
        ):
            raise _bad_row(f"{name}: {value!r}", "a dotted path such as self_attn.o_proj")
    return replace(base, **changes)


def _bad_row(what: str, expected: str) -> ModelError:
    return ModelError(
        f"the architecture row holds {what}",
        expected=expected,
        fix="correct the key `architecture` of the model configuration (docs/configuration.md)",
    )
