"""Heads and MLPs of every architecture: read, replaced, and resumed at a block."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch

from conceptbasis.errors import InterventionError, ModelError
from conceptbasis.models.architecture.binding import resolve
from conceptbasis.models.architecture.table import ARCHITECTURES
from conceptbasis.models.stream.components import (
    Activations,
    count_heads,
    list_components,
    read_components,
    replaced,
    writer_of,
)
from conceptbasis.models.stream.resuming import prove_resuming, record, resume
from conceptbasis.results.circuits import Component

IDS = torch.tensor([[5, 9, 12, 7, 20], [8, 3, 15, 30, 11]])
OTHER = torch.tensor([[6, 2, 14, 7, 21], [4, 13, 16, 31, 17]])


def last_logits(loaded, ids):
    with torch.no_grad():
        return loaded.model(input_ids=ids).logits[:, -1].float()


def zeros_like(found):
    return Activations(
        *(tuple(torch.zeros_like(h) for h in side) for side in (found.heads, found.mlps))
    )


@pytest.mark.parametrize("model_type", sorted(ARCHITECTURES))
def test_a_resumed_pass_gives_the_models_own_logits(models, model_type):
    loaded = models[model_type]
    made, own = record(loaded, IDS), last_logits(loaded, IDS)
    for layer in range(loaded.architecture.n_layers):
        torch.testing.assert_close(resume(loaded, made, layer), own, atol=1e-4, rtol=1e-4)
    prove_resuming(loaded, IDS)
    assert (resume(loaded, record(loaded, OTHER), 0) - own).abs().max() > 1e-3


@pytest.mark.parametrize("model_type", sorted(ARCHITECTURES))
def test_a_head_that_gives_nothing_is_a_head_without_its_columns(models, model_type):
    """The oracle edits a copy of the weights, which knows nothing of hooks."""
    loaded = models[model_type]
    n_heads, component = count_heads(loaded), Component(1, 1)
    edited = copy.deepcopy(loaded.model)
    bound = resolve(edited)
    slot = next(iter(bound.writers(1)))
    weight = slot.module.weight.data
    d_head = weight.shape[1 if slot.orientation == "out_in" else 0] // n_heads
    own = slice(d_head, 2 * d_head)
    (weight[:, own] if slot.orientation == "out_in" else weight[own]).zero_()
    wanted = last_logits(replace(loaded, model=edited, architecture=bound), IDS)
    made = record(loaded, IDS)
    with replaced(loaded, [[component]], zeros_like(read_components(loaded, IDS))):
        found, resumed = last_logits(loaded, IDS), resume(loaded, made, 1)
    torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(resumed, wanted, atol=1e-4, rtol=1e-4)
    with replaced(loaded, [[Component(1, 0)]], zeros_like(read_components(loaded, IDS))):
        assert (last_logits(loaded, IDS) - wanted).abs().max() > 1e-4  # another head differs


@pytest.mark.parametrize("model_type", sorted(ARCHITECTURES))
def test_components_and_embedding_make_the_model(models, model_type):
    """With all of another prompt's components, only the embedding is left of a prompt."""
    loaded = models[model_type]
    parts = list_components(loaded)
    assert len(parts) == loaded.architecture.n_layers * (count_heads(loaded) + 1)
    own, others = read_components(loaded, IDS), read_components(loaded, OTHER)
    before = last_logits(loaded, IDS)
    with replaced(loaded, [parts], own):
        torch.testing.assert_close(last_logits(loaded, IDS), before, atol=1e-4, rtol=1e-4)
    with replaced(loaded, [parts], others):
        moved = last_logits(loaded, IDS)
        assert (moved - before).abs().max() > 1e-3
    torch.testing.assert_close(last_logits(loaded, IDS), before)  # nothing is left behind


@pytest.mark.parametrize("model_type", sorted(ARCHITECTURES))
def test_sets_side_by_side_are_sets_one_after_the_other(models, model_type):
    loaded = models[model_type]
    given, made = read_components(loaded, OTHER).mean(), record(loaded, IDS)
    sets = [[Component(1, 0)], [], [Component(1), Component(2, 1)], [Component(2, 0), Component(1)]]
    with replaced(loaded, sets, given):
        together = resume(loaded, made, 1, n_times=len(sets)).unflatten(0, (len(sets), -1))
    for some, found in zip(sets, together, strict=True):
        with replaced(loaded, [some], given):
            torch.testing.assert_close(resume(loaded, made, 1), found, atol=1e-4, rtol=1e-4)
    assert (together[0] - together[1]).abs().max() > 1e-4


def test_an_mlp_that_gives_nothing_is_one_without_weights(llama):
    edited = copy.deepcopy(llama.model)
    edited.model.layers[1].mlp.down_proj.weight.data.zero_()
    wanted = last_logits(replace(llama, model=edited), IDS)
    with replaced(llama, [[Component(1)]], zeros_like(read_components(llama, IDS))):
        torch.testing.assert_close(last_logits(llama, IDS), wanted)


def test_one_row_serves_all_prompts(llama):
    mean = read_components(llama, IDS).mean()
    assert mean.heads[0].shape == (1, IDS.shape[1], writer_of(llama, 0).in_features)
    with replaced(llama, [list_components(llama)], mean):
        first = read_components(llama, IDS).mlps[0]
    assert first.shape[0] == 2


@pytest.mark.parametrize("component", [Component(9, 0), Component(0, 64), Component(-1)])
def test_a_component_that_is_not_there_is_an_error(llama, component):
    with (
        pytest.raises(InterventionError, match="name a component"),
        replaced(llama, [[component]], read_components(llama, IDS)),
    ):
        pass


def test_a_model_that_does_more_after_its_blocks_is_refused(llama):
    model = copy.deepcopy(llama.model)
    bound = resolve(model)
    odd = replace(llama, model=model, architecture=bound)
    handle = model.model.norm.register_forward_hook(
        lambda _m, _a, h: h + 1.0 if h.shape[1] > 1 else h
    )
    with pytest.raises(ModelError, match="one after the other"):
        prove_resuming(odd, IDS)
    handle.remove()
