"""Tokenizers of the organism families, trained on the world's text, with their chat templates."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from conceptbasis.data.prompts import Text
from conceptbasis.models.loading.creation import wrap_tokenizer
from conceptbasis.organisms.families import ChatTags, Family

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

INSIDE = "##"
"""Marks a WordPiece piece that does not begin a word."""


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
    """The family's tokenizer; its vocabulary is learned here.

    The trainers of the tokenizers library iterate over hash maps, so two processes give two
    vocabularies from one text. The world has a few hundred words, so plain loops do.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    tags = family.tags
    model: Any
    splitter: Any
    decoder: Any
    if family.tokenizer == "wordpiece":
        splitter, decoder = pre_tokenizers.Whitespace(), decoders.WordPiece(cleanup=False)
        vocabulary = word_pieces(_count(splitter, corpus), tags.all, family.d_vocab)
        model = models.WordPiece(vocab=vocabulary, unk_token=tags.unknown)
    elif family.tokenizer == "byte_bpe":
        splitter, decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
        alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
        vocabulary, merges = byte_pairs(
            _count(splitter, corpus), tags.all, alphabet, family.d_vocab
        )
        model = models.BPE(vocab=vocabulary, merges=merges)
    else:
        splitter, decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
        counts = _count(splitter, corpus)
        alphabet = sorted({character for word in counts for character in word})
        vocabulary, merges = byte_pairs(counts, tags.all, alphabet, family.d_vocab)
        model = models.BPE(vocab=vocabulary, merges=merges, unk_token=tags.unknown)
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer, tokenizer.decoder = splitter, decoder
    tokenizer.add_special_tokens(tags.all)
    return tokenizer


def _count(splitter: Any, corpus: list[str]) -> Counter[str]:
    counts: Counter[str] = Counter()
    for text, n in Counter(corpus).items():
        for word, _ in splitter.pre_tokenize_str(text):
            counts[word] += n
    return counts


def word_pieces(counts: Counter[str], special: list[str], size: int) -> dict[str, int]:
    """A WordPiece vocabulary, learned like byte pairs; pieces inside a word begin with ##.

    Args:
        counts: How often each word occurs.
        special: Special tokens, first in the vocabulary.
        size: Size of the vocabulary.
    """
    marked = {word: [word[0], *(f"{INSIDE}{letter}" for letter in word[1:])] for word in counts}
    alphabet = sorted({symbol for symbols in marked.values() for symbol in symbols})
    return _learn(counts, marked, [*special, *alphabet], size)[0]


def byte_pairs(
    counts: Counter[str], special: list[str], alphabet: list[str], size: int
) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """A byte-pair vocabulary and its merges: the most frequent pair first, ties by spelling.

    Args:
        counts: How often each word occurs.
        special: Special tokens, first in the vocabulary.
        alphabet: Symbols that words are made of.
        size: Size of the vocabulary.

    Source: Sennrich et al. 2016 (1508.07909), algorithm 1.
    """
    return _learn(counts, {word: list(word) for word in counts}, [*special, *alphabet], size)


def _learn(
    counts: Counter[str], words: dict[str, list[str]], pieces: list[str], size: int
) -> tuple[dict[str, int], list[tuple[str, str]]]:
    merges: list[tuple[str, str]] = []
    while len(pieces) < size:
        pairs: Counter[tuple[str, str]] = Counter()
        for word, symbols in words.items():
            for pair in pairwise(symbols):
                pairs[pair] += counts[word]
        if not pairs:
            break
        best = max(pairs, key=lambda pair: (pairs[pair], pair))
        merges.append(best)
        if _join(*best) not in pieces:
            pieces.append(_join(*best))
        words = {word: _merge(symbols, best) for word, symbols in words.items()}
    return {piece: i for i, piece in enumerate(pieces)}, merges


def _join(left: str, right: str) -> str:
    return left + right.removeprefix(INSIDE)


def _merge(symbols: list[str], pair: tuple[str, str]) -> list[str]:
    merged: list[str] = []
    for symbol in symbols:
        if merged and (merged[-1], symbol) == pair:
            merged[-1] = _join(*pair)
        else:
            merged.append(symbol)
    return merged
