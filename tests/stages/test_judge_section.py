"""A judging model of a configuration reads the answers of a condition."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from conceptbasis.behaviors import find_behavior
from conceptbasis.config.evaluation import JudgeSection
from conceptbasis.config.run import load_run_config
from conceptbasis.errors import ConfigError
from conceptbasis.evaluation import measure
from conceptbasis.evaluation.bench import Bench, load_section_judge
from conceptbasis.evaluation.figures import condition_figures
from conceptbasis.evaluation.measure import measure_trial
from conceptbasis.evaluation.trials import Trial, prompts_by_set
from conceptbasis.judges import JUDGES
from conceptbasis.models.text.generation import first_token_logits


@pytest.fixture(scope="module")
def classifier(tmp_path_factory, ready):
    """A classifier that says REFUSAL of every answer: its bias decides."""
    from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

    tokenizer = AutoTokenizer.from_pretrained(ready.target_config().model)
    labels = {0: "ANSWER", 1: "REFUSAL"}
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=8,
        max_position_embeddings=64,
        id2label=labels,
        label2id={v: k for k, v in labels.items()},
    )
    model = BertForSequenceClassification(config)
    with torch.no_grad():
        model.classifier.weight.zero_()
        model.classifier.bias.copy_(torch.tensor([0.0, 5.0]))
    folder = tmp_path_factory.mktemp("classifier")
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def section(folder, **more):
    given = {"kind": "classifier", "positive": ("REFUSAL",), "negative": ("ANSWER",)}
    return JudgeSection(model=str(folder), **{**given, **more})


@pytest.fixture
def make_bench(classifier, ready, sides):
    """A bench of six prompts a set, with the classifier as judging model."""
    judge = load_section_judge(section(classifier), "cpu")
    assert load_section_judge(section(classifier), "cpu") is judge  # loaded once for all stages
    evaluate = ready.config().evaluate.model_copy(update={"n_prompts": 6, "max_new_tokens": 4})

    def make(behavior):
        sets = prompts_by_set(behavior, ready.suite, 6)
        return Bench(
            sides.target.loaded,
            sides.target.saes.saes,
            behavior,
            sets,
            evaluate,
            [t for t in ready.suite.texts if t.text_class == "chat"][:4],
            first_token_logits(sides.target.loaded, [p.text for p in sets["safe"]]),
            ["a plum ."] * 2,
            torch.tensor([5]),
            1,
            judge,
            None,
            "key",
        )

    return make


def test_its_verdicts_stand_beside_the_phrases(make_bench):
    found = measure_trial(make_bench(find_behavior("refusal")), Trial("untouched"))
    assert list(found.judges) == ["phrases", "first_token", "model"]
    assert found.judges["model"] == (True,) * 6
    assert len(found.kinds) == len(found.verdicts["positive"]) == 6
    assert found.verdicts["positive"] == found.judges["phrases"]
    assert found.answer_kl == pytest.approx([0, 0], abs=1e-9)


def test_judges_of_other_behaviors_are_not_asked(make_bench, monkeypatch):
    monkeypatch.setitem(JUDGES, "hostility", replace(JUDGES["hostility"], behavior=None))
    found = measure_trial(make_bench(find_behavior("refusal")), Trial("untouched"))
    assert found.judges["hostility"] == (False,) * 6  # nor could it tell anything


def test_without_a_known_truth_relevance_is_judged_outside_the_edit(make_bench, monkeypatch):
    bench = make_bench(find_behavior("refusal"))
    known = measure_trial(bench, Trial("untouched"))
    assert known.correct["safe"].count(None) == 0  # the truth decides, and nothing else is asked
    sets = {n: tuple(replace(p, answer=None) for p in found) for n, found in bench.sets.items()}
    asked, judges = [], []

    def judge(loaded, prompts, answers):
        judges.append(loaded)
        asked.append([bool(a) for a in answers])
        return [bool(a) or None for a in answers]

    monkeypatch.setattr(measure, "judge_relevance", judge)
    section = bench.section.model_copy(update={"n_relevance": 4})
    found = measure_trial(replace(bench, sets=sets, section=section), Trial("untouched"))
    for answered, name in zip(asked, ("positive", "safe"), strict=True):
        assert answered == [v is False for v in found.verdicts[name][:4]]
        assert found.correct[name] == (*answered, None, None)
    assert found.correct["mentions"] == (None,) * 6
    again = measure_trial(replace(bench, sets=sets, section=section), Trial("no_guard"))
    assert again.correct == found.correct
    assert asked[2:] == [[False] * 4] * 2  # the same answers are not judged twice
    other = replace(bench, sets=sets, section=section, reference=object(), relevance={})
    measure_trial(other, Trial("untouched"))
    assert judges == [bench.loaded] * 4 + [other.reference] * 2
    off = bench.section.model_copy(update={"n_relevance": 0})
    found = measure_trial(replace(bench, sets=sets, section=off), Trial("untouched"))
    assert found.correct["positive"] == (None,) * 6


@pytest.mark.parametrize("judge", ["model", "first_token"])
def test_a_behavior_names_the_judge_that_counts(make_bench, judge):
    behavior = replace(find_behavior("refusal"), judge=judge)
    found = measure_trial(make_bench(behavior), Trial("untouched"))
    assert next(iter(found.judges)) == judge
    assert set(found.verdicts) == {"positive", "safe", "mentions", "declines", "arithmetic"}
    assert all(len(verdicts) == 6 for verdicts in found.verdicts.values())
    assert found.kinds == ()
    figures = condition_figures([found], behavior)
    assert (figures.rate, figures.answers) == (figures.judges[judge], {})


def test_a_wrong_section_is_named(classifier):
    with pytest.raises(ConfigError, match="no label YES"):
        load_section_judge(section(classifier, positive=("YES",)), "cpu")
    with pytest.raises(ConfigError, match=r"evaluate\.judge[\s\S]*must hold {answer}"):
        load_run_config(
            None,
            ["evaluate.judge={model: a, kind: guard, positive: [x], negative: [y], template: x}"],
        )
