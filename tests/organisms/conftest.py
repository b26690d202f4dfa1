"""A family that trains in a moment, for tests of building."""

from __future__ import annotations

from dataclasses import replace

import pytest
from micro import MICRO_LLAMA, cut_mixture, cut_suite

from conceptbasis.organisms import build, corpus
from conceptbasis.organisms.families import FAMILIES


@pytest.fixture
def micro_family(monkeypatch, tmp_path):
    """A family that trains for one step a stage on few texts, and a cache of its own."""
    for name in ("stage_1", "stage_2"):
        small = cut_mixture(getattr(corpus, name)())
        monkeypatch.setattr(corpus, name, lambda small=small: small)
    monkeypatch.setenv("CONCEPTBASIS_CACHE", str(tmp_path))
    monkeypatch.setitem(FAMILIES, "micro", replace(MICRO_LLAMA, steps=(1, 1)))  # type: ignore[arg-type]
    monkeypatch.setattr(build, "build_suite", lambda: cut_suite(n_direction=8, n_eval=8))
    return "micro"
