"""Token ids that a model has no embedding row for.

Some tokenizers know more tokens than their model has rows (Gemma 3's text models: one, which
stands for an image). Such a model is whole; only a text that would write such a token is not.
"""

from __future__ import annotations

from collections.abc import Sequence
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
    message = [{"role": "user", "content": "a"}]
    text = tokenizer.apply_chat_template(message, tokenize=False, add_generation_prompt=True)
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    if max(ids, default=0) >= n_rows:
        raise ModelError(
            f"the chat template of {name} writes {_token(tokenizer, max(ids))}",
            expected=f"tokens below {n_rows}, the model's number of embedding rows; its tokenizer "
            f"knows {len(tokenizer)} tokens",
            fix="load the tokenizer that belongs to the model, or give another chat.template",
        )
    setattr(tokenizer, _LIMIT, n_rows)


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
