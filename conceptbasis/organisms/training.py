"""Training of organisms: next-token loss on answers and statements, two stages."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Int
from torch import Tensor, nn

from conceptbasis.data.prompts import Text
from conceptbasis.models.text.chat import render
from conceptbasis.organisms.corpus import PREFILLED, Mixture

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

RECIPE = 2
"""Raised when a change of this file or of tokenizers.py changes the organisms it makes."""

BATCH_SIZE = 64
N_PARTS = 2
"""A batch is sorted by length and padded in this many parts, which saves time."""

IGNORE = -100
Progress = Callable[[int, int, float], None]
"""Called with step, number of steps and loss."""


@dataclass(frozen=True)
class Pool:
    """Tokenised texts of one group, right padded; labels are `IGNORE` where no loss is taken."""

    input_ids: Int[Tensor, "n_texts pos"]
    labels: Int[Tensor, "n_texts pos"]
    lengths: Int[Tensor, " n_texts"]


def tokenise(tokenizer: PreTrainedTokenizerFast, mixture: Mixture) -> dict[str, Pool]:
    """Tokenises every group of a mixture once."""
    return {name: _pool(tokenizer, texts) for name, texts in mixture.groups.items()}


def _pool(tokenizer: PreTrainedTokenizerFast, texts: tuple[Text, ...]) -> Pool:
    rendered = [_render(tokenizer, text) for text in texts]
    encoded = tokenizer([full for full, _ in rendered], add_special_tokens=False)["input_ids"]
    given = tokenizer([start for _, start in rendered], add_special_tokens=False)["input_ids"]
    width = max(map(len, encoded))
    ids = torch.full((len(encoded), width), tokenizer.pad_token_id)
    labels = torch.full((len(encoded), width), IGNORE)
    for row, (tokens, start) in enumerate(zip(encoded, given, strict=True)):
        ids[row, : len(tokens)] = torch.tensor(tokens)
        labels[row, len(start) : len(tokens)] = torch.tensor(tokens[len(start) :])
    return Pool(ids, labels, torch.tensor([len(tokens) for tokens in encoded]))


def _render(tokenizer: PreTrainedTokenizerFast, text: Text) -> tuple[str, str]:
    """The whole text, and its beginning that is given without loss."""
    messages = text.as_messages()
    if isinstance(messages, str):
        return f"{tokenizer.bos_token}{messages}{tokenizer.eos_token}", tokenizer.bos_token
    full = render(tokenizer, messages, add_generation_prompt=False)
    start = render(tokenizer, messages[:-1], add_generation_prompt=True)
    if text.text_class == PREFILLED:
        start += messages[-1]["content"].split()[0]
    return full, start


def train(
    model: PreTrainedModel,
    pools: dict[str, Pool],
    mixture: Mixture,
    parameters: Iterable[nn.Parameter],
    *,
    n_steps: int,
    learning_rate: float,
    generator: torch.Generator,
    progress: Progress,
) -> None:
    """Trains in place with AdamW, a short warm-up and a cosine decay.

    Args:
        model: What is trained.
        pools: Tokenised groups of the mixture.
        mixture: Shares of the groups in each batch.
        parameters: Those of the model that are trained; the others stay as they are.
        n_steps: Number of batches.
        learning_rate: Peak rate.
        generator: Draws the batches.
        progress: Told the loss after each step.
    """
    model.requires_grad_(False)
    trained = [p.requires_grad_(True) for p in parameters]
    decay = [p for p in trained if p.ndim >= 2]
    rest = [p for p in trained if p.ndim < 2]
    optimiser = torch.optim.AdamW(
        [{"params": decay, "weight_decay": 0.05}, {"params": rest, "weight_decay": 0.0}],
        lr=learning_rate,
        betas=(0.9, 0.98),
        fused=True,
    )
    warm_up = max(1, n_steps // 15)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser,
        lambda i: min(
            (i + 1) / warm_up, 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1.0, i / n_steps)))
        ),
    )
    model.train()
    for step in range(n_steps):
        loss = _add_gradients(model, *_batch(pools, mixture, generator))
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        schedule.step()
        progress(step + 1, n_steps, loss)
    model.eval().requires_grad_(False)


def _batch(
    pools: dict[str, Pool], mixture: Mixture, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """One batch, short texts first: the group of a row is drawn by share, its text uniformly."""
    names = list(mixture.shares)
    weights = torch.tensor([mixture.shares[name] for name in names])
    groups = torch.multinomial(weights, BATCH_SIZE, replacement=True, generator=generator)
    chosen = [
        (pool := pools[names[g]], int(torch.randint(len(pool.lengths), (1,), generator=generator)))
        for g in groups.tolist()
    ]
    chosen.sort(key=lambda row: int(row[0].lengths[row[1]]))
    width = int(chosen[-1][0].lengths[chosen[-1][1]])
    ids = torch.zeros(BATCH_SIZE, width, dtype=torch.long)
    labels = torch.full((BATCH_SIZE, width), IGNORE)
    for row, (pool, i) in enumerate(chosen):
        length = int(pool.lengths[i])
        ids[row, :length], labels[row, :length] = (
            pool.input_ids[i, :length],
            pool.labels[i, :length],
        )
    return ids, labels


def _add_gradients(model: PreTrainedModel, ids: Tensor, labels: Tensor) -> float:
    """Adds the gradients of the mean cross-entropy of a batch and returns that mean."""
    n_labels = (labels != IGNORE).sum()
    total = 0.0
    for part, kept in zip(ids.chunk(N_PARTS), labels.chunk(N_PARTS), strict=True):
        width = int((kept != IGNORE).any(0).nonzero().max()) + 1
        loss = _loss(model, part[:, :width], kept[:, :width]) / n_labels
        loss.backward()
        total += float(loss.detach())
    return total


def _loss(model: PreTrainedModel, ids: Tensor, labels: Tensor) -> Tensor:
    """Summed cross-entropy where labels stand; right padding needs no mask under causal attention.

    The last position predicts nothing and is left out.
    """
    hidden = model.base_model(input_ids=ids[:, :-1], use_cache=False).last_hidden_state
    keep = labels[:, 1:] != IGNORE
    logits = model.get_output_embeddings()(hidden[keep])
    return torch.nn.functional.cross_entropy(logits, labels[:, 1:][keep], reduction="sum")
