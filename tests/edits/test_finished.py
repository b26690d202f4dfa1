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
from conceptbasis.models.loading.wrapped import hash_weights, unwrap
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
    edited_logits(model.to(torch.bfloat16))


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


def test_another_precision_of_the_same_weights_has_their_hash():
    found = hash_weights(model_of())
    assert hash_weights(model_of().to(torch.bfloat16)) == found
    assert hash_weights(model_of(1).to(torch.bfloat16)) != found


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
