"""Texts in which atoms are looked at: their sites, their words, and short contexts of them.

Text that shows how somebody asks for the behavior may be `hidden`: it gives its topic word to
the evidence and nothing else. Its contexts are marked, so that a reader can leave them out.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy.sparse
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from conceptbasis.config.budgets import may_be_positive
from conceptbasis.data.prompts import Prompt, Text
from conceptbasis.models.stream.residuals import SiteId
from conceptbasis.results.atoms import Context
from conceptbasis.study.sites import Sites

BEFORE_ANSWER = "⟨answer⟩"
"""Stands for the last template token before an answer, which has no text of its own."""

HIDDEN = "⟨hidden⟩"
"""Stands for any other token of a text that is not shown."""

_WORD = re.compile(r"[^\W\d_]{2,}")
_PIECES_BEFORE, _PIECES_AFTER = 16, 8
_LEVELS = 9


@dataclass(frozen=True)
class Source:
    """A text with what may be said about it.

    Args:
        text: The text.
        kind: Its class; the donor's own prompts are positive or negative requests.
        topic: Its topic word.
        hidden: Whether only the topic word may be shown.
        template: The wording without the topic word, where the text came with one.
    """

    text: Text
    kind: str
    topic: str | None
    hidden: bool
    template: str | None = None

    @cached_property
    def words(self) -> frozenset[str]:
        """The words it may be described by."""
        shown = (self.topic or "") if self.hidden else " ".join(c for _, c in self.messages)
        return frozenset(_WORD.findall(shown.lower()))

    @cached_property
    def wording(self) -> str:
        """Its template, or its first message with the topic word taken out."""
        if self.template is not None:
            return self.template
        first = self.messages[0][1].lower()
        topic = re.escape(self.topic.lower()) if self.topic else r"(?!)"
        return re.sub(rf"\b{topic}\w*", "…", first)

    @property
    def messages(self) -> Sequence[tuple[str, str]]:
        """Roles and contents; a plain string is one message."""
        content = self.text.content
        return [("text", content)] if isinstance(content, str) else content


def source_of_text(text: Text) -> Source:
    """A transfer text; classes that no benign budget allows are hidden."""
    benign = not may_be_positive(text.text_class)
    return Source(text, text.text_class, text.noun, not benign)


def sources_of_prompts(prompts: Iterable[Prompt], kind: str, *, hidden: bool) -> list[Source]:
    """Prompts of one of the donor's direction sets.

    Args:
        prompts: The prompts.
        kind: What their requests are called.
        hidden: Whether only their topic words may be shown.
    """
    return [
        Source(Text((("user", p.text),), "chat", p.noun), kind, p.noun, hidden, p.template)
        for p in prompts
    ]


@dataclass(frozen=True)
class Corpus:
    """Texts and the sites at which codes were read, in text order."""

    sources: Sequence[Source]
    sites: Sequence[SiteId]

    @cached_property
    def starts(self) -> np.ndarray:
        """The first site of each text, and the number of sites at the end."""
        texts = np.array([site[0] for site in self.sites], dtype=np.int64)
        return np.searchsorted(texts, np.arange(len(self.sources) + 1))

    @cached_property
    def pieces(self) -> list[str]:
        """What each site's token reads, as far as both tokenizers agree."""
        found, before = [], (-1, -1, 0)
        for text, message, offset in self.sites:
            start = before[2] if before[:2] == (text, message) else 0
            content = self.sources[text].messages
            found.append(content[message][1][start:offset] if offset else BEFORE_ANSWER)
            before = (text, message, offset)
        return found

    def peaks(self, codes: scipy.sparse.csr_matrix) -> Float[Tensor, "n_texts n_atoms"]:
        """Highest code of each latent in each text."""
        dense = torch.from_numpy(codes.toarray())
        texts = torch.tensor([site[0] for site in self.sites], dtype=torch.int64)
        peaks = torch.zeros(len(self.sources), dense.shape[1])
        index = texts[:, None].expand_as(dense)
        return peaks.scatter_reduce_(0, index, dense.clamp(min=0), "amax")

    @cached_property
    def _by_piece(self) -> tuple[list[str], scipy.sparse.csr_matrix]:
        """Names of pieces, and which site reads which; hidden texts keep the place of an answer."""
        shown = [
            HIDDEN if self.sources[site[0]].hidden and site[2] else piece.strip()
            for site, piece in zip(self.sites, self.pieces, strict=True)
        ]
        names = sorted(set(shown))
        column = {name: i for i, name in enumerate(names)}
        places = (np.arange(len(shown)), [column[name] for name in shown])
        shape = (len(shown), len(names))
        return names, scipy.sparse.csr_matrix((np.ones(len(shown)), places), shape=shape)

    def firing_pieces(
        self, codes: scipy.sparse.csr_matrix, n: int
    ) -> list[tuple[tuple[str, float], ...]]:
        """For each latent, the pieces that hold most of its activation, with their shares."""
        names, by_piece = self._by_piece
        mass = (codes.T @ by_piece).toarray()
        shares = mass / np.maximum(mass.sum(axis=1, keepdims=True), 1e-12)
        return [
            tuple((names[i], round(float(row[i]), 4)) for i in np.argsort(-row)[:n] if row[i] > 0)
            for row in shares
        ]

    def firing_kinds(self, fires: Bool[Tensor, "n_texts n_atoms"]) -> list[dict[str, float]]:
        """For each latent, the share of each kind's texts in which it fires."""
        kinds = [source.kind for source in self.sources]
        masks = {kind: torch.tensor([k == kind for k in kinds]) for kind in sorted(set(kinds))}
        shares = {k: fires[mask].float().mean(0).tolist() for k, mask in masks.items()}
        return [{k: round(s[i], 4) for k, s in shares.items()} for i in range(fires.shape[1])]

    def context(self, text: int, activations: np.ndarray, peak: float, quantile: float) -> Context:
        """A window of a text around its highest site, with a digit of shading for each piece."""
        start, stop = int(self.starts[text]), int(self.starts[text + 1])
        top = start + int(activations[start:stop].argmax())
        first, last = max(start, top - _PIECES_BEFORE), min(stop, top + _PIECES_AFTER + 1)
        levels = np.clip(np.ceil(_LEVELS * activations[first:last] / peak), 0, _LEVELS)
        source = self.sources[text]
        pieces = self._spaced(first, last)
        if first > start:
            pieces[0] = f"… {pieces[0].lstrip()}"
        return Context(
            round(quantile, 3),
            round(float(activations[top]), 4),
            source.kind,
            source.topic,
            source.hidden,
            (*pieces, self._rest(last - 1) if last == stop else " …"),
            "".join(str(int(level)) for level in levels) + "0",
        )

    def _spaced(self, first: int, last: int) -> list[str]:
        """Pieces of a window, with a space where a new message begins."""
        found = list(self.pieces[first:last])
        for i in range(first + 1, last):
            if self.sites[i][1] != self.sites[i - 1][1] or self.sites[i - 1][2] == 0:
                found[i - first] = f" {found[i - first]}"
        return found

    def _rest(self, row: int) -> str:
        """What follows the last site of a text in its message."""
        text, message, offset = self.sites[row]
        messages = self.sources[text].messages
        return messages[message][1][offset:] if message < len(messages) else ""


def harvested(sites: Sites) -> Corpus:
    """The shared texts at the sites of both models."""
    tensors = (sites.text, sites.message, sites.offset)
    places = list(zip(*(t.tolist() for t in tensors), strict=True))
    return Corpus([source_of_text(text) for text in sites.texts], places)


def vocabulary(sources: Sequence[Source], *, least: int = 3, most: int = 4000) -> list[str]:
    """The commonest words without English function words, if several texts hold them, not all."""
    from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

    counts = Counter(w for source in sources for w in source.words - ENGLISH_STOP_WORDS)
    common = [w for w, n in counts.most_common(most) if least <= n < len(sources)]
    return sorted(common)


def word_matrix(sources: Sequence[Source], words: Sequence[str]) -> scipy.sparse.csr_matrix:
    """Whether a text holds a word."""
    column: Mapping[str, int] = {word: i for i, word in enumerate(words)}
    pairs = [(i, column[w]) for i, s in enumerate(sources) for w in s.words if w in column]
    rows, columns = zip(*pairs, strict=True) if pairs else ((), ())
    shape = (len(sources), len(words))
    return scipy.sparse.csr_matrix((np.ones(len(rows)), (rows, columns)), shape=shape)
