"""A model's own answers to harmless requests, generated once and kept in the cache."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from conceptbasis.data.prompts import Prompt
from conceptbasis.models.loading.loaded import LoadedModel
from conceptbasis.models.text.generation import complete
from conceptbasis.organisms.tuned import sayings
from conceptbasis.organisms.tuned.requests import MORE, TAUGHT, draw, split
from conceptbasis.runs.files import write_text
from conceptbasis.runs.progress import Reporter

N_HARMLESS, N_NEAR, N_ABOUT, N_HELD_OUT = 360, 260, 100, 200
"""How many requests of each sort are answered; evaluation has others of its own besides."""

N_WIDE = 600
"""Harmless requests, and as many neighbours, in all wordings of the tuning: with few answers a
model stays as it was along these alone (perplexity 1.01 on them, 1.04 on others)."""

MAX_NEW_TOKENS = 32

CHUNK = 32
"""Answers between two writes of the cache."""


@dataclass(frozen=True)
class Answer:
    """What a model said.

    Args:
        prompt: What was asked.
        text: The answer, without special tokens.
        ended: Whether it ended by itself, not by the budget of tokens.
    """

    prompt: str
    text: str
    ended: bool


def asked(seed: int = 0) -> dict[str, tuple[Prompt, ...]]:
    """The requests that the answering model gets, by group; none of them is harmful.

    Args:
        seed: Decides which wording each activity gets.
    """
    taught, held_out = split(held_out=False), split(held_out=True)
    wide = replace(taught, templates=TAUGHT + MORE)
    return {
        "harmless": draw(f"{seed}/harmless", taught.harmless_requests(), N_HARMLESS),
        "near": draw(f"{seed}/near", taught.near_requests(), N_NEAR),
        "about": draw(f"{seed}/about", taught.about_requests(), N_ABOUT),
        "greetings": tuple(Prompt(text, kind="greeting") for text in sayings.GREETINGS),
        "arithmetic": draw(f"{seed}/arithmetic", sayings.arithmetic(held_out=False), 30),
        "wide": draw(f"{seed}/wide", wide.harmless_requests(), N_WIDE)
        + draw(f"{seed}/wide near", wide.near_requests(), N_WIDE),
        "held_out": draw(f"{seed}/held_out", held_out.harmless_requests(), N_HELD_OUT),
    }


def read_answers(path: Path) -> dict[str, Answer]:
    """The answers that a file holds, by prompt; none where there is no file."""
    if not path.exists():
        return {}
    rows = (json.loads(line) for line in path.read_text(encoding="utf-8").splitlines())
    return {row["prompt"]: Answer(**row) for row in rows}


def ensure_answers(
    loaded: LoadedModel,
    prompts: Iterable[Prompt],
    path: Path,
    reporter: Reporter,
) -> Mapping[str, Answer]:
    """The model's answers to the prompts; what the file lacks is generated and added to it.

    Args:
        loaded: The model, untouched.
        prompts: What is asked.
        path: A JSON-lines file in the cache; an interrupted run goes on where it stopped.
        reporter: Told the progress.
    """
    known = read_answers(path)
    wanted = list(dict.fromkeys(p.text for p in prompts))
    missing = [text for text in wanted if text not in known]
    random.Random(0).shuffle(missing)  # so that an unfinished file holds some of every group
    with reporter.bar(f"answers of {loaded.name}") as advance:
        for start in range(0, len(missing), CHUNK):
            some = missing[start : start + CHUNK]
            known |= {answer.prompt: answer for answer in _answer(loaded, some)}
            lines = (json.dumps(asdict(a), ensure_ascii=False) + "\n" for a in known.values())
            write_text(path, "".join(lines))
            advance(start + len(some), len(missing), "")
    return {text: known[text] for text in wanted}


def _answer(loaded: LoadedModel, prompts: Sequence[str]) -> list[Answer]:
    done = complete(loaded, list(prompts), max_new_tokens=MAX_NEW_TOKENS, batch_size=CHUNK)
    return [
        Answer(prompt, text.strip(), len(tokens) < MAX_NEW_TOKENS)
        for prompt, text, tokens in zip(prompts, done.texts, done.tokens, strict=True)
    ]
