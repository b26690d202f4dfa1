"""Captured sites equal the model's own hidden states, and edits do what they say."""

import pytest
import torch
from tiny import unit, without

from conceptbasis.errors import InterventionError, ModelError
from conceptbasis.models.architecture.table import ARCHITECTURES
from conceptbasis.models.stream.capture import capture, forward_body
from conceptbasis.models.stream.hooks import Edit, intervene, splice

ALL = sorted(ARCHITECTURES)
LAYERS = range(3)


def _masked(tensor, batch):
    return tensor[batch.attention_mask.bool()]


def _count_hooks(loaded):
    # transformers keeps hooks of its own on a model that ever returned hidden states.
    modules = list(loaded.model.modules())
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in modules)


def _capture(loaded, batch, site="resid_post", **options):
    found = capture(
        loaded, batch.input_ids, batch.attention_mask, layers=LAYERS, site=site, **options
    )
    return {layer: _masked(h, batch) for layer, h in found.items()}


def test_early_exit_reads_the_same_and_stops(llama, batch):
    ran = []
    handle = llama.architecture.blocks[2].register_forward_hook(lambda *_: ran.append(1))
    try:
        early = capture(llama, batch.input_ids, batch.attention_mask, layers=[1])
        assert not ran
        full = capture(
            llama, batch.input_ids, batch.attention_mask, layers=[1], stop_after_last=False
        )
        assert ran
    finally:
        handle.remove()
    assert torch.equal(early[1], full[1])


