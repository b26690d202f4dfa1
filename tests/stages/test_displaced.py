"""Displaced directions: the target's own are displaced over the very layers of the transfer."""

from __future__ import annotations

from types import SimpleNamespace

import torch

from conceptbasis.evaluation import conditions


def parts_of(layers, single, edited=None):
    return SimpleNamespace(
        guarded=SimpleNamespace(single=single),
        transfer=SimpleNamespace(layers=layers),
        intervention=SimpleNamespace(layers=edited or layers),
        harvest=SimpleNamespace(read_reported_ends=lambda *_: None),
        study=SimpleNamespace(
            target=SimpleNamespace(n_layers=8, loaded=None),
            config=SimpleNamespace(
                replay=SimpleNamespace(mode="affine", early_fraction=0.8), harvest=None
            ),
            reporter=None,
        ),
    )


def rows(n):
    return torch.arange(n).float()[:, None].expand(n, 3)


def plan_and_look(monkeypatch):
    seen = []

    def plan(parts, layers, directions, kept):
        seen.append((tuple(layers), directions[:, 0].tolist(), tuple(kept)))
        return SimpleNamespace(restrict=lambda kept: None)

    monkeypatch.setattr(conditions, "_plan_on", plan)
    return seen


def test_own_and_transferred_directions_come_from_the_same_layer(monkeypatch):
    seen = plan_and_look(monkeypatch)
    parts = parts_of((1, 2, 3, 4, 5), single=5)
    conditions.native_conditions(parts, {"native_trajectory": rows(8)})
    assert seen[-1] == ((1, 2, 3, 4, 5), [1.0] * 5, (1, 2, 3, 4, 5))
    conditions._displaced_edit(parts, 10 * rows(8)[1:6])
    assert seen[-1] == ((1, 2, 3, 4, 5), [10.0] * 5, (1, 2, 3, 4, 5))


def test_directions_of_their_own_are_displaced_among_edited_layers(monkeypatch):
    seen = plan_and_look(monkeypatch)
    parts = parts_of((1, 2, 3, 4), single=None, edited=(2, 3))
    conditions.native_conditions(parts, {"native_trajectory": rows(8)})
    assert seen[-1] == ((2, 3), [3.0, 2.0], (2, 3))


def test_one_layer_cannot_be_displaced(monkeypatch):
    plan_and_look(monkeypatch)
    found = conditions.native_conditions(parts_of((5,), single=5), {"native_trajectory": rows(8)})
    assert [condition.name for condition in found] == ["native_trajectory"]
