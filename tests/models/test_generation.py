"""The lean decoding loop gives what transformers gives, whatever the batch."""

import pytest
import torch
from tiny import PROMPTS, encode_prompts, make_loaded, unit

from conceptbasis.errors import NumericsError, PromptError
from conceptbasis.models.stream.hooks import Edit, intervene
from conceptbasis.models.text import generation
from conceptbasis.models.text.chat import encode_texts, prompt_ids
from conceptbasis.models.text.generation import (
    answer_tokens,
    complete,
    first_token_logits,
    generate,
    stop_ids,
    text_nll,
)

MODELS = ["llama", "mixtral", "gemma2", "gpt2", "gpt_neox", "gemma3_text", "olmo2", "olmoe"]
MODELS += ["gpt_oss", "deepseek_v3", "ministral3", "gemma3", "qwen2_vl", "qwen3_vl", "mistral3"]


def _reference_ids(loaded, prompts, max_new_tokens, forced=None):
    result = []
    for ids in prompt_ids(loaded.tokenizer, prompts, forced=forced):
        row = torch.tensor([ids])
        with torch.no_grad():
            output = loaded.model.generate(
                input_ids=row,
                attention_mask=torch.ones_like(row),
                max_new_tokens=max_new_tokens,
                do_sample=False,
            )
        result.append(output[0, len(ids) :].tolist())
    return result


def _reference(loaded, *args, **options):
    ids = _reference_ids(loaded, *args, **options)
    return [loaded.tokenizer.decode(row, skip_special_tokens=True) for row in ids]


@pytest.mark.parametrize("model_type", MODELS)
def test_generate_equals_transformers(models, model_type):
    loaded = models[model_type]
    expected = _reference(loaded, PROMPTS, 10)
    assert generate(loaded, PROMPTS, max_new_tokens=10, batch_size=3) == expected
    assert generate(loaded, PROMPTS, max_new_tokens=10, batch_size=1) == expected
    assert len(set(expected)) > 1


@pytest.mark.parametrize("model_type", ["mixtral", "gpt_oss", "qwen2_vl"])
def test_rows_that_stop_leave_the_batch(models, model_type):
    loaded = models[model_type]
    ids = _reference_ids(loaded, PROMPTS, 10)
    # A token that one answer reaches early becomes the end of sequence.
    stop = ids[0][2]
    config = loaded.model.generation_config
    original = config.eos_token_id
    config.eos_token_id = [original, stop]
    try:
        expected = _reference_ids(loaded, PROMPTS, 10)
        found = generate(loaded, PROMPTS, max_new_tokens=10, batch_size=4)
    finally:
        config.eos_token_id = original
    assert len({len(row) for row in expected}) > 1
    # transformers keeps the token it stopped at, even where that is not a special token.
    expected = [row[:-1] if row[-1] == stop else row for row in expected]
    assert found == loaded.tokenizer.batch_decode(expected, skip_special_tokens=True)


def test_forced_start_is_read_but_not_returned(llama):
    forced = ["the museum"] * len(PROMPTS)
    found = generate(llama, PROMPTS, max_new_tokens=6, forced=forced)
    assert found == _reference(llama, PROMPTS, 6, forced=forced)
    assert found != generate(llama, PROMPTS, max_new_tokens=6)


def test_generation_runs_under_hooks(llama):
    edits = [Edit(layer, unit(16, 1)) for layer in range(3)]
    with intervene(llama, edits):
        found = generate(llama, PROMPTS, max_new_tokens=6)
        assert found == _reference(llama, PROMPTS, 6)
    assert found != generate(llama, PROMPTS, max_new_tokens=6)


@pytest.mark.parametrize("model_type", MODELS)
def test_first_token_logits_do_not_depend_on_the_batch(models, model_type):
    loaded = models[model_type]
    together = first_token_logits(loaded, PROMPTS, batch_size=4)
    alone = first_token_logits(loaded, PROMPTS, batch_size=1)
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-4)
    ids = encode_prompts(loaded.tokenizer, PROMPTS[:1]).input_ids
    with torch.no_grad():
        torch.testing.assert_close(
            together[0], loaded.model(ids).logits[0, -1], rtol=1e-4, atol=1e-4
        )


