"""Small GGUF files, written with the public `gguf` package from models that the tests make."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gguf
import torch
from torch import Tensor

from conceptbasis.models.loading.gguf_tokenizer import COMMON_WORDS as WORDS

TEMPLATE = (
    "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}</s>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
SPECIAL = ("<unk>", "<s>", "</s>", "<pad>", "<|user|>", "<|assistant|>")
UNK, BOS, EOS, PAD = range(4)
_SHORT = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
_NORMS = {
    "llama": {"post_attention_layernorm": "ffn_norm"},
    "gemma3": {
        "post_attention_layernorm": "post_attention_norm",
        "pre_feedforward_layernorm": "ffn_norm",
        "post_feedforward_layernorm": "post_ffw_norm",
    },
}


def make_model(
    architecture: str, d_vocab: int, *, factor: float | None = None, seed: int = 0
) -> Any:
    """A random model with norms that are not all one, and tied embeddings."""
    import transformers

    sizes = {
        "vocab_size": d_vocab,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "max_position_embeddings": 128,
        "tie_word_embeddings": True,
        "initializer_range": 0.2,
        "rms_norm_eps": 1e-6,
        "bos_token_id": BOS,
        "eos_token_id": EOS,
        "pad_token_id": PAD,
    }
    torch.manual_seed(seed)
    if architecture == "llama":
        model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**sizes))
    else:
        sizes |= {"sliding_window": 16, "query_pre_attn_scalar": 8, "num_hidden_layers": 6}
        config = transformers.Gemma3TextConfig(**sizes)
        if factor is not None:
            config.rope_parameters["full_attention"] |= {"rope_type": "linear", "factor": factor}
        model = transformers.Gemma3ForCausalLM(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name:
                parameter.add_(0.1 * torch.randn_like(parameter))
    return model.eval()


def byte_vocabulary() -> tuple[list[str], list[str]]:
    """Tokens and merges of a byte-level BPE in which `WORDS` are whole."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=2000,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    core.train_from_iterator([" ".join(WORDS)] * 3, trainer)
    state = json.loads(core.to_str())["model"]
    tokens = sorted(state["vocab"], key=state["vocab"].get)
    return tokens, [" ".join(pair) for pair in state["merges"]]


def piece_vocabulary() -> tuple[list[str], list[float]]:
    """Tokens and scores of a sentencepiece BPE in which `WORDS` are whole."""
    pieces = [f"<0x{i:02X}>" for i in range(256)] + list("▁abcdefghijklmnopqrstuvwxyz.?,!")
    grown: dict[str, None] = {}
    for word in WORDS:
        for length in range(2, len(word) + 2):
            grown[("▁" + word)[:length]] = None
    ranked = sorted(grown, key=len)
    tokens = [*SPECIAL, *pieces, *ranked]
    return tokens, [0.0] * (len(SPECIAL) + len(pieces)) + [-float(i) for i in range(len(ranked))]


def write_gguf(path: Path, architecture: str = "llama", **changes: Any) -> Any:
    """Writes a file and returns the model it was made of.

    Changes: `template` (None for none), `padding`, `eos` (ids, None for none), `storage` (name of
    a quantisation), `tokens` (in place of the vocabulary's own), `skip` (a tensor left out),
    `factor` and `scaling` (of rotary positions, linear where not named).
    """
    byte_level = architecture == "llama"
    tokens, rest = byte_vocabulary() if byte_level else piece_vocabulary()
    model = make_model(architecture, len(tokens), factor=changes.get("factor"))
    writer = gguf.GGUFWriter(path, architecture)
    _write_sizes(writer, model.config, architecture)
    if "factor" in changes:
        writer.add_rope_scaling_type(gguf.RopeScalingType(changes.get("scaling", "linear")))
        writer.add_rope_scaling_factor(changes["factor"])
    _write_tokenizer(writer, tokens, rest, byte_level, changes)
    for name, tensor in model.state_dict().items():
        short = _short_name(name, architecture)
        if short is None or short == changes.get("skip"):
            continue
        data = _stored(tensor.float(), name, architecture, model.config)
        storage = gguf.GGMLQuantizationType[changes.get("storage", "F32")]
        if data.ndim == 1 or storage == gguf.GGMLQuantizationType.F32:
            writer.add_tensor(short, data.numpy())
        else:
            packed = gguf.quantize(data.numpy(), storage)
            writer.add_tensor(short, packed, raw_dtype=storage)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return model


def _write_sizes(writer: gguf.GGUFWriter, config: Any, architecture: str) -> None:
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_key_length(config.head_dim)
    writer.add_value_length(config.head_dim)
    if architecture == "llama":
        writer.add_vocab_size(config.vocab_size)
        writer.add_rope_freq_base(10000.0)
        writer.add_rope_dimension_count(config.head_dim)
    else:
        writer.add_rope_freq_base(1000000.0)
        writer.add_sliding_window(config.sliding_window)


def _write_tokenizer(
    writer: gguf.GGUFWriter, tokens: list[str], rest: Any, byte_level: bool, changes: dict[str, Any]
) -> None:
    writer.add_tokenizer_model("gpt2" if byte_level else "llama")
    writer.add_token_list(changes.get("tokens", tokens))
    if byte_level:
        writer.add_tokenizer_pre("smollm")
        writer.add_token_merges(rest)
    else:
        writer.add_tokenizer_pre("default")
        writer.add_token_scores(rest)
        writer.add_add_space_prefix(False)
    kinds = [3 if t in SPECIAL else 6 if t.startswith("<0x") else 1 for t in tokens]
    writer.add_token_types(kinds)
    writer.add_bos_token_id(BOS)
    writer.add_unk_token_id(UNK)
    writer.add_eos_token_id(changes.get("eos", EOS))
    if changes.get("padding", PAD) is not None:
        writer.add_pad_token_id(changes.get("padding", PAD))
    if changes.get("template", TEMPLATE) is not None:
        writer.add_chat_template(changes.get("template", TEMPLATE))


def _short_name(name: str, architecture: str) -> str | None:
    """The name of a parameter in a GGUF file; None for the tied head, which has no tensor."""
    whole = {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm"}
    if name == "lm_head.weight":
        return None
    if name in whole:
        return whole[name].removesuffix(".weight") + ".weight"
    _, _, layer, inner = name.split(".", 3)
    inner = inner.removesuffix(".weight")
    return f"blk.{layer}.{(_SHORT | _NORMS[architecture])[inner]}.weight"


def _stored(tensor: Tensor, name: str, architecture: str, config: Any) -> Tensor:
    """As llama.cpp writes it: rows of q and k interleaved for Llama, norms plus one for Gemma."""
    if architecture == "gemma3":
        return tensor + 1 if "norm" in name else tensor
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    for key, n_heads in heads.items():
        if key in name:
            split = tensor.reshape(n_heads, 2, -1, tensor.shape[1])
            return split.transpose(1, 2).reshape(tensor.shape)
    return tensor
