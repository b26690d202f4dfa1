"""Tiny random models of every architecture, and tokenizers trained on a few sentences."""

from __future__ import annotations

import torch

from conceptbasis.models.loading.load import LoadedModel, wrap_model
from conceptbasis.models.stream.hook_points import input_hook
from conceptbasis.models.text.chat import pad_left, prompt_ids

SENTENCES = [
    "where does the old museum show daggers and swords ?",
    "how do I bake bread with salt , water and flour ?",
    "naïve café déjà vu — 1 + 2 = 3",
    "translate the word   bridge   into the other language",
]
PROMPTS = [
    "where is the museum ?",
    "how do I bake bread",
    "translate bridge",
    "1 + 2 = 3 and salt ?",
]

CHAT_TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}<|{{ m['role'] }}|>\n{{ m['content'] | trim }}\n"
    "{% endfor %}{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)

_SMALL = {
    "vocab_size": 320,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 128,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
    "initializer_range": 0.2,
    "head_dim": 8,
}
_GPT2 = {
    "vocab_size": 320,
    "n_embd": 16,
    "n_layer": 3,
    "n_head": 2,
    "n_positions": 128,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
    "initializer_range": 0.2,
}
_EXTRA = {
    "mixtral": {"num_local_experts": 4, "num_experts_per_tok": 2},
    "qwen3_moe": {
        "num_experts": 4,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 12,
        "mlp_only_layers": [1],
    },
    "qwen2_moe": {
        "num_experts": 4,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 12,
        "shared_expert_intermediate_size": 12,
    },
    "qwen3_vl_moe": {
        "num_experts": 4,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 12,
        "decoder_sparse_step": 1,
    },
    "olmoe": {"num_experts": 4, "num_experts_per_tok": 2},
    "gpt_oss": {
        "num_local_experts": 4,
        "num_experts_per_tok": 2,
        "sliding_window": 8,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e4},
    },
    "deepseek_v3": {
        "num_key_value_heads": 2,
        "head_dim": 4,
        "n_routed_experts": 4,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 12,
        "n_shared_experts": 1,
        "n_group": 2,
        "topk_group": 1,
        "first_k_dense_replace": 1,
        "q_lora_rank": 8,
        "kv_lora_rank": 8,
        "qk_rope_head_dim": 4,
        "qk_nope_head_dim": 4,
        "v_head_dim": 8,
    },
    "gpt_neox": {"tie_word_embeddings": False},
    "phi3": {"original_max_position_embeddings": 128},
    "ministral3": {
        "rope_parameters": {
            "rope_type": "yarn",
            "rope_theta": 1e4,
            "factor": 4.0,
            "original_max_position_embeddings": 32,
            "llama_4_scaling_beta": 0.1,
        }
    },
}
_MROPE = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [1, 1, 2]}
_VISION = {
    "hidden_size": 16,
    "embed_dim": 16,
    "out_hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "depth": 1,
    "num_attention_heads": 2,
    "num_heads": 2,
    "image_size": 16,
    "patch_size": 8,
}
_TOWERS = {"llava": ("llama", "clip_vision_model"), "mistral3": ("mistral", "pixtral")}
WRAPPERS = {
    "gemma3": {"mm_tokens_per_image": 1, "image_token_index": 319},
    "qwen2_vl": {},
    "qwen2_5_vl": {},
    "qwen3_vl": {},
    "qwen3_vl_moe": {},
    "mistral3": {"image_token_index": 319},
}
"""Model types with a tower for images beside that for text."""


def make_config(model_type: str, **changes: object) -> object:
    """The configuration of a tiny model; changes go to its text tower."""
    from transformers import AutoConfig

    base = dict(_GPT2) if model_type == "gpt2" else {**_SMALL, **_EXTRA.get(model_type, {})}
    base.update(changes)
    if model_type not in (*WRAPPERS, "llava"):
        return AutoConfig.for_model(model_type, **base)
    text, vision = base, dict(_VISION)
    if model_type.startswith("qwen"):
        text = {"rope_parameters": _MROPE, **text}
    if model_type in _TOWERS:
        text = {"model_type": _TOWERS[model_type][0], **text}
        vision["model_type"] = _TOWERS[model_type][1]
    tied = {"tie_word_embeddings": changes.get("tie_word_embeddings", False)}
    towers = {"text_config": text, "vision_config": vision}
    return AutoConfig.for_model(model_type, **towers, **tied, **WRAPPERS.get(model_type, {}))


def make_model(model_type: str, *, seed: int = 0, **changes: object) -> torch.nn.Module:
    """A random model of a few thousand parameters with non-zero biases and varied norms."""
    from conceptbasis.models.loading.fetching import model_class

    config = make_config(model_type, **changes)
    torch.manual_seed(seed)
    model = model_class(config).from_config(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith(("bias", "sinks")) or "norm" in name:
                parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def make_tokenizer(
    kind: str = "bpe", *, template: str = CHAT_TEMPLATE, special: tuple[str, ...] = ()
) -> object:
    """A byte-level BPE (offsets with or without spaces), WordPiece or Unigram tokenizer.

    `special` adds special tokens to those that every tokenizer here has.
    """
    from tokenizers import (
        Tokenizer,
        decoders,
        models,
        normalizers,
        pre_tokenizers,
        processors,
        trainers,
    )
    from transformers import PreTrainedTokenizerFast

    roles = ["<|user|>", "<|assistant|>", "<|system|>", *special]
    all_special = ["<pad>", "<s>", "</s>", "<unk>", *roles]
    if kind.startswith("bpe"):
        core = Tokenizer(models.BPE())
        core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        core.decoder = decoders.ByteLevel()
        if kind == "bpe_trimmed":
            core.post_processor = processors.ByteLevel(trim_offsets=True)
        trainer = trainers.BpeTrainer(
            vocab_size=310,
            special_tokens=all_special,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )
    elif kind == "wordpiece":
        core = Tokenizer(models.WordPiece(unk_token="<unk>"))
        core.normalizer = normalizers.BertNormalizer(lowercase=False)
        core.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        core.decoder = decoders.WordPiece()
        trainer = trainers.WordPieceTrainer(
            vocab_size=200, special_tokens=all_special, show_progress=False
        )
    else:
        core = Tokenizer(models.Unigram())
        core.pre_tokenizer = pre_tokenizers.Metaspace()
        core.decoder = decoders.Metaspace()
        trainer = trainers.UnigramTrainer(
            vocab_size=160, special_tokens=all_special, unk_token="<unk>", show_progress=False
        )
    core.train_from_iterator(SENTENCES * 5, trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        additional_special_tokens=roles,
    )
    tokenizer.chat_template = template
    return tokenizer


def make_loaded(model_type: str, **changes: object) -> LoadedModel:
    """A tiny random model with its tokenizer."""
    return wrap_model(make_model(model_type, **changes), make_tokenizer(), name=model_type)


def unit(d_model: int, seed: int) -> torch.Tensor:
    """A random unit vector."""
    vector = torch.randn(d_model, generator=torch.Generator().manual_seed(seed))
    return vector / vector.norm()


def without(loaded: LoadedModel, r: torch.Tensor):
    """Takes a direction out of what the embedding gives to the first block."""
    return input_hook(loaded.architecture.blocks[0], lambda h: h - (h @ r)[..., None] * r)


def encode_prompts(tokenizer, prompts: list[str], **options):
    """Left-padded prompts; options are those of `prompt_ids`."""
    return pad_left(tokenizer, prompt_ids(tokenizer, prompts, **options))
