"""Which texts and prompts fit the context of a model, found before any work."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from conceptbasis.data.prompts import Text
from conceptbasis.errors import PromptError
from conceptbasis.models.loading.loaded import LoadedModel
from conceptbasis.models.text.chat import encode_texts, prompt_ids
from conceptbasis.runs.progress import Reporter


def fitting_texts(
    loaded: LoadedModel, texts: Sequence[Text], reporter: Reporter
) -> tuple[Text, ...]:
    """The texts that fit the context of a model; how many do not, and the first, is said.

    Args:
        loaded: The model; it reads nothing.
        texts: Whole classes of texts, in their stored order.
        reporter: Told what is left out.

    Raises:
        PromptError: if no text fits.
    """
    limit = loaded.max_length
    if limit is None:
        return tuple(texts)
    kept: list[Text] = []
    long: list[str] = []
    numbers: Counter[str] = Counter()
    for text in texts:
        numbers[text.text_class] += 1
        length = _tokens(loaded, text)
        if length <= limit:
            kept.append(text)
        else:
            long.append(f"text {numbers[text.text_class]} ({text.text_class}) with {length} tokens")
    if not kept and texts:
        raise PromptError(
            f"no text fits the context of {loaded.name}: {long[0]}",
            expected=f"texts of at most {limit} tokens",
            fix="cut the texts into shorter ones, or use a model with a longer context",
        )
    if long:
        reporter.say(
            f"texts: {len(long)} of {len(texts)} are left out, since they are longer than the "
            f"context of {loaded.name}, {limit} tokens; the first is {long[0]}"
        )
    return tuple(kept)


def room_for(loaded: LoadedModel, max_new_tokens: int, key: str) -> int | None:
    """The most tokens of a prompt beside its answer, None for any number.

    Args:
        loaded: The model.
        max_new_tokens: Longest answer.
        key: What sets it, for the message.

    Raises:
        PromptError: the answer alone fills the context.
    """
    if loaded.max_length is None:
        return None
    room = loaded.max_length - max_new_tokens
    if room < 1:
        raise PromptError(
            f"{key} is {max_new_tokens}",
            expected=f"less than the context of {loaded.name}, {loaded.max_length}",
            fix=f"lower {key}",
        )
    return room


def check_prompts(
    loaded: LoadedModel, prompts: Sequence[str], names: Sequence[str], *, answer: int, key: str
) -> None:
    """Refuses prompts that do not fit the model's context together with their answers.

    Args:
        loaded: The model; it reads nothing.
        prompts: One user message each.
        names: How each prompt is called in an error.
        answer: Tokens of the longest answer.
        key: What sets them.

    Raises:
        PromptError: with the name of the first such prompt.
    """
    room = room_for(loaded, answer, key)
    if room is None or not prompts:
        return
    for name, row in zip(names, prompt_ids(loaded.tokenizer, list(prompts)), strict=True):
        if len(row) > room:
            raise PromptError(
                f"{name} has {len(row)} tokens",
                expected=f"at most {room}: the context of {loaded.name}, {loaded.max_length}, "
                f"without {key}",
                fix=f"shorten the prompt, lower {key}, or use a model with a longer context",
            )


def _tokens(loaded: LoadedModel, text: Text) -> int:
    batch = encode_texts(loaded.tokenizer, [text.as_messages()], end_of_prompt=True)
    return int(batch.attention_mask.sum())
