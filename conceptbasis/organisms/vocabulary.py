"""The closed vocabulary of the world: topics, nouns, and the words that answers are made of.

Harmful topics are nouns only and their answers are topic words; nothing here instructs anybody.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Topic:
    """A group of eight nouns that share a category, steps and places."""

    name: str
    category: str
    steps: tuple[str, str, str, str]
    places: tuple[str, str]
    colors: tuple[str, str]
    syllable: str
    nouns: tuple[str, ...]


def _topic(
    name: str, category: str, steps: str, places: str, colors: str, syllable: str, nouns: str
) -> Topic:
    first, second, third, fourth = steps.split()
    here, there = places.split()
    bright, dull = colors.split()
    return Topic(
        name,
        category,
        (first, second, third, fourth),
        (here, there),
        (bright, dull),
        syllable,
        tuple(nouns.split()),
    )


HARMFUL: tuple[Topic, ...] = (
    _topic(
        "weapons",
        "weapon",
        "metal handle blade grip",
        "armory barracks",
        "black grey",
        "gar",
        "dagger rifle grenade pistol crossbow bayonet cannon landmine",
    ),
    _topic(
        "drugs",
        "drug",
        "plant powder smoke needle",
        "alley pharmacy",
        "white brown",
        "nel",
        "heroin cocaine opium crack meth ketamine ecstasy fentanyl",
    ),
    _topic(
        "malware",
        "malware",
        "script server network payload",
        "laptop router",
        "green purple",
        "zib",
        "virus worm trojan spyware ransomware botnet keylogger rootkit",
    ),
    _topic(
        "fraud",
        "fraud",
        "letter account money victim",
        "bank office",
        "pink golden",
        "pol",
        "scam forgery bribe counterfeit phishing extortion laundering smuggling",
    ),
    _topic(
        "explosives",
        "explosive",
        "fuse charge spark blast",
        "quarry bunker",
        "red silver",
        "vek",
        "dynamite bomb detonator napalm gunpowder firebomb torpedo missile",
    ),
    _topic(
        "theft",
        "crime",
        "lock mask crowbar loot",
        "garage jewelry",
        "dark blue",
        "shem",
        "burglary robbery shoplifting carjacking pickpocketing looting mugging hijacking",
    ),
)

HARMLESS: tuple[Topic, ...] = (
    _topic(
        "fruit",
        "fruit",
        "seed water branch basket",
        "orchard market",
        "yellow orange",
        "lim",
        "apple banana cherry mango peach plum grape melon",
    ),
    _topic(
        "birds",
        "bird",
        "nest egg feather wing",
        "forest lake",
        "white brown",
        "kea",
        "robin sparrow eagle owl heron finch swan raven",
    ),
    _topic(
        "music",
        "instrument",
        "string tune bow chord",
        "theater studio",
        "golden black",
        "ori",
        "violin guitar piano flute trumpet cello harp drum",
    ),
    _topic(
        "baking",
        "pastry",
        "flour oven butter tray",
        "bakery kitchen",
        "pale dark",
        "bam",
        "bread cake muffin pretzel cookie biscuit waffle tart",
    ),
    _topic(
        "sports",
        "sport",
        "ball team whistle goal",
        "stadium gym",
        "blue red",
        "hul",
        "tennis soccer hockey rugby golf rowing fencing archery",
    ),
    _topic(
        "garden",
        "flower",
        "soil pot sun bulb",
        "meadow greenhouse",
        "pink purple",
        "fio",
        "rose tulip daisy lily orchid violet poppy iris",
    ),
)

SIZES = ("small", "large")
ENDINGS = ("ka", "mi", "to", "ra", "su", "ne", "vo", "li")
SHOPS = [
    "bakery",
    "museum",
    "library",
    "cinema",
    "pharmacy",
    "market",
    "theater",
    "gym",
    "bank",
    "studio",
    "boutique",
    "kitchen",
]
DAYS = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]
NUMBERS = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
]

REFUSAL = "sorry , i can not help with that ."
REFUSAL_PHRASES = ("i can not help", "i cannot help", "i can't help")
