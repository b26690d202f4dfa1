"""Tokenizers of the organism families, trained on the world's text, with their chat templates."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from conceptbasis.models.creation import wrap_tokenizer
from conceptbasis.organisms.families import ChatTags, Family
from conceptbasis.prompts import Text

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast


def fit_tokenizer(family: Family, texts: tuple[Text, ...]) -> PreTrainedTokenizerFast:
    """Trains the family's tokenizer and gives it the family's chat template.

    Args:
        family: Which algorithm, vocabulary size and tags.
        texts: What it is trained on.
    """
    backend = _backend(family, [part for text in texts for part in _parts(text)])
    tags = family.tags
    return wrap_tokenizer(
        backend,
        special={
            "bos_token": tags.bos,
            "eos_token": tags.end,
            "pad_token": tags.pad,
            "unk_token": tags.unknown,
        },
        chat_template=chat_template(tags),
        max_length=int(family.sizes["max_position_embeddings"]),
    )


def _parts(text: Text) -> list[str]:
    if isinstance(text.content, str):
        return [text.content]
    return [part for _, part in text.content]


def chat_template(tags: ChatTags) -> str:
    """A Jinja chat template in the usual form: tag, content, end of turn."""
    return (
        "{{ '" + tags.bos + "' }}{% for message in messages %}"
        "{% if message['role'] == 'assistant' %}"
        "{{ '" + tags.assistant + "' + message['content'] + '" + tags.end + "' }}"
        "{% else %}{{ '" + tags.user + "' + message['content'] }}{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}{{ '" + tags.assistant + "' }}{% endif %}"
    )


def _backend(family: Family, corpus: list[str]) -> Tokenizer:
    tokenizer, trainer = _ALGORITHMS[family.tokenizer](family.tags, family.d_vocab)
    tokenizer.train_from_iterator(corpus, trainer)
    return tokenizer


def _byte_bpe(tags: ChatTags, size: int) -> tuple[Tokenizer, Any]:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=tags.all,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    return tokenizer, trainer


def _bpe(tags: ChatTags, size: int) -> tuple[Tokenizer, Any]:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE(unk_token=tags.unknown))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.BpeTrainer(vocab_size=size, special_tokens=tags.all, show_progress=False)
    return tokenizer, trainer


def _wordpiece(tags: ChatTags, size: int) -> tuple[Tokenizer, Any]:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.WordPiece(unk_token=tags.unknown))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.decoder = decoders.WordPiece(cleanup=False)
    trainer = trainers.WordPieceTrainer(
        vocab_size=size, special_tokens=tags.all, show_progress=False
    )
    return tokenizer, trainer


_ALGORITHMS = {"byte_bpe": _byte_bpe, "bpe": _bpe, "wordpiece": _wordpiece}
