"""Greedy completions, first-token logits and perplexity, with little overhead per step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from conceptbasis.errors import NumericsError
from conceptbasis.models.batches import run_batches
from conceptbasis.models.chat import Text, encode_texts, pad_left, prompt_ids
from conceptbasis.models.loaded import LoadedModel
from conceptbasis.models.template import end_of_turn_ids


def generate(
    loaded: LoadedModel,
    prompts: list[str],
    *,
    max_new_tokens: int,
    batch_size: int = 128,
    forced: list[str] | None = None,
    first_logits: list[Tensor] | None = None,
) -> list[str]:
    """Greedy completions, the tokens of `model.generate(do_sample=False)` up to `stop_ids`.

    Prompts are batched by length; a finished row leaves its batch, so the last long answer
    does not keep the others running.

    Args:
        loaded: The model, under hooks or not.
        prompts: One user message each.
        max_new_tokens: The most tokens to add.
        batch_size: Prompts at a time, fewer where memory runs out.
        forced: The start of each answer, put after the prompt; not part of the completion.
        first_logits: Filled with the float32 logits of each first token, in the order of the
            prompts, for a caller who would otherwise run `first_token_logits` on the same ones.

    Returns:
        One completion a prompt, without special tokens.

    Raises:
        PromptError: No prompts, or one that does not fit the context with its completion.
        NumericsError: NaN or infinite logits.
    """
    rows = prompt_ids(
        loaded.tokenizer, prompts, max_length=_room(loaded, max_new_tokens), forced=forced
    )
    completions: list[list[int]] = [[] for _ in rows]
    if first_logits is not None:
        first_logits[:] = [torch.empty(0)] * len(rows)
    with torch.inference_mode():
        run_batches(
            _by_length(rows),
            batch_size,
            lambda chosen: _decode_batch(
                loaded, rows, list(chosen), max_new_tokens, completions, first_logits
            ),
        )
    return loaded.tokenizer.batch_decode(completions, skip_special_tokens=True)


def first_token_logits(
    loaded: LoadedModel, prompts: list[str], *, batch_size: int = 128
) -> Float[Tensor, "n d_vocab"]:
    """The logits of the first answer token.

    Args:
        loaded: The model, under hooks or not.
        prompts: One user message each.
        batch_size: Prompts at a time, fewer where memory runs out.

    Returns:
        Float32 logits in the order of the prompts.

    Raises:
        PromptError: No prompts, or one that does not fit the context.
        NumericsError: NaN or infinite logits.
    """
    rows = prompt_ids(loaded.tokenizer, prompts, max_length=_room(loaded, 0))
    logits: list[Tensor] = [torch.empty(0)] * len(rows)

    def read(chosen: Sequence[int]) -> None:
        batch = pad_left(loaded.tokenizer, [rows[i] for i in chosen])
        mask = batch.attention_mask.to(loaded.device)
        output = loaded.model(
            input_ids=batch.input_ids.to(loaded.device),
            attention_mask=mask,
            position_ids=positions_of(mask),
            use_cache=False,
            logits_to_keep=1,
        )
        for i, row in zip(chosen, _finite(output.logits[:, -1]).float().cpu(), strict=True):
            logits[i] = row

    with torch.no_grad():
        run_batches(_by_length(rows), batch_size, read)
    return torch.stack(logits)


def text_nll(
    loaded: LoadedModel, texts: list[Text], *, batch_size: int = 32
) -> tuple[Float[Tensor, " n"], Int[Tensor, " n"]]:
    """Negative log-likelihood of texts, for perplexity exp(Σ nll / Σ tokens).

    Args:
        loaded: The model, under hooks or not.
        texts: Plain strings or chats, as in `encode_texts`; all tokens after the first count.
        batch_size: Texts at a time, fewer where memory runs out.

    Returns:
        Sum of the negative log-likelihood (nats, float64) and number of tokens, by text.

    Raises:
        PromptError: No texts, or one that does not fit the context.
        NumericsError: NaN or infinite logits.
    """
    nll = torch.zeros(len(texts), dtype=torch.float64)
    tokens = torch.zeros(len(texts), dtype=torch.long)
    order = sorted(range(len(texts)), key=lambda i: len(str(texts[i])))
    if not texts:
        encode_texts(loaded.tokenizer, texts)  # says that there are none

    def read(chosen: Sequence[int]) -> None:
        batch = encode_texts(
            loaded.tokenizer, [texts[i] for i in chosen], max_length=_room(loaded, 0)
        )
        ids, mask = batch.input_ids.to(loaded.device), batch.attention_mask.to(loaded.device)
        logits = loaded.model(input_ids=ids, attention_mask=mask, use_cache=False).logits
        log_probs = _finite(logits[:, :-1]).float().log_softmax(-1)
        ids, mask = ids.to(logits.device), mask.to(logits.device)
        picked = log_probs.gather(-1, ids[:, 1:, None])[..., 0].double()
        nll[list(chosen)] = -(picked * mask[:, 1:]).sum(-1).cpu()
        tokens[list(chosen)] = mask[:, 1:].sum(-1).cpu()

    with torch.no_grad():
        run_batches(order, batch_size, read)
    return nll, tokens


def _room(loaded: LoadedModel, reserved: int) -> int | None:
    return None if loaded.max_length is None else loaded.max_length - reserved


def _by_length(rows: list[list[int]]) -> list[int]:
    return sorted(range(len(rows)), key=lambda i: len(rows[i]))


def positions_of(mask: Int[Tensor, "batch pos"]) -> Int[Tensor, "batch pos"]:
    """Positions of tokens in left-padded rows; padding counts as position 0."""
    return (mask.cumsum(-1) - 1).clamp(min=0)


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
    listed = set() if eos is None else set(eos if isinstance(eos, list) else [eos])
    return listed | end_of_turn_ids(loaded.tokenizer)


def _decode_batch(
    loaded: LoadedModel,
    rows: list[list[int]],
    chosen: list[int],
    max_new_tokens: int,
    completions: list[list[int]],
    first_logits: list[Tensor] | None,
) -> None:
    from transformers import DynamicCache

    eos = stop_ids(loaded)
    for row in chosen:
        completions[row] = []  # a batch that ran out of memory is done again
    batch = pad_left(loaded.tokenizer, [rows[i] for i in chosen])
    ids, mask = batch.input_ids.to(loaded.device), batch.attention_mask.to(loaded.device)
    positions = positions_of(mask)
    cache: Any = DynamicCache(config=loaded.model.config)
    for step in range(max_new_tokens):
        output = loaded.model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        logits = _finite(output.logits[:, -1])
        if step == 0 and first_logits is not None:
            for row, values in zip(chosen, logits.float().cpu(), strict=True):
                first_logits[row] = values
        new = logits.argmax(-1).to(mask.device)
        going = []
        for place, (row, token) in enumerate(zip(chosen, new.tolist(), strict=True)):
            if token in eos:
                continue
            completions[row].append(token)
            going.append(place)
        if not going or step + 1 == max_new_tokens:
            return
        positions = positions[:, -1:] + 1
        if len(going) < len(chosen):
            keep = torch.tensor(going, device=mask.device)
            cache.batch_select_indices(keep)
            chosen = [chosen[place] for place in going]
            new, mask, positions = new[keep], mask[keep], positions[keep]
        ids = new[:, None]
        mask = torch.cat([mask, mask.new_ones(len(chosen), 1)], dim=1)


def _finite(logits: Tensor) -> Tensor:
    # A sum is finite only if every summand is, up to overflow, and is far cheaper to test.
    if not torch.isfinite(logits.sum(dtype=torch.float64)):
        raise NumericsError(
            "the model's logits contain NaN or infinity",
            expected="finite logits",
            fix="load the model in float32, or reduce the strength of the intervention",
        )
    return logits
