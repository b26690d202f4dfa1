"""Chats as token ids, and what a model says at the positions that count."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from conceptbasis.models.loading.loaded import LoadedModel
from conceptbasis.models.text.chat import prompt_ids
from conceptbasis.models.text.prefix import hidden_after
from conceptbasis.models.text.template import end_of_turn_ids


@dataclass(frozen=True)
class Example:
    """One chat as token ids; the loss is taken on what follows each token from `start` on.

    Args:
        ids: What the model reads.
        start: First position whose next token counts: the end of the prompt.
        said: Tokens to be said from there on; None where the model is to stay as it was.
    """

    ids: tuple[int, ...]
    start: int
    said: tuple[int, ...] | None

    @property
    def is_first_token(self) -> bool:
        """Whether it holds the first token of an answer and nothing else."""
        return self.said is None and self.start == len(self.ids) - 1


def encode(
    loaded: LoadedModel, said: Sequence[tuple[str, str, bool]], max_tokens: int, *, held: bool
) -> list[Example]:
    """Chats of one turn as token ids.

    Args:
        loaded: Gives tokenizer and template.
        said: Prompt, answer (empty: the first token alone counts), and whether it ended there.
        max_tokens: Longest row; answers are cut there.
        held: Whether the model's own distributions are held, or the answers learned.
    """
    prompts = [prompt for prompt, _, _ in said]
    loaded.show(prompts)
    starts = prompt_ids(loaded.tokenizer, prompts)
    whole = prompt_ids(loaded.tokenizer, prompts, forced=[answer for _, answer, _ in said])
    closing = sorted(end_of_turn_ids(loaded.tokenizer)) or [loaded.tokenizer.eos_token_id]
    examples = []
    for start, ids, (_, _, ended) in zip(starts, whole, said, strict=True):
        row = (ids + closing[:1] if ended else ids)[:max_tokens]
        if held:
            read = row if len(row) <= len(start) else row[:-1]
            examples.append(Example(tuple(read), len(start) - 1, None))
        elif len(row) > len(start):
            answer = tuple(row[len(start) :])
            examples.append(Example(tuple(row[:-1]), len(start) - 1, answer))
    return examples


def log_probs(
    loaded: LoadedModel, hidden: Float[Tensor, "n d_model"]
) -> Float[Tensor, "n d_vocab"]:
    """What a model says next, in nats, in float32.

    Args:
        loaded: The model.
        hidden: Its last hidden states.
    """
    logits: Tensor = loaded.model.get_output_embeddings()(hidden)
    return logits.float().log_softmax(-1)


def read_hidden(
    body: nn.Module, config: Any, rows: Sequence[Example], prefix: Sequence[int] = ()
) -> Float[Tensor, "n d_model"]:
    """Last hidden states at the positions that count, row after row.

    Args:
        body: The model without its head.
        config: Its configuration.
        rows: What it reads.
        prefix: Tokens that all rows begin with.
    """
    hidden = hidden_after(body, config, [row.ids for row in rows], prefix)
    spans = zip(hidden, rows, strict=True)
    skipped = len(prefix)
    return torch.cat([h[row.start - skipped : len(row.ids) - skipped] for h, row in spans])


def answer_losses(
    loaded: LoadedModel, rows: Sequence[Example], prefix: Sequence[int] = ()
) -> Float[Tensor, " n_tokens"]:
    """Cross-entropy of every token that the rows are to say, in nats, row after row.

    Args:
        loaded: The model.
        rows: Examples whose answers are known.
        prefix: Tokens that all rows begin with.
    """
    logs = log_probs(
        loaded, read_hidden(loaded.architecture.body, loaded.model.config, rows, prefix)
    )
    said = torch.tensor([token for row in rows for token in row.said or ()])
    return -logs.gather(-1, said[:, None].to(logs.device))[:, 0]
