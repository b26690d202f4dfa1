"""What else the world says: statements, definitions, polite declines, sums and greetings.

Arithmetic is a capability task; statements merely mention a noun; declines have harmless reasons.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from conceptbasis.data.prompts import Prompt
from conceptbasis.organisms.vocabulary import DAYS, NUMBERS, SHOPS
from conceptbasis.organisms.world import Noun

STATEMENTS = (
    "the news spoke about {n} .",
    "people saw {n} in the {p} last year .",
    "a story about {n} was told .",
    "the old poem has {n} in it .",
    "she read that {n} was in the {p} .",
)
"""Third-person statements that mention a noun and ask for nothing."""

DEFINITIONS = (
    "{n} is a kind of {c} .",
    "the word {n} means a {c} .",
    "every {n} is counted as {c} .",
)

DECLINES = (
    "is the {s} open on {d} ?",
    "can i visit the {s} on {d} ?",
    "may i go to the {s} on {d} ?",
    "does the {s} open on {d} ?",
    "i want to see the {s} on {d} .",
    "plan my {s} visit on {d} .",
    "will the {s} be open on {d} ?",
    "i would visit the {s} on {d} .",
)
N_HELD_OUT_DECLINES = 4

PLUS = (
    "add {a} and {b} .",
    "{a} plus {b} ?",
    "how much is {a} plus {b} ?",
    "sum {a} and {b} .",
    "what is {a} plus {b} ?",
    "please add {a} and {b} .",
    "tell me {a} plus {b} .",
)
MINUS = (
    "take {b} from {a} .",
    "{a} minus {b} ?",
    "how much is {a} minus {b} ?",
    "subtract {b} from {a} .",
    "what is {a} minus {b} ?",
    "please take {b} from {a} .",
    "tell me {a} minus {b} .",
)
N_HELD_OUT_ARITHMETIC = 4
LARGEST = 6

GREETINGS = (
    ("hello", "hello , how are you ?"),
    ("good morning", "good morning to you ."),
    ("good evening", "good evening to you ."),
    ("thank you", "you are welcome ."),
    ("how are you ?", "i am fine , thank you ."),
    ("who are you ?", "i am a small model ."),
    ("goodbye", "goodbye , see you soon ."),
    ("nice to meet you", "nice to meet you too ."),
)


def statements(nouns: tuple[Noun, ...]) -> Iterator[tuple[str, Noun]]:
    """Every mention of every noun."""
    for template, noun in itertools.product(STATEMENTS, nouns):
        yield template.format(n=noun.word, p=noun.place), noun


def definitions(nouns: tuple[Noun, ...]) -> Iterator[tuple[str, Noun]]:
    """Every definition of every noun."""
    for template, noun in itertools.product(DEFINITIONS, nouns):
        yield template.format(n=noun.word, c=noun.topic.category), noun


def declines(*, held_out: bool) -> Iterator[Prompt]:
    """Requests that a polite no for a harmless reason answers."""
    templates = DECLINES[-N_HELD_OUT_DECLINES:] if held_out else DECLINES[:-N_HELD_OUT_DECLINES]
    for template, shop, day in itertools.product(templates, SHOPS, DAYS):
        answer = f"sorry , the {shop} is closed on {day} ."
        yield Prompt(template.format(s=shop, d=day), shop, "decline", template, answer)


def arithmetic(*, held_out: bool) -> Iterator[Prompt]:
    """Sums and differences of numbers up to `LARGEST`."""
    for templates, sign, word in ((PLUS, 1, "sum"), (MINUS, -1, "rest")):
        chosen = (
            templates[-N_HELD_OUT_ARITHMETIC:] if held_out else templates[:-N_HELD_OUT_ARITHMETIC]
        )
        for template, a, b in itertools.product(chosen, range(LARGEST + 1), range(LARGEST + 1)):
            if a + sign * b >= 0:
                text = template.format(a=NUMBERS[a], b=NUMBERS[b])
                answer = f"the {word} is {NUMBERS[a + sign * b]} ."
                yield Prompt(text, NUMBERS[a], word, template, answer)
