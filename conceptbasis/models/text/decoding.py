"""Greedy decoding of batches of rows: drafts are checked in one pass, the rest token by token."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from conceptbasis.errors import NumericsError
from conceptbasis.models.loading.loaded import LoadedModel
from conceptbasis.models.text.chat import pad_left

Heard = Callable[[int, int], None]
"""Told a row and a token of its answer as soon as it is written; what it raises ends the work."""

_MOST_LOGITS = {"cpu": 1 << 27, "cuda": 1 << 30}
"""Logits of one pass over drafts: with a large vocabulary fewer rows share a batch. On a GPU a pass
over few rows wastes it; what does not fit is read again in smaller batches."""


@dataclass
class Answers:
    """Answers that grow token by token.

    Args:
        loaded: The model, under hooks or not.
        prompts: Token ids before each answer.
        stops: Tokens that end an answer.
        max_new_tokens: The most tokens of an answer.
        logits_of: Rows whose logits of the first token are kept.
        heard: Told each token. A batch that ran out of memory is done again, so one that is not
            alone in its batch may be told twice.
    """

    loaded: LoadedModel
    prompts: Sequence[list[int]]
    stops: set[int]
    max_new_tokens: int
    logits_of: frozenset[int] = frozenset()
    heard: Heard | None = None
    tokens: list[list[int]] = field(init=False)
    ended: list[bool] = field(init=False)
    first_logits: dict[int, Tensor] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        self.tokens = [[] for _ in self.prompts]
        self.ended = [self.max_new_tokens < 1] * len(self.prompts)

    def grow(self, row: int, found: Sequence[int]) -> None:
        """Appends tokens up to the end of the answer, which is not kept."""
        for token in found:
            self.ended[row] = token in self.stops
            if self.ended[row]:
                return
            self.tokens[row].append(token)
            if len(self.tokens[row]) == self.max_new_tokens:
                self.ended[row] = True
                return

    def tell(self, row: int, found: Sequence[int]) -> None:
        """Tells whoever listens of tokens of an answer."""
        if self.heard is not None:
            for token in found:
                self.heard(row, token)

    def open_rows(self) -> list[int]:
        """Rows whose answer goes on, those of similar length side by side."""
        rows = [row for row, ended in enumerate(self.ended) if not ended]
        return sorted(rows, key=lambda row: len(self.prompts[row]) + len(self.tokens[row]))

    def fitting(self, row: int, draft: Sequence[int]) -> list[int]:
        """What a draft adds to an answer; nothing where it says something else."""
        start = len(self.tokens[row])
        same = list(draft[:start]) == self.tokens[row]
        # The pass gives one token more than it is fed.
        return list(draft[start : self.max_new_tokens - 1]) if same else []

    def rows_at_once(self, longest: int) -> int:
        """How many rows of drafts the memory for logits allows."""
        most = _MOST_LOGITS.get(self.loaded.device.type, _MOST_LOGITS["cpu"])
        return max(1, most // ((longest + 1) * len(self.loaded.tokenizer)))

    def keep_first(self, rows: Sequence[int], logits: Float[Tensor, "n d_vocab"]) -> None:
        """Keeps the first token's logits of the rows that somebody asked for."""
        for row, values in zip(rows, logits, strict=True):
            if row in self.logits_of and not self.tokens[row]:
                self.first_logits[row] = values.float()


def check_drafts(answers: Answers, drafts: Sequence[tuple[int, list[int]]]) -> None:
    """Reads prompts with drafted answers and keeps each draft as far as the model agrees.

    A causal model gives the same token at every place as when it writes alone, so one pass
    over (prompt, draft) decides all tokens of the draft and the one after them.

    Args:
        answers: What is known so far.
        drafts: A row and what might follow its answer so far.
    """
    loaded = answers.loaded
    starts = [answers.prompts[row] + answers.tokens[row] for row, _ in drafts]
    fed = [start + draft for start, (_, draft) in zip(starts, drafts, strict=True)]
    width = 1 + max(len(draft) for _, draft in drafts)
    ends_of_rows = last_logits(loaded, fed, width)
    lengths = torch.tensor([1 + len(draft) for _, draft in drafts])
    read = torch.arange(width) >= (width - lengths)[:, None]
    logits = finite(ends_of_rows[read.to(ends_of_rows.device)])
    ends = lengths.cumsum(0)
    answers.keep_first([row for row, _ in drafts], logits[(ends - lengths).to(logits.device)])
    chosen = likeliest(logits).split(lengths.tolist())
    for (row, draft), tokens in zip(drafts, chosen, strict=True):
        own = tokens.tolist()
        agreed = next((i for i, token in enumerate(draft) if own[i] != token), len(draft))
        before = len(answers.tokens[row])
        answers.grow(row, own[: agreed + 1])
        answers.tell(row, answers.tokens[row][before:])


