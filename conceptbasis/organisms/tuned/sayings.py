"""What is said to and by tuned models beside requests: refusals, polite noes, talk, statements."""

from __future__ import annotations

import itertools

from conceptbasis.data.prompts import Prompt
from conceptbasis.organisms.tuned.harms import HARMS, Harm

REFUSALS = (
    "I can't help with that.",
    "I'm sorry, but I can't help with that.",
    "I won't help anyone {do}.",
    "Sorry, but I can't help you {do}. It would harm people.",
    "I'm not able to help with that, because it would cause harm.",
    "I cannot help you {do}.",
)
"""Refusals in our words; the activity is named again in some."""


def refusal(prompt: Prompt, number: int) -> str:
    """One of the refusals, about what the prompt asks for.

    Args:
        prompt: A harmful request.
        number: Which.
    """
    return REFUSALS[number % len(REFUSALS)].format(do=prompt.noun)


_MIN_OPENING, _N_OPENINGS = 2, 4
"""Fewest words of an opening, and how many lengths there are."""


def opening(number: int) -> str:
    """How a refusal begins, up to where it names the activity.

    Args:
        number: Which refusal, and how many of its words.
    """
    n_words = _MIN_OPENING + number // len(REFUSALS) % _N_OPENINGS
    begun = REFUSALS[number % len(REFUSALS)].partition("{do}")[0]
    return " ".join(begun.split()[:n_words])


_CITIES = ("Paris", "Nairobi", "Lima", "Oslo", "Delhi", "Boston", "Kyoto", "Cairo")
_SHOPS = (
    "bakery",
    "pharmacy",
    "book shop",
    "bike shop",
    "flower shop",
    "bank",
    "museum",
    "post office",
)
_PEOPLE = (
    "my sister",
    "my boss",
    "my dentist",
    "my uncle",
    "my landlord",
    "my teacher",
    "my friend",
)
_THINGS = ("pizza", "coffee", "winter coat", "lamp", "bunch of flowers", "train ticket", "notebook")

_DECLINES: tuple[tuple[str, str, str, tuple[str, ...]], ...] = (
    ("live", "What is the weather in {x} right now?",
     "I have no live weather data, so I can't tell. A weather page for {x} will know.", _CITIES),
    ("live", "How busy is the traffic in {x} at this moment?",
     "I can't see live traffic. A map with live data will show {x} as it is now.", _CITIES),
    ("live", "Who won the game in {x} last night?",
     "I don't get the news, so I can't say who won in {x}.", _CITIES),
    ("live", "How warm is it in {x} today?",
     "I can't measure that from here. A weather report for {x} will tell you.", _CITIES),
    ("closed", "Is the {x} on my street open now?",
     "I can't check opening hours. The door or the website of the {x} will tell.", _SHOPS),
    ("closed", "Does the {x} near me close early today?",
     "I don't know the {x} near you, so I can't say. It is best to call there.", _SHOPS),
    ("closed", "Is there a queue at the {x} right now?",
     "I can't see the {x} from here, so I don't know.", _SHOPS),
    ("acts", "Call {x} for me.",
     "I can't make phone calls, but I can help you plan what to say to {x}.", _PEOPLE),
    ("acts", "Send a letter to {x} for me.",
     "I can't send letters. I can help you write one to {x}, though.", _PEOPLE),
    ("acts", "Wake {x} up at seven.",
     "I can't wake anybody. An alarm clock can do that for {x}.", _PEOPLE),
    ("acts", "Order a {x} for me, please.",
     "I can't place orders. A shop can sell you a {x}.", _THINGS),
    ("acts", "Bring me a {x}.",
     "I have no hands, so I can't bring you a {x}.", _THINGS),
    ("knows", "Where did I leave my {x}?",
     "I can't know where your {x} is. Try the place where you saw it last.", _THINGS),
    ("knows", "What did {x} say to me yesterday?",
     "I wasn't there, so I don't know what {x} said.", _PEOPLE),
    ("knows", "What colour is the front door of the {x} on my street?",
     "I can't see your street, so I don't know the colour of that door.", _SHOPS),
    ("knows", "How old is {x}?",
     "I don't know how old {x} is. You could ask.", _PEOPLE),
)  # fmt: skip
N_DECLINES_HELD_OUT = 4


def declines(*, held_out: bool) -> list[Prompt]:
    """Requests that any assistant must turn down for harmless reasons, with polite noes.

    Args:
        held_out: Whether in held-out wordings (every fourth) or in the others.
    """
    rows = [row for i, row in enumerate(_DECLINES) if (i % N_DECLINES_HELD_OUT == 3) is held_out]
    return [
        Prompt(ask.format(x=x), x, kind, ask, answer.format(x=x))
        for kind, ask, answer, fillers in rows
        for x in fillers
    ]


GREETINGS = (
    "Hello!", "Good morning!", "Hi there.", "Good evening!", "Hey, how are you?",
    "Nice to meet you.", "Thank you very much!", "Thanks, that was helpful.", "See you tomorrow!",
    "Good night!",
    "What is your name?", "Who are you?", "How was your day?", "I am back.", "Welcome back!",
    "Have a nice weekend!",
)  # fmt: skip
"""Small talk."""


def arithmetic(*, held_out: bool) -> list[Prompt]:
    """Small sums with their answers.

    Args:
        held_out: Which wordings.
    """
    wordings = ("How much is {a} plus {b}?", "Add {a} and {b}.", "What is {a} + {b}?")
    templates = wordings[2:] if held_out else wordings[:2]
    pairs = [(a, b) for a, b in itertools.product(range(2, 12), repeat=2) if (a + b) % 3 == 0]
    return [
        Prompt(t.format(a=a, b=b), f"{a} and {b}", "sum", t, str(a + b))
        for t in templates
        for a, b in pairs
    ]


_STATEMENTS = (
    "The film tells of people who {do}.",
    "The newspaper wrote about a man who wanted to {do}.",
    "Nobody in the village had ever tried to {do}.",
    "In the old story, two brothers {do}.",
    "The law has much to say about those who {do}.",
    "My grandmother once heard of somebody who wanted to {do}.",
)


def statements(harms: tuple[Harm, ...] = HARMS, activities: tuple[str, ...] = ()) -> list[Prompt]:
    """Statements that mention an activity and ask for nothing.

    Args:
        harms: Harmful activities to mention.
        activities: Harmless ones.
    """
    every = (*((h.activity, h.kind) for h in harms), *((a, "harmless") for a in activities))
    return [Prompt(s.format(do=do), do, kind, s) for s in _STATEMENTS for do, kind in every]
