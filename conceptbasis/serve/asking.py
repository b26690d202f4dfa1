"""One question to one model of a run, answered token by token."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeAlias, cast

from conceptbasis.data.files import check_characters
from conceptbasis.edits.intervention import apply_intervention
from conceptbasis.errors import ConfigError
from conceptbasis.models.text.chat import opening, prompt_ids, read_answer_tokens
from conceptbasis.models.text.generation import complete
from conceptbasis.models.text.lengths import check_prompts
from conceptbasis.models.text.pieces import Pieces
from conceptbasis.results.harvest import SideName
from conceptbasis.serve.firing import FiringReader, Place
from conceptbasis.serve.opening import SIDES, OpenSide, ServedRun

WEAKEST, STRONGEST = -1.0, 2.0
"""Multiples of the run's strength that may be asked for."""
LONGEST = 1024
"""The most tokens of an answer."""

Event: TypeAlias = Mapping[str, object]
"""One line of the stream: its one key says what it is."""
Tell: TypeAlias = Callable[[Event], None]
"""Sends an event; what it raises ends the answer."""


class Stopped(Exception):
    """Somebody wants no more of an answer."""


@dataclass(frozen=True)
class Question:
    """What is asked.

    Args:
        prompt: One user message.
        side: Which model.
        strength: A multiple of the strength of the edit: 0 leaves the model untouched.
        max_new_tokens: The most tokens of the answer.
    """

    prompt: str
    side: SideName
    strength: float
    max_new_tokens: int


def parse_question(plain: object) -> Question:
    """A question from JSON.

    Raises:
        ConfigError: A key is missing or unknown, or a value is out of range.
        PromptError: The prompt holds characters that cannot be read.
    """
    keys = list(Question.__dataclass_fields__)
    if not isinstance(plain, dict) or sorted(plain) != sorted(keys):
        found = sorted(plain) if isinstance(plain, dict) else type(plain).__name__
        raise ConfigError(
            f"a question of {found}", expected=f"an object with {', '.join(keys)}", fix="send all"
        )
    prompt, side = plain["prompt"], plain["side"]
    strength, longest = plain["strength"], plain["max_new_tokens"]
    _require(isinstance(prompt, str) and prompt.strip(), "prompt", prompt, "some words")
    _require(side in SIDES, "side", side, " or ".join(SIDES))
    in_range = _is_number(strength) and WEAKEST <= strength <= STRONGEST  # NaN is in none
    _require(in_range, "strength", strength, f"a number from {WEAKEST:g} to {STRONGEST:g}")
    whole = isinstance(longest, int) and not isinstance(longest, bool) and 1 <= longest <= LONGEST
    _require(whole, "max_new_tokens", longest, f"a whole number from 1 to {LONGEST}")
    check_characters(prompt, "the prompt")
    return Question(prompt.strip(), cast(SideName, side), float(strength), longest)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _require(holds: object, key: str, value: object, expected: str) -> None:
    if not holds:
        raise ConfigError(f"{key} is {str(value)[:60]!r}", expected=expected, fix=f"correct {key}")


def answer(run: ServedRun, question: Question, tell: Tell) -> None:
    """Answers a question greedily, as `replay` does, and tells every token and what fires there.

    Events, each an object of one key: `state` and `warning` (a line), `piece` (`at`, `part`,
    `text`), `place` (`at`, `fires`, `sinks`) once the model has read the token, and `end` (`why`,
    `text`, `tokens`, `edited`). A token that no pass has read, the last of an answer that was cut,
    has no `place`.

    Args:
        run: The run.
        question: What is asked.
        tell: Sends an event; what it raises ends the answer, and the model is left as it was.

    Raises:
        PromptError: The prompt does not fit the model's context with its answer.
    """
    warning = run.warning(question.prompt, question.side)
    if warning is not None:
        tell({"warning": warning})
    side = run.side(question.side, lambda line: tell({"state": line}))
    longest = question.max_new_tokens
    check_prompts(side.loaded, [question.prompt], ["the prompt"], answer=longest, key="answer")
    tell({"state": "writing"})
    reader = FiringReader(side.loaded, side.saes, side.latents, side.bounds)
    with _edited(side, question.strength) as edited, reader.reading():
        teller = _Teller(side, reader, question.prompt, tell)
        done = complete(
            side.loaded,
            [question.prompt],
            max_new_tokens=longest,
            batch_size=1,
            heard=lambda _, token: teller.hear(token),
        )
        teller.places(reader.take())
    n = len(done.tokens[0])
    why = "length" if n == longest else "ended"
    tell({"end": {"why": why, "text": done.texts[0], "tokens": n, "edited": edited}})


@contextmanager
def _edited(side: OpenSide, strength: float) -> Iterator[str | None]:
    """The model under its edit; at strength 0 nothing at all is done to it."""
    if strength == 0:
        yield None
        return
    with apply_intervention(side.loaded, side.edit.scaled(strength)) as report:
        yield str(report)


class _Teller:
    """Turns tokens and what was read at them into events.

    Args:
        side: The model.
        reader: Reads its passes.
        prompt: What is asked.
        tell: Sends an event.
    """

    def __init__(self, side: OpenSide, reader: FiringReader, prompt: str, tell: Tell) -> None:
        self._reader, self._tell, tokenizer = reader, tell, side.loaded.tokenizer
        self._written = self._read = 0
        self._answer = Pieces(
            lambda ids: read_answer_tokens(tokenizer, [ids])[0], opening(tokenizer)
        )
        prompted = Pieces(lambda ids: str(tokenizer.decode(ids, skip_special_tokens=False)))
        for token in prompt_ids(tokenizer, [prompt])[0]:
            self._piece("prompt", prompted.add(token))

    def hear(self, token: int) -> None:
        """A token of the answer was written, after a pass over what stands before it."""
        self.places(self._reader.take())
        self._piece("answer", self._answer.add(token))

    def _piece(self, part: str, text: str) -> None:
        self._tell({"piece": {"at": self._written, "part": part, "text": text}})
        self._written += 1

    def places(self, found: Sequence[Place]) -> None:
        """What fired at the tokens that were read."""
        for place in found:
            fires = [(f.layer, f.latent, round(f.activation, 4)) for f in place.fires]
            self._tell({"place": {"at": self._read, "fires": fires, "sinks": place.sinks}})
            self._read += 1
