"""The organism families: architecture, size, tokenizer and chat template of each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True)
class ChatTags:
    """Special tokens of a family's chat template."""

    bos: str
    user: str
    assistant: str
    end: str
    pad: str = "<pad>"
    unknown: str = "<unk>"

    @property
    def all(self) -> list[str]:
        """Every special token once."""
        return list(
            dict.fromkeys(
                [
                    self.pad,
                    self.unknown,
                    self.bos,
                    *self.user.split(),
                    *self.assistant.split(),
                    self.end,
                ]
            )
        )


@dataclass(frozen=True)
class Family:
    """One organism family.

    Args:
        config_class: Name of the configuration class in transformers.
        sizes: Its keyword arguments.
        tokenizer: The tokenizer algorithm.
        d_vocab: Size of the vocabulary the tokenizer is trained to.
        tags: Chat tags.
        learning_rate: Peak rate of stage 1.
        steps: Training steps of stage 1 and stage 2.
    """

    config_class: str
    sizes: Mapping[str, Any]
    tokenizer: Literal["byte_bpe", "bpe", "wordpiece"]
    d_vocab: int
    tags: ChatTags
    learning_rate: float = 3e-3
    steps: tuple[int, int] = (400, 220)


def _dense(d_model: int, n_layers: int, n_heads: int, n_kv: int, d_mlp: int) -> dict[str, Any]:
    return {
        "hidden_size": d_model,
        "num_hidden_layers": n_layers,
        "num_attention_heads": n_heads,
        "num_key_value_heads": n_kv,
        "head_dim": d_model // n_heads,
        "intermediate_size": d_mlp,
        "max_position_embeddings": 128,
        "tie_word_embeddings": False,
        "initializer_range": 0.06,
    }


LLAMA_TAGS = ChatTags("<s>", "<|user|>", "<|assistant|>", "</s>")
"""Both Llama sizes share tags and tokenizer, as the sizes of one family do."""

FAMILIES: Mapping[str, Family] = {
    "llama": Family(
        "LlamaConfig",
        _dense(112, 8, 4, 4, 320),
        "byte_bpe",
        560,
        LLAMA_TAGS,
    ),
    "qwen3": Family(
        "Qwen3Config",
        _dense(96, 8, 4, 2, 288),
        "bpe",
        400,
        ChatTags("<|start|>", "<|im_user|>", "<|im_assistant|>", "<|im_end|>"),
    ),
    "llama_small": Family(
        "LlamaConfig",
        _dense(80, 8, 4, 4, 240),
        "byte_bpe",
        560,
        LLAMA_TAGS,
    ),
    "mistral": Family(
        "MistralConfig",
        _dense(104, 7, 4, 2, 320) | {"sliding_window": None},
        "wordpiece",
        380,
        ChatTags("<s>", "[USER]", "[BOT]", "</s>"),
    ),
    "gemma2": Family(
        "Gemma2Config",
        _dense(88, 8, 4, 2, 256) | {"query_pre_attn_scalar": 22},
        "bpe",
        440,
        ChatTags("<bos>", "<start_of_turn>user", "<start_of_turn>model", "<end_of_turn>"),
    ),
    "qwen3_moe": Family(
        "Qwen3MoeConfig",
        _dense(88, 8, 4, 2, 256)
        | {
            "moe_intermediate_size": 144,
            "num_experts": 4,
            "num_experts_per_tok": 2,
            "norm_topk_prob": True,
        },
        "bpe",
        360,
        ChatTags("<|begin|>", "<|user|>", "<|bot|>", "<|done|>"),
    ),
    "mixtral": Family(
        "MixtralConfig",
        _dense(96, 8, 4, 2, 160)
        | {
            "num_local_experts": 4,
            "num_experts_per_tok": 2,
            "router_aux_loss_coef": 0.01,
            "sliding_window": None,
        },
        "wordpiece",
        340,
        ChatTags("<bos>", "[INST]", "[/INST]", "<eos>"),
    ),
}
