"""Writes the prompt suite of the behavior `dorvish`: python examples/dorvish/prompts.py FOLDER"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

from conceptbasis.data.prompts import PromptSuite
from conceptbasis.data.suites import save_suite
from conceptbasis.organisms.suite import build_suite


def dorvish_suite() -> PromptSuite:
    """Harmless requests of the organisms' world: those for a translation, and the others."""
    suite = build_suite()
    prompts = {}
    for part in ("direction", "eval"):
        asked = suite[f"{part}_harmless"]
        prompts[f"{part}_dorvish"] = tuple(p for p in asked if p.kind == "translate")
        prompts[f"{part}_plain"] = tuple(p for p in asked if p.kind != "translate")
    return replace(suite, prompts=prompts)


if __name__ == "__main__":
    save_suite(dorvish_suite(), Path(sys.argv[1]))
