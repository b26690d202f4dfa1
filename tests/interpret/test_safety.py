"""The overlap of an edit with how the target says no: by hand, and with what must not overlap."""

from __future__ import annotations

import pytest
import torch

from conceptbasis.behaviors import SAFETY_CONCEPT
from conceptbasis.interpret.safety import SafetyOverlap, overlap_with, safety_overlap
from conceptbasis.report.stage_tables import safety_sentence, safety_table

D_MODEL, LAYERS = 96, (2, 4, 5)


def drawn(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def concept() -> torch.Tensor:
    return torch.randn(len(LAYERS), D_MODEL, generator=drawn(7))


def test_cosines_are_those_by_hand_whatever_the_lengths():
    c = concept()
    half = c / c.norm(dim=1, keepdim=True)
    orthogonal = torch.linalg.qr(torch.stack([half[0], *torch.eye(D_MODEL)[:1]]).T).Q[:, 1]
    edit = torch.stack([0.6 * half[0] + 0.8 * orthogonal, -half[1], half[2]])
    rows = overlap_with(edit, 5 * c, LAYERS, drawn=drawn())
    assert [r.cosine for r in rows] == pytest.approx([0.6, -1.0, 1.0], abs=1e-5)
    assert [r.layer for r in rows] == [2, 4, 5]
    # 95 % of random directions in 96 dimensions stay below 1.96 / √96.
    assert all(r.null == pytest.approx(0.2, abs=0.02) for r in rows)


def test_an_edit_along_it_is_warned_of_and_random_edits_are_not():
    c = concept()
    along = SafetyOverlap("no", overlap_with(c + 0.5 * concept().flip(0), c, LAYERS, drawn=drawn()))
    assert len(along.significant) == 3
    assert "overlaps with how the target says no, at 3 of 3" in safety_sentence(along)
    warned = 0
    for seed in range(40):
        edit = torch.randn(len(LAYERS), D_MODEL, generator=drawn(100 + seed))
        found = SafetyOverlap("no", overlap_with(edit, c, LAYERS, drawn=drawn()))
        warned += bool(found.significant)
    assert warned <= 6  # 5 % of 40 runs are 2


def test_what_is_said_without_overlap_and_without_the_concept():
    c = concept()
    edit = torch.randn(len(LAYERS), D_MODEL, generator=drawn(3))
    found = SafetyOverlap("no", overlap_with(edit, c, LAYERS, drawn=drawn()))
    assert safety_sentence(found).startswith("No overlap")
    table = safety_table(found)
    assert table is not None
    assert len(table.rows) == 3
    assert "not measured" in safety_sentence(None)
    assert safety_table(None) is None


def test_a_finished_run_tells_its_overlap_at_each_edited_layer(finished):
    from conceptbasis.behaviors import find_behavior
    from conceptbasis.report.artifacts import RunFolder
    from conceptbasis.report.logged import logged_tables

    found = safety_overlap(finished.folder)
    assert found is not None
    assert found.concept == SAFETY_CONCEPT
    assert tuple(r.layer for r in found.layers) == finished.summary.plan.layers
    behavior = find_behavior(finished.summary.behavior)
    tables = logged_tables(RunFolder(finished.folder), "replay", behavior)
    assert [row[1] for row in tables["safety_overlap"].rows] == [r.cosine for r in found.layers]


def test_a_budget_without_the_concept_has_no_overlap(finished, monkeypatch):
    monkeypatch.setattr("conceptbasis.interpret.safety.SAFETY_CONCEPT", "no such concept")
    assert safety_overlap(finished.folder) is None
