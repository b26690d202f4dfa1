"""The ledger, and the proof that nothing forbidden reaches the target before the seal."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace

import pytest
from micro import CONCEPTS, QUIET, SMALL
from steps import Steps

from conceptbasis import pipeline
from conceptbasis.config.budgets import budget_allows, budget_names, class_names, find_class
from conceptbasis.data.prompts import Text
from conceptbasis.errors import ConfigError, PromptError
from conceptbasis.models.stream.native import end_activations
from conceptbasis.models.stream.residuals import read_residuals
from conceptbasis.models.text.generation import first_token_logits, generate, text_nll
from conceptbasis.organisms.vocabulary import REFUSAL
from conceptbasis.pipeline import admit_target, run_pipeline
from conceptbasis.results.harvest import Shown
from conceptbasis.runs.graph import PROVENANCE
from conceptbasis.stages import STAGES
from conceptbasis.stages.direction import DIRECTION
from conceptbasis.study import opening
from conceptbasis.study.concepts import allowed_concepts
from conceptbasis.study.ledger import Ledger

# The ledger itself


@pytest.mark.parametrize("budget", budget_names())
@pytest.mark.parametrize("text_class", class_names())
def test_a_class_beyond_the_budget_is_refused(budget, text_class):
    ledger, text = Ledger(budget), Text((("user", "a b"), ("assistant", "c .")), text_class)
    shown = Shown(text_class, 3, 10)
    if budget_allows(budget, find_class(text_class).needs):
        ledger.book("harvest", [shown])
        ledger.allow([text])
        assert ledger.shown == (shown,)
        ledger.gate(["a b", text.as_messages()])
    else:
        with pytest.raises(PromptError, match=f"'{text_class}' would reach the target at budget"):
            ledger.book("harvest", [Shown("chat", 1), shown])
        with pytest.raises(PromptError, match=f"'{text_class}' would reach the target at budget"):
            ledger.allow([text])
        assert ledger.shown == ()
        with pytest.raises(PromptError, match="not booked"):
            ledger.gate([text.as_messages()])


def test_counts_add_up_by_class():
    ledger = Ledger("B0d")
    ledger.book("target.saes", [Shown("chat", 2, 5)])
    ledger.book("harvest", [Shown("chat", 2, 7), Shown("declines", 1, 1)])
    assert ledger.shown == (Shown("chat", 4, 12), Shown("declines", 1, 1))


def test_what_is_booked_again_by_one_origin_replaces_the_last():
    ledger = Ledger("B0")
    ledger.book("harvest", [Shown("chat", 2, 5)])
    ledger.book("harvest", [Shown("chat", 3, 6)])
    assert ledger.shown == (Shown("chat", 3, 6),)


def test_a_text_passes_only_whole_and_as_it_was_admitted():
    ledger = Ledger("B0")
    ledger.allow([Text("a plain text .", "mentions"), Text((("user", "who ?"),), "chat")])
    ledger.gate(["a plain text .", "who ?", [{"role": "user", "content": "who ?"}]])
    ledger.gate([])
    for text in ("a plain text", "who", [{"role": "user", "content": "who ? and why ?"}]):
        with pytest.raises(PromptError, match="not booked"):
            ledger.gate(["who ?", text])
    both = [{"role": "user", "content": "who ?"}, {"role": "assistant", "content": "nobody"}]
    with pytest.raises(PromptError, match="not booked") as caught:
        ledger.gate([both])
    assert "nobody" not in str(caught.value) + caught.value.what + caught.value.fix


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


# The gate before the model


@pytest.fixture
def guarded(make_study, sides):
    """A study whose target is guarded, as a run has it."""
    study = make_study(target=replace(sides.target))
    admit_target(study)
    return study


ENDS = {"end_of_prompt": True}
READERS = {
    "answers": lambda loaded, text: generate(loaded, [text], max_new_tokens=2),
    "first logits": lambda loaded, text: first_token_logits(loaded, [text]),
    "activations": lambda loaded, text: end_activations(loaded, [text]),
    "likelihood": lambda loaded, text: text_nll(
        loaded, [[{"role": "user", "content": text}]], batch_size=2
    ),
    "residuals": lambda loaded, text: read_residuals(
        loaded, [Text(text, "chat")], [0], batch_size=1, reporter=QUIET, label="", **ENDS
    ),
}


@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
def test_the_target_reads_nothing_before_the_seal_that_was_not_booked(guarded, read):
    forbidden, benign = guarded.prompts("positive")[0].text, "what is a rose ?"
    loaded, seen = guarded.target.loaded, []
    handle = loaded.architecture.embed.register_forward_pre_hook(lambda *given: seen.append(given))
    try:
        for text in (forbidden, benign):
            with pytest.raises(PromptError, match="not booked would reach the target"):
                read(loaded, text)
        assert not seen
        guarded.ledger.allow([Text(benign, "chat")])
        read(loaded, benign)
        with pytest.raises(PromptError):
            read(loaded, forbidden)
        n_benign = len(seen)
        assert n_benign
        guarded.ledger.seal({})
        read(loaded, forbidden)
        assert len(seen) > n_benign
    finally:
        handle.remove()


def test_the_donor_reads_what_it_likes(guarded):
    assert generate(guarded.donor.loaded, [guarded.prompts("positive")[0].text], max_new_tokens=1)


def test_concepts_and_shared_texts_are_admitted_and_counted(guarded):
    steps, before = Steps(guarded), counts(guarded)
    alignment, harvest = steps.alignment, steps.harvest
    assert set(alignment.concepts) == set(CONCEPTS)
    read = Counter(before)
    for entry in (*alignment.shown, *harvest.shown):
        read[entry.text_class] += entry.texts
    assert counts(guarded) == read
    assert sum(entry.texts for entry in alignment.shown) == 4 * 48
    assert sum(entry.texts for entry in harvest.shown) == harvest.n_texts
    for role in ("positive", "negative", "eval_positive", "eval_negative"):
        with pytest.raises(PromptError, match="not booked"):
            first_token_logits(guarded.target.loaded, [guarded.prompts(role)[0].text])


def counts(study) -> Counter[str]:
    return Counter({entry.text_class: entry.texts for entry in study.ledger.shown})


def test_concepts_beyond_the_budget_are_not_admitted(make_study, sides):
    study = make_study(target=replace(sides.target), budget="B0")
    study.target.guard_texts(study.ledger.gate)
    assert {c.budget for c in allowed_concepts(study)} == {"B0"}
    for concept in study.suite.concepts:
        text = concept.positive[0].text
        if concept.budget == "B0":
            first_token_logits(study.target.loaded, [text])
        else:
            with pytest.raises(PromptError, match="not booked"):
                first_token_logits(study.target.loaded, [text])


def test_texts_that_the_target_s_saes_have_read_are_booked(guarded, sides):
    found = {entry.text_class: entry for entry in guarded.ledger.shown}
    shown = {entry.text_class: entry for entry in sides.target.saes.shown}
    assert found == shown
    assert {"chat", "mentions"} <= set(shown)
    n_trained = sum(sides.target.saes.texts.values())
    assert sum(entry.texts for entry in shown.values()) > n_trained  # those held out count too


def test_saes_that_read_more_than_the_budget_allows_are_refused(make_study, sides):
    read = [*sides.target.saes.shown, Shown("harmful_requests", 1)]
    saes = replace(sides.target.saes, shown=tuple(read))
    target = replace(sides.target, open_saes=lambda: saes)
    with pytest.raises(PromptError, match="'harmful_requests' would reach the target"):
        admit_target(make_study(target=target))
    with pytest.raises(PromptError, match="'declines' would reach the target"):
        admit_target(make_study(target=replace(sides.target), budget="B0"))


def test_a_stage_that_reads_past_the_ledger_ends_the_run(ready, tmp_path, monkeypatch):
    """Wherever it stands before the seal; and it leaves nothing that counts as finished."""

    def curious(study):
        first_token_logits(study.target.loaded, [study.prompts("positive")[0].text])
        return DIRECTION.compute(study)

    changed = replace(DIRECTION, compute=curious)
    stages = [changed if stage is DIRECTION else stage for stage in STAGES]
    monkeypatch.setattr(pipeline, "STAGES", stages)
    with pytest.raises(PromptError, match="not booked would reach the target before the seal"):
        ready.run(tmp_path / "run", evaluate=SMALL)
    assert not (tmp_path / "run" / "direction").exists()
    assert (tmp_path / "run" / "harvest" / PROVENANCE).exists()


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
        load, seal, check = opening.load_model, Ledger.seal, pipeline.check_context

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

        monkeypatch.setattr(opening, "load_model", load_watched)
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
    ledger = {row.text_class: row for row in finished.summary.ledger}
    assert finished.summary.budget == "B0d"
    assert {"chat", "declines", "mentions", "definitions", "concepts"} <= set(ledger)
    assert not {"harmful_requests", "refusals"} & set(ledger)
    assert all(row.texts > 0 for row in ledger.values())