def test_text_nll_equals_the_loss_of_the_model(models):
    texts = [
        "where is the museum ?",
        [{"role": "user", "content": "salt"}, {"role": "assistant", "content": "the bridge"}],
        "café",
    ]
    for model_type in ("llama", "mixtral", "gpt2"):
        loaded = models[model_type]
        nll, tokens = text_nll(loaded, texts, batch_size=2)
        for i, text in enumerate(texts):
            ids = encode_texts(loaded.tokenizer, [text]).input_ids
            with torch.no_grad():
                loss = loaded.model(ids, labels=ids).loss
            assert int(tokens[i]) == ids.shape[1] - 1
            assert float(nll[i] / tokens[i]) == pytest.approx(float(loss), rel=1e-4)


def test_nan_logits_and_long_prompts_are_errors(models):
    broken = make_loaded("llama")
    broken.model.lm_head.weight.data[3, 3] = float("nan")
    for call in (
        lambda: generate(broken, PROMPTS, max_new_tokens=2),
        lambda: first_token_logits(broken, PROMPTS),
        lambda: text_nll(broken, ["salt and bread"]),
    ):
        with pytest.raises(NumericsError, match="NaN"):
            call()
    with pytest.raises(PromptError, match="tokens"):
        generate(models["llama"], ["salt " * 60], max_new_tokens=2)
    with pytest.raises(PromptError, match="expected: at most 3"):
        generate(models["llama"], ["salt"], max_new_tokens=125)
    with pytest.raises(PromptError, match="no texts"):
        text_nll(models["llama"], [])


def test_generation_hands_out_the_logits_of_first_tokens(llama):
    found = complete(llama, PROMPTS, max_new_tokens=3, logits_of=[0, 2]).first_logits
    alone = first_token_logits(llama, PROMPTS)
    assert sorted(found) == [0, 2]
    assert torch.allclose(found[0], alone[0], atol=1e-4)
    assert torch.allclose(found[2], alone[2], atol=1e-4)
    assert not torch.allclose(found[0], alone[2], atol=1e-4)


@pytest.mark.parametrize("model_type", ["llama", "mixtral", "gemma2", "gpt_oss", "qwen3_vl"])
def test_drafts_change_no_answer(models, model_type):
    """Right, wrong, half right, too long and missing drafts, and two of one prompt."""
    loaded = models[model_type]
    plain = complete(loaded, PROMPTS, max_new_tokens=8, logits_of=range(len(PROMPTS)))
    right = plain.tokens
    half = [[*row[:3], row[3] + 1, *row[4:]] for row in right]
    wrong = [[row[0] + 1, 5, 6] for row in right]
    cases = [
        [[row] for row in right],
        [[w, h, r] for w, h, r in zip(wrong, half, right, strict=True)],
        [[[*row, 7, 8, 9]] for row in half],
        [[right[0]], [], *([w] for w in wrong[2:])],
    ]
    for drafts in cases:
        found = complete(
            loaded, PROMPTS, max_new_tokens=8, drafts=drafts, logits_of=[1, 3], batch_size=3
        )
        assert found.tokens == right
        for i in (1, 3):
            torch.testing.assert_close(found.first_logits[i], plain.first_logits[i])


def test_every_token_is_told_once_in_its_order_with_drafts_and_without(llama):
    free = complete(llama, PROMPTS, max_new_tokens=8).tokens
    half = [[*row[:4], 1] for row in free]
    for drafts in ((), [[row] for row in half]):
        heard = [[] for _ in PROMPTS]
        found = complete(
            llama,
            PROMPTS,
            max_new_tokens=8,
            drafts=drafts,
            heard=lambda row, token, heard=heard: heard[row].append(token),
        )
        assert heard == found.tokens == free


def test_what_a_listener_raises_ends_the_answer_at_that_token(llama):
    heard = []

    def stop(row, token):
        heard.append(token)
        if len(heard) == 2:
            raise KeyError("enough")

    with pytest.raises(KeyError):
        complete(llama, PROMPTS[:1], max_new_tokens=8, heard=stop)
    assert heard == complete(llama, PROMPTS[:1], max_new_tokens=2).tokens[0]


