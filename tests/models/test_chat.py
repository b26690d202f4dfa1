"""Prompts end where the answer starts, and site keys count characters of the content."""

import pytest
from tiny import CHAT_TEMPLATE, encode_prompts, make_loaded, make_tokenizer

from conceptbasis.errors import ModelError, PromptError
from conceptbasis.models.text.chat import (
    encode_texts,
    end_of_prompt_ids,
    prompt_ids,
    render,
)

KINDS = ["bpe", "bpe_trimmed", "wordpiece", "unigram"]
CHATS = [
    [
        {"role": "user", "content": "naïve café déjà vu ?"},
        {"role": "assistant", "content": "the museum 🙂🏽 shows   daggers"},
    ],
    [
        {"role": "user", "content": "user"},
        {"role": "assistant", "content": "assistant user"},
        {"role": "user", "content": "user"},
    ],
    [{"role": "user", "content": "  trimmed on both sides \n"}],
]


@pytest.fixture(scope="module", params=KINDS)
def tokenizer(request):
    return make_tokenizer(request.param)


def _check_keys(tokenizer, encoded, contents):
    """The text of the tokens up to a keyed token covers exactly the keyed characters."""
    for row, keys, text in zip(
        encoded.input_ids.tolist(), encoded.site_keys, contents, strict=True
    ):
        assert len(keys) == len(row)
        flat = [key for key in keys if key is not None]
        assert flat == sorted(set(flat))
        for message, content in enumerate(text):
            ends = [offset for index, offset in flat if index == message]
            assert all(0 <= end <= len(content) for end in ends)
            if content.strip():
                assert ends[-1] == len(content.rstrip())


def test_keys_cover_every_content(tokenizer):
    encoded = encode_texts(tokenizer, CHATS)
    _check_keys(tokenizer, encoded, [[m["content"] for m in chat] for chat in CHATS])
    for row, keys in zip(encoded.attention_mask.tolist(), encoded.site_keys, strict=True):
        assert all(key is None for kept, key in zip(row, keys, strict=True) if not kept)
        assert keys[0] is None


def test_word_ends_are_sites_in_every_tokenizer():
    sites = []
    for kind in KINDS:
        keys = encode_texts(make_tokenizer(kind), CHATS[:1]).site_keys[0]
        sites.append({key for key in keys if key is not None})
    user = CHATS[0][0]["content"]
    ends = {(0, len("naïve")), (0, len("naïve café")), (0, len("naïve café déjà")), (0, len(user))}
    answer = "the museum 🙂🏽 shows   daggers"
    ends |= {(1, len("the")), (1, len("the museum")), (1, answer.index("s ") + 1), (1, len(answer))}
    for found in sites:
        assert ends <= found
    assert len(set.intersection(*sites)) >= len(ends)


def test_an_emoji_is_keyed_once_at_its_last_byte():
    tokenizer = make_tokenizer("bpe")
    encoded = encode_texts(tokenizer, ["🙂"])
    assert encoded.input_ids.shape[1] >= 2
    keys = encoded.site_keys[0]
    assert keys[-1] == (0, 1)
    assert keys.count(None) == len(keys) - 1


def test_offsets_count_the_trimmed_characters(tokenizer):
    content = CHATS[2][0]["content"]
    keys = [k for k in encode_texts(tokenizer, [CHATS[2]]).site_keys[0] if k is not None]
    assert (0, content.index("trimmed") + len("trimmed")) in keys
    assert keys[-1] == (0, content.index("sides") + len("sides"))


def test_end_of_prompt_keys_the_last_template_token(tokenizer):
    encoded = encode_texts(tokenizer, CHATS[:2], end_of_prompt=True)
    for keys in encoded.site_keys:
        place = keys.index((1, 0))
        assert keys[place + 1] is not None
        assert keys[place + 1][0] == 1
        assert keys[place - 1] is None or keys[place - 1][0] == 0
    without = encode_texts(tokenizer, CHATS[:2])
    assert all((1, 0) not in keys for keys in without.site_keys)


def test_plain_strings_have_message_zero(tokenizer):
    encoded = encode_texts(tokenizer, ["bake bread", "salt"])
    keys = [key for key in encoded.site_keys[0] if key is not None]
    assert (0, 4) in keys
    assert keys[-1] == (0, 10)
    assert encoded.attention_mask.tolist()[1][-1] == 0


