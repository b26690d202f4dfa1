"""Capability before and after a finished transfer: perplexity by hand, the export, the command."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from functools import partial

import pytest
import torch
from micro import QUIET

from conceptbasis.cli.main import main
from conceptbasis.edits.finished import load_replayed
from conceptbasis.edits.intervention import apply_intervention, intervention_of
from conceptbasis.errors import PromptError
from conceptbasis.evaluation.capability import fit_context, measure_capability
from conceptbasis.models.text.generation import text_nll
from conceptbasis.runs.progress import Reporter


class Cut:
    """A tokenizer that puts no token of its own around plain texts."""

    def __init__(self, tokenizer):
        self.tokenizer = tokenizer

    def __call__(self, text, **options):
        return self.tokenizer(text, **{**options, "add_special_tokens": False})

    def __getattr__(self, name):
        return getattr(self.tokenizer, name)


LONG = "people saw the robin in the old museum . " * 40


def test_long_texts_are_cut_to_pieces_that_fit(sides):
    loaded = sides.target.loaded
    pieces = fit_context(loaded, LONG)
    assert "".join(pieces).split() == LONG.split()
    assert len(pieces) > 3
    text_nll(loaded, pieces)  # none is too long


def test_perplexity_of_texts_is_that_of_the_model_by_hand(sides, finished):
    loaded = sides.target.loaded
    intervention = intervention_of(load_replayed(finished.folder))
    found = measure_capability(loaded, intervention, QUIET, texts=["the robin sings .", "a plum ."])
    row = found.rows[-1]

    def by_hand():
        nll = n = 0.0
        for text in ("the robin sings .", "a plum ."):
            ids = torch.tensor([loaded.tokenizer(text)["input_ids"]])
            nll += float(loaded.model(ids, labels=ids).loss) * (ids.shape[1] - 1)
            n += ids.shape[1] - 1
        return math.exp(nll / n)

    with torch.no_grad():
        assert row.before == pytest.approx(by_hand(), rel=1e-3)
        with apply_intervention(loaded, intervention):
            assert row.after == pytest.approx(by_hand(), rel=1e-3)
    assert row.before != row.after


def test_texts_of_one_token_are_left_out_or_refused(sides, finished, capsys):
    loaded = sides.target.loaded
    loaded = replace(loaded, tokenizer=Cut(loaded.tokenizer))
    intervention = intervention_of(load_replayed(finished.folder))
    measure = partial(measure_capability, loaded, intervention)
    word = next(w for w in "a.?is" if len(loaded.tokenizer(w)["input_ids"]) == 1)
    with pytest.raises(PromptError, match="none of 2 texts has a token that can be predicted"):
        measure(QUIET, texts=[word, " "], tasks=["no task is run before"])
    both = measure(Reporter(), texts=[word, "a plum is ripe ."])
    assert "texts: 1 of one token are left out" in capsys.readouterr().err
    assert both.rows == measure(QUIET, texts=["a plum is ripe ."]).rows


OFF = ("--wandb", "off")  # nobody writes into the folder


def test_the_commands_write_their_files(finished, tmp_path, capsys, monkeypatch):
    texts = tmp_path / "texts.txt"
    texts.write_text("the robin sings .\na plum is ripe .\n")
    folder = str(finished.folder)
    assert main(["capability", folder, "--text", str(texts), "--quiet", *OFF]) == 0
    assert "perplexity" in capsys.readouterr().out
    written = json.loads((finished.folder / "capability.json").read_text())
    assert written["rows"][0]["metric"] == "perplexity"
    (finished.folder / "capability.json").unlink()
    assert main(["export", folder, "--steered", str(tmp_path / "a.pt"), "--quiet"]) == 0
    entries = torch.load(tmp_path / "a.pt", weights_only=True)
    intervention = intervention_of(load_replayed(finished.folder))
    assert len(entries) == len(intervention.layers)
    assert main(["capability", folder]) == 2
    assert "nothing to measure" in capsys.readouterr().err


def test_what_was_measured_is_shown_although_it_cannot_be_written(finished, tmp_path, capsys):
    texts = tmp_path / "texts.txt"
    texts.write_text("the robin sings .\n")
    taken = finished.folder / "capability.json"
    taken.mkdir()  # as good as a folder that is read-only, and so for root too
    try:
        assert main(["capability", str(finished.folder), "--text", str(texts), *OFF]) != 0
    finally:
        taken.rmdir()
    shown = capsys.readouterr()
    assert "perplexity" in shown.out
    assert "capability.json" in shown.err
