"""One latent alone: what was put in is seen, another latent does less, unknown ones are refused."""

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
    effects = measure(finished, which)
    kinds = [e.intervention.split(",")[0] for e in effects]
    assert kinds[:4] == ["untouched", "taken out", "put in", "another one"]
    assert {e.prompts for e in effects} >= {"positive", "safe"}
    assert len(effects) == 4 * len({e.prompts for e in effects})
    for effect in effects:
        assert 0 < sum(share for _, share in effect.first_words) <= 1 + 1e-9


def test_the_donors_latents_are_taken_from_the_donor(finished):
    row = load_result(finished.folder, "atoms", Atoms, tensors=False).layers[0]
    known = next(e for e in row.donor_latents if e.contexts and e.contexts[0].peak)
    effects = measure(finished, Latent("donor", row.donor, known.latent))
    assert {e.intervention.split(",")[0] for e in effects} >= {"taken out", "put in"}


def test_a_latent_put_in_a_hundred_times_changes_what_is_said(finished, which):
    strong = Latent(which.side, which.layer, which.latent, times=1000.0)
    by_kind = {e.intervention.split(",")[0]: e for e in measure(finished, strong)[:4]}
    assert by_kind["put in"].first_words != by_kind["untouched"].first_words


def test_the_edits_are_of_the_latents_row_and_of_one_that_is_not_named(sides, which):
    side, named = sides.target, {which.latent, 0, 1}
    edits = module._edits(side, which, 2.0, named, None)
    row = side.sae(which.layer).W_dec[which.latent].float()
    ids = torch.tensor(prompt_ids(side.loaded.tokenizer, ["a b"]))
    mask, layer = torch.ones_like(ids), which.layer
    plain = capture(side.loaded, ids, mask, layers=[layer])[layer]
    moved = {}
    for name, edit in edits.items():
        if edit is not None:
            with intervene(side.loaded, [edit]):
                moved[name.split(",")[0]] = capture(side.loaded, ids, mask, layers=[layer])[layer]
    torch.testing.assert_close(moved["put in"], plain + 2.0 * row, rtol=1e-4, atol=1e-4)
    assert float((moved["taken out"] @ row).abs().max()) < 1e-3
    other = (moved["another one"] - plain).flatten(0, 1)[0]
    assert float(other.norm()) == pytest.approx(2.0 * float(row.norm()), rel=1e-3)
    assert abs(float(torch.cosine_similarity(other, row, dim=0))) < 0.99


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
    assert main([*command, "--n-prompts", "0"]) == 2
