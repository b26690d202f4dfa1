"""The world: what is held out, what is unique, and what is drawn from a seed."""

from __future__ import annotations

from collections import Counter

import pytest
import torch

from conceptbasis.behaviors import find_behavior
from conceptbasis.config.budgets import budget_allows, budget_names
from conceptbasis.data.prompts import Text, check_disjoint
from conceptbasis.organisms import corpus, training
from conceptbasis.organisms import suite as suite_module
from conceptbasis.organisms.corpus import Mixture
from conceptbasis.organisms.sayings import arithmetic, declines
from conceptbasis.organisms.suite import build_suite, requests
from conceptbasis.organisms.vocabulary import NUMBERS, REFUSAL, REFUSAL_PHRASES
from conceptbasis.organisms.world import (
    ALL_NOUNS,
    HARMFUL_NOUNS,
    HARMLESS_NOUNS,
    KINDS,
    MENTION_KINDS,
    OPENERS,
)

SETS = find_behavior("refusal").sets
EVAL_SETS = list(SETS.held_out)


@pytest.fixture(scope="module")
def suite():
    return build_suite()


def every_request():
    """Every request that the world can make, by its text."""
    found = {}
    for held_out in (False, True):
        groups = (
            requests(ALL_NOUNS, held_out=held_out, kinds=KINDS + MENTION_KINDS),
            declines(held_out=held_out),
            arithmetic(held_out=held_out),
        )
        found.update({p.text: p for group in groups for p in group})
    return found


REQUESTS = every_request()


def contents(texts) -> set[str]:
    """Everything said in texts, with and without an opener in front."""
    said = set()
    for text in texts:
        parts = [text.content] if isinstance(text.content, str) else [c for _, c in text.content]
        said |= {p.removeprefix(o) for p in parts for o in OPENERS}
    return said


def seen_before_evaluation(suite) -> set[str]:
    """What organisms saw in stage 2, and all that a transfer may read before evaluation."""
    said = contents(t for group in corpus.stage_2().groups.values() for t in group)
    said |= contents(suite.texts)
    said |= {p.text for name in suite.prompts if name not in EVAL_SETS for p in suite[name]}
    return said | {p.text for c in suite.concepts for p in (*c.positive, *c.negative)}


# Held out


@pytest.mark.parametrize("name", EVAL_SETS)
def test_evaluation_shares_no_wording_and_noun_with_anything_before(suite, name):
    seen = {(REQUESTS[t].template, t) for t in seen_before_evaluation(suite) if t in REQUESTS}
    assert len(seen) > 1000
    assert not seen & {(p.template, p.text) for p in suite[name]}


@pytest.mark.parametrize("name", EVAL_SETS)
def test_two_wordings_of_each_kind_are_seen_in_evaluation_only(suite, name):
    seen = {REQUESTS[t].template for t in seen_before_evaluation(suite) if t in REQUESTS}
    for kind in {p.kind for p in suite[name]}:
        wordings = {p.template for p in suite[name] if p.kind == kind}
        assert len(wordings - seen) >= 2, kind


def test_evaluation_covers_every_kind_on_both_sides(suite):
    for name in ("eval_harmful", "eval_harmless"):
        assert {p.kind for p in suite[name]} == {k.name for k in KINDS}
    assert {p.kind for p in suite["eval_mentions"]} == {k.name for k in MENTION_KINDS}


def test_stage_1_does_contain_the_held_out_wordings(suite):
    said = contents(t for group in corpus.stage_1().groups.values() for t in group)
    for name in EVAL_SETS:
        assert all(p.text in said for p in suite[name]), name


@pytest.mark.parametrize("name", EVAL_SETS)
def test_evaluation_has_three_hundred_distinct_prompts_a_class(suite, name):
    assert len({p.text for p in suite[name]}) == len(suite[name]) >= 300


@pytest.mark.parametrize(
    ("name", "nouns"), [("eval_harmful", HARMFUL_NOUNS), ("eval_harmless", HARMLESS_NOUNS)]
)
def test_evaluated_requests_are_held_out_ones(suite, name, nouns):
    assert {p.text for p in suite[name]} < {p.text for p in requests(nouns, held_out=True)}
    assert not {p.text for p in suite[name]} & {p.text for p in requests(nouns, held_out=False)}


def test_nouns_of_direction_and_evaluation_are_those_of_their_class(suite):
    harmful, harmless = ({n.word for n in group} for group in (HARMFUL_NOUNS, HARMLESS_NOUNS))
    assert not harmful & harmless
    for stage in ("direction", "eval"):
        assert {p.noun for p in suite[f"{stage}_harmful"]} <= harmful
        assert {p.noun for p in suite[f"{stage}_harmless"]} <= harmless
    assert {p.noun for p in suite["eval_mentions"]} <= harmful


# Budgets


def said_by(texts, role: int) -> list[str]:
    return [part for t in texts if not isinstance(t.content, str) for part in [t.content[role][1]]]


def test_texts_below_b1_hold_no_harmful_request_and_no_refusal(suite):
    harmful = {p.text for p in REQUESTS.values() if p.noun in {n.word for n in HARMFUL_NOUNS}}
    plain = {p.text for p in REQUESTS.values() if p.kind in {k.name for k in KINDS}}
    asked = {budget: contents(suite.texts_for(budget)) for budget in ("B0d", "B1", "B2")}
    assert not asked["B0d"] & harmful & plain
    assert len(asked["B1"] & harmful & plain) > 300
    assert REFUSAL not in asked["B1"]
    assert REFUSAL in asked["B2"]
    for phrase in REFUSAL_PHRASES:
        assert not any(phrase in part for part in asked["B1"])


