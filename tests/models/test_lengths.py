"""Texts that are longer than a model's context are found before any work, with their places."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from tiny import make_loaded

from conceptbasis.cli.main import main
from conceptbasis.config.base import parse_config
from conceptbasis.config.run import RunConfig
from conceptbasis.data.prompts import PromptSuite, Text
from conceptbasis.errors import PromptError
from conceptbasis.models.text.generation import generate
from conceptbasis.models.text.lengths import fitting_texts, room_for
from conceptbasis.study.checks import leave_out_long_texts

SHORT = Text("salt and bread", "mentions")
CHAT = Text((("user", "salt"), ("assistant", "bread")), "chat")
FORBIDDEN = Text("bread " * 900, "refusals")


@pytest.fixture
def loaded():
    found = make_loaded("llama")
    found.model.config.max_position_embeddings = 64
    return found


def told():
    lines: list[str] = []
    return lines, SimpleNamespace(say=lines.append)


def long(text_class="chat"):
    return Text((("user", "salt"), ("assistant", "bread " * 90)), text_class)


def test_long_texts_are_left_out_and_the_first_is_named(loaded):
    lines, reporter = told()
    texts = (SHORT, CHAT, long(), long(), CHAT)
    assert fitting_texts(loaded, texts, reporter) == (SHORT, CHAT, CHAT)
    assert len(lines) == 1
    assert "texts: 2 of 5 are left out" in lines[0]
    assert "64 tokens; the first is text 2 (chat) with " in lines[0]


def test_texts_that_just_fit_are_kept_and_nothing_is_said(loaded):
    lines, reporter = told()
    texts = (SHORT, CHAT)
    assert fitting_texts(loaded, texts, reporter) == texts
    n = len(loaded.tokenizer(SHORT.content)["input_ids"])
    loaded.model.config.max_position_embeddings = n
    assert fitting_texts(loaded, (SHORT,), reporter) == (SHORT,)
    assert lines == []
    loaded.model.config.max_position_embeddings = n - 1
    with pytest.raises(PromptError, match=r"no text fits .*: text 1 \(mentions\) with "):
        fitting_texts(loaded, (SHORT,), reporter)


def test_both_models_must_fit_and_only_allowed_texts_are_counted(loaded):
    lines, reporter = told()
    wide = make_loaded("llama")
    wide.model.config.max_position_embeddings = 4096
    suite = PromptSuite({}, (SHORT, FORBIDDEN, long(), CHAT))
    config = parse_config(RunConfig, {"budget": "B0d"}, "test")
    assert leave_out_long_texts([wide], suite, config, reporter) is suite
    found = leave_out_long_texts([wide, loaded], suite, config, reporter)
    assert found.texts == (SHORT, FORBIDDEN, CHAT)  # the forbidden one was not even looked at
    assert len(lines) == 1
    assert "text 1 (chat)" in lines[0]
    wider = parse_config(RunConfig, {"budget": "B2"}, "test")
    assert leave_out_long_texts([wide, loaded], suite, wider, reporter).texts == (SHORT, CHAT)


def test_saes_are_trained_on_texts_that_fit(loaded, monkeypatch):
    from conceptbasis.config.model import ModelConfig
    from conceptbasis.saes import build

    class Chosen(Exception):
        pass

    def choose(texts, *_):
        raise Chosen(texts)

    monkeypatch.setattr(build, "choose_texts", choose)
    _, reporter = told()
    suite = PromptSuite({}, (SHORT, long(), CHAT))
    for saes in ({"train": {}}, {"folder": "none"}):
        config = parse_config(ModelConfig, {"name": "m", "model": "m", "saes": saes}, "test")
        monkeypatch.setattr(build, "load_published", lambda *_: {})
        with pytest.raises(Chosen) as caught:
            build.load_or_train(config, loaded, "hash", suite, reporter)
        assert caught.value.args[0] == (SHORT, CHAT)


# Prompts with their answers


def test_an_answer_that_fills_the_context_is_said_as_such(loaded):
    for n in (64, 500):
        with pytest.raises(PromptError, match=f"max_new_tokens is {n}") as caught:
            generate(loaded, ["salt"], max_new_tokens=n)
        assert caught.value.expected.startswith("less than the context of ")
        assert "64" in caught.value.expected
    assert room_for(loaded, 63, "x") == 1
    assert room_for(SimpleNamespace(max_length=None), 500, "x") is None


@pytest.fixture
def replay(loaded, monkeypatch, capsys):
    """The command on that model; what it says where it refuses, else what it would answer."""
    asked = []
    monkeypatch.setattr("conceptbasis.cli.finished.open_finished", lambda _: (loaded, None))

    def answer(loaded, intervention, prompts, *, max_new_tokens):
        asked.extend(prompts)
        return prompts, prompts, ""

    monkeypatch.setattr("conceptbasis.edits.finished.answer_both", answer)
    model = SimpleNamespace(name="target", model="a/model")
    monkeypatch.setattr("conceptbasis.runs.settings.read_settings", lambda _: (model, None))

    def run(*arguments):
        asked.clear()
        code = main(["replay", "run", *map(str, arguments)])
        return capsys.readouterr().err if code else list(asked)

    return run


def test_replay_names_the_option_that_leaves_no_room(replay):
    said = replay("--prompt", "hi", "--max-new-tokens", 500)
    assert "--max-new-tokens is 500" in said
    assert "less than the context of" in said
    assert "lower --max-new-tokens" in said
    assert "-4" not in said
    assert "expected: at least 1" in replay("--prompt", "hi", "--max-new-tokens", 0)
    assert replay("--prompt", "hi", "--max-new-tokens", 20) == ["hi"]


def test_replay_names_the_place_of_a_prompt_that_is_too_long(replay, tmp_path):
    text, table = tmp_path / "long.txt", tmp_path / "long.csv"
    text.write_text("salt\n\n" + "bread " * 60 + "\n")
    said = replay("--file", text)
    assert f"{text}, line 3 has " in said
    assert "at most 32: the context of" in said
    table.write_text("text\nsalt\n" + "bread " * 60 + "\n")
    assert f"{table}, row 2 has " in replay("--file", table)
    assert "--prompt 2 has " in replay("--prompt", "salt", "--prompt", "bread " * 60)
    assert replay("--prompt", "bread", "--prompt", "salt") == ["bread", "salt"]


def test_replay_of_a_file_without_prompts_is_not_that_of_the_run(replay, tmp_path):
    (tmp_path / "a.txt").write_text("\n \n")
    assert "no prompt is left" in replay("--file", tmp_path / "a.txt")
