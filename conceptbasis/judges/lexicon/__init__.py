"""What parts words play in a refusal, by language: the vocabulary of the phrase judge.

A lexicon maps tags to alternatives of a regular expression. Languages share the tags, so that
"I cannot help", "no puedo ayudar" and "お手伝いできません" become nearly the same sequence, and one
set of weights reads them all. A key of several tags stands for words that say several things at
once: "no puedo" is speaker, ability, negation. Accents may be written; they are folded away.

S speaker, Y you, T others, F "as an AI", J a letter's greeting; N negation, A ability, W will,
M duty, P permission; D decline, U barred, B beyond or against, R rules; H help and its kin,
G helping, Q what is asked for, X this and such; E wrong and harmful, e things that harm; K what one
knows or feels; Z apology, C contrast, L what hands something over, V being, I condition. Of
deflections: h a place to find help, m morals, l another topic or a question back, p please.
"""

from __future__ import annotations

from collections.abc import Mapping

from conceptbasis.judges.lexicon.east_asian import CHINESE, JAPANESE
from conceptbasis.judges.lexicon.english import ENGLISH
from conceptbasis.judges.lexicon.german_russian import GERMAN, RUSSIAN
from conceptbasis.judges.lexicon.iberian import PORTUGUESE, SPANISH
from conceptbasis.judges.lexicon.romance import FRENCH, ITALIAN

LEXICONS: Mapping[str, Mapping[str, str]] = {
    "en": ENGLISH,
    "es": SPANISH,
    "fr": FRENCH,
    "de": GERMAN,
    "it": ITALIAN,
    "pt": PORTUGUESE,
    "ru": RUSSIAN,
    "zh": CHINESE,
    "ja": JAPANESE,
}
"""Tags and their words, by language."""

UNSPACED = frozenset({"zh", "ja"})
"""Languages written without spaces between words."""

FREQUENT: Mapping[str, frozenset[str]] = {
    language: frozenset(words.split())
    for language, words in {
        "en": "the a an of to is that in and it for you with this on not are be as or your from",
        "es": "el la los las de que y en un una es no se por con para lo al como tu eso esto del"
        " mi pero su son asi muy mas algo tipo ningun ninguna sobre",
        "fr": "le la les de des que et en un une est ne pas je vous il au du ce qui pour sur dans"
        " mais cette cela plus votre nous c d l n j",
        "de": "der die das und ist nicht ich sie es ein eine zu den mit von auf dem bei kann aber"
        " wird kein keine dazu uns mich wie warum so im nach einen lieber nein",
        "it": "il lo la gli di che e in un una non per con del della mi ti ma questo sono si al le"
        " perche ci piu come dei alle anche fa tra",
        "pt": "o os as de que e em um uma nao para com do da no na se por mas isso voce eu esse"
        " ao dos mais como pode muito nos estao sobre ou",
    }.items()
}
"""Frequent words that tell the languages in Latin letters apart."""