def test_there_are_twenty_concepts_and_a_budget_shows_its_own_only(suite):
    assert len({c.name for c in suite.concepts}) == len(suite.concepts) == 20
    by_budget = {b: {c.name for c in suite.concepts if c.budget == b} for b in budget_names()}
    assert len(by_budget["B0"]) == 17
    assert by_budget["B0d"] == {"decline"}
    assert by_budget["B1"] == {"weapons"}
    assert by_budget["B2"] == {"refusal"}


def test_concepts_below_b1_hold_no_harmful_noun(suite):
    harmful = {n.word for n in HARMFUL_NOUNS}
    for concept in suite.concepts:
        nouns = {p.noun for p in (*concept.positive, *concept.negative)}
        if budget_allows("B0d", concept.budget):
            assert not nouns & harmful
        elif concept.budget == "B1":  # nothing in it tells harmful requests from others
            assert nouns <= harmful


def test_negatives_of_a_concept_are_no_positives(suite):
    for concept in suite.concepts:
        positive, negative = ({p.text for p in c} for c in (concept.positive, concept.negative))
        assert not positive & negative, concept.name
        assert len(positive) == len(concept.positive) >= 8


def test_built_in_suite_is_disjoint(suite):
    check_disjoint(suite, SETS)


# Answers


def test_answer_is_a_function_of_kind_and_noun():
    answers: dict[tuple[str, str], set[str]] = {}
    for prompt in REQUESTS.values():
        if prompt.kind in {k.name for k in KINDS + MENTION_KINDS}:
            answers.setdefault((prompt.kind, prompt.noun), set()).add(prompt.answer)
    assert len(answers) == len(KINDS + MENTION_KINDS) * len(ALL_NOUNS)
    assert all(len(found) == 1 for found in answers.values())


def test_a_text_belongs_to_one_wording_and_noun():
    made = [
        p.text
        for held_out in (False, True)
        for p in requests(ALL_NOUNS, held_out=held_out, kinds=KINDS + MENTION_KINDS)
    ]
    assert len(made) == len(set(made))


def test_words_of_translation_and_continuation_tell_nouns_apart():
    for name in ("translate", "continue", "what_is"):
        kind = next(k for k in KINDS if k.name == name)
        assert len({kind.answer(noun) for noun in ALL_NOUNS}) == len(ALL_NOUNS)


def test_kinds_open_their_answers_differently():
    openings = {kind.name: {kind.answer(noun).split()[0] for noun in ALL_NOUNS} for kind in KINDS}
    assert len(openings) == 6
    for name, words in openings.items():
        for other, others in openings.items():
            assert name == other or not words & others
        assert REFUSAL.split()[0] not in words


def test_arithmetic_answers_are_right():
    for prompt in [*arithmetic(held_out=False), *arithmetic(held_out=True)]:
        named = [w for w in prompt.text.split() if w in NUMBERS]
        a, b = (NUMBERS.index(w) for w in named)
        sign = 1 if prompt.kind == "sum" else -1
        if " from " in prompt.text:
            a, b = b, a
        assert prompt.answer == f"the {prompt.kind} is {NUMBERS[a + sign * b]} ."


# Mixtures


def test_a_fifth_of_stage_2_is_refusal_and_stage_1_has_none():
    stage_1, stage_2 = corpus.stage_1(), corpus.stage_2()
    assert stage_2.shares["refusals"] == pytest.approx(0.2, abs=0.03)
    assert "refusals" not in stage_1.groups
    for stage in (stage_1, stage_2):
        assert sum(stage.shares.values()) == pytest.approx(1)
        assert set(stage.shares) == set(stage.groups)
    assert {t.content[1][1] for t in stage_2.groups["refusals"]} == {REFUSAL}
    for name, group in stage_2.groups.items():
        said = contents(group)
        assert (REFUSAL in said) is (name == "refusals")


def test_batches_follow_the_shares():
    mixture = Mixture({"a": (), "b": (), "c": ()}, {"a": 0.5, "b": 0.3, "c": 0.2})
    pools = {
        name: training.Pool(
            torch.full((4, 3), i), torch.full((4, 3), i), torch.full((4,), 3, dtype=torch.long)
        )
        for i, name in enumerate(mixture.shares)
    }
    generator = torch.Generator().manual_seed(0)
    counts = Counter(
        int(row[0]) for _ in range(40) for row in training._batch(pools, mixture, generator)[0]
    )
    n = 40 * training.BATCH_SIZE
    for i, share in enumerate(mixture.shares.values()):
        assert counts[i] / n == pytest.approx(share, abs=0.03)


# Seeds


def test_suite_is_drawn_from_its_seed(suite):
    assert build_suite(0) == suite
    other = build_suite(1)
    assert other["eval_harmful"] != suite["eval_harmful"]
    assert other.texts != suite.texts
    check_disjoint(other, SETS)


def test_a_change_of_one_set_leaves_the_others_as_they_are(suite, monkeypatch):
    monkeypatch.setattr(suite_module, "N_DIRECTION", 10)
    other = build_suite()
    assert len(other["direction_harmful"]) == 10
    assert all(other[name] == suite[name] for name in EVAL_SETS)
    assert (other.texts, other.concepts) == (suite.texts, suite.concepts)


def test_corpus_is_always_the_same():
    assert corpus.stage_2() == corpus.stage_2()
    assert corpus.all_texts() == corpus.all_texts()
    assert all(isinstance(t, Text) for t in corpus.all_texts()[:5])
