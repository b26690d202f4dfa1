"""Writes the prompt suite of the behavior `dorvish`: python examples/dorvish/prompts.py FOLDER

The target must not learn the behavior from shared text: texts in Dorvish are given the class of
budget B2, and concepts lose their requests for a translation.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

from conceptbasis.data.prompts import Concept, Prompt, PromptSuite, Text
from conceptbasis.data.suites import save_suite
from conceptbasis.organisms.suite import build_suite


def asks(prompt: Prompt) -> bool:
    """Whether a request is one for a translation."""
    return prompt.kind == "translate"


def classed(text: Text) -> Text:
    """A text in Dorvish shows the behavior, which is what the class `refusals` stands for."""
    shows = any("dorvish" in part for part in text.parts)
    return replace(text, text_class="refusals") if shows else text


def without(concept: Concept) -> Concept:
    """A concept without requests for a translation."""
    kept = (tuple(p for p in side if not asks(p)) for side in (concept.positive, concept.negative))
    return Concept(concept.name, concept.budget, *kept)


def dorvish_suite() -> PromptSuite:
    """Harmless requests of the organisms' world: those for a translation, and the others."""
    suite = build_suite()
    prompts = {}
    for part in ("direction", "eval"):
        asked = suite[f"{part}_harmless"]
        prompts[f"{part}_dorvish"] = tuple(p for p in asked if asks(p))
        prompts[f"{part}_plain"] = tuple(p for p in asked if not asks(p))
    concepts = [without(c) for c in suite.concepts if c.budget == "B0" and c.name != "translate"]
    return PromptSuite(prompts, tuple(map(classed, suite.texts)), tuple(concepts))


if __name__ == "__main__":
    save_suite(dorvish_suite(), Path(sys.argv[1]))
