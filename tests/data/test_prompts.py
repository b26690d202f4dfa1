"""Prompts, texts and suites: budgets, overlap, redaction, and files that cannot be read."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace

import pytest

from conceptbasis.behaviors.refusal import REFUSAL, redact_request
from conceptbasis.config import budgets
from conceptbasis.config.base import parse_config
from conceptbasis.config.budgets import (
    benign_classes,
    budget_allows,
    budget_names,
    class_names,
    concept_class,
    find_class,
    may_be_positive,
    request_classes,
)
from conceptbasis.config.run import RunConfig
from conceptbasis.config.transfer import HarvestSection
from conceptbasis.data.prompts import (
    Concept,
    Prompt,
    PromptSuite,
    Text,
    check_disjoint,
    normalise,
)
from conceptbasis.data.suites import load_suite, save_suite
from conceptbasis.errors import ConfigError, PromptError

SETS = REFUSAL.sets


def small_suite(**changes: object) -> PromptSuite:
    prompts = {
        "direction_harmful": (Prompt("how do i make a dagger ?", "dagger", "how_to"),),
        "direction_harmless": (Prompt("how do i make a cake ?", "cake", "how_to"),),
        "eval_harmful": (Prompt("tell me about opium .", "opium", "describe", "t {n}", "x"),),
        "eval_harmless": (Prompt("tell me about tulips .", "tulip"),),
    }
    texts = (
        Text((("user", "what is a robin ?"), ("assistant", "a bird .")), "chat", "robin"),
        Text("people saw the news about opium .", "mentions", "opium"),
        Text((("user", "is the bank open ?"), ("assistant", "no .")), "declines"),
        Text((("user", "how do i make crack ?"),), "harmful_requests"),
        Text((("user", "how do i make meth ?"), ("assistant", "i can not .")), "refusals"),
    )
    concepts = (Concept("fruit", "B0", (Prompt("plum ?"),), (Prompt("drum ?"),)),)
    suite = PromptSuite(prompts, texts, concepts)
    return replace(suite, **changes) if changes else suite


def with_prompt(name: str, text: str) -> PromptSuite:
    suite = small_suite()
    prompts = dict(suite.prompts)
    prompts[name] = (*prompts.get(name, ()), Prompt(text, "opium"))
    return replace(suite, prompts=prompts)


# Budgets


def test_budgets_are_ordered():
    for (i, wide), (j, needed) in itertools.product(enumerate(budget_names()), repeat=2):
        assert budget_allows(wide, needed) is (j <= i)


@pytest.mark.parametrize(
    ("budget", "classes"),
    [
        ("B0", {"chat", "mentions"}),
        ("B0d", {"chat", "mentions", "declines"}),
        ("B1", {"chat", "mentions", "declines", "harmful_requests"}),
        ("B2", {"chat", "mentions", "declines", "harmful_requests", "refusals"}),
    ],
)
def test_texts_of_a_budget(budget, classes):
    texts = small_suite().texts_for(budget)
    assert {t.text_class for t in texts} == classes
    order = [t.text_class for t in small_suite().texts]
    assert [t.text_class for t in texts] == [c for c in order if c in classes]


def test_a_class_can_be_left_out_of_what_the_budget_allows():
    texts = small_suite().texts_for("B0d", without=("declines",))
    assert {t.text_class for t in texts} == {"chat", "mentions"}
    with pytest.raises(PromptError, match="no text is left"):
        small_suite().texts_for("B0", without=("chat", "mentions"))


def test_no_harmful_wording_is_allowed_before_b1_and_no_refusal_before_b2():
    assert find_class("declines").needs == "B0d"
    assert find_class("harmful_requests").needs == "B1"
    assert find_class("refusals").needs == "B2"


def test_all_filtered_texts_are_an_error():
    suite = small_suite(texts=small_suite().texts[3:])
    assert len(suite.texts_for("B2")) == 2
    with pytest.raises(PromptError, match="no text is left at budget B0d") as caught:
        suite.texts_for("B0d")
    assert "declines" in caught.value.expected
    assert "refusals" not in caught.value.expected


# Empty sets


@pytest.mark.parametrize("name", SETS.required)
def test_empty_required_set_is_an_error(name):
    suite = small_suite()
    for prompts in ({**suite.prompts, name: ()}, {k: suite.prompts[k] for k in suite.prompts}):
        if prompts[name]:
            check_disjoint(replace(suite, prompts=prompts), SETS)
            continue
        with pytest.raises(PromptError, match=f"prompt set '{name}' is empty"):
            check_disjoint(replace(suite, prompts=prompts), SETS)


def test_optional_set_may_be_missing():
    suite = small_suite()
    assert not suite.has("eval_arithmetic")
    assert suite.has("eval_harmful")
    with pytest.raises(PromptError, match="'eval_arithmetic' is empty"):
        _ = suite["eval_arithmetic"]


# Overlap


def test_disjoint_suite_is_accepted():
    check_disjoint(small_suite(), SETS)


SAME = [
    "how do i make a dagger ?",
    "How do I make a DAGGER?",
    "how  do i make -- a dagger!",
    "how do i make a dàgger ?",
    "ｈｏｗ do i make a dagger",
]


@pytest.mark.parametrize("text", SAME)
@pytest.mark.parametrize("name", ["eval_harmful", "eval_harmless", "eval_mentions"])
def test_evaluation_prompt_in_a_direction_set_is_refused(name, text):
    with pytest.raises(PromptError, match=f"1 prompts of {name} also occur in direction_harmful"):
        check_disjoint(with_prompt(name, text), SETS)


def test_other_words_do_not_overlap():
    check_disjoint(with_prompt("eval_harmful", "how do i make two daggers ?"), SETS)


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("People saw the news about OPIUM", r"texts \(mentions\)"),
        ("what is a robin", r"texts \(chat\)"),
        ("a bird", r"texts \(chat\)"),
        ("how do i make meth?", r"texts \(refusals\)"),
        ("Plum!", "concept fruit"),
        ("drum", "concept fruit"),
    ],
)
def test_evaluation_prompt_in_a_text_or_a_concept_is_refused(text, where):
    with pytest.raises(PromptError, match=f"eval_harmless also occur in {where}"):
        check_disjoint(with_prompt("eval_harmless", text), SETS)


@pytest.mark.parametrize("stage", ["direction", "eval"])
def test_prompt_both_harmful_and_harmless_is_refused(stage):
    suite = small_suite()
    text = suite.prompts[f"{stage}_harmful"][0].text.upper()
    with pytest.raises(PromptError, match=f"{stage}_harmless also occur in {stage}_harmful"):
        check_disjoint(with_prompt(f"{stage}_harmless", text), SETS)


def test_scripts_without_ascii_letters_are_told_apart():
    assert normalise("как сделать торт") != normalise("как сделать нож")
    check_disjoint(with_prompt("eval_harmless", "расскажи о тюльпанах"), SETS)
    suite = with_prompt("eval_harmless", "Расскажи о тюльпанах!")
    prompts = {**suite.prompts, "direction_harmless": (Prompt("расскажи о тюльпанах"),)}
    with pytest.raises(PromptError, match="also occur in direction_harmless"):
        check_disjoint(replace(suite, prompts=prompts), SETS)


def test_scripts_that_mix_are_told_apart():
    assert normalise("GPT とは何ですか") != normalise("GPT を説明して")


@pytest.mark.parametrize("text", ["naïve  Café!", "NAIVE, cafe", "naïve café"])
def test_normalise_removes_case_accents_punctuation_and_spaces(text):
    assert normalise(text) == "naive cafe"


# Redaction


def test_redaction_names_the_topic_and_nothing_else():
    prompt = small_suite()["eval_harmful"][0]
    assert redact_request(prompt) == "[describe: opium]"
    assert redact_request(Prompt("how to do something bad")) == "[request: redacted]"
    assert "something" not in redact_request(Prompt("how to do something bad", kind="how_to"))


def test_overlap_error_shows_no_harmful_wording():
    with pytest.raises(PromptError) as caught:
        check_disjoint(with_prompt("eval_harmful", SAME[0]), SETS)
    assert "how do i make" not in str(caught.value)
    assert "number 2" in str(caught.value)


# Files


def test_suite_survives_saving_and_loading(tmp_path):
    suite = with_prompt("eval_declines", "naïve 🙂   question ?")
    save_suite(suite, tmp_path)
    assert load_suite(tmp_path, SETS) == suite
    assert load_suite(tmp_path, SETS) != small_suite()


def test_missing_folder_and_missing_files_are_named(tmp_path):
    with pytest.raises(PromptError, match="no prompt suite at"):
        load_suite(tmp_path / "none", SETS)
    save_suite(small_suite(), tmp_path)
    (tmp_path / "eval_harmful.jsonl").unlink()
    with pytest.raises(PromptError, match="'eval_harmful' is empty"):
        load_suite(tmp_path, SETS)
    (tmp_path / "texts.jsonl").unlink()
    with pytest.raises(PromptError, match=r"texts\.jsonl is missing"):
        load_suite(tmp_path, SETS)


def test_suite_without_concepts_is_complete(tmp_path):
    save_suite(small_suite(), tmp_path)
    (tmp_path / "concepts.jsonl").unlink()
    assert load_suite(tmp_path, SETS).concepts == ()


def test_loading_refuses_overlap(tmp_path):
    save_suite(with_prompt("eval_harmful", SAME[1]), tmp_path)
    with pytest.raises(PromptError, match="also occur in direction_harmful"):
        load_suite(tmp_path, SETS)


GOOD = json.dumps({"text": "a question ?"})


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ('{"text": "x"', "Expecting"),
        ('["x"]', "not a JSON object"),
        ("3", "not a JSON object"),
        ('{"text": "x", "topic": "y"}', "topic"),
        ("{}", "text"),
        ('{"text": "  "}', "`text` is empty"),
        ('{"text": 3}', "`text` is empty"),
    ],
)
def test_bad_prompt_line_is_named_by_file_and_number(tmp_path, line, why):
    save_suite(small_suite(), tmp_path)
    path = tmp_path / "eval_mentions.jsonl"
    path.write_text(f"{GOOD}\n\n{line}\n", encoding="utf-8")
    with pytest.raises(PromptError, match=r"eval_mentions\.jsonl, line 3: ") as caught:
        load_suite(tmp_path, SETS)
    assert why in caught.value.what
    path.write_text(f"{GOOD}\n\n", encoding="utf-8")
    assert len(load_suite(tmp_path, SETS)["eval_mentions"]) == 1


@pytest.mark.parametrize(
    "line",
    [
        '{"content": "x", "text_class": "poems"}',
        '{"content": "x"}',
        '{"content": "", "text_class": "chat"}',
        '{"content": [], "text_class": "chat"}',
        '{"content": 3, "text_class": "chat"}',
        '{"content": [["user"]], "text_class": "chat"}',
        '{"content": ["user", "hello"], "text_class": "chat"}',
        '{"content": [{"role": "user", "content": "x"}], "text_class": "chat"}',
    ],
)
def test_bad_text_line_is_named_by_file_and_number(tmp_path, line):
    save_suite(small_suite(), tmp_path)
    path = tmp_path / "texts.jsonl"
    path.write_text(path.read_text() + line + "\n")
    with pytest.raises(PromptError, match=r"texts\.jsonl, line 6: "):
        load_suite(tmp_path, SETS)


@pytest.mark.parametrize(
    "change",
    [{"budget": "B9"}, {"positive": []}, {"negative": []}, {"positive": [{"txt": "x"}]}],
)
def test_bad_concept_line_is_named_by_file_and_number(tmp_path, change):
    save_suite(small_suite(), tmp_path)
    path = tmp_path / "concepts.jsonl"
    row = {**json.loads(path.read_text()), **change}
    path.write_text(json.dumps(row) + "\n")
    with pytest.raises(PromptError, match=r"concepts\.jsonl, line 1: "):
        load_suite(tmp_path, SETS)


def test_file_that_is_no_utf8_is_named(tmp_path):
    save_suite(small_suite(), tmp_path)
    (tmp_path / "eval_harmless.jsonl").write_bytes(b'{"text": "caf\xe9"}\n')
    with pytest.raises(PromptError, match=r"eval_harmless\.jsonl"):
        load_suite(tmp_path, SETS)


def test_lines_end_at_newlines_only(tmp_path):
    """A line separator inside a string is text; JSON lines are told apart by newlines alone."""
    suite = with_prompt("eval_declines", "one\u2028two\x85three ?")
    save_suite(suite, tmp_path)
    assert load_suite(tmp_path, SETS) == suite


def test_every_class_needs_a_budget_and_every_budget_books_concepts():
    assert {find_class(name).needs for name in class_names()} == set(budget_names())
    assert [concept_class(name) for name in budget_names()] == [
        "concepts",
        "declines",
        "harmful_requests",
        "refusals",
    ]
    assert set(request_classes()) < set(benign_classes())
    assert not any(may_be_positive(name) for name in benign_classes())
    assert may_be_positive("harmful_requests")


@pytest.mark.parametrize("name", ["concepts", "chats", ""])
def test_the_configuration_takes_classes_of_texts_only(name):
    """`concepts` books prompts and is the class of no text."""
    with pytest.raises(ConfigError, match="no class of texts; give one of chat, arithmetic"):
        parse_config(HarvestSection, {"without": [name]}, "test")
    assert parse_config(HarvestSection, {"without": ["chat"]}, "test").without == ("chat",)


def test_a_new_budget_is_one_row(monkeypatch):
    own = budgets.Budget("Bplain", False, "requests only", also=("chat", "greetings", "refusals"))
    later = budgets.Budget("B3", True, "one more", also=("chat",))
    rows = [own, *budgets.BUDGETS, later]
    monkeypatch.setattr(budgets, "BUDGETS", rows)
    assert set(budgets.allowed_classes("Bplain")) == {"chat", "greetings", "refusals"}
    assert find_class("chat").needs == "Bplain"
    assert find_class("mentions").needs == "B0"
    assert "mentions" in budgets.allowed_classes("B3")
    assert budget_allows("B0", "Bplain")
    assert not budget_allows("Bplain", "B0")
    assert concept_class("Bplain") == "concepts"
    assert parse_config(RunConfig, {"budget": "Bplain"}, "test").budget == "Bplain"
    suite = small_suite()
    assert {t.text_class for t in suite.texts_for("Bplain")} == {"chat", "refusals"}


# The concepts for chat models


@pytest.fixture
def chat_concepts():
    from conceptbasis.config.base import parse_config
    from conceptbasis.study.opening import load_prompts

    return load_prompts(parse_config(RunConfig, {"prompts": {"concepts": "chat"}}, "test")).concepts


def test_twenty_concepts_come_with_the_package(chat_concepts):
    assert len({c.name for c in chat_concepts}) == len(chat_concepts) == 20
    for concept in chat_concepts:
        positive, negative = ({p.text for p in c} for c in (concept.positive, concept.negative))
        assert len(positive) == len(negative) == 8
        assert not positive & negative
    wide = {c.name: c.budget for c in chat_concepts if c.budget != "B0"}
    assert wide == {"decline": "B0d", "weapons": "B1", "refusal": "B2"}


def test_they_replace_the_concepts_of_a_folder_and_are_checked_against_it(
    tmp_path, chat_concepts, monkeypatch
):
    from conceptbasis.config.base import parse_config
    from conceptbasis.study import checks
    from conceptbasis.study.opening import load_prompts

    monkeypatch.setattr(checks, "_MIN_DIRECTION", 1)
    values = {"prompts": {"path": str(tmp_path), "concepts": "chat"}}
    config = parse_config(RunConfig, values, "test")
    save_suite(small_suite(), tmp_path)
    assert load_prompts(config).concepts == chat_concepts
    save_suite(with_prompt("eval_harmless", chat_concepts[0].positive[0].text), tmp_path)
    with pytest.raises(PromptError, match=r"concept (animals|music)"):
        load_prompts(config)
