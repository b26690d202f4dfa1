"""A finished edit on models as users hold them: wrapped, compiled, the wrong one."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "models"))
from tiny import make_model

import conceptbasis
from conceptbasis.edits import finished
from conceptbasis.errors import InterventionError
from conceptbasis.models.loading.wrapped import hash_weights, same_weights, unwrap
from conceptbasis.results.edit import Replayed
from conceptbasis.results.layers import LayerPlan

IDS = torch.tensor([[5, 9, 30, 2]])
LAYERS = (0, 1)


def model_of(seed=0):
    model = make_model("llama").eval()
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return model


def make_replayed(**changes):
    """The finished edit of a run from the model of seed 1 to that of seed 0."""
    rows = torch.randn(2, 16, generator=torch.Generator().manual_seed(0))
    rows /= rows.norm(dim=1, keepdim=True)
    known = {
        "mode": "ablate",
        "scope": "stream",
        "gamma": 1.0,
        "weights": {"target": hash_weights(model_of(0)), "donor": hash_weights(model_of(1))},
    }

    return Replayed(
        plan=LayerPlan.per_layer(LAYERS),
        which="all",
        amounts=(1.0, 1.0),
        thresholds=(1e9, 1e9),
        max_norms=(),
        strength=None,
        dose=None,
        edited={},
        target_hash="",
        target_name="org/target",
        architecture=None,
        directions=rows,
        means=torch.zeros(2, 16),
        gates=rows,
        **{**known, **changes},
    )


@pytest.fixture
def replayed(monkeypatch):
    """Puts that edit in the place of a run's."""

    def make(**changes):
        result = make_replayed(**changes)
        monkeypatch.setattr(finished, "load_replayed", lambda _: result)

    make()
    return make


def logits(model):
    with torch.no_grad():
        return model(input_ids=IDS).logits


def edited_logits(model, **options):
    with conceptbasis.replay(model, "run", **options):
        return logits(model)


def test_the_target_is_edited_and_restored_in_any_dtype(replayed):
    model = model_of()
    before = logits(model)
    assert not torch.equal(edited_logits(model), before)
    assert torch.equal(logits(model), before)
    for dtype in (torch.bfloat16, torch.float16):
        edited_logits(model_of().to(dtype))


def test_the_donor_and_other_models_of_the_same_shape_are_refused(replayed):
    with pytest.raises(InterventionError, match="is the donor of this run") as raised:
        edited_logits(model_of(1))
    assert "org/target" in str(raised.value)
    with pytest.raises(InterventionError, match="not the target of this run") as raised:
        edited_logits(model_of(2))
    assert "org/target" in str(raised.value)
    assert "check=False" in str(raised.value)
    other = model_of(2)
    assert not torch.equal(edited_logits(other, check=False), logits(other))


def test_one_changed_weight_in_a_small_model_is_seen():
    model = model_of()
    found = hash_weights(model)
    with torch.no_grad():
        model.model.layers[1].mlp.down_proj.weight[3, 4] += 1
    assert hash_weights(model) != found


def nudged(model, factor):
    """The model with one entry moved by so much of itself."""
    with torch.no_grad():
        weight = model.model.layers[1].mlp.down_proj.weight
        weight[3, 4] = 1.0
        weight[3, 4] *= factor
    return model


COPIES = [
    (torch.float16,),
    (torch.bfloat16,),
    (torch.float64,),
    (torch.float16, torch.float32),
    (torch.float16, torch.bfloat16),
    (torch.bfloat16, torch.float16),
]


@pytest.mark.parametrize("dtypes", COPIES)
def test_another_precision_of_the_same_weights_counts_as_them(dtypes):
    def copied(model):
        for dtype in dtypes:
            model = model.to(dtype)
        return model

    # Values that lie close to the middle between two in bfloat16 are rounded up twice.
    original, copy = nudged(model_of(), 1 - 2**-9 - 2**-13), nudged(model_of(), 1 - 2**-9 - 2**-13)
    found, there = hash_weights(original), hash_weights(copied(copy))
    assert same_weights(found, there)
    assert same_weights(there, found)
    for factor in (1 + 2**-6, 1 + 2**-7, 1 - 2**-6):  # one entry, where rounding does not reach
        other = hash_weights(copied(nudged(model_of(), factor)))
        assert not same_weights(found, other)
        assert not same_weights(other, found)
    assert not same_weights(found, hash_weights(copied(model_of(1))))


def test_rounding_twice_is_not_rounding_once():
    """The control: without the second hash a float16 copy would be another model."""
    found = hash_weights(model_of()).split()
    assert len(found) == 2
    assert hash_weights(model_of().half()) == found[1]
    assert hash_weights(model_of().bfloat16()).split()[0] == found[0]


def test_tiny_values_that_float16_does_not_hold_still_count():
    one, other = model_of(), model_of()
    with torch.no_grad():
        one.model.layers[1].mlp.down_proj.weight[3, 4] = 1e-9
        other.model.layers[1].mlp.down_proj.weight[3, 4] = 2e-9
    assert not same_weights(hash_weights(one), hash_weights(other))
    assert same_weights(hash_weights(one), hash_weights(one.half()))


def test_no_hash_is_the_hash_of_nothing():
    assert not same_weights(hash_weights(model_of()), "")


def test_a_tied_head_counts_as_a_weight_of_its_own():
    """Merging an adapter may untie the head; with the same values nothing has changed."""
    tied = model_of()
    tied.config.tie_word_embeddings = True
    tied.tie_weights()
    assert tied.lm_head.weight is tied.model.embed_tokens.weight
    found = hash_weights(tied)
    tied.config.tie_word_embeddings = False
    tied.lm_head.weight = torch.nn.Parameter(tied.lm_head.weight.detach().clone())
    assert hash_weights(tied) == found
    with torch.no_grad():
        tied.lm_head.weight.add_(0.5)
    assert hash_weights(tied) != found


