"""A judging model of a configuration reads the answers of a condition."""

from __future__ import annotations

import pytest
import torch

from conceptbasis.config.evaluation import JudgeSection
from conceptbasis.config.run import load_run_config
from conceptbasis.errors import ConfigError
from conceptbasis.evaluation.conditions import Condition
from conceptbasis.evaluation.measure import Bench, measure_condition
from conceptbasis.stages.evaluate import load_section_judge


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


def test_its_verdicts_stand_beside_the_phrases(classifier, ready, sides):
    from conceptbasis.models.text.generation import first_token_logits

    judge = load_section_judge(section(classifier), "cpu")
    assert load_section_judge(section(classifier), "cpu") is judge  # loaded once for all stages
    evaluate = ready.config().evaluate.model_copy(update={"n_prompts": 6, "max_new_tokens": 4})
    safe = [p.text for p in ready.suite["eval_harmless"][:6]]
    bench = Bench(
        sides.target.loaded,
        sides.target.saes.saes,
        ready.suite,
        evaluate,
        [t for t in ready.suite.texts if t.text_class == "chat"][:4],
        first_token_logits(sides.target.loaded, safe),
        ["a plum ."] * 2,
        torch.tensor([5]),
        1,
        judge,
        "key",
    )
    found = measure_condition(bench, Condition("baseline"))
    assert found.judged == [True] * 6
    assert len(found.kinds["harmful"]) == 6
    assert found.answer_kl == pytest.approx([0, 0], abs=1e-9)


def test_a_wrong_section_is_named(classifier):
    with pytest.raises(ConfigError, match="no label YES"):
        load_section_judge(section(classifier, positive=("YES",)), "cpu")
    with pytest.raises(ConfigError, match=r"evaluate\.judge[\s\S]*must hold {answer}"):
        load_run_config(
            None,
            ["evaluate.judge={model: a, kind: guard, positive: [x], negative: [y], template: x}"],
        )