def test_prompts_are_left_padded_with_one_bos(tokenizer):
    encoded = encode_prompts(tokenizer, ["salt", "where is the old museum ?"])
    assert encoded.attention_mask[0, 0] == 0
    assert encoded.attention_mask[:, -1].tolist() == [1, 1]
    for row, mask in zip(encoded.input_ids, encoded.attention_mask, strict=True):
        ids = row[mask.bool()].tolist()
        assert ids.count(tokenizer.bos_token_id) == 1
        assert ids[0] == tokenizer.bos_token_id


def test_end_of_prompt_ids_end_every_prompt(tokenizer):
    tail = end_of_prompt_ids(tokenizer)
    assert tokenizer.convert_tokens_to_ids("<|assistant|>") in tail
    for ids in prompt_ids(tokenizer, ["salt", "1 + 2 =", "café"]):
        assert ids[-len(tail) :] == tail


def test_forced_starts_follow_the_prompt(tokenizer):
    plain, forced = (
        prompt_ids(tokenizer, ["salt"], forced=start)[0] for start in (None, ["the museum"])
    )
    assert forced[: len(plain) - 1] == plain[: len(plain) - 1]
    assert len(forced) > len(plain)
    with pytest.raises(PromptError, match="2 forced"):
        prompt_ids(tokenizer, ["salt"], forced=["a", "b"])


def test_too_long_empty_and_missing_prompts(tokenizer):
    with pytest.raises(PromptError, match="no prompts"):
        encode_prompts(tokenizer, [])
    with pytest.raises(PromptError, match="no texts"):
        encode_texts(tokenizer, [])
    with pytest.raises(PromptError, match="tokens"):
        encode_prompts(tokenizer, ["salt " * 30], max_length=20)
    with pytest.raises(PromptError, match="no tokens"):
        encode_texts(tokenizer, [""])


def test_templates_that_drop_rewrite_or_refuse_are_errors():
    dropping = CHAT_TEMPLATE.replace("{{ m['content'] | trim }}", "x")
    with pytest.raises(PromptError, match="drops message 0"):
        encode_texts(make_tokenizer(template=dropping), CHATS)
    rewriting = CHAT_TEMPLATE.replace("| trim", "| upper")
    with pytest.raises(PromptError, match="rewrites"):
        encode_texts(make_tokenizer(template=rewriting), CHATS)
    refusing = "{{ raise_exception('no system') }}"
    with pytest.raises(PromptError, match="no system"):
        render(make_tokenizer(template=refusing), CHATS[0], add_generation_prompt=False)
    silent = "{% for m in messages %}{{ m['content'] }}{% endfor %}"
    with pytest.raises(PromptError, match="nothing between"):
        end_of_prompt_ids(make_tokenizer(template=silent))


def test_damaged_template_is_named():
    with pytest.raises(ModelError, match="the chat template is damaged"):
        render(make_tokenizer(template="{% if %}"), CHATS[0], add_generation_prompt=True)


CHAT = [{"role": "user", "content": "the museum"}]


def test_a_template_that_asks_for_the_date_gives_the_same_prompt_every_day():
    tokenizer = make_loaded("llama").tokenizer
    plain = render(tokenizer, CHAT, add_generation_prompt=True)
    tokenizer.chat_template = "{{ strftime_now('%d %b %Y %f') }}" + tokenizer.chat_template
    found = {render(tokenizer, CHAT, add_generation_prompt=True) for _ in range(5)}
    assert found == {f"01 Jan 2025 000000{plain}"}
    direct = tokenizer.apply_chat_template(CHAT, tokenize=False, add_generation_prompt=True)
    assert direct not in found, "the control: the clock's own day is another prompt"


@pytest.mark.parametrize("token", ["</s>", "<|user|>", "<|assistant|>"])
def test_a_prompt_that_holds_a_special_token_is_refused(token):
    tokenizer = make_loaded("llama").tokenizer
    with pytest.raises(PromptError, match="special token"):
        prompt_ids(tokenizer, ["the museum", f"the {token} museum"])
    assert prompt_ids(tokenizer, ["the < s > museum", "a </ s> and <|other|> museum"])
