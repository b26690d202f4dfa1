"""Centred ablation leaves sinks alone; its first-order effect orders candidates as measured."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tiny import make_loaded

from conceptbasis.config.base import SINK_RATIO
from conceptbasis.models.stream import candidates
from conceptbasis.models.stream.capture import capture
from conceptbasis.models.stream.centred import centred_ablation, read_stream
from conceptbasis.models.stream.first_token import behavior_score
from conceptbasis.models.stream.hooks import intervene, splice
from conceptbasis.models.stream.native import describe_layers, measure_native, middle_layers
from conceptbasis.models.stream.screening import ablation_effects
from conceptbasis.models.text.chat import prompt_ids
from conceptbasis.models.text.generation import first_token_logits

PROMPTS = ["salt", "bread and salt", "water and a long way to go", "a b c"]


def test_the_edit_holds_ordinary_positions_at_the_mean_and_leaves_sinks_alone():
    loaded = make_loaded("llama")
    prompts = [f"salt and water {i}" for i in range(4)]
    stream = read_stream(loaded, prompts)
    direction = torch.randn(16, generator=torch.Generator().manual_seed(0))
    direction /= direction.norm()
    moved = {}

    def keep(_module, _given, out):
        moved["h"] = out[0] if isinstance(out, tuple) else out

    for bound in (stream.bounds, torch.zeros_like(stream.bounds)):
        with intervene(loaded, centred_ablation(direction, replace(stream, bounds=bound))):
            hook = loaded.architecture.blocks[-1].register_forward_hook(keep)
            loaded.model(torch.tensor([[9, 10, 11]]))
            hook.remove()
        reading = moved["h"] @ direction
        held = torch.allclose(reading, stream.means[-1] @ direction, atol=1e-4)
        assert held is bool((bound > 0).all())


def test_an_offset_lies_below_the_mean_by_the_spread_of_the_ends():
    loaded = make_loaded("llama")
    stream = read_stream(loaded, PROMPTS)
    assert stream.ends.shape == (loaded.architecture.n_layers, len(PROMPTS), 16)
    unit = torch.nn.functional.normalize(torch.ones(16), dim=0)
    plain, below = (centred_ablation(unit, stream, offset=x) for x in (0.0, 0.5))
    for layer, (a, b) in enumerate(zip(plain, below, strict=True)):
        torch.testing.assert_close(a.mean, stream.means[layer])
        gap = (a.mean - b.mean) @ unit
        assert float(gap) == pytest.approx(0.5 * float((stream.ends[layer] @ unit).std()), rel=1e-4)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_means_are_of_real_positions_that_are_a_sink_at_no_layer(attention):
    """Prompts of unlike length are padded on the left, where the padding is planted as a sink."""
    loaded = make_loaded("llama", attn_implementation=attention)
    assert loaded.model.config._attn_implementation == attention
    prompts = ["salt", "salt and water and a long way to go", "a b c"]
    rows = prompt_ids(loaded.tokenizer, prompts)
    assert len({len(row) for row in rows}) == 3
    with torch.no_grad():
        weight = loaded.model.get_input_embeddings().weight
        weight[loaded.tokenizer.pad_token_id] = 700.0
        weight[rows[2][-3]] *= 200.0
    positions = []
    for row in rows:
        ids = torch.tensor([row])
        found = capture(loaded, ids, torch.ones_like(ids), layers=range(3))
        positions.append(torch.stack([found[layer][0] for layer in range(3)]))
    x = torch.cat(positions, dim=1)
    bounds = SINK_RATIO * x.norm(dim=-1).median(dim=1).values
    sinks = x.norm(dim=-1) > bounds[:, None]
    assert sinks.any()
    stream = read_stream(loaded, prompts)
    torch.testing.assert_close(stream.bounds, bounds, rtol=1e-4, atol=1e-4)
    expected = x[:, ~sinks.any(0)].mean(1)
    torch.testing.assert_close(stream.means, expected, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(stream.means, x.mean(1), atol=1e-2)


@pytest.mark.parametrize("name", ["llama", "gemma3"])
def test_the_estimate_is_the_derivative_along_what_each_block_adds(name):
    """Each block's own share of a direction is taken out by a thousandth, by hand."""
    loaded = make_loaded(name)
    tokens, eps = torch.tensor([9, 12]), 1e-3
    units = torch.nn.functional.normalize(torch.randn(3, 16, generator=torch.manual_seed(1)), dim=1)
    stream = read_stream(loaded, PROMPTS)
    stream = replace(stream, bounds=torch.full_like(stream.bounds, torch.inf))
    estimates = ablation_effects(loaded, PROMPTS, tokens, stream, units)
    layers = range(loaded.architecture.n_layers)
    for unit, estimate in zip(units, estimates, strict=True):
        change = 0.0
        for prompt, ids in zip(PROMPTS, prompt_ids(loaded.tokenizer, PROMPTS), strict=True):
            row = torch.tensor([ids])
            h = capture(loaded, row, torch.ones_like(row), layers=layers)
            centred = [h[layer] - stream.means[layer] for layer in layers]
            added = [c - (centred[i - 1] if i else 0.0) for i, c in enumerate(centred)]
            odds = []
            for share in (eps, -eps):
                moved = {
                    i: moving(-share * (w @ unit)[..., None] * unit) for i, w in enumerate(added)
                }
                with splice(loaded, moved):
                    odds.append(behavior_score(first_token_logits(loaded, [prompt]), tokens))
            change += float(odds[0] - odds[1]) / (2 * eps) / len(PROMPTS)
        assert float(estimate) == pytest.approx(change, abs=2e-3, rel=2e-2)
    assert estimates.abs().max() > 1e-2


