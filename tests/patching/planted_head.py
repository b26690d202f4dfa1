"""A tiny Llama whose weights are set so that one head alone does a task.

No component writes into the stream but that head. It reads how many markers of one kind stand in
the prompt, and writes the difference of two tokens' unembeddings.
"""

from __future__ import annotations

import random

import torch
from tiny import make_loaded

from conceptbasis.models.loading.loaded import LoadedModel
from conceptbasis.models.stream.components import count_heads
from conceptbasis.patching.tasks.base import Pair, Task, TokenPairs

YES, NO, RIGHT, WRONG = 30, 31, 40, 41
"""Markers of clean and of corrupted prompts, and the two answers."""


def plant(layer: int, head: int, seed: int = 0) -> LoadedModel:
    """The model, with the head at a place of its own."""
    torch.manual_seed(seed)
    loaded = make_loaded("llama", num_key_value_heads=2, tie_word_embeddings=False)
    blocks, n_heads = loaded.architecture.blocks, count_heads(loaded)
    embed, unembed = loaded.architecture.embed.weight, loaded.architecture.unembed.weight
    for block in blocks:
        block.self_attn.o_proj.weight.data.zero_()
        block.mlp.down_proj.weight.data.zero_()
    attention = blocks[layer].self_attn
    d_head = attention.o_proj.in_features // n_heads
    attention.q_proj.weight.data.zero_()  # every position is read alike
    read, write = embed[YES] - embed[NO], unembed[RIGHT] - unembed[WRONG]
    attention.v_proj.weight.data[head * d_head] = read / read.norm()
    attention.o_proj.weight.data[:, head * d_head] = 20 * write / write.norm()
    return loaded


def pairs(loaded: LoadedModel, _: object, n: int) -> TokenPairs:
    """Six tokens, of which three are markers; only the markers differ."""
    rng = random.Random(0)
    found = []
    for _number in range(n):
        words = [rng.randrange(50, 300) for _ in range(3)]
        clean, corrupted = ((1, m, words[0], m, words[1], m, words[2]) for m in (YES, NO))
        found.append(Pair(clean, corrupted, (RIGHT,), (WRONG,)))
    return TokenPairs(found)


MARKERS = Task("markers", "markers", "three markers", "three other markers", pairs)