def lora(model):
    peft = pytest.importorskip("peft")
    torch.manual_seed(3)
    wrapped = peft.get_peft_model(
        model,
        peft.LoraConfig(r=2, target_modules=["q_proj", "down_proj"], init_lora_weights=False),
    )
    return wrapped.eval()


def test_a_peft_model_is_unwrapped_and_counts_with_its_adapter(replayed):
    wrapped = lora(model_of())
    assert unwrap(wrapped) is wrapped.get_base_model()
    merged = lora(model_of()).merge_and_unload()
    with pytest.raises(InterventionError, match="without an adapter of its own"):
        edited_logits(wrapped)  # the run's target has none
    replayed(weights={"target": hash_weights(merged), "donor": ""})
    found = edited_logits(wrapped)
    assert not torch.equal(found, logits(wrapped))
    assert torch.allclose(found, edited_logits(merged), atol=1e-5)


class Holder(torch.nn.Module):
    """A wrapper of somebody's own."""

    def __init__(self, **held):
        super().__init__()
        for name, module in held.items():
            setattr(self, name, module)

    def forward(self, **given):
        return self.module(**given)


@pytest.mark.parametrize(
    "wrap",
    [
        torch.nn.DataParallel,
        lambda model: Holder(module=model),
        lambda model: torch.nn.DataParallel(Holder(module=model)),
    ],
)
def test_a_wrapper_that_holds_a_model_as_its_module_is_looked_into(replayed, wrap):
    model = model_of()
    wrapped = wrap(model)
    assert unwrap(wrapped) is model
    before = logits(wrapped)
    assert not torch.equal(edited_logits(wrapped), before)
    assert torch.equal(logits(wrapped), before)
    with pytest.raises(InterventionError, match="not the target of this run"):
        edited_logits(wrap(model_of(2)))


@pytest.mark.parametrize("check", [True, False])
def test_an_unknown_wrapper_is_named_with_what_it_holds(replayed, check):
    wrapped = Holder(module=model_of(), value_head=torch.nn.Linear(2, 2))
    with pytest.raises(InterventionError, match="a Holder is no transformers model") as raised:
        edited_logits(wrapped, check=check)
    assert "module, value_head" in raised.value.fix
    edited_logits(wrapped.module, check=check)


def test_the_tuner_inside_a_peft_model_is_unwrapped_too(replayed):
    wrapped = lora(model_of())
    assert unwrap(wrapped.base_model) is unwrap(wrapped)
    replayed(weights={"target": hash_weights(wrapped), "donor": ""})
    assert torch.equal(edited_logits(wrapped.base_model), edited_logits(wrapped))
    with wrapped.disable_adapter(), pytest.raises(InterventionError, match="not the target"):
        edited_logits(wrapped.base_model)


def test_a_peft_model_with_its_adapter_off_is_its_base(replayed):
    wrapped = lora(model_of())
    with wrapped.disable_adapter():
        assert torch.allclose(edited_logits(wrapped), edited_logits(model_of()), atol=1e-6)


def test_an_edit_of_weights_refuses_an_active_adapter(replayed):
    wrapped = lora(model_of())
    replayed(mode="orthogonalise", weights={"target": hash_weights(wrapped), "donor": ""})
    with pytest.raises(InterventionError, match="merge_and_unload"):
        edited_logits(wrapped)
    edited_logits(lora(model_of()).merge_and_unload())


COMPILED = """
import sys

sys.path[:0] = {paths!r}
import torch
from test_finished import Replayed, edited_logits, logits, make_replayed, model_of
from conceptbasis.edits import finished
from conceptbasis.edits.intervention import apply_intervention, intervention_of
from conceptbasis.models.architecture.binding import resolve
from conceptbasis.models.loading.loaded import LoadedModel

result = make_replayed()
finished.load_replayed = lambda _: result
plain, model = model_of(), model_of()
called = model
if {wrapper}:
    called = torch.compile(model, backend="eager")
else:
    model.compile(backend="eager")
before = logits(called)  # a graph without hooks is there from now on
loaded = LoadedModel(model, None, resolve(model), "tiny")
with apply_intervention(loaded, intervention_of(result)):  # the control: hooks alone do nothing
    assert torch.equal(logits(called), before)
found = edited_logits(called)
assert not torch.equal(found, before)
assert torch.allclose(found, edited_logits(plain), atol=1e-5)
assert torch.allclose(logits(called), before, atol=1e-6)
"""


@pytest.mark.parametrize("wrapper", [True, False])
def test_a_model_compiled_before_is_edited_and_restored(wrapper):
    """In a process of its own: the checks of shapes in tests cannot be compiled."""
    here = Path(__file__).parent
    paths = [str(here), str(here.parent / "models")]
    script = COMPILED.format(paths=paths, wrapper=wrapper)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.parametrize("changes", [{}, {"mode": "add"}, {"mode": "raise", "gamma": -1.0}])
def test_a_model_whose_blocks_do_not_run_as_modules_is_refused(replayed, changes):
    model = model_of()
    frozen = torch.randn(1, 320)

    def forward(input_ids=None, **_):
        return type("Output", (), {"logits": frozen.expand(1, input_ids.shape[1], -1)})()

    replayed(**changes)
    edited_logits(model)  # the control: it acts
    model.forward = forward
    with pytest.raises(InterventionError, match="the edit changes nothing"):
        edited_logits(model)
