"""Greedy completions, first-token logits and perplexity, with little overhead per step."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from conceptbasis.errors import PromptError
from conceptbasis.models.loading.loaded import LoadedModel
from conceptbasis.models.text.batches import run_batches
from conceptbasis.models.text.chat import (
    Text,
    answered,
    encode_texts,
    opening,
    prompt_ids,
    read_answer_tokens,
)
from conceptbasis.models.text.decoding import (
    Answers,
    Heard,
    check_drafts,
    decode,
    finite,
    last_logits,
)
from conceptbasis.models.text.lengths import room_for
from conceptbasis.models.text.template import end_of_turn_ids
from conceptbasis.models.text.wide_rows import log_probs_of_texts

LOGITS_BYTES = 2**30
"""The most that logits of whole texts may take at once. The kernel kills a process that asks for
more than there is, so a batch must not wait for an error to shrink."""

_DRAFTS_AT_ONCE = 128

Around = Callable[
    [Sequence[int], Int[Tensor, "batch pos"], Int[Tensor, "batch pos"]],
    AbstractContextManager[None],
]
"""What surrounds the pass of a batch: gets the places of its texts, its ids and its mask."""


@dataclass(frozen=True)
class Completions:
    """Greedy completions, one a prompt.

    Args:
        texts: Without special tokens but those of thoughts; a thought that the template opens
            is part of the answer, its tag included.
        tokens: What was written, as token ids, without the token that ended them.
        first_logits: Float32 logits of the first token, of the rows that were asked for.
    """

    texts: list[str]
    tokens: list[list[int]]
    first_logits: dict[int, Float[Tensor, " d_vocab"]]


def generate(
    loaded: LoadedModel,
    prompts: list[str],
    *,
    max_new_tokens: int,
    batch_size: int = 128,
    forced: list[str] | None = None,
) -> list[str]:
    """The texts of `complete`.

    Args:
        loaded: The model, under hooks or not.
        prompts: One user message each.
        max_new_tokens: The most tokens to add.
        batch_size: Prompts at a time, fewer where memory runs out.
        forced: The start of each answer, put after the prompt; not part of the completion.

    Returns:
        One completion a prompt, without special tokens.

    Raises:
        PromptError: No prompts, or one that does not fit the context with its completion.
        NumericsError: NaN or infinite logits.
    """
    return complete(
        loaded, prompts, max_new_tokens=max_new_tokens, batch_size=batch_size, forced=forced
    ).texts


def complete(
    loaded: LoadedModel,
    prompts: list[str],
    *,
    max_new_tokens: int,
    batch_size: int = 128,
    forced: list[str] | None = None,
    drafts: Sequence[Sequence[Sequence[int]]] = (),
    logits_of: Collection[int] = (),
    heard: Heard | None = None,
) -> Completions:
    """Greedy completions, the tokens of `model.generate(do_sample=False)` up to `stop_ids`.

    Prompts are batched by length; a finished row leaves its batch, so the last long answer
    does not keep the others running. Drafts change the speed, not the answers: they are checked
    in one pass each, and kept as far as they are what the model would have written.

    Args:
        loaded: The model, under hooks or not.
        prompts: One user message each.
        max_new_tokens: The most tokens to add.
        batch_size: Prompts at a time, fewer where memory runs out.
        forced: The start of each answer, put after the prompt; not part of the completion.
        drafts: For each prompt, the tokens of answers that it may have, likely ones first.
        logits_of: Prompts, by place, whose logits of the first token are wanted.
        heard: Told the place of a prompt and a token of its answer, when it is written.

    Returns:
        The completions.

    Raises:
        PromptError: No prompts, or one that does not fit the context with its completion.
        NumericsError: NaN or infinite logits.

    Source: Leviathan et al. 2023 (2211.17192), speculative decoding, at temperature 0.
    """
    loaded.show(prompts if forced is None else answered(prompts, forced))
    room = room_for(loaded, max_new_tokens, "max_new_tokens")
    rows = prompt_ids(loaded.tokenizer, prompts, max_length=room, forced=forced)
    answers = Answers(loaded, rows, stop_ids(loaded), max_new_tokens, frozenset(logits_of), heard)
    with torch.inference_mode():
        for turn in range(max((len(some) for some in drafts), default=0)):
            _check_turn(answers, drafts, turn, batch_size)
        run_batches(answers.open_rows(), batch_size, lambda chosen: decode(answers, chosen))
    opened = opening(loaded.tokenizer) if forced is None else ""
    texts = [opened + text for text in read_answer_tokens(loaded.tokenizer, answers.tokens)]
    return Completions(texts, answers.tokens, answers.first_logits)


def _check_turn(
    answers: Answers, drafts: Sequence[Sequence[Sequence[int]]], turn: int, batch_size: int
) -> None:
    """Checks one draft of each answer that has a fitting one."""
    open_rows = [row for row in answers.open_rows() if len(drafts[row]) > turn]
    found = [(row, answers.fitting(row, drafts[row][turn])) for row in open_rows]
    fitting = [(row, draft) for row, draft in found if draft]
    fitting.sort(key=lambda pair: len(answers.prompts[pair[0]]) + len(pair[1]))
    if fitting:
        most = answers.rows_at_once(max(len(draft) for _, draft in fitting))
        # Small batches pad less, and a single pass has no steps whose overhead they would repeat.
        size = min(batch_size, most, _DRAFTS_AT_ONCE)
        run_batches(fitting, size, lambda some: check_drafts(answers, some))


def answer_tokens(
    loaded: LoadedModel, prompts: list[str], answers: Sequence[str | None]
) -> list[list[int] | None]:
    """The tokens with which given answers would follow their prompts, as drafts.

    Args:
        loaded: Gives the tokenizer.
        prompts: One user message each.
        answers: What may follow, None where nothing is known.

    Returns:
        Token ids; None also where the answer's tokens run into those of the prompt.
    """
    starts = prompt_ids(loaded.tokenizer, prompts)
    whole = prompt_ids(loaded.tokenizer, prompts, forced=[answer or "" for answer in answers])
    return [
        row[len(start) :] if answer and row[: len(start)] == start else None
        for answer, start, row in zip(answers, starts, whole, strict=True)
    ]


def first_token_logits(
    loaded: LoadedModel, prompts: list[str], *, batch_size: int = 128
) -> Float[Tensor, "n d_vocab"]:
    """The logits of the first answer token.

    Args:
        loaded: The model, under hooks or not.
        prompts: One user message each.
        batch_size: Prompts at a time, fewer where memory runs out.

    Returns:
        Float32 logits in the order of the prompts, on the model's device.

    Raises:
        PromptError: No prompts, or one that does not fit the context.
        NumericsError: NaN or infinite logits.
    """
    loaded.show(prompts)
    rows = prompt_ids(loaded.tokenizer, prompts, max_length=loaded.max_length)
    logits: list[Tensor] = [torch.empty(0)] * len(rows)

    def read(chosen: Sequence[int]) -> None:
        found = finite(last_logits(loaded, [rows[i] for i in chosen], 1)[:, -1]).float()
        for i, row in zip(chosen, found, strict=True):
            logits[i] = row

    with torch.no_grad():
        run_batches(_by_length(rows), batch_size, read)
    return torch.stack(logits)


def text_nll(
    loaded: LoadedModel, texts: list[Text], *, batch_size: int = 32, around: Around | None = None
) -> tuple[Float[Tensor, " n"], Int[Tensor, " n"]]:
    """Negative log-likelihood of texts, for perplexity exp(Σ nll / Σ tokens).

    Args:
        loaded: The model, under hooks or not.
        texts: Plain strings or chats, as in `encode_texts`; all tokens after the first count.
        batch_size: Texts at a time, fewer where memory runs out.
        around: Opens a context around the pass of each batch.

    Returns:
        Sum of the negative log-likelihood (nats, float64) and number of tokens, by text.

    Raises:
        PromptError: No texts, one that does not fit the context, or none with two tokens.
        NumericsError: NaN or infinite logits.
    """
    loaded.show(texts)
    nll = torch.zeros(len(texts), dtype=torch.float64)
    tokens = torch.zeros(len(texts), dtype=torch.long)
    order = sorted(range(len(texts)), key=lambda i: len(str(texts[i])))
    if not texts:
        encode_texts(loaded.tokenizer, texts)  # says that there are none

    def read(chosen: Sequence[int]) -> None:
        batch = encode_texts(
            loaded.tokenizer, [texts[i] for i in chosen], max_length=loaded.max_length
        )
        rows = rows_at_once(batch.input_ids.shape[1], loaded.architecture.d_vocab)
        for part in torch.arange(len(chosen)).split(rows):
            ids = batch.input_ids[part].to(loaded.device)
            mask = batch.attention_mask[part].to(loaded.device)
            places = [chosen[i] for i in part.tolist()]
            with nullcontext() if around is None else around(places, ids, mask):
                logits = loaded.model(input_ids=ids, attention_mask=mask, use_cache=False).logits
            said, n_said = log_probs_of_texts(
                finite(logits), ids.to(logits.device), mask.to(logits.device)
            )
            nll[places] = -said.cpu()
            tokens[places] = n_said.cpu()

    with torch.no_grad():
        run_batches(order, batch_size, read)
    if not tokens.any():
        raise PromptError(
            f"none of {len(texts)} texts has a token that can be predicted",
            expected="at least one text of two tokens or more",
            fix="give longer texts",
        )
    return nll, tokens


def rows_at_once(n_tokens: int, d_vocab: int) -> int:
    """Texts whose logits for every token fit into `LOGITS_BYTES`; at least one.

    Args:
        n_tokens: Tokens of each.
        d_vocab: Size of the vocabulary.
    """
    in_float32 = 4 * max(1, n_tokens) * d_vocab  # as computed; what is read of them is small
    return max(1, LOGITS_BYTES // in_float32)


def _by_length(rows: list[list[int]]) -> list[int]:
    return sorted(range(len(rows)), key=lambda i: len(rows[i]))


def stop_ids(loaded: LoadedModel) -> set[int]:
    """The tokens that end an answer.

    Those of the generation configuration, or else the tokenizer's; and the special token that
    the chat template writes after an answer, which fine-tuned models often fail to list.

    Args:
        loaded: The model.
    """
    config = getattr(loaded.model, "generation_config", None)
    eos = getattr(config, "eos_token_id", None)
    if eos is None:
        eos = loaded.tokenizer.eos_token_id
    # A number, a list, or a tensor of either once `model.generate` has prepared it.
    listed = set() if eos is None else set(torch.as_tensor(eos).flatten().tolist())
    return listed | end_of_turn_ids(loaded.tokenizer)