def test_left_and_right_padding_read_the_same(llama, batch):
    row = batch.input_ids[2][batch.attention_mask[2].bool()][None]
    alone = capture(llama, row, torch.ones_like(row), layers=[2])[2][0]
    together = capture(llama, batch.input_ids, batch.attention_mask, layers=[2])[2]
    torch.testing.assert_close(together[2][-row.shape[1] :], alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("model_type", ALL)
def test_stream_ablation_leaves_no_component(models, batch, model_type):
    loaded = models[model_type]
    r, other = unit(16, 1), unit(16, 2)
    other = other - (other @ r) * r
    other = other / other.norm()
    with intervene(loaded, [Edit(layer, r) for layer in LAYERS]) as report:
        edited = _capture(loaded, batch)
    for layer in LAYERS:
        scale = edited[layer].norm(dim=-1).mean()
        assert (edited[layer] @ r).abs().max() < 1e-5 * scale
        # Negative control: a direction that was not edited is still there.
        assert (edited[layer] @ other).abs().mean() > 1e-2 * scale
    assert report.stream == (3, 3)
    assert report.attention[0] == report.mlp[0] == report.experts[0] == 0


@pytest.mark.parametrize("model_type", ALL)
def test_writers_ablation_leaves_only_the_embedding(models, batch, model_type):
    loaded = models[model_type]
    r = unit(16, 3)
    edits = [Edit(layer, r) for layer in LAYERS]
    before = _capture(loaded, batch, "resid_pre")[0] @ r
    with intervene(loaded, edits, scope="writers") as report:
        after = _capture(loaded, batch)
    for layer in LAYERS:
        torch.testing.assert_close(after[layer] @ r, before, rtol=1e-4, atol=2e-4)
    assert report.attention == (3, 3)
    for site in ("resid_pre", "resid_mid", "resid_post"):
        with without(loaded, r), intervene(loaded, edits, scope="writers"):
            writers = _capture(loaded, batch, site)
            # Nothing is left for the stream form to take out.
            with intervene(loaded, edits, scope="stream"):
                both = _capture(loaded, batch, site)
        for layer in LAYERS:
            assert (writers[layer] @ r).abs().max() < 2e-4
            torch.testing.assert_close(writers[layer], both[layer], rtol=1e-3, atol=1e-3)


def test_writers_and_stream_agree_where_branches_are_parallel(models, batch):
    loaded, r = models["gpt_neox"], unit(16, 3)
    edits = [Edit(layer, r) for layer in LAYERS]
    with without(loaded, r), intervene(loaded, edits, scope="writers"):
        writers = _capture(loaded, batch)
    with without(loaded, r), intervene(loaded, edits, scope="stream"):
        stream = _capture(loaded, batch)
    for layer in LAYERS:
        torch.testing.assert_close(writers[layer], stream[layer], rtol=1e-3, atol=1e-4)


def test_modes_and_their_order(llama, batch):
    r, mean = unit(16, 4), torch.randn(16)
    plain = _capture(llama, batch)[1]
    with intervene(llama, [Edit(1, r, "add", amount=2.5)]):
        torch.testing.assert_close(_capture(llama, batch)[1], plain + 2.5 * r)
    with intervene(llama, [Edit(1, r, "affine", mean=mean)]):
        component = _capture(llama, batch)[1] @ r
    torch.testing.assert_close(component, (mean @ r).expand_as(component), rtol=1e-4, atol=1e-4)
    with intervene(llama, [Edit(1, r, "cap", mean=mean)]):
        component = _capture(llama, batch)[1] @ r
    assert (plain @ r > mean @ r).any()
    assert (plain @ r < mean @ r).any()
    torch.testing.assert_close(component, (plain @ r).clamp(max=mean @ r), rtol=1e-4, atol=1e-4)
    both = [Edit(1, r), Edit(1, r, "add", amount=1.5)]
    with intervene(llama, both):
        component = _capture(llama, batch)[1] @ r
    torch.testing.assert_close(component, torch.full_like(component, 1.5), rtol=1e-4, atol=1e-4)
    with intervene(llama, both[::-1]):
        component = _capture(llama, batch)[1] @ r
    torch.testing.assert_close(component, torch.zeros_like(component), rtol=1e-4, atol=1e-4)


def test_hooks_are_removed_after_an_exception(llama, batch):
    plain = forward_body(llama, batch.input_ids, batch.attention_mask)
    hooks = _count_hooks(llama)
    with (
        pytest.raises(RuntimeError, match="inside"),
        intervene(llama, [Edit(0, unit(16, 1))], scope="writers"),
    ):
        raise RuntimeError("inside")
    assert torch.equal(forward_body(llama, batch.input_ids, batch.attention_mask), plain)
    assert _count_hooks(llama) == hooks


def test_tuple_outputs_are_edited_too(llama, batch):
    block = llama.architecture.blocks[1]
    original = block.forward
    r = unit(16, 5)

    def as_tuple(*args, **kwargs):
        return (original(*args, **kwargs), "rest")

    seen = []
    with intervene(llama, [Edit(1, r)]):
        block.forward = as_tuple
        handle = block.register_forward_hook(lambda _m, _a, output: seen.append(output))
        try:
            capture(llama, batch.input_ids, batch.attention_mask, layers=[1])
        finally:
            handle.remove()
            del block.forward
    assert seen[0][1] == "rest"
    assert (seen[0][0] @ r).abs().max() < 1e-4


def test_report_counts_experts(mixtral, models):
    edits = [Edit(0, unit(16, 1)), Edit(2, unit(16, 1))]
    with intervene(mixtral, edits, scope="writers") as report:
        pass
    assert report.as_dict() == {
        "stream": (0, 3),
        "attention": (2, 3),
        "mlp": (0, 0),
        "experts": (8, 12),
    }
    assert str(report) == "2/3 attention, 8/12 experts"
    with intervene(models["qwen2_moe"], edits, scope="writers") as report:
        pass
    assert str(report) == "2/3 attention, 2/3 mlp, 8/12 experts"


@pytest.mark.parametrize(
    ("edits", "message"),
    [
        ([], "edits nothing"),
        ([Edit(3, unit(16, 1))], "layer 3"),
        ([Edit(-1, unit(16, 1))], "layer -1"),
        ([Edit(0, unit(12, 1))], r"shape \(12,\)"),
        ([Edit(0, torch.full((16,), float("nan")))], "norm nan"),
        ([Edit(0, torch.zeros(16))], r"norm 0\.0"),
        ([Edit(0, unit(16, 1), "affine")], "mean None"),
        ([Edit(0, unit(16, 1), "erase")], "'erase'"),
    ],
)
def test_impossible_edits_are_errors(llama, edits, message):
    hooks = _count_hooks(llama)
    with pytest.raises(InterventionError, match=message), intervene(llama, edits):
        pytest.fail("the context was entered")
    assert _count_hooks(llama) == hooks


def test_unknown_scope_site_and_layer(llama, batch):
    with (
        pytest.raises(InterventionError, match="scope"),
        intervene(llama, [Edit(0, unit(16, 1))], scope="everything"),
    ):
        pass
    with pytest.raises(ModelError, match="site"):
        capture(llama, batch.input_ids, batch.attention_mask, layers=[0], site="hidden")
    with pytest.raises(ModelError, match="layer 7"):
        capture(llama, batch.input_ids, batch.attention_mask, layers=[7])


def test_splice_replaces_the_block_output(llama, batch):
    plain = _capture(llama, batch)
    with splice(llama, {1: lambda h: h}):
        same = _capture(llama, batch)
    assert torch.equal(same[2], plain[2])
    with splice(llama, {1: torch.zeros_like}):
        gone = _capture(llama, batch)
    assert gone[1].abs().max() == 0
    assert not torch.allclose(gone[2], plain[2])
    with pytest.raises(InterventionError, match="nothing"), splice(llama, {}):
        pass


def test_positions_above_the_norm_are_left_alone(llama, batch):
    """Ordinary positions lose the component, the largest keeps its residual to the bit; without a
    bound it is edited too."""
    r = unit(16, 1)
    before = _capture(llama, batch)[1]
    sizes = before.norm(dim=-1)
    bound = float(sizes.topk(2).values.mean())
    sink = sizes > bound
    assert int(sink.sum()) == 1
    with intervene(llama, [Edit(1, r, max_norm=bound)]):
        spared = _capture(llama, batch)[1]
    with intervene(llama, [Edit(1, r)]):
        whole = _capture(llama, batch)[1]
    assert torch.equal(spared[sink], before[sink])
    assert (spared[~sink] @ r).abs().max() < 1e-5
    assert (before[sink] @ r).abs().max() > 1e-3
    assert (whole[sink] @ r).abs().max() < 1e-5
