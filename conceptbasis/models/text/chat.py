"""Renders chats, encodes them, and says at which character of which message a token ends."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from conceptbasis.errors import ModelError, PromptError
from conceptbasis.models.text.day import undated
from conceptbasis.models.text.spans import MARK, Message, SiteKey, Span, find_contents, site_keys
from conceptbasis.models.text.thoughts import is_thought_tag, opened_thought
from conceptbasis.models.text.vocabulary import check_ids, check_length, check_plain

Text = str | list[Message]


@dataclass(frozen=True)
class Encoded:
    """Left-padded prompts that end where the answer starts."""

    input_ids: Int[Tensor, "batch pos"]
    attention_mask: Int[Tensor, "batch pos"]


@dataclass(frozen=True)
class EncodedTexts:
    """Right-padded texts and, for each token, the site it ends at.

    `site_keys[i][t]` is (message index, characters of that message's content read so far), or
    None for BOS, padding, template tokens and tokens that end inside a character.
    """

    input_ids: Int[Tensor, "batch pos"]
    attention_mask: Int[Tensor, "batch pos"]
    site_keys: list[list[SiteKey | None]]


def render(tokenizer: Any, messages: list[Message], *, add_generation_prompt: bool) -> str:
    """The chat as the template writes it.

    Args:
        tokenizer: A tokenizer with a chat template.
        messages: `{"role": ..., "content": ...}` each.
        add_generation_prompt: Whether to open the assistant's turn.

    Returns:
        The rendered text, special tokens included.

    Raises:
        ModelError: The template is not valid Jinja.
        PromptError: The template refuses these messages.
    """
    from jinja2 import TemplateError, TemplateSyntaxError

    try:
        return tokenizer.apply_chat_template(
            messages,
            chat_template=undated(tokenizer.get_chat_template()),
            tokenize=False,
            add_generation_prompt=add_generation_prompt,
        )
    except TemplateSyntaxError as error:
        raise ModelError(
            f"the chat template is damaged: {error}",
            expected="a template in Jinja",
            fix="restore chat_template.jinja (or the key in tokenizer_config.json) of the model",
        ) from error
    except TemplateError as error:
        roles = [message["role"] for message in messages]
        raise PromptError(
            f"the chat template refuses the roles {roles}: {error}",
            expected="roles that the model's template accepts",
            fix="change the roles of the text, or use another model",
        ) from error


def prompt_ids(
    tokenizer: Any,
    prompts: list[str],
    *,
    max_length: int | None = None,
    forced: list[str] | None = None,
) -> list[list[int]]:
    """The token ids of user prompts up to the point where the answer starts, one list a prompt.

    No special token is added beside those the template writes, so BOS never appears twice.

    Args:
        tokenizer: A tokenizer with a chat template.
        prompts: One user message each.
        max_length: The longest prompt allowed, in tokens.
        forced: The start of each answer, put after the prompt.

    Returns:
        Token ids.

    Raises:
        PromptError: No prompts, one that is too long or holds a special token of the model, or
            not one forced answer a prompt.
    """
    if not prompts:
        raise PromptError("no prompts", expected="at least one", fix="pass a non-empty list")
    if forced is not None and len(forced) != len(prompts):
        raise PromptError(
            f"{len(forced)} forced answers for {len(prompts)} prompts",
            expected="one forced answer a prompt",
            fix="pass lists of one length",
        )
    opened = opening(tokenizer) if forced else ""
    rendered = [
        render(tokenizer, [{"role": "user", "content": prompt}], add_generation_prompt=True)
        + start.removeprefix(opened)  # a thought that both open is opened once
        for prompt, start in zip(prompts, forced or [""] * len(prompts), strict=True)
    ]
    ids: list[list[int]] = tokenizer(rendered, add_special_tokens=False)["input_ids"]
    for prompt, row in zip(prompts, ids, strict=True):
        check_length(prompt, len(row), max_length)
    check_ids(tokenizer, prompts, ids)
    if forced is None:
        plain = render(tokenizer, [{"role": "user", "content": "a"}], add_generation_prompt=True)
        check_plain(tokenizer, prompts, ids, plain)
    return ids


def opening(tokenizer: Any) -> str:
    """The tag of a thought that the template opens, which is the start of every answer.

    Args:
        tokenizer: A tokenizer with a chat template.
    """
    probe = [{"role": "user", "content": MARK.format(0)}]
    rendered = render(tokenizer, probe, add_generation_prompt=True)
    return opened_thought(rendered.rpartition(MARK.format(0))[2])


def read_answer_tokens(tokenizer: Any, rows: list[list[int]]) -> list[str]:
    """Texts of answers without special tokens, but with those that mark thoughts.

    Args:
        tokenizer: The tokenizer.
        rows: Token ids, one list an answer.
    """
    added = {
        i: token.content for i, token in tokenizer.added_tokens_decoder.items() if token.special
    }
    named = zip(tokenizer.all_special_ids, tokenizer.all_special_tokens, strict=True)
    special = {i for i, text in (*named, *added.items()) if not is_thought_tag(text)}
    kept = [[i for i in row if i not in special] for row in rows]
    found: list[str] = tokenizer.batch_decode(kept, skip_special_tokens=False)
    return found


def answered(prompts: list[str], answers: list[str]) -> list[list[Message]]:
    """Prompts with their answers as chats of two turns."""
    return [
        [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]
        for prompt, answer in zip(prompts, answers, strict=True)
    ]


def encode_texts(
    tokenizer: Any,
    texts: list[Text],
    *,
    end_of_prompt: bool = False,
    max_length: int | None = None,
) -> EncodedTexts:
    """Encodes texts and keys each token by the content character at which it ends.

    Keys count characters of the original content, so they agree between tokenizers and
    templates. Where several tokens end at one character (the bytes of an emoji), the last has
    the key.

    Args:
        tokenizer: A fast tokenizer with a chat template.
        texts: Plain strings (message index 0) or lists of chat messages.
        end_of_prompt: Whether the last token before an assistant's content gets the key
            (message index, 0). A chat that ends with the user is then rendered up to the place
            where its answer would begin, and that place has the key (number of messages, 0).
        max_length: The longest text allowed, in tokens.

    Returns:
        Right-padded ids, mask and site keys.

    Raises:
        PromptError: No texts, one that is too long, or a template that rewrites the content.
    """
    if not texts:
        raise PromptError("no texts", expected="at least one", fix="pass a non-empty list")
    templates: dict[tuple[str, ...], list[str]] = {}

    def render_closed(messages: list[Message]) -> str:
        return render(tokenizer, messages, add_generation_prompt=False)

    rows: list[list[int]] = []
    keys: list[list[SiteKey | None]] = []
    for text in texts:
        if isinstance(text, str):
            full, spans, answers = text, [Span(0, len(text), 0)], set[int]()
        else:
            full, spans = find_contents(render_closed, text, templates)
            answers = {i for i, m in enumerate(text) if m["role"] == "assistant"}
            if end_of_prompt and text[-1]["role"] == "user":
                # An unanswered prompt ends where its answer would begin.
                full = render(tokenizer, text, add_generation_prompt=True)
                spans, answers = [*spans, Span(len(full), len(full), 0)], answers | {len(text)}
        encoded = tokenizer(
            full, add_special_tokens=isinstance(text, str), return_offsets_mapping=True
        )
        check_length(full, len(encoded["input_ids"]), max_length)
        check_ids(tokenizer, [full], [encoded["input_ids"]])
        rows.append(encoded["input_ids"])
        ends = [end for _, end in encoded["offset_mapping"]]
        keys.append(site_keys(ends, spans, answers if end_of_prompt else set()))
    ids, mask = _pad(tokenizer, rows, left=False)
    width = ids.shape[1]
    return EncodedTexts(ids, mask, [row + [None] * (width - len(row)) for row in keys])


def end_of_prompt_ids(tokenizer: Any) -> list[int]:
    """The template's tokens between the user's content and the answer.

    Args:
        tokenizer: A fast tokenizer with a chat template.

    Returns:
        Token ids; their number is the number of end-of-prompt positions.

    Raises:
        PromptError: The template writes nothing after the user's content.
    """
    tails = [_tail_ids(tokenizer, content) for content in ("word", "7.")]
    length = 0
    shortest = min(len(tail) for tail in tails)
    while length < shortest and tails[0][-length - 1] == tails[1][-length - 1]:
        length += 1
    if length == 0:
        raise PromptError(
            "the chat template writes nothing between the prompt and the answer",
            expected="at least one token that marks the end of the prompt",
            fix="use a tokenizer whose template opens the assistant's turn",
        )
    return tails[0][-length:]


def pad_left(tokenizer: Any, rows: list[list[int]]) -> Encoded:
    """Pads token ids on the left, so that every row ends at the last position.

    Args:
        tokenizer: Gives the padding id.
        rows: Token ids, any lengths above zero.

    Returns:
        Ids and mask.
    """
    return Encoded(*_pad(tokenizer, rows, left=True))


def _tail_ids(tokenizer: Any, content: str) -> list[int]:
    message = [{"role": "user", "content": content}]
    full = render(tokenizer, message, add_generation_prompt=True)
    marked = render(
        tokenizer,
        [{"role": "user", "content": MARK.format(0)}],
        add_generation_prompt=True,
    )
    start = len(full) - len(marked.partition(MARK.format(0))[2])
    encoded = tokenizer(full, add_special_tokens=False, return_offsets_mapping=True)
    pairs = zip(encoded["input_ids"], encoded["offset_mapping"], strict=True)
    return [token for token, (begin, end) in pairs if begin >= start and end > start]


def _pad(tokenizer: Any, rows: list[list[int]], *, left: bool) -> tuple[Tensor, Tensor]:
    width = max(len(row) for row in rows)
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else 0
    ids = torch.full((len(rows), width), pad, dtype=torch.long)
    mask = torch.zeros((len(rows), width), dtype=torch.long)
    for i, row in enumerate(rows):
        where = slice(width - len(row), width) if left else slice(0, len(row))
        ids[i, where] = torch.tensor(row, dtype=torch.long)
        mask[i, where] = 1
    return ids, mask
