"""The ledger, and the proof that nothing forbidden reaches the target before the seal."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from micro import QUIET

from conceptbasis.config.budgets import budget_allows, budget_names, class_names, find_class
from conceptbasis.data.prompts import Text
from conceptbasis.errors import ConfigError, PromptError
from conceptbasis.organisms.vocabulary import REFUSAL
from conceptbasis.pipeline import run_pipeline
from conceptbasis.stages import pipeline
from conceptbasis.study.ledger import Ledger

SMALL = {"n_prompts": 12, "n_random": 1, "n_shuffled": 1, "n_control_prompts": 4}


# The ledger itself


@pytest.mark.parametrize("budget", budget_names())
@pytest.mark.parametrize("text_class", class_names())
def test_a_class_beyond_the_budget_is_refused(budget, text_class):
    ledger = Ledger(budget)
    if budget_allows(budget, find_class(text_class).needs):
        ledger.show(text_class, 3, 10)
        assert ledger.as_list() == [{"class": text_class, "texts": 3, "sites": 10}]
    else:
        with pytest.raises(PromptError, match=f"'{text_class}' would reach the target at budget"):
            ledger.show(text_class, 3, 10)
        assert ledger.as_list() == []


def test_counts_add_up_by_class():
    ledger = Ledger("B0d")
    ledger.show("chat", 2, 5)
    texts = [Text("a", "chat"), Text("b", "declines"), Text("c", "chat")]
    ledger.show_texts(texts, {"chat": 7, "declines": 1})
    assert ledger.as_list() == [
        {"class": "chat", "texts": 4, "sites": 12},
        {"class": "declines", "texts": 1, "sites": 1},
    ]


def test_labels_are_locked_until_the_seal():
    ledger = Ledger("B0")
    with pytest.raises(PromptError, match="before the transfer is final"):
        ledger.require_sealed()
    ledger.seal({"fit": "aa"})
    assert ledger.require_sealed() == {"fit": "aa"}


def test_target_saes_trained_beyond_the_budget_are_refused(ready, tmp_path):
    with pytest.raises(ConfigError, match=r"budget B0d, but the transfer's budget is B0") as caught:
        run_pipeline(
            ready.donor_config(),
            ready.target_config(budget="B0d"),
            ready.config(budget="B0"),
            tmp_path / "run",
            QUIET,
        )
    assert "train.budget: B0" in caught.value.fix
    assert not (tmp_path / "run").exists()


# The proof


class Stop(Exception):
    """Ends a run at the seal."""


@dataclass
class Watch:
    """Everything the target's tokenizer and embedding are given, before and after the seal."""

    sealed: bool = False
    counting: bool = False
    said: dict[bool, list[str]] = field(default_factory=lambda: {False: [], True: []})
    read: dict[bool, list[str]] = field(default_factory=lambda: {False: [], True: []})

    def put(self, monkeypatch, target, *, stop=False) -> None:
        load, seal, check = pipeline.load_model, Ledger.seal, pipeline.check_context

        def load_watched(path, **keywords):
            loaded = load(path, **keywords)
            if str(path) == str(target):
                self.tokenizer = loaded.tokenizer
                self._watch_tokenizer(loaded.tokenizer)
                loaded.architecture.embed.register_forward_pre_hook(self._watch_ids)
            return loaded

        def seal_watched(ledger, hashes):
            seal(ledger, hashes)
            self.sealed = True
            if stop:
                raise Stop

        def check_watched(*arguments):
            # Lengths are counted of all prompts; the model itself reads none of them.
            self.counting = True
            check(*arguments)
            self.counting = False

        monkeypatch.setattr(pipeline, "load_model", load_watched)
        monkeypatch.setattr(Ledger, "seal", seal_watched)
        monkeypatch.setattr(pipeline, "check_context", check_watched)

    def _watch_tokenizer(self, tokenizer) -> None:
        watch, kind = self, type(tokenizer)

        class Watched(kind):
            def __call__(self, text, *rest, **keywords):
                watch._note([text] if isinstance(text, str) else list(text))
                return super().__call__(text, *rest, **keywords)

            def apply_chat_template(self, messages, *rest, **keywords):
                watch._note([m["content"] for m in messages])
                return super().apply_chat_template(messages, *rest, **keywords)

        tokenizer.__class__ = Watched

    def _note(self, texts) -> None:
        if not self.counting:
            self.said[self.sealed] += texts

    def _watch_ids(self, module, arguments) -> None:
        self.read[self.sealed] += [f" {' '.join(map(str, row))} " for row in arguments[0].tolist()]

    def found(self, text: str, *, sealed: bool) -> bool:
        """Whether a text was tokenised by, or read by, the target."""
        counting, self.counting = self.counting, True
        ids = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        self.counting = counting
        pattern = f" {' '.join(map(str, ids))} "
        read = any(pattern in row for row in self.read[sealed])
        return read or any(text in said for said in self.said[sealed])


def harmful_prompts(suite) -> list[str]:
    return [p.text for name in ("direction_harmful", "eval_harmful") for p in suite[name]]


def watched_run(ready, tmp_path, monkeypatch, budget, *, stop=False) -> Watch:
    watch = Watch()
    watch.put(monkeypatch, ready.target, stop=stop)
    try:
        ready.run(tmp_path / "run", budget=budget, evaluate=SMALL)
    except Stop:
        assert stop
    assert watch.sealed
    assert len(watch.read[False]) > 500
    return watch


DECLINE = "is closed on"


@pytest.mark.parametrize("budget", ["B0", "B0d"])
def test_no_harmful_prompt_and_no_refusal_reaches_the_target_before_the_seal(
    ready, tmp_path, monkeypatch, budget
):
    watch = watched_run(ready, tmp_path, monkeypatch, budget, stop=budget == "B0d")
    assert not [p for p in harmful_prompts(ready.suite) if watch.found(p, sealed=False)]
    for phrase in (REFUSAL, "i can not help", "can not help with"):
        assert not watch.found(phrase, sealed=False)
    assert watch.found(DECLINE, sealed=False) is (budget == "B0d")
    if budget == "B0":
        direction = [p.text for p in ready.suite["direction_harmful"]]
        evaluated = [p.text for p in ready.suite["eval_harmful"]][: SMALL["n_prompts"]]
        assert all(watch.found(p, sealed=True) for p in direction + evaluated)


def test_the_watch_sees_harmful_prompts_and_refusals_where_the_budget_allows_them(
    ready, tmp_path, monkeypatch
):
    watch = watched_run(ready, tmp_path, monkeypatch, "B2", stop=True)
    shown = [
        t.content[0][1]
        for t in ready.suite.texts
        if t.text_class == "harmful_requests" and watch.found(t.content[0][1], sealed=False)
    ]
    assert len(shown) > 10
    assert watch.found(REFUSAL, sealed=False)
    assert not watch.read[True]


def test_summary_lists_what_the_target_was_shown(finished):
    ledger = {row["class"]: row for row in finished.summary["ledger"]}
    assert finished.summary["budget"] == "B0d"
    assert {"chat", "declines", "mentions", "definitions", "concepts"} <= set(ledger)
    assert not {"harmful_requests", "refusals"} & set(ledger)
    assert all(row["texts"] > 0 for row in ledger.values())