def moving(by):
    """Adds a fixed tensor."""
    return lambda h: h + by


def test_candidates_are_measured_in_the_order_of_the_estimate_until_one_passes(monkeypatch):
    loaded = make_loaded("llama")
    calls = []

    def score(_bench, _unit, _norm, layer, _layers):
        calls.append(layer)
        return torch.tensor([0.0, 1.0, 0.05 if len(calls) == 3 else 0.3])

    monkeypatch.setattr(candidates.Bench, "score", score)
    positive, negative = PROMPTS * 2, [f"{p} ?" for p in PROMPTS] * 2
    options = {"n_select": 2, "layer_fraction": 1.0}
    found = measure_native(loaded, positive, negative, n_measured=2, **options)
    assert len(calls) == 4  # two rounds: the third call, at the middle layers, passes
    assert len(found.layers) < loaded.architecture.n_layers
    assert found.selection.found
    assert found.selection.max_kl == pytest.approx(0.1)
    assert found.selection.rejected["kl"] == 1
    assert found.selection.rejected["screened"] == len(found.selection.table) - 2


def test_two_rounds_without_a_pass_raise_the_bound_before_the_rest_is_measured(monkeypatch):
    loaded = make_loaded("llama")
    calls = []
    monkeypatch.setattr(
        candidates.Bench, "score", lambda *_: calls.append(1) or torch.tensor([0.0, 1.0, 0.3])
    )
    positive, negative = PROMPTS * 2, [f"{p} ?" for p in PROMPTS] * 2
    options = {"n_select": 2, "layer_fraction": 1.0, "n_measured": 2}
    found = measure_native(loaded, positive, negative, **options)
    assert len(calls) == 8  # two rounds at every layer, two at the middle ones
    assert len(found.selection.table) > 4
    assert found.selection.max_kl == pytest.approx(0.4)


def test_where_none_passes_the_bound_on_kl_is_doubled_and_said(monkeypatch):
    loaded = make_loaded("llama")
    monkeypatch.setattr(candidates.Bench, "score", lambda *_: torch.tensor([0.0, 1.0, 0.3]))
    positive, negative = PROMPTS * 2, [f"{p} ?" for p in PROMPTS] * 2
    options = {"n_select": 2, "layer_fraction": 1.0}
    found = measure_native(loaded, positive, negative, **options)
    assert found.selection.found
    assert found.selection.max_kl == pytest.approx(0.4)
    monkeypatch.setattr(candidates.Bench, "score", lambda *_: torch.tensor([0.0, 1.0, 3.0]))
    found = measure_native(loaded, positive, negative, **options)
    assert not found.selection.found
    assert found.single is None
    assert found.selection.max_kl == pytest.approx(candidates.LARGEST_KL)


def test_where_every_layer_breaks_the_model_candidates_are_ablated_at_the_middle_ones(monkeypatch):
    """The bound is not raised where fewer layers hold it; which layers is said."""
    loaded = make_loaded("llama")
    n_layers = loaded.architecture.n_layers

    def score(_bench, _unit, _norm, _layer, layers):
        return torch.tensor([0.0, 1.0, 0.3 if len(layers) == n_layers else 0.05])

    monkeypatch.setattr(candidates.Bench, "score", score)
    positive, negative = PROMPTS * 2, [f"{p} ?" for p in PROMPTS] * 2
    found = measure_native(loaded, positive, negative, n_select=2, layer_fraction=1.0)
    assert found.selection.max_kl == pytest.approx(0.1)
    assert found.layers == middle_layers(n_layers)
    assert "middle layers" in describe_layers(found.layers, n_layers)
    assert describe_layers(range(n_layers), n_layers) is None


def test_middle_layers_are_never_none():
    assert [len(middle_layers(n)) for n in (1, 2, 3, 18, 30)] == [1, 1, 1, 8, 14]
