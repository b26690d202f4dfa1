"""One latent alone: what was put in is seen, beside controls; unknown ones are refused."""

from __future__ import annotations

import pytest
import torch

from conceptbasis.cli.main import main
from conceptbasis.errors import ConfigError
from conceptbasis.evaluation import latent as module
from conceptbasis.evaluation.latent import Latent, intervene_on_latent
from conceptbasis.models.stream.capture import capture
from conceptbasis.models.stream.hooks import intervene
from conceptbasis.models.text.chat import prompt_ids
from conceptbasis.results.atoms import Atoms
from conceptbasis.runs.graph import load_result


@pytest.fixture
def which(finished):
    """The first latent of the target that fires in the evidence."""
    row = load_result(finished.folder, "atoms", Atoms, tensors=False).layers[0]
    found = next(e for e in row.target_latents if e.contexts and e.contexts[0].peak)
    return Latent("target", row.target, found.latent)


def measure(finished, which, **options):
    from micro import QUIET

    given = {"n_prompts": 4, "device": "cpu", "reporter": QUIET, **options}
    return intervene_on_latent(finished.folder, which, **given)


def test_every_set_is_answered_under_every_intervention(finished, which):
    effects = measure(finished, which, n_controls=2)
    sets = [e.prompts for e in effects[::7]]
    assert len(set(sets)) == len(sets) >= 2
    assert {"positive", "safe"} <= {*sets}
    first = effects[:7]
    assert [e.intervention for e in first] == ["untouched", *["taken out", "put in"] * 3]
    assert [e.latent for e in first[:3]] == [None, which.latent, which.latent]
    assert len({e.latent for e in first[1:]}) == 3
    amounts = {e.amount for e in effects if e.intervention == "put in"}
    assert len(amounts) == 1
    assert {e.amount for e in effects if e.intervention != "put in"} == {None}
    for effect in effects:
        assert 0 < sum(share for _, share in effect.first_words) <= 1 + 1e-9


def test_controls_are_latents_without_evidence_and_more_of_them_keep_the_first(sides, which):
    named = {which.latent, *range(100)}
    few, many = (module._controls(sides.target, which, named, n) for n in (2, 5))
    assert many[:2] == few
    assert len({*many}) == 5
    assert not named & {*many}
    assert module._controls(sides.target, which, named, 0) == []


def test_the_donors_latents_are_taken_from_the_donor(finished):
    row = load_result(finished.folder, "atoms", Atoms, tensors=False).layers[0]
    known = next(e for e in row.donor_latents if e.contexts and e.contexts[0].peak)
    effects = measure(finished, Latent("donor", row.donor, known.latent))
    assert {e.latent for e in effects} > {None, known.latent}


def test_a_latent_put_in_a_hundred_times_changes_what_is_said(finished, which):
    strong = Latent(which.side, which.layer, which.latent, times=1000.0)
    by_kind = {e.intervention: e for e in measure(finished, strong)[:3]}
    assert by_kind["put in"].first_words != by_kind["untouched"].first_words


def test_the_edits_are_of_the_latents_row_and_of_the_controls(sides, which):
    side, other = sides.target, which.latent - 1 if which.latent else 1
    edits = module._edits(side, which, 2.0, [other], None)
    rows = side.sae(which.layer).W_dec.float()
    row, control = rows[which.latent], rows[other] / rows[other].norm()
    ids = torch.tensor(prompt_ids(side.loaded.tokenizer, ["a b"]))
    mask, layer = torch.ones_like(ids), which.layer
    plain = capture(side.loaded, ids, mask, layers=[layer])[layer]
    moved = {}
    for name, edit in edits.items():
        if edit is not None:
            with intervene(side.loaded, [edit]):
                moved[name] = capture(side.loaded, ids, mask, layers=[layer])[layer]
    close = {"rtol": 1e-4, "atol": 1e-4}
    torch.testing.assert_close(moved["put in", which.latent], plain + 2.0 * row, **close)
    assert float((moved["taken out", which.latent] @ row).abs().max()) < 1e-3
    put = plain + 2.0 * float(row.norm()) * control
    torch.testing.assert_close(moved["put in", other], put, **close)
    assert float((moved["taken out", other] @ control).abs().max()) < 1e-3


def test_a_latent_without_evidence_is_refused_with_those_that_there_are(finished, which):
    wrong = Latent("target", which.layer, 10**6)
    with pytest.raises(ConfigError, match=str(which.layer)) as caught:
        measure(finished, wrong)
    assert str(which.latent) in caught.value.expected
    with pytest.raises(ConfigError) as caught:
        measure(finished, Latent("target", 99, which.latent))
    assert "layer that the run maps" in caught.value.expected


def test_the_command_prints_the_table(finished, which, capsys):
    options = ["--side", "target", "--layer", str(which.layer), "--latent", str(which.latent)]
    command = ["intervene", str(finished.folder), *options, "--n-prompts", "2", "--quiet"]
    assert main(command) == 0
    shown = capsys.readouterr().out
    assert f"Latent {which.latent} of target layer {which.layer}" in shown
    assert "taken out" in shown
    assert shown.count("control") >= 4
    assert main([*command, "--n-controls", "0"]) == 0
    assert "control" not in capsys.readouterr().out
    for wrong in (["--n-prompts", "0"], ["--n-controls", "-1"]):
        assert main([*command, *wrong]) == 2
        assert "at least 1 prompt" in capsys.readouterr().err
