"""A batch that does not fit is done again in halves; nothing is lost, doubled or hidden."""

import warnings

import pytest
import torch
from tiny import PROMPTS, make_loaded

from conceptbasis.errors import ModelError
from conceptbasis.models.stream.native import end_activations
from conceptbasis.models.text.batches import out_of_memory, run_batches
from conceptbasis.models.text.generation import complete, first_token_logits, generate, text_nll


def full(kind=torch.OutOfMemoryError, words="CUDA out of memory. Tried to allocate 20.00 MiB"):
    return kind(words)


def limited(limit, seen, error=None):
    """Work that fits up to a limit, and that fails half-way."""

    def work(batch):
        if len(batch) > limit:
            raise error or full()
        seen.append(list(batch))

    return work


@pytest.mark.parametrize(("limit", "sizes"), [(9, [8, 2]), (5, [4, 4, 2]), (1, [1] * 10)])
def test_every_item_is_done_once_in_order(limit, sizes):
    seen = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        used = run_batches(range(10), 8, limited(limit, seen))
    assert [item for batch in seen for item in batch] == list(range(10))
    assert [len(batch) for batch in seen] == sizes
    assert used == max(sizes)
    halvings = [str(w.message) for w in caught if "out of memory" in str(w.message)]
    assert len(halvings) == {9: 0, 5: 1, 1: 3}[limit]


def test_one_item_that_does_not_fit_is_an_error_with_advice():
    with pytest.warns(UserWarning, match="going on with 1"), pytest.raises(ModelError) as caught:
        run_batches(range(2), 2, limited(0, []))
    assert "batch of one" in caught.value.what
    assert "bfloat16" in caught.value.fix


def test_other_errors_are_not_swallowed():
    for error in (RuntimeError("shapes differ"), KeyError("x"), ZeroDivisionError()):
        seen = []
        with pytest.raises(type(error)):
            run_batches(range(4), 4, limited(2, seen, error))
        assert seen == []


def test_what_counts_as_out_of_memory():
    assert out_of_memory(full())
    assert out_of_memory(MemoryError())
    words = "[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory"
    assert out_of_memory(RuntimeError(words))
    assert not out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    assert not out_of_memory(ValueError("out of memory"))
    # What the allocator itself says of a request that no machine can meet.
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**50, dtype=torch.float64)
    assert out_of_memory(caught.value)


@pytest.fixture
def small(models):
    """A model on a device with room for two prompts of any length in its second block."""
    loaded = make_loaded("mixtral")
    sizes = []

    def check(_module, args, kwargs):
        states = args[0] if args else kwargs["hidden_states"]
        sizes.append(states.shape[0])
        if states.shape[0] > 2:
            raise full()

    handle = loaded.architecture.blocks[1].register_forward_pre_hook(check, with_kwargs=True)
    yield loaded, sizes
    handle.remove()


def test_measurements_back_off_and_stay_the_same(models, small):
    plain, (loaded, sizes) = models["mixtral"], small
    calls = {
        "generate": lambda m: generate(m, PROMPTS, max_new_tokens=5, batch_size=4),
        "logits": lambda m: first_token_logits(m, PROMPTS, batch_size=4),
        "nll": lambda m: text_nll(m, list(PROMPTS), batch_size=4)[0],
        "ends": lambda m: end_activations(m, PROMPTS, batch_size=4),
    }
    for name, call in calls.items():
        sizes.clear()
        with pytest.warns(UserWarning, match="going on with 2"):
            found = call(loaded)
        assert sizes[0] == 4, name
        assert max(sizes[1:]) == 2, name
        expected = call(plain)
        if name == "generate":
            assert found == expected
        else:
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_a_failure_in_the_middle_of_an_answer_leaves_no_half_answer(models):
    """Memory that runs out at the third token: the answers begin again."""
    plain, loaded = models["llama"], make_loaded("llama")
    steps = []

    def check(_module, args, kwargs):
        states = args[0] if args else kwargs["hidden_states"]
        steps.append(states.shape[0])
        if len(steps) == 3:
            raise full()

    handle = loaded.architecture.blocks[0].register_forward_pre_hook(check, with_kwargs=True)
    with pytest.warns(UserWarning, match="going on with 2"):
        found = complete(loaded, PROMPTS, max_new_tokens=6, batch_size=4, logits_of=range(4))
    handle.remove()
    assert found.texts == generate(plain, PROMPTS, max_new_tokens=6)
    logits = torch.stack([found.first_logits[i] for i in range(4)])
    torch.testing.assert_close(logits, first_token_logits(plain, PROMPTS))
