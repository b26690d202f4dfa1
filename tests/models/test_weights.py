"""Weight edits equal writers-scope hooks, are refused after post norms, and restore exactly."""

import pytest
import torch
from tiny import make_loaded, unit, without

from conceptbasis.errors import InterventionError
from conceptbasis.models.stream.capture import capture
from conceptbasis.models.stream.hooks import Edit, intervene
from conceptbasis.models.stream.weights import (
    iter_residual_writers,
    orthogonalise_weights,
    writer_matrices,
)

LAYERS = range(3)


def _directions():
    return {layer: unit(16, 10 + layer) for layer in LAYERS}


def _streams(loaded, batch):
    return capture(loaded, batch.input_ids, batch.attention_mask, layers=LAYERS)


def _snapshot(loaded):
    return {name: value.clone() for name, value in loaded.model.state_dict().items()}


def _assert_restored(loaded, before, objects):
    assert [id(p) for p in loaded.model.parameters()] == objects
    for name, value in loaded.model.state_dict().items():
        assert torch.equal(value, before[name]), name


@pytest.mark.parametrize(
    "model_type", ["llama", "mixtral", "gpt_oss", "deepseek_v3", "gpt2", "mistral3"]
)
def test_weights_equal_writer_hooks_in_float64(batch, model_type):
    loaded = make_loaded(model_type)
    loaded.model.double()
    directions = {layer: unit(16, layer).double() for layer in LAYERS}
    directions = {layer: r / r.norm() for layer, r in directions.items()}
    with intervene(loaded, [Edit(k, r) for k, r in directions.items()], scope="writers"):
        by_hooks = _streams(loaded, batch)
    with orthogonalise_weights(loaded, directions):
        by_weights = _streams(loaded, batch)
    # Norms run in float32 even in a float64 model, so rounding is that of float32 at worst.
    kept = batch.attention_mask.bool()
    for layer in LAYERS:
        torch.testing.assert_close(
            by_weights[layer][kept], by_hooks[layer][kept], rtol=1e-6, atol=1e-6
        )


def test_biases_are_part_of_the_edit(models):
    for model_type in ("gpt2", "gpt_neox"):
        writers = list(iter_residual_writers(models[model_type], 0))
        assert all(writer.bias is not None for writer in writers)


def test_a_failure_while_editing_restores_too(models):
    loaded = models["mixtral"]
    before, objects = _snapshot(loaded), [id(p) for p in loaded.model.parameters()]
    with (
        pytest.raises(InterventionError),
        orthogonalise_weights(loaded, {0: unit(16, 1), 1: torch.ones(16)}),
    ):
        pass
    _assert_restored(loaded, before, objects)


def test_gamma_two_reflects_and_negative_strengthens(llama):
    r = unit(16, 2)
    plain = [r @ matrix for matrix in writer_matrices(llama, 1)]
    for gamma, factor in ((2.0, -1.0), (-0.5, 1.5), (0.25, 0.75)):
        with orthogonalise_weights(llama, {1: r}, gamma=gamma):
            edited = [r @ matrix for matrix in writer_matrices(llama, 1)]
        for before, after in zip(plain, edited, strict=True):
            torch.testing.assert_close(after, factor * before, rtol=1e-4, atol=1e-6)


def test_all_writers_and_the_embedding_equal_the_hooks(models, batch):
    r = unit(16, 3)
    edits = [Edit(layer, r) for layer in LAYERS]
    for model_type in ("llama", "mixtral", "gpt2", "gpt_neox", "gemma"):
        loaded = models[model_type]
        with without(loaded, r), orthogonalise_weights(loaded, dict.fromkeys(LAYERS, r)):
            weights = _streams(loaded, batch)
        with without(loaded, r), intervene(loaded, edits, scope="writers"):
            hooks = _streams(loaded, batch)
        for layer in LAYERS:
            torch.testing.assert_close(weights[layer], hooks[layer], rtol=1e-3, atol=1e-3)
            assert (weights[layer] @ r).abs().max() < 1e-3


def test_attention_only_and_the_report(models):
    with orthogonalise_weights(models["mixtral"], _directions(), which="attention") as report:
        pass
    assert str(report) == "3/3 attention, 0/12 experts"
    with orthogonalise_weights(models["qwen2_moe"], {1: unit(16, 1)}) as report:
        pass
    assert str(report) == "1/3 attention, 1/3 mlp, 4/12 experts"


def test_writer_matrices_have_the_stream_on_their_rows(models):
    for loaded in models.values():
        for layer in LAYERS:
            assert all(matrix.shape[0] == 16 for matrix in writer_matrices(loaded, layer))
    assert len(writer_matrices(models["mixtral"], 0)) == 5
    assert len(writer_matrices(models["qwen2_moe"], 0)) == 6
    experts = [w.expert for w in iter_residual_writers(models["qwen2_moe"], 0)]
    assert experts == [None, 0, 1, 2, 3, None]


def test_nothing_edited_is_an_error(llama):
    with pytest.raises(InterventionError, match="nothing"), orthogonalise_weights(llama, {}):
        pass
    with pytest.raises(InterventionError, match="layer 9"):
        writer_matrices(llama, 9)
    with (
        pytest.raises(InterventionError, match="'mlp'"),
        orthogonalise_weights(llama, _directions(), which="mlp"),
    ):
        pass
