"""lm-evaluation-harness from memory and from its `steered` file; skipped where it is missing."""

import itertools
import json
import tomllib
from pathlib import Path

import pytest
import torch
from tiny import PROMPTS, make_loaded, unit

from conceptbasis.errors import ConfigError, InterventionError
from conceptbasis.models import harness
from conceptbasis.models.harness import run_tasks, save_steered, steered_entries
from conceptbasis.models.stream.hooks import Edit, intervene
from conceptbasis.models.text.chat import encode_texts

try:
    import lm_eval
except ImportError:
    lm_eval = None
needs_harness = pytest.mark.skipif(lm_eval is None, reason="the extra `harness` is not installed")

WORDS = ["museum", "bread", "bridge", "salt"]


def edits(mode, n_layers=3):
    mean = 0.5 * torch.randn(16, generator=torch.Generator().manual_seed(7))
    options = {"affine": {"mean": mean}, "add": {"amount": 3.0}, "ablate": {}}[mode]
    return [Edit(layer, unit(16, layer), mode, **options) for layer in range(n_layers)]


@needs_harness
@pytest.mark.parametrize("model_type", ["llama", "gpt2", "gemma2", "mixtral", "gpt_neox"])
@pytest.mark.parametrize("mode", ["ablate", "affine", "add"])
def test_the_harness_from_the_file_gives_the_logits_of_our_hooks(tmp_path, model_type, mode):
    from lm_eval.models.hf_steered import SteeredModel

    loaded = make_loaded(model_type)
    loaded.model.save_pretrained(tmp_path / "model")
    loaded.tokenizer.save_pretrained(tmp_path / "model")
    save_steered(tmp_path / "steered.pt", steered_entries(loaded, edits(mode), "stream"))
    harness = SteeredModel(
        str(tmp_path / "model"), str(tmp_path / "steered.pt"), device="cpu", dtype="float32"
    )
    ids = encode_texts(loaded.tokenizer, PROMPTS[:1]).input_ids
    with torch.no_grad():
        with intervene(loaded, edits(mode)):
            ours = loaded.model(ids).logits
        untouched = loaded.model(ids).logits
        theirs = harness._model_call(ids)
    torch.testing.assert_close(theirs.float(), ours, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(ours, untouched, atol=1e-2)


def test_what_the_harness_cannot_express_is_refused(tmp_path):
    loaded = make_loaded("llama")
    r = unit(16, 0)
    for given, scope, why in (
        ([Edit(0, r, gamma=2.0)], "stream", "gamma 2"),
        ([Edit(0, r)], "writers", "scope writers"),
        ([Edit(1, r), Edit(1, unit(16, 1))], "stream", "two edits of layer 1"),
    ):
        with pytest.raises(InterventionError, match=why):
            steered_entries(loaded, given, scope)
    with pytest.raises(InterventionError, match=r"does not end in \.pt"):
        save_steered(tmp_path / "a.json", {})


def own_task(tmp_path):
    """A choice between two words after each prompt; the data lie on disk."""
    rows = [{"q": p, "a": a, "b": b} for p in PROMPTS for a, b in itertools.permutations(WORDS, 2)]
    rows = rows[::2] + rows[1::4]
    file = tmp_path / "rows.jsonl"
    file.write_text("\n".join(json.dumps(row) for row in rows))
    return rows, {
        "task": "own_words",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(file)}},
        "test_split": "test",
        "output_type": "multiple_choice",
        "doc_to_text": "{{q}}",
        "doc_to_choice": "{{[a, b]}}",
        "doc_to_target": 0,
        "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
    }


def by_hand(loaded, rows):
    """The share of rows whose first word is the likelier continuation."""
    right = 0
    for row in rows:
        scores = []
        for word in (row["a"], row["b"]):
            start = loaded.tokenizer(row["q"])["input_ids"]
            ids = loaded.tokenizer(row["q"] + " " + word)["input_ids"]
            logits = loaded.model(torch.tensor([ids])).logits[0].log_softmax(-1)
            scores.append(float(sum(logits[i - 1, ids[i]] for i in range(len(start), len(ids)))))
        right += scores[0] > scores[1]
    return right / len(rows)


@needs_harness
def test_a_task_is_run_on_the_model_in_memory_and_under_hooks(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    loaded = make_loaded("llama")
    rows, task = own_task(tmp_path)
    with torch.no_grad():
        before = by_hand(loaded, rows)
        assert run_tasks(loaded, [task])["own_words"]["acc"] == pytest.approx(before)
        with intervene(loaded, edits("add")):
            after = by_hand(loaded, rows)
            assert run_tasks(loaded, [task], batch_size=3)["own_words"]["acc"] == pytest.approx(
                after
            )
    assert before != after
    assert run_tasks(loaded, [task], limit=2)["own_words"]["acc"] in (0, 0.5, 1)


@needs_harness
def test_an_unknown_task_is_named():
    with pytest.raises(ConfigError, match="the harness cannot run no_such_task"):
        run_tasks(make_loaded("llama"), ["no_such_task"])


def test_a_missing_harness_is_said(monkeypatch):
    monkeypatch.setattr("conceptbasis.models.harness.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"not installed[\s\S]*conceptbasis\[harness\]"):
        run_tasks(make_loaded("llama"), ["arc_easy"])


@pytest.mark.parametrize(("installed", "refused"), [("0.4.9", 1), ("0.4.11", 1), ("0.4.12", 0)])
def test_versions_of_the_harness_that_do_not_work_are_refused(monkeypatch, installed, refused):
    monkeypatch.setattr(harness, "find_spec", lambda _: object())
    monkeypatch.setattr(harness, "version", lambda _: installed)
    if refused:
        with pytest.raises(ConfigError, match=installed):
            harness._require()
    else:
        harness._require()


def test_the_extra_asks_for_the_versions_that_work():
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
    assert project["project"]["optional-dependencies"]["harness"] == [
        f"lm_eval[hf]>={harness.OLDEST}"
    ]
