"""KL along given answers against a run by hand, and verdicts that do not depend on the batch."""

from contextlib import nullcontext

import pytest
import torch
from tiny import PROMPTS, encode_prompts, make_loaded, unit

from conceptbasis.judges.phrases import read_answer
from conceptbasis.models.stream.hooks import Edit, intervene
from conceptbasis.models.text.divergence import answer_kl, count_flips
from conceptbasis.models.text.generation import generate
from conceptbasis.results.evaluation import BatchFlips

ANSWERS = ["the museum", "bread with salt and water", "", "2"]


def edits():
    return [Edit(layer, unit(16, 1)) for layer in range(3)]


def by_hand(loaded, prompt, answer):
    """One row without padding: both distributions at each token of the answer."""
    start = encode_prompts(loaded.tokenizer, [prompt]).input_ids.shape[1]
    ids = encode_prompts(loaded.tokenizer, [prompt], forced=[answer]).input_ids
    with torch.no_grad():
        before = loaded.model(ids).logits[0].double().log_softmax(-1)
        with intervene(loaded, edits()):
            after = loaded.model(ids).logits[0].double().log_softmax(-1)
    kl = (before.exp() * (before - after)).sum(-1)
    end = max(start, ids.shape[1] - 1)
    return float(kl[start - 1 : end].mean())


@pytest.mark.parametrize("model_type", ["llama", "mixtral", "gemma3_text"])
def test_equals_a_run_by_hand_in_any_batch(models, model_type):
    loaded = models[model_type]
    expected = [by_hand(loaded, p, a) for p, a in zip(PROMPTS, ANSWERS, strict=True)]
    for size in (1, 4):
        found = answer_kl(
            loaded, PROMPTS, ANSWERS, lambda: intervene(loaded, edits()), batch_size=size
        )
        assert found == pytest.approx(expected, rel=1e-3, abs=1e-6)
    assert min(expected) > 1e-6


def test_an_untouched_model_has_none(llama):
    assert answer_kl(llama, PROMPTS, ANSWERS, nullcontext) == pytest.approx([0] * 4, abs=1e-9)


@pytest.mark.parametrize("model_type", ["llama", "gpt2", "qwen3", "gemma2", "mixtral", "gpt_oss"])
def test_verdicts_do_not_depend_on_the_batch_in_float32(models, model_type):
    """The same prompts at 1, 8 and 32 a batch: other padding, other company."""
    loaded = models[model_type]
    prompts = [f"{PROMPTS[i % 4]} {'salt ' * (i % 7)}" for i in range(40)]
    found = count_flips(loaded, prompts, read_answer, max_new_tokens=12)
    assert found == BatchFlips((1, 8, 32), 40, verdicts=0, answers=0)


def test_answers_that_move_with_the_batch_are_counted():
    """The negative control: a model that reads its neighbours in the batch."""
    loaded = make_loaded("llama")
    head = loaded.model.lm_head

    def leak(module, args, output):
        return output + output.roll(1, dims=0) * (output.shape[0] > 1)

    hook = head.register_forward_hook(leak)
    try:
        found = count_flips(loaded, PROMPTS, lambda a: a, max_new_tokens=8, batch_sizes=(1, 4))
    finally:
        hook.remove()
    assert found.answers == found.verdicts > 0
    assert generate(loaded, PROMPTS, max_new_tokens=2)
