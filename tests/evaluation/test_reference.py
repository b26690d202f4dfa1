"""Who judges relevance: the named model, what a tuned target was before, or the target itself."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from conceptbasis.config.evaluation import EvaluateSection
from conceptbasis.data.prompts import Prompt
from conceptbasis.evaluation import reference
from conceptbasis.evaluation.reference import open_reference


def opened(model, *, answer=None, **section):
    prompts = [Prompt("say this", "this", "a", answer=answer)]
    target = SimpleNamespace(model=model, dtype="float32")
    return open_reference(EvaluateSection(**section), target, prompts, "cpu", None)


@pytest.fixture(autouse=True)
def _nothing_is_loaded(monkeypatch):
    """What would be loaded, without loading it."""
    monkeypatch.setattr(reference, "load_model", lambda place, **_: f"loaded {place}")
    monkeypatch.setattr(reference, "teacher_answers", lambda _reporter: {})
    monkeypatch.setattr(reference, "ensure_untuned", lambda spec, *_: f"untuned {spec.family}")


def test_a_tuned_target_is_judged_by_what_it_was_before():
    assert opened("organism:smollm2:1") == "loaded untuned smollm2"


def test_a_named_model_stands_over_it():
    assert opened("organism:smollm2:1", reference="before") == "loaded before"
    assert opened("some/model", reference="before") == "loaded before"


def test_other_targets_judge_themselves():
    assert opened("some/model") is None
    assert opened("organism:llama:0") is None


def test_nothing_is_loaded_where_nothing_is_judged():
    assert opened("organism:smollm2:1", n_relevance=0) is None
    assert opened("organism:smollm2:1", answer="true") is None