def test_drafts_stop_where_the_answer_stops(llama):
    config = llama.model.generation_config
    original = config.eos_token_id
    free = complete(llama, PROMPTS, max_new_tokens=8).tokens
    config.eos_token_id = [original, free[0][3]]
    try:
        stopped = complete(llama, PROMPTS, max_new_tokens=8).tokens
        found = complete(llama, PROMPTS, max_new_tokens=8, drafts=[[row] for row in free])
    finally:
        config.eos_token_id = original
    assert found.tokens == stopped != free


def test_right_drafts_save_passes(llama):
    right = complete(llama, PROMPTS, max_new_tokens=8).tokens
    passes = []
    handle = llama.model.register_forward_hook(lambda *_: passes.append(1))
    try:
        complete(llama, PROMPTS, max_new_tokens=8)
        assert len(passes) == 8
        complete(llama, PROMPTS, max_new_tokens=8, drafts=[[row] for row in right])
    finally:
        handle.remove()
    assert len(passes) == 9


def test_answers_become_the_tokens_that_would_be_generated(llama):
    tokens = answer_tokens(llama, PROMPTS, ["the museum", *[None] * (len(PROMPTS) - 1)])
    start = prompt_ids(llama.tokenizer, PROMPTS[:1])[0]
    whole = prompt_ids(llama.tokenizer, PROMPTS[:1], forced=["the museum"])[0]
    assert start + tokens[0] == whole
    assert tokens[1:] == [None] * (len(PROMPTS) - 1)


def test_logits_of_many_texts_are_never_held_at_once(models, monkeypatch):
    """With room for one text at a time the figures are the same, and no batch is larger."""
    loaded, texts = models["llama"], [f"salt and bread {'now ' * (i % 5)}" for i in range(12)]
    whole = text_nll(loaded, texts, batch_size=12)
    seen: list[int] = []
    hook = loaded.model.register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(len(kwargs["input_ids"])), with_kwargs=True
    )
    try:
        monkeypatch.setattr(generation, "LOGITS_BYTES", 1)
        parts = text_nll(loaded, texts, batch_size=12)
        assert seen == [1] * 12
        monkeypatch.setattr(generation, "LOGITS_BYTES", 2**30)
        seen.clear()
        text_nll(loaded, texts, batch_size=12)
        assert seen == [12]
    finally:
        hook.remove()
    assert torch.allclose(whole[0], parts[0])
    assert torch.equal(whole[1], parts[1])
    assert generation.rows_at_once(64, 262_144) == 16  # a large vocabulary
    assert generation.rows_at_once(64, 512) > 2_000


def test_texts_without_a_token_to_predict_are_named(models):
    from conceptbasis.errors import PromptError

    loaded = models["llama"]
    word = next(w for w in ("a", "salt", ".") if len(loaded.tokenizer(w)["input_ids"]) == 1)
    with pytest.raises(PromptError, match="none of 2 texts has a token that can be predicted"):
        text_nll(loaded, [word, word])
    assert text_nll(loaded, [word, "salt and bread"])[1][0] == 0


def test_end_tokens_are_read_from_a_number_a_list_and_a_tensor():
    loaded = make_loaded("llama")
    found = []
    for eos in (3, [3], torch.tensor(3), torch.tensor([3])):
        loaded.model.generation_config.eos_token_id = eos
        found.append(stop_ids(loaded))
    assert found == [found[0]] * 4
    assert 3 in found[0]


def test_sampling_settings_of_the_model_do_not_change_greedy_answers():
    loaded = make_loaded("llama")
    before = generate(loaded, PROMPTS, max_new_tokens=12)
    config = loaded.model.generation_config
    config.update(repetition_penalty=5.0, no_repeat_ngram_size=2, do_sample=True, temperature=0.1)
    config.update(suppress_tokens=list(range(5, 40)), forced_bos_token_id=50, max_length=3)
    assert generate(loaded, PROMPTS, max_new_tokens=12) == before
