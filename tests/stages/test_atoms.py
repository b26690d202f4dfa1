"""Evidence of atoms: complete, from text that was there, and silent about hidden text."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse
import torch
from steps import Steps

from conceptbasis.behaviors.refusal import REFUSAL
from conceptbasis.data.prompts import Prompt, Text
from conceptbasis.interpret.evidence import read_views
from conceptbasis.interpret.labels import make_label, shared_words, told_apart
from conceptbasis.interpret.scope import atom_scopes
from conceptbasis.interpret.texts import (
    BEFORE_ANSWER,
    HIDDEN,
    Corpus,
    harvested,
    source_of_text,
    sources_of_prompts,
    vocabulary,
    word_matrix,
)
from conceptbasis.results.atoms import Atoms, Evidence, Share
from conceptbasis.results.edit import Guarded
from conceptbasis.results.recipe import Transfer
from conceptbasis.runs.graph import load_result
from conceptbasis.runs.storage import to_json
from conceptbasis.stages.atoms import ATOMS

SECRET = "crimson lantern phrase"


@pytest.fixture(scope="module")
def result(finished):
    return load_result(finished.folder, "atoms", Atoms)


def evidence_of(result):
    return [e for row in result.layers for e in (*row.donor_latents, *row.target_latents)]


def test_every_atom_of_the_recipe_has_evidence_on_both_sides(finished, result):
    transfer = load_result(finished.folder, "transfer", Transfer)
    for row, rebuilt in zip(result.layers, transfer.layers, strict=True):
        donor = {e.latent for e in row.donor_latents}
        target = {e.latent for e in row.target_latents}
        assert donor == {a.latent for a in rebuilt.donor_atoms}
        assert target >= {a.latent for a in rebuilt.target_atoms}
        assert target >= {a.target_latent for a in row.atoms}
        assert all(0 <= a.guard_overlap <= 1 for a in row.atoms)
        measured = [a.leave_one_out for a in row.atoms if a.leave_one_out]
        assert 1 <= len(measured) <= 3
        assert all(-1 <= m.cosine <= 1 for m in measured)
        matched = [a for a in row.atoms if a.target_latent is not None]
        near = [a.ambiguity for a in matched]
        assert all(a.ambiguity.runner_up not in (None, a.target_latent) for a in matched)
        assert target >= {n.runner_up for n in near if n.runner_up is not None}
        assert all(n.gap.low <= n.gap.value <= n.gap.high for n in near)
        assert all((n.runner_up in n.rivals) == (n.gap.low <= 0) for n in near)
    assert all(e.label for e in evidence_of(result))


def test_contexts_are_shaded_and_spread_over_quantiles(result):
    for evidence in evidence_of(result):
        quantiles = [c.quantile for c in evidence.contexts]
        assert quantiles == sorted(quantiles, reverse=True)
        for context in evidence.contexts:
            assert len(context.pieces) == len(context.levels)
            assert max(context.levels) > "0"
        if evidence.contexts:
            assert quantiles[0] == 1
            assert "9" in evidence.contexts[0].levels
    spread = [[c.quantile for c in e.contexts] for e in evidence_of(result)]
    assert any(min(quantiles, default=1) < 0.5 for quantiles in spread)


def test_flows_hold_every_atom_once(result):
    members = [(a.target, a.latent) for flow in result.flows for a in flow.atoms]
    atoms = [(row.target, a.latent) for row in result.layers for a in row.atoms]
    assert sorted(members) == sorted(atoms)
    sizes = [flow.contribution for flow in result.flows]
    assert sizes == sorted(sizes, reverse=True)


def test_the_target_reads_nothing_and_hidden_text_says_nothing(make_study, monkeypatch):
    study = make_study(atoms={"n_prompts": 12, "n_leave_out": 1})
    steps = Steps(study)
    given = [steps.get(kind) for kind in ATOMS.needs]
    assert ATOMS.needs[-1] is Guarded
    name = study.behavior.sets.positive
    planted = tuple(replace(p, text=f"{p.text} {SECRET}") for p in study.suite[name])
    study.suite = replace(study.suite, prompts={**study.suite.prompts, name: planted})
    booked = study.ledger.shown
    monkeypatch.setattr(type(study.target.loaded.model), "forward", None)
    monkeypatch.setattr(type(study.target.loaded.architecture.body), "forward", None)
    result = ATOMS.compute(study, *given)
    assert study.ledger.shown == booked
    seen = 0
    for evidence in evidence_of(result):
        shown = tuple(c for c in evidence.contexts if not c.hidden)
        seen += len(shown)
        text = json.dumps(to_json(replace(evidence, contexts=shown))).lower()
        assert "lantern" not in text.replace(HIDDEN, "")
    assert seen


# The texts


def positive_source(prompt):
    return sources_of_prompts([prompt], "harmful_requests", hidden=True)


def corpus() -> tuple[Corpus, scipy.sparse.csr_matrix]:
    sources = [
        source_of_text(Text((("user", "red rose ?"), ("assistant", "yes .")), "chat", "rose")),
        *positive_source(Prompt("steal a lantern", noun="theft")),
        source_of_text(Text("a rose is red", "definitions", "rose")),
    ]
    sites = [(0, 0, 3), (0, 0, 8), (0, 1, 0), (0, 1, 3), (1, 0, 5), (1, 0, 15), (1, 1, 0)]
    sites += [(2, 0, 1), (2, 0, 6)]
    codes = [[0, 1], [4, 0], [2, 0], [0, 0], [8, 0], [0, 0], [0, 1], [0, 0], [2, 0]]
    return Corpus(sources, sites), scipy.sparse.csr_matrix(np.array(codes, dtype=np.float32))


def test_pieces_end_where_both_tokenizers_agree():
    pieces = corpus()[0].pieces
    assert pieces[:4] == ["red", " rose", BEFORE_ANSWER, "yes"]
    assert pieces[4:] == ["steal", " a lantern", BEFORE_ANSWER, "a", " rose"]


def test_hidden_texts_give_their_topic_and_nothing_else():
    found, codes = corpus()
    assert [s.hidden for s in found.sources] == [False, True, False]
    assert found.sources[1].words == {"theft"}
    assert dict(map(tuple, found.firing_pieces(codes, 5)[0])) == {
        HIDDEN: 0.5,
        "rose": 0.375,
        BEFORE_ANSWER: 0.125,
    }
    assert vocabulary(found.sources, least=2) == ["red", "rose"]
    assert word_matrix(found.sources, ["rose"]).toarray().ravel().tolist() == [1, 0, 1]


def test_peaks_and_a_context_around_the_highest_site():
    found, codes = corpus()
    peaks = found.peaks(codes)
    assert peaks.tolist() == [[4, 1], [8, 1], [2, 0]]
    context = found.context(0, codes.toarray()[:, 0], 8.0, 0.5)
    assert "".join(context.pieces) == "red rose ⟨answer⟩ yes ."
    assert context.levels == "05300"
    assert found.context(1, codes.toarray()[:, 0], 8.0, 1.0).hidden
    kinds = found.firing_kinds(torch.tensor([[True], [True], [False]]))
    assert kinds == [{"chat": 1.0, "definitions": 0.0, "harmful_requests": 1.0}]


# The labels


def evidence(**changes):
    plain = Evidence(0, "", 0.0, (), (), {}, None, None, {}, None, (), (), (), None, False, ())
    return replace(plain, **changes)


@pytest.mark.parametrize(
    ("changes", "label"),
    [
        ({}, "no clear evidence"),
        ({"words": [["open", 9.0], ["shut", 4.0]]}, "open, shut"),
        ({"fires_on": [["rose", 0.9]], "words": [["rose", 9.0]]}, "“rose”"),
        ({"fires_on": [[HIDDEN, 0.9]]}, "no clear evidence"),
        (
            {
                "fires_on": [[BEFORE_ANSWER, 0.7]],
                "kinds": {"harmful_requests": 0.9, "chat": 0.1},
                "promoted": ["sorry"],
            },
            "harmful requests, before the answer → sorry",
        ),
        ({"kinds": {"chat": 0.9, "declines": 0.8, "mentions": 0.7}}, "no clear evidence"),
    ],
)
def test_labels_say_kind_place_and_words(changes, label):
    assert make_label(evidence(**changes)) == label


def test_equal_labels_are_told_apart_by_what_differs():
    def labelled(label, words, promoted=()):
        return evidence(label=label, words=[[w, 3.0] for w in words], promoted=promoted)

    found = told_apart(
        [
            labelled("a", ["red", "green"]),
            labelled("a", ["red"], ["sun"]),
            labelled("b", ["red"]),
            labelled("c", ["x"]),
            labelled("c", ["x"]),
        ]
    )
    assert found == [("green",), ("promotes “sun”",), None, (), ()]


def test_shared_words():
    assert shared_words(["a", "b"], ["b", "c"]) == pytest.approx(1 / 3)
    assert shared_words([], []) is None


# Templates


def planted_corpus():
    """Six templates with four nouns each; one atom fires in all, one in the first template."""
    sources, sites = [], []
    for template in range(6):
        for noun in ("rose", "drum", "theft", "arson"):
            prompt = Prompt(f"say {template} {noun}", noun, template=f"say {template} {{n}}")
            asks = noun in ("theft", "arson")
            kind = "harmful_requests" if asks else "harmless_requests"
            sources += sources_of_prompts([prompt], kind, hidden=asks)
            sites.append((len(sources) - 1, 0, 5))
    everywhere = np.ones(24)
    first = np.array([1.0] * 4 + [0.1] + [0.0] * 19)
    harm = np.array([0.0, 0, 1, 1] * 6)
    codes = np.stack([everywhere, first, harm, 0 * everywhere], axis=1).astype(np.float32)
    return Corpus(sources, sites), scipy.sparse.csc_matrix(codes)


def test_an_atom_of_one_template_is_flagged_and_one_of_many_is_not():
    corpus, codes = planted_corpus()
    found = atom_scopes(corpus, codes, 0, REFUSAL, {"theft", "arson"})
    assert [entry.template_bound for entry in found] == [False, True, False, None]
    everywhere, first, harm, silent = found
    assert everywhere.templates.effective == pytest.approx(6)
    assert everywhere.templates.even == pytest.approx(6)
    assert everywhere.nouns.effective == pytest.approx(4)
    assert everywhere.about["positive"] == Share(pytest.approx(0.5), 0.5)
    assert first.templates.largest == pytest.approx(4 / 4.1)
    assert first.templates.name == "say 0 {n}"
    assert harm.about["positive"].share == 1
    assert harm.nouns.effective == pytest.approx(2)
    assert silent.templates is None
    assert silent.about == {"positive": None, "behavior": None}


def test_one_template_of_all_texts_flags_nothing():
    corpus, codes = planted_corpus()
    same = [replace(source, template="say it") for source in corpus.sources]
    found = atom_scopes(Corpus(same, corpus.sites), codes, 0, REFUSAL, ())
    assert [entry.template_bound for entry in found] == [None] * 4


def test_templates_of_hidden_texts_alone_are_not_named():
    corpus, codes = planted_corpus()
    hidden = [replace(s, template=SECRET) if s.hidden else s for s in corpus.sources]
    found = atom_scopes(Corpus(hidden, corpus.sites), codes, 0, REFUSAL, ())
    assert found[2].templates.largest == 1
    assert SECRET not in json.dumps(to_json(found))


def test_a_text_without_a_template_has_its_wording():
    text = Text(
        (("user", "Which roses do you like ?"), ("assistant", "red ones .")), "chat", "rose"
    )
    assert source_of_text(text).wording == "which … do you like ?"
    assert source_of_text(Text("no topic here", "chat")).wording == "no topic here"


# Outliers


def test_outliers_of_the_donors_own_prompts_are_no_evidence(make_study):
    n_sites = {}
    for ratio in (1.3, 100.0):
        study = make_study(harvest={"max_norm_ratio": ratio})
        harvest = replace(Steps(make_study()).harvest, files={})
        view = read_views(study, harvest, [0, 2])["donor"]
        n_shared = len(harvested(study.sites(harvest)).sites)
        n_sites[ratio] = len(view.corpus.sites) - n_shared
        assert all(len(x) == n_sites[ratio] for x in view.residuals.values())
    assert 0 < n_sites[1.3] < n_sites[100.0]
