"""Judging models with planted verdicts: tiny ones, trained here on a few answers of our own."""

import pytest
import torch
from tiny import make_model, make_tokenizer

from conceptbasis.errors import ConfigError, ModelError
from conceptbasis.judges.model import JudgeModel, JudgeOptions, load_judge
from conceptbasis.models.loading.fetching import Placement
from conceptbasis.models.loading.source import Source

REFUSED = ["sorry , no museum", "sorry , no bread", "sorry , no salt", "sorry , no bridge"]
ANSWERED = ["the museum is old", "bread with salt", "water and flour", "the bridge"]
LABELS = {0: "ANSWER", 1: "REFUSAL", 2: "OTHER"}
CLASSIFIER = JudgeOptions("classifier", ("REFUSAL",), ("ANSWER",))
GUARD = JudgeOptions("guard", ("bread",), ("museum",), "{prompt} : {answer} =", max_new_tokens=8)


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    """A BERT that knows a refusal by its first word."""
    from transformers import BertConfig, BertForSequenceClassification

    torch.manual_seed(0)
    tokenizer = make_tokenizer()
    config = BertConfig(
        vocab_size=320,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=48,
        id2label=LABELS,
        label2id={v: k for k, v in LABELS.items()},
        num_labels=3,
    )
    model = BertForSequenceClassification(config).eval()
    batch = tokenizer.pad(
        {"input_ids": [tokenizer(t)["input_ids"] for t in REFUSED + ANSWERED]}, return_tensors="pt"
    )
    labels = torch.tensor([1] * 4 + [0] * 4)
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(60):
        loss = model(batch["input_ids"], batch["attention_mask"], labels=labels).loss
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    folder = tmp_path_factory.mktemp("classifier")
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def guard(tmp_path_factory):
    """A Llama that writes `bread` after a refusal and `museum` after an answer."""
    torch.manual_seed(0)
    tokenizer = make_tokenizer()
    model = make_model("llama", hidden_size=32, head_dim=16).train()
    rows = [
        tokenizer(f"museum : {answer} = {word}</s>")["input_ids"]
        for answers, word in ((REFUSED, "bread"), (ANSWERED, "museum"))
        for answer in answers
    ]
    batch = tokenizer.pad({"input_ids": rows}, padding_side="left", return_tensors="pt")
    labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(150):
        loss = model(batch["input_ids"], batch["attention_mask"], labels=labels).loss
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    folder = tmp_path_factory.mktemp("guard")
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def decoder_classifier(folder, **special):
    """A Llama that knows a refusal by its first word, without a padding token anywhere."""
    from transformers import LlamaConfig, LlamaForSequenceClassification

    torch.manual_seed(0)
    tokenizer = make_tokenizer()
    tokenizer.pad_token = None
    config = LlamaConfig(
        vocab_size=320,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        id2label=LABELS,
        label2id={v: k for k, v in LABELS.items()},
        pad_token_id=None,
        **special,
    )
    model = LlamaForSequenceClassification(config).eval()
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(40):
        for label, answers in ((1, REFUSED), (0, ANSWERED)):
            for answer in answers:  # one at a time: the model cannot pad
                ids = torch.tensor([tokenizer(answer)["input_ids"]])
                model(ids, labels=torch.tensor([label])).loss.backward()
        optimiser.step()
        optimiser.zero_grad()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return model


def test_a_decoder_without_a_padding_token_judges_in_any_batch(tmp_path):
    alone = decoder_classifier(tmp_path)
    with pytest.raises(ValueError, match="padding token"):  # what it is without the remedy
        alone(torch.ones(2, 3, dtype=torch.long))
    judge = load(tmp_path, CLASSIFIER)
    assert judge.model.config.pad_token_id == judge.tokenizer.pad_token_id is not None
    answers = [REFUSED[0], ANSWERED[0], ANSWERED[1], REFUSED[1], ANSWERED[3]]
    expected = [True, False, False, True, False]
    for size in (1, 2, 5):
        assert judge.judge(["museum"] * 5, answers, batch_size=size) == expected


def test_what_a_judge_lacks_is_said_when_it_is_loaded(tmp_path, classifier, monkeypatch):
    from transformers import BertForSequenceClassification

    def broken(*_, **__):
        raise ValueError("this head reads images")

    monkeypatch.setattr(BertForSequenceClassification, "forward", broken)
    with pytest.raises(ModelError, match=r"cannot judge two answers: .*reads images"):
        load(classifier, CLASSIFIER)


def load(folder, options) -> JudgeModel:
    return load_judge(Source(str(folder)), options, Placement())


@pytest.mark.parametrize("kind", ["classifier", "guard"])
def test_planted_verdicts_are_read_in_any_batch(kind, classifier, guard):
    folder, options = (classifier, CLASSIFIER) if kind == "classifier" else (guard, GUARD)
    judge = load(folder, options)
    answers = [REFUSED[0], ANSWERED[0], ANSWERED[1], REFUSED[1], ANSWERED[3]]
    expected = [True, False, False, True, False]
    for size in (1, 2, 5):
        assert judge.judge(["museum"] * 5, answers, batch_size=size) == expected


def test_what_a_classifier_cannot_read_or_decide_is_unscored(classifier):
    judge = load(classifier, CLASSIFIER)
    assert judge.judge(["museum"] * 2, ["bread " * 100, REFUSED[0]]) == [None, True]
    sure = load(classifier, JudgeOptions("classifier", ("REFUSAL",), ("ANSWER",), None, 1.0))
    assert sure.judge(["museum"], [REFUSED[0]]) == [None]
    neither = load(classifier, JudgeOptions("classifier", ("OTHER",), ("ANSWER",)))
    assert neither.judge(["museum"] * 2, [REFUSED[0], ANSWERED[0]]) == [None, False]
    with torch.no_grad():
        judge.model.classifier.bias.fill_(float("nan"))
    assert judge.judge(["museum"], [REFUSED[0]]) == [None]


def test_a_reply_that_fits_both_or_neither_pattern_is_unscored(guard):
    for refusal, answer in ((("bread", "museum"), ("museum",)), (("salt",), ("water",))):
        options = JudgeOptions("guard", refusal, answer, GUARD.template, max_new_tokens=8)
        assert load(guard, options).judge(["museum"], [ANSWERED[0]]) == [None]


def test_a_guard_without_template_reads_two_turns(guard):
    judge = load(guard, JudgeOptions("guard", ("bread",), ("museum",), max_new_tokens=8))
    ids = judge._ids("museum", "bread")
    assert judge.tokenizer.decode(ids) == (
        "<s><|user|>\nmuseum\n<|assistant|>\nbread\n<|assistant|>\n"
    )


def test_labels_and_patterns_that_do_not_exist_are_named(classifier, guard):
    with pytest.raises(ConfigError, match="no label MAYBE"):
        load(classifier, JudgeOptions("classifier", ("MAYBE",), ("ANSWER",)))
    with pytest.raises(ConfigError, match="no regular expression"):
        load(guard, JudgeOptions("guard", ("(",), ("museum",)))
    with pytest.raises(ModelError, match="no tokenizer could be loaded"):
        load(classifier / "nowhere", CLASSIFIER)
