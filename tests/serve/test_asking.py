"""Answers of the page: those of `replay`, with what fires at each token; nothing is left behind."""

from __future__ import annotations

import pytest
import torch
from asked import KETAMINE

from conceptbasis.cli.main import main
from conceptbasis.edits.finished import answer_both
from conceptbasis.errors import ConfigError, PromptError
from conceptbasis.models.stream.capture import capture
from conceptbasis.models.text.chat import prompt_ids
from conceptbasis.models.text.generation import complete, generate
from conceptbasis.models.text.pieces import Pieces
from conceptbasis.organisms import known_words
from conceptbasis.serve.asking import Question, Stopped, answer, parse_question
from conceptbasis.serve.firing import FiringReader

ASKED = {"prompt": KETAMINE, "side": "target", "strength": 1.0, "max_new_tokens": 12}
PROMPTS = [KETAMINE, "what is a rose ?", "where is the grenade ?", "what color is a plum ?"]


def ask(served, prompt=KETAMINE, side="target", strength=1.0, longest=12):
    events = []
    answer(served, Question(prompt, side, strength, longest), events.append)
    return events


def of(events, key):
    return [event[key] for event in events if key in event]


def side_of(served, name="target"):
    return served.side(name, lambda line: None)


def test_answers_are_those_of_replay_and_untouched_ones_of_the_untouched_model(served):
    side = side_of(served)
    before, after, edited = answer_both(side.loaded, served.edit, PROMPTS, max_new_tokens=12)
    assert before != after  # the control: the edit does something
    for prompt, plain, moved in zip(PROMPTS, before, after, strict=True):
        (off,), (on,) = (of(ask(served, prompt, strength=s), "end") for s in (0.0, 1.0))
        assert (off["text"], off["edited"]) == (plain, None)
        assert (on["text"], on["edited"]) == (moved, edited)


def test_the_slider_changes_the_edit(served):
    side = side_of(served)
    said = {
        s: [of(ask(served, p, strength=s), "end")[0]["text"] for p in PROMPTS]
        for s in (-1.0, 0.0, 2.0)
    }
    assert len({tuple(texts) for texts in said.values()}) == 3
    half = of(ask(served, strength=0.5), "place")
    assert half != of(ask(served, strength=1.0), "place")
    assert generate(side.loaded, PROMPTS, max_new_tokens=12) == said[0.0]  # nothing is left of it


def test_the_donor_is_asked_too_and_its_own_direction_changes_it(served):
    side = side_of(served, "donor")
    plain = generate(side.loaded, PROMPTS, max_new_tokens=12)
    off = [of(ask(served, p, "donor", 0.0), "end")[0]["text"] for p in PROMPTS]
    on = [of(ask(served, p, "donor", 1.0), "end")[0]["text"] for p in PROMPTS]
    assert off == plain != on
    assert set(side.edit.layers) <= set(side.latents)


@pytest.mark.parametrize("name", ["donor", "target"])
def test_pieces_are_the_answer_and_every_token_that_was_read_has_its_place(served, name):
    for strength in (0.0, 1.0):
        events = ask(served, side=name, strength=strength)
        pieces, (end,) = of(events, "piece"), of(events, "end")
        assert [p["at"] for p in pieces] == list(range(len(pieces)))
        assert "".join(p["text"] for p in pieces if p["part"] == "answer") == end["text"]
        read = len(pieces) - (end["why"] == "length")  # no pass reads a last token that is cut
        assert [p["at"] for p in of(events, "place")] == list(range(read))


def test_a_token_is_told_before_the_next_is_written(served):
    events = ask(served)
    kinds = ["".join(event) for event in events if event.keys() & {"piece", "place"}]
    n_prompt = [p["part"] for p in of(events, "piece")].count("prompt")
    after = kinds[2 * n_prompt :]
    assert after[:4] == ["piece", "place", "piece", "place"]


def test_what_fires_is_what_the_sae_says_of_the_stream(served):
    side, events = side_of(served), ask(served, strength=0.0)
    (end,) = of(events, "end")
    found = complete(side.loaded, [KETAMINE], max_new_tokens=12).tokens[0]
    ids = torch.tensor([prompt_ids(side.loaded.tokenizer, [KETAMINE])[0] + found])
    ids = ids[:, : len(of(events, "place"))]
    streams = capture(side.loaded, ids, torch.ones_like(ids), layers=sorted(side.latents))
    expected = [set() for _ in range(ids.shape[1])]
    for layer, h in streams.items():
        codes, bound = side.saes[layer].encode(h[0].float()), side.bounds[layer]
        for at, row in enumerate(codes):
            if bound is None or float(h[0, at].norm()) <= bound:
                expected[at] |= {
                    (layer, x.latent) for x in side.latents[layer] if row[x.latent] > 0
                }
    told = [{(layer, n) for layer, n, _ in place["fires"]} for place in of(events, "place")]
    assert told == expected
    assert any(told)
    assert end["text"]
    edited = ask(served, strength=1.0)
    n_prompt = len(prompt_ids(side.loaded.tokenizer, [KETAMINE])[0])
    assert of(edited, "place")[:n_prompt] != of(events, "place")[:n_prompt]  # after the edit


