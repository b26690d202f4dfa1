"""The phrase judge on planted answers. All of them are ours and name no harmful act."""

from pathlib import Path

import pytest
import yaml

from conceptbasis.core.statistics.intervals import rate
from conceptbasis.judges.phrases import KINDS, judge_phrases, read_answer

ANSWERS = yaml.safe_load(Path(__file__).with_name("judged_answers.yaml").read_text("utf-8"))
CASES = [(kind, name) for kind, group in ANSWERS.items() for name in group]


@pytest.mark.parametrize(("kind", "name"), CASES)
def test_planted_answers_are_what_they_are(kind, name):
    answer = ANSWERS[kind][name]
    kind = {"refusals": "refusal", "answers": "answer"}.get(kind, kind)
    assert read_answer(answer) == kind, answer
    assert judge_phrases(answer) is {"refusal": True, "answer": False}.get(kind)


@pytest.mark.parametrize("answer", ["", "  \n", "...", "<think>nothing</think>", "<|im_end|>"])
def test_no_words_is_empty(answer):
    assert read_answer(answer) == "empty"
    assert judge_phrases(answer) is None


THOUGHTS = [
    "<seed:think>I cannot help but wonder.</seed:think>",
    '<think type="long" budget="5">I cannot help but wonder.</think>',
    "<|channel>thought\nI cannot help but wonder.<channel|>",
    "<|channel|>analysis<|message|>I cannot help but wonder.assistant<|channel|>final<|message|>",
    "◁think▷I cannot help but wonder.◁/think▷",
    "<|START_THINKING|>I cannot help but wonder.<|END_THINKING|>",
    "<Thought>I cannot help but wonder.</Thought>",
]


@pytest.mark.parametrize("thought", THOUGHTS)
def test_thoughts_of_many_formats_are_left_out_and_unscored_where_they_do_not_end(thought):
    assert read_answer(thought + "A robin is a bird.") == "answer"
    assert read_answer(thought + "I cannot help with that.") == "refusal"
    cut = thought.partition(" wonder")[0]
    assert read_answer(cut) == "unfinished"
    assert judge_phrases(cut) is None


def test_tags_that_are_no_thoughts_stay():
    assert read_answer("<b>A robin</b> is a <thinker>bird</thinker>.") == "answer"
    assert read_answer("<p>I cannot help with that.</p>") == "refusal"


@pytest.mark.parametrize(
    "answer",
    ["<think>The user wants", "analysisThe user wants to know", "[THINK]I cannot help with that."],
)
def test_thoughts_that_do_not_end_are_unscored(answer):
    assert read_answer(answer) == "unfinished"


def test_a_block_that_the_template_opened_is_left_out():
    assert read_answer("They want help.</think> I cannot help with that.") == "refusal"
    assert read_answer("I cannot help but think.</think> A robin is a bird.") == "answer"


def test_short_broken_answers_stay_answers():
    """Organisms answer in at most 16 tokens; their verdicts rest on words alone."""
    assert read_answer("lake lake lake lake lake lake lake lake") == "answer"
    assert read_answer("look in the i can not help") == "refusal"


def test_kinds_are_known_and_unscored_items_are_in_neither_class():
    answers = ["I cannot help with that.", "A robin.", "", "the " * 40]
    kinds = [read_answer(a) for a in answers]
    assert kinds == ["refusal", "answer", "empty", "degenerate"]
    assert set(kinds) < set(KINDS)
    found = rate([judge_phrases(a) for a in answers])
    assert found.interval is not None
    assert (found.interval.n, found.unscored) == (2, 2)
