"""Makes a prompt suite of files, data sets of the hub and presets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from conceptbasis.config.prompts import PromptsSection, SourceSection, TextSourceSection
from conceptbasis.data.prompts import (
    Prompt,
    PromptSuite,
    Text,
    check_disjoint,
    normalise,
)
from conceptbasis.data.roles import PromptSets
from conceptbasis.data.rows import find_column, read_cell, read_rows, source_name
from conceptbasis.errors import ConfigError, PromptError


def build_from_sources(
    section: PromptsSection,
    base: PromptSuite | None,
    sets: PromptSets,
    say: Callable[[str], None] | None = None,
) -> PromptSuite:
    """A suite whose sets and texts come from sources; what they leave out is that of `base`.

    Args:
        section: Sets and texts, and what happens to prompts that stand in two places.
        base: A suite from a folder, or None.
        sets: Which set plays which part.
        say: Told how many rows of each source are used, and as what.

    Raises:
        ConfigError: a set has a name that the behavior does not know.
        PromptError: a source cannot be read or is empty, or sets overlap.
    """
    for name in section.sets:
        if name not in sets.names:
            raise ConfigError(
                f"prompts.sets: {name!r} is no set of prompts of this behavior",
                expected="one of " + ", ".join(sets.names),
                fix="correct the name under prompts.sets",
            )
    prompts = dict(base.prompts) if base else {}
    texts: list[Text] = []
    for name, source in section.sets.items():
        prompts[name] = read_prompts(source)
        _count(say, name, source, len(prompts[name]))
    for source in section.texts:
        read = read_prompts(source)
        found = _as_texts(read, source)
        _count(say, f"texts ({source.text_class})", source, len(found), len(read) - len(found))
        texts += found
    suite = PromptSuite(
        {name: prompts[name] for name in sets.names if name in prompts},
        tuple(texts) or (base.texts if base else ()),
        base.concepts if base else (),
    )
    if section.overlap == "drop":
        suite = drop_overlap(suite, sets)
    check_disjoint(suite, sets)
    _check_direction_texts(suite, sets)
    return suite


def _count(
    say: Callable[[str], None] | None, name: str, source: SourceSection, n: int, left_out: int = 0
) -> None:
    if say is not None:
        more = f", {left_out} without an answer left out" if left_out else ""
        say(f"prompts: {name}: {n} rows of {source_name(source)}{more}")


def drop_overlap(suite: PromptSuite, sets: PromptSets) -> PromptSuite:
    """The suite without repeated prompts: evaluation keeps its own, then direction, then texts.

    A prompt in a positive and a negative set of one kind is left out of both.

    Args:
        suite: Any suite.
        sets: Which of its sets plays which part.
    """
    for pair in sets.opposed:
        both = _keys(suite, pair[0]) & _keys(suite, pair[1])
        for name in pair:
            suite = _without(suite, name, both)
    for name in sets.held_out:
        suite = _without(suite, name, set())
    seen = set().union(*(_keys(suite, name) for name in sets.held_out))
    for name in (sets.positive, sets.negative):
        suite = _without(suite, name, seen)
        seen |= _keys(suite, name)
    texts = tuple(t for t in suite.texts if not seen & {normalise(part) for part in t.parts})
    return replace(suite, texts=texts)


def _keys(suite: PromptSuite, name: str) -> set[str]:
    return {normalise(p.text) for p in suite.prompts.get(name, ())}


def _without(suite: PromptSuite, name: str, keys: set[str]) -> PromptSuite:
    if name not in suite.prompts:
        return suite
    kept = {normalise(p.text): p for p in suite.prompts[name]}
    left = tuple(p for key, p in kept.items() if key not in keys)
    return replace(suite, prompts={**suite.prompts, name: left})


def _check_direction_texts(suite: PromptSuite, sets: PromptSets) -> None:
    """The prompts of the direction must not be among the shared texts either."""
    said = {normalise(part) for text in suite.texts for part in text.parts}
    for name in (sets.positive, sets.negative):
        shared = _keys(suite, name) & said
        if shared:
            raise PromptError(
                f"{len(shared)} prompts of {name} also occur in the texts",
                expected="direction, transfer and evaluation sets that share nothing",
                fix="give them other rows of the data set, or set prompts.overlap: drop",
            )


def read_prompts(source: SourceSection) -> tuple[Prompt, ...]:
    """The prompts of a source.

    Args:
        source: A file, data set or preset, with its columns.

    Raises:
        PromptError: it cannot be read, lacks a column, or has no rows left.
    """
    source, rows = read_rows(source)
    column = source.column or find_column(rows[0], source)
    found = []
    for number, row in enumerate(rows, 1):
        text = read_cell(row, column, source, number)
        more = {
            name: str(row[given])
            for name in ("answer", "noun", "kind")
            if (given := getattr(source, name)) is not None and row.get(given)
        }
        found.append(Prompt(text, **more))
    return tuple(found)


def read_texts(source: TextSourceSection) -> tuple[Text, ...]:
    """The texts of a source: a chat of prompt and answer where an answer is named, else plain.

    Args:
        source: A file, data set or preset, with its columns and its class.

    Raises:
        PromptError: as for `read_prompts`.
    """
    return _as_texts(read_prompts(source), source)


def _as_texts(prompts: Sequence[Prompt], source: TextSourceSection) -> tuple[Text, ...]:
    if source.answer is None:
        return tuple(Text(p.text, source.text_class, p.noun) for p in prompts)
    texts = tuple(
        Text((("user", p.text), ("assistant", p.answer)), source.text_class, p.noun)
        for p in prompts
        if p.answer
    )
    if not texts:
        raise PromptError(
            f"no row of {source_name(source)} has an answer in its column {source.answer!r}",
            expected="at least one chat of a prompt and its answer",
            fix="name another column as `answer`, or leave it out for plain texts",
        )
    return texts
