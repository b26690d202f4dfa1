"""Every text goes through the gate of its model before the model reads it."""

from __future__ import annotations

import ast
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny import PROMPTS

import conceptbasis
from conceptbasis.data.prompts import Text
from conceptbasis.errors import PromptError
from conceptbasis.models.stream.native import end_activations, measure_native
from conceptbasis.models.stream.residuals import read_residuals
from conceptbasis.models.text.divergence import answer_kl, count_flips
from conceptbasis.models.text.generation import complete, first_token_logits, generate, text_nll
from conceptbasis.runs.progress import Reporter
from conceptbasis.saes.fit import fit_warnings
from conceptbasis.saes.quality import OrdinaryTexts, measure_quality

TEXTS = [Text("a plain text", "chat"), Text((("user", "and a"), ("assistant", "chat")), "chat")]
MESSAGES = [t.as_messages() for t in TEXTS]
ANSWERED = [[{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]]


def read(loaded):
    options = {
        "batch_size": 2,
        "end_of_prompt": True,
        "reporter": Reporter(quiet=True),
        "label": "reading",
    }
    return read_residuals(loaded, TEXTS, [0], **options)


ENTRIES = {
    "generate": (lambda m: generate(m, PROMPTS, max_new_tokens=1), PROMPTS),
    "complete": (lambda m: complete(m, PROMPTS, max_new_tokens=1), PROMPTS),
    "forced": (lambda m: generate(m, ["a"], max_new_tokens=1, forced=["b"]), ANSWERED),
    "flips": (lambda m: count_flips(m, PROMPTS, str, max_new_tokens=1), PROMPTS),
    "first_token_logits": (lambda m: first_token_logits(m, PROMPTS), PROMPTS),
    "text_nll": (lambda m: text_nll(m, MESSAGES), MESSAGES),
    "answer_kl": (lambda m: answer_kl(m, ["a"], ["b"], torch.no_grad), ANSWERED),
    "end_activations": (lambda m: end_activations(m, PROMPTS), PROMPTS),
    "native": (lambda m: measure_native(m, PROMPTS, PROMPTS[::-1], n_select=1), PROMPTS[1:]),
    "read_residuals": (read, MESSAGES),
    "fit_warnings": (lambda m: fit_warnings(m, {}, MESSAGES, "tiny"), MESSAGES),
    "quality": (lambda m: measure_quality(m, {}, TEXTS, OrdinaryTexts({}, {}, 0.0)), MESSAGES),
}


@pytest.mark.parametrize("name", ENTRIES)
def test_a_model_reads_nothing_that_its_gate_was_not_told(llama, name):
    run, expected = ENTRIES[name]
    told = []
    run(replace(llama, gate=lambda texts: told.append(list(texts))))
    assert told[0] == list(expected)
    run(llama)


@pytest.mark.parametrize("name", ENTRIES)
def test_what_the_gate_refuses_is_not_read(llama, name):
    def refuse(texts):
        raise PromptError("not at this budget", expected="other text", fix="leave it out")

    def fail(*args, **options):
        raise AssertionError("the model was run")

    class Silent(torch.nn.Module):
        config = llama.model.config
        generation_config = llama.model.generation_config
        forward = fail

    closed = replace(llama, gate=refuse, model=Silent())
    with pytest.raises(PromptError, match="not at this budget"):
        ENTRIES[name][0](closed)


def test_no_module_makes_tokens_of_texts_past_the_gate():
    """What encodes texts for a model says so to its gate; the others only count tokens."""
    encoders = {"encode_texts", "prompt_ids"}
    silent = {"models/text/chat.py", "models/text/lengths.py", "study/checks.py"}
    silent |= {"evaluation/overview.py", "serve/asking.py"}
    root = Path(conceptbasis.__file__).parent
    for path in root.rglob("*.py"):
        names = {
            node.attr if isinstance(node, ast.Attribute) else node.id
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.Name | ast.Attribute)
        }
        if names & encoders and path.relative_to(root).as_posix() not in silent:
            assert "show" in names, path
