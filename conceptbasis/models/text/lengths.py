"""Which texts fit the context of a model, found before any work."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from conceptbasis.data.prompts import Text
from conceptbasis.errors import PromptError
from conceptbasis.models.loading.loaded import LoadedModel
from conceptbasis.models.text.chat import encode_texts
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


def _tokens(loaded: LoadedModel, text: Text) -> int:
    batch = encode_texts(loaded.tokenizer, [text.as_messages()], end_of_prompt=True)
    return int(batch.attention_mask.sum())