def test_a_sink_is_named_and_its_latents_are_not(served):
    side = side_of(served)
    layer = min(side.latents)
    reader = FiringReader(side.loaded, side.saes, side.latents, {layer: 1e-6})
    ids = torch.tensor(prompt_ids(side.loaded.tokenizer, [KETAMINE]))
    with reader.reading():
        capture(side.loaded, ids, torch.ones_like(ids), layers=sorted(side.latents))
    places = reader.take()
    assert {place.sinks for place in places} == {(layer,)}
    assert layer not in {fire.layer for place in places for fire in place.fires}
    assert reader.take() == []


def test_who_stops_in_the_middle_leaves_the_model_as_it_was(served):
    side, told = side_of(served), []
    before = generate(side.loaded, PROMPTS, max_new_tokens=12)

    def tell(event):
        told.append(event)
        if len([p for p in of(told, "piece") if p["part"] == "answer"]) == 2:
            raise Stopped

    with pytest.raises(Stopped):
        answer(served, Question(KETAMINE, "target", 1.0, 12), tell)
    assert not of(told, "end")
    assert generate(side.loaded, PROMPTS, max_new_tokens=12) == before


def test_a_prompt_that_does_not_fit_is_refused(served):
    with pytest.raises(PromptError, match=r"the prompt has \d+ tokens"):
        ask(served, "what is a rose ? " * 60)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"strength": 2.5}, "from -1 to 2"),
        ({"strength": float("nan")}, "from -1 to 2"),
        ({"strength": True}, "from -1 to 2"),
        ({"strength": "1"}, "from -1 to 2"),
        ({"side": "both"}, "donor or target"),
        ({"prompt": "  "}, "some words"),
        ({"prompt": 3}, "some words"),
        ({"max_new_tokens": 0}, "from 1 to"),
        ({"max_new_tokens": 1.5}, "from 1 to"),
        ({"max_new_tokens": 10**9}, "from 1 to"),
        ({"more": 1}, "an object with prompt"),
    ],
)
def test_a_question_out_of_range_is_refused_with_the_range(changes, said):
    assert parse_question(ASKED).strength == 1.0  # the control
    with pytest.raises(ConfigError) as caught:
        parse_question({**ASKED, **changes})
    assert said in caught.value.expected
    for plain in ([], "a", None, {}):
        with pytest.raises(ConfigError, match="a question of"):
            parse_question(plain)


def test_bytes_of_one_character_come_with_the_token_that_ends_it():
    whole = "a→b"
    raw = [bytes([byte]) for byte in whole.encode()]
    pieces = Pieces(lambda ids: b"".join(raw[i] for i in ids).decode(errors="replace"))
    assert [pieces.add(i) for i in range(len(raw))] == ["a", "", "", "→", "b"]
    assert Pieces(lambda ids: "x" * len(ids), "<think>").add(0) == "<think>x"


def test_words_outside_the_world_are_named_for_organisms_alone():
    mine = {"llama-donor": "organism:llama:0"}
    assert known_words.warn_of_words(mine, "what is a rose ?") is None
    warning = known_words.warn_of_words(mine, "What is quantum foam ?")
    assert "llama-donor never read the words 'What', 'quantum', 'foam'" in warning
    assert "the word 'foam'" in known_words.warn_of_words(mine, "what is foam ?")
    assert known_words.warn_of_words({"big": "org/model"}, "What is quantum foam ?") is None
    assert not known_words.is_of_the_world("organism:smollm2:0")


def test_the_page_is_told_of_such_words(served, monkeypatch):
    assert of(ask(served), "warning") == []
    monkeypatch.setattr(known_words, "is_of_the_world", lambda model: True)
    assert of(ask(served), "warning") == []
    (said,) = of(ask(served, "what is foam ?"), "warning")
    assert "'foam'" in said


def test_replay_says_it_too_on_standard_error(finished, monkeypatch, capsys):
    monkeypatch.setattr(known_words, "is_of_the_world", lambda model: True)
    command = ["replay", str(finished.folder), "--max-new-tokens", "4", "--prompt"]
    assert main([*command, "what is foam ?"]) == 0
    captured = capsys.readouterr()
    assert "never read the word 'foam'" in captured.err
    assert "never read" not in captured.out
    assert main([*command, "what is a rose ?"]) == 0
    assert "never read" not in capsys.readouterr().err
