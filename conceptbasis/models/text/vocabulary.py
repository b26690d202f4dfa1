"""Token ids that a model has no embedding row for.

Some tokenizers know more tokens than their model has rows (Gemma 3's text models: one, which
stands for an image). Such a model is whole; only a text that would write such a token is not.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

from conceptbasis.errors import ModelError, PromptError

_LIMIT = "n_embedding_rows"


def limit_ids(tokenizer: Any, n_rows: int, name: str) -> None:
    """Remembers how many rows the model has, where its tokenizer knows more tokens.

    Args:
        tokenizer: Its tokenizer, with a chat template; it is changed.
        n_rows: Rows of the embedding.
        name: Of the model, for the message.

    Raises:
        ModelError: The chat template itself writes a token that has no row.
    """
    if len(tokenizer) <= n_rows:
        return
    ids = [i for text in _written(tokenizer) for i in text]
    if max(ids, default=0) >= n_rows:
        raise ModelError(
            f"the chat template of {name} writes {_token(tokenizer, max(ids))}",
            expected=f"tokens below {n_rows}, the model's number of embedding rows; its tokenizer "
            f"knows {len(tokenizer)} tokens",
            fix="load the tokenizer that belongs to the model, or give another chat.template",
        )
    setattr(tokenizer, _LIMIT, n_rows)


_CHATS = ("user", "user assistant", "user assistant user", "system user", "system user assistant")
"""Roles of short chats: an answer is closed and followed, a system turn is written."""


def _written(tokenizer: Any) -> Iterator[list[int]]:
    """The tokens of short chats, of those that the template takes."""
    from conceptbasis.models.text.chat import render

    for roles in _CHATS:
        chat = [{"role": role, "content": "a"} for role in roles.split()]
        with suppress(PromptError):
            text = render(tokenizer, chat, add_generation_prompt=roles.endswith("user"))
            yield tokenizer(text, add_special_tokens=False)["input_ids"]


def check_ids(tokenizer: Any, texts: Sequence[str], rows: Sequence[Sequence[int]]) -> None:
    """Refuses a text that holds a token which the model has no embedding row for.

    Args:
        tokenizer: As `limit_ids` left it.
        texts: What was encoded, for the message.
        rows: Token ids of each text.

    Raises:
        PromptError: One of them does.
    """
    limit = getattr(tokenizer, _LIMIT, None)
    if limit is None:
        return
    for text, ids in zip(texts, rows, strict=True):
        if ids and max(ids) >= limit:
            raise PromptError(
                f"a text writes {_token(tokenizer, max(ids))}: {text[:60]!r}",
                expected=f"tokens below {limit}, the model's number of embedding rows",
                fix="remove that token from the text",
            )


def _token(tokenizer: Any, token: int) -> str:
    return f"the token {tokenizer.convert_ids_to_tokens(token)} ({token})"


def check_plain(tokenizer: Any, prompts: list[str], ids: list[list[int]], plain: str) -> None:
    """Refuses prompts whose own words hold special tokens, which end or open turns.

    Args:
        tokenizer: The tokenizer.
        prompts: One user message each.
        ids: The tokens of the rendered prompts.
        plain: A rendered prompt that holds none.

    Raises:
        PromptError: A prompt with more special tokens than the plain one.
    """
    special = set(tokenizer.all_special_ids) - {tokenizer.unk_token_id}
    special |= {i for i, token in tokenizer.added_tokens_decoder.items() if token.special}
    special -= {tokenizer.unk_token_id}
    usual = sum(i in special for i in tokenizer(plain, add_special_tokens=False)["input_ids"])
    for prompt, row in zip(prompts, ids, strict=True):
        if sum(i in special for i in row) > usual:
            raise PromptError(
                f"a prompt holds a special token of the model: {prompt[:60]!r}",
                expected="words that the chat template wraps; the model would read the token as "
                "the end or the start of a turn",
                fix="take the token out of the prompt, or leave the prompt out",
            )


def check_length(text: str, length: int, max_length: int | None) -> None:
    """Refuses a prompt that is longer than the model reads.

    Args:
        prompt: A user message.
        length: Its tokens.
        max_length: The most tokens, None for any number.

    Raises:
        PromptError: It is longer.
    """
    if max_length is not None and length > max_length:
        raise PromptError(
            f"a text has {length} tokens: {text[:60]!r}",
            expected=f"at most {max_length}",
            fix="shorten the text, or use a model with a longer context",
        )
    if length == 0:
        raise PromptError(
            f"the text {text[:60]!r} has no tokens", expected="at least one", fix="remove the text"
        )