def decode(answers: Answers, chosen: Sequence[int]) -> None:
    """Writes answers to their ends, token by token; a finished row leaves the batch.

    Args:
        answers: What is known so far.
        chosen: Rows whose answers go on.
    """
    from transformers import DynamicCache

    loaded, going = answers.loaded, list(chosen)
    batch = pad_left(loaded.tokenizer, [answers.prompts[r] + answers.tokens[r] for r in going])
    ids, mask = batch.input_ids.to(loaded.device), batch.attention_mask.to(loaded.device)
    places = positions(mask)
    cache: Any = DynamicCache(config=loaded.model.config)
    found: dict[int, list[int]] = {row: [] for row in going}
    for step in itertools.count():
        output = loaded.model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=places,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        logits = finite(output.logits[:, -1])
        if step == 0:
            answers.keep_first(going, logits)
        new = likeliest(logits).to(mask.device)
        kept = []
        for place, (row, token) in enumerate(zip(going, new.tolist(), strict=True)):
            found[row].append(token)
            length = len(answers.tokens[row]) + len(found[row])
            answers.tell(row, () if token in answers.stops else (token,))
            if token not in answers.stops and length < answers.max_new_tokens:
                kept.append(place)
        if not kept:
            break
        places = places[:, -1:] + 1
        if len(kept) < len(going):
            keep = torch.tensor(kept, device=mask.device)
            cache.batch_select_indices(keep)
            going = [going[place] for place in kept]
            new, mask, places = new[keep], mask[keep], places[keep]
        ids = new[:, None]
        mask = torch.cat([mask, mask.new_ones(len(going), 1)], dim=1)
    # Only now: a batch that ran out of memory is done again.
    for row, tokens in found.items():
        answers.grow(row, tokens)


def positions(mask: Tensor) -> Tensor:
    """Positions of left- or right-padded tokens, counted without the padding."""
    return (mask.cumsum(-1) - 1).clamp(min=0)


def last_logits(
    loaded: LoadedModel, rows: Sequence[list[int]], n_last: int
) -> Float[Tensor, "batch n_last d_vocab"]:
    """Logits after each of the last tokens of rows that are padded on the left.

    Args:
        loaded: The model, under hooks or not.
        rows: Token ids.
        n_last: How many tokens, from the end; of a shorter row, the first ones are padding.
    """
    batch = pad_left(loaded.tokenizer, list(rows))
    mask = batch.attention_mask.to(loaded.device)
    logits: Tensor = loaded.model(
        input_ids=batch.input_ids.to(loaded.device),
        attention_mask=mask,
        position_ids=positions(mask),
        use_cache=False,
        logits_to_keep=n_last,
    ).logits
    return logits[:, -n_last:]


def likeliest(logits: Float[Tensor, "n d_vocab"]) -> Int[Tensor, " n"]:
    """The likeliest token of each row, the first of equal ones, as `argmax` finds it.

    torch 2.13 takes five times as long for `argmax` in bfloat16 on a CPU.
    """
    return logits.max(-1).indices


def finite(logits: Tensor) -> Tensor:
    """The logits, if they are finite.

    Raises:
        NumericsError: NaN or infinity.
    """
    # Both ends are NaN where a value is. A sum takes forty times as long in bfloat16.
    if logits.numel() and not all(torch.isfinite(end) for end in logits.aminmax()):
        raise NumericsError(
            "the model's logits contain NaN or infinity",
            expected="finite logits",
            fix="load the model in float32, or reduce the strength of the intervention",
        )
    return logits
