"""Chat options reach every rendering; ends of prompts and answers are read off the template."""

import pytest
import torch
from tiny import CHAT_TEMPLATE, encode_prompts, make_loaded, make_model, make_tokenizer

from conceptbasis.errors import ModelError, PromptError
from conceptbasis.judges.phrases import read_answer
from conceptbasis.models.loading.load import wrap_model
from conceptbasis.models.text.chat import (
    encode_texts,
    end_of_prompt_ids,
    opening,
    prompt_ids,
    read_answer_tokens,
    render,
)
from conceptbasis.models.text.generation import generate, stop_ids
from conceptbasis.models.text.template import (
    ChatOptions,
    apply_chat_options,
    chat_facts,
    end_of_turn_ids,
    set_template,
    template_variables,
)
from conceptbasis.models.text.thoughts import opened_thought

# Short forms of published templates: what they read and write is that of the originals.
QWEN3 = """{%- if messages[0].role == 'system' %}
{{- '<|im_start|>system\\n' + messages[0].content + '<|im_end|>\\n' }}
{%- endif %}
{%- for m in messages %}{%- if m.role != 'system' %}
{{- '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}
{%- endif %}{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}
{%- if enable_thinking is defined and enable_thinking is false %}
{{- '<think>\\n\\n</think>\\n\\n' }}{%- endif %}{%- endif %}"""
LLAMA3 = """{{- bos_token }}
{%- if not date_string is defined %}{%- if strftime_now is defined %}
{%- set date_string = strftime_now("%d %b %Y") %}{%- else %}
{%- set date_string = "26 Jul 2024" %}{%- endif %}{%- endif %}
{%- if messages[0]['role'] == 'system' %}{%- set system_message = messages[0]['content']|trim %}
{%- set messages = messages[1:] %}{%- else %}{%- set system_message = "" %}{%- endif %}
{{- "<|start_header_id|>system<|end_header_id|>\\n\\nToday Date: " + date_string + "\\n\\n" }}
{{- system_message }}{{- "<|eot_id|>" }}
{%- for m in messages %}
{{- '<|start_header_id|>' + m['role'] + '<|end_header_id|>\\n\\n' }}
{{- m['content'] | trim + '<|eot_id|>' }}{%- endfor %}
{%- if add_generation_prompt %}
{{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{%- endif %}"""
GEMMA2 = """{{ bos_token }}{% if messages[0]['role'] == 'system' %}
{{ raise_exception('System role not supported') }}{% endif %}
{% for m in messages %}{% set role = 'model' if m['role'] == 'assistant' else m['role'] %}
{{ '<start_of_turn>' + role + '\\n' + m['content'] | trim + '<end_of_turn>\\n' }}{% endfor %}
{% if add_generation_prompt %}{{'<start_of_turn>model\\n'}}{% endif %}"""
R1 = """{{ bos_token }}{% if messages[0].role == 'system' %}{{ messages[0].content }}{% endif %}
{%- for m in messages %}{% if m.role == 'user' %}{{ '<|User|>' + m.content }}
{%- elif m.role == 'assistant' %}{{ '<|Assistant|>' + m.content + '<|end|>' }}{% endif %}
{%- endfor %}{% if add_generation_prompt %}{{ '<|Assistant|><think>\\n' }}{% endif %}"""
MISTRAL = """{{ bos_token }}{% set system = '' %}{% if messages[0].role == 'system' %}
{%- set system = messages[0].content + '\\n\\n' %}{% set messages = messages[1:] %}{% endif %}
{%- for m in messages %}{% if m.role == 'user' %}
{{- '[INST] ' + (system if loop.first else '') + m.content + ' [/INST]' }}
{%- else %} {{ m.content }}</s>{% endif %}{% endfor %}"""
TEMPLATES = {"qwen3": QWEN3, "llama3": LLAMA3, "gemma2": GEMMA2, "r1": R1, "mistral": MISTRAL}
SPECIAL = ["<|im_start|>", "<|im_end|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]
SPECIAL += ["<start_of_turn>", "<end_of_turn>", "<|User|>", "<|Assistant|>", "<|end|>"]
USER = [{"role": "user", "content": "salt ?"}]
CHAT = [*USER, {"role": "assistant", "content": "the museum"}]


def tokenizer_of(name, **options):
    tokenizer = make_tokenizer(template=TEMPLATES.get(name, name), special=tuple(SPECIAL))
    apply_chat_options(tokenizer, ChatOptions(**options))
    return tokenizer


def opened(tokenizer, messages=USER):
    return render(tokenizer, messages, add_generation_prompt=True)


ENDS = {
    "qwen3": "<|im_end|>\n<|im_start|>assistant\n",
    "llama3": "<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n",
    "gemma2": "<end_of_turn>\n<start_of_turn>model\n",
    "r1": "<|Assistant|><think>\n",
    "mistral": " [/INST]",
}
STOPS = {
    "qwen3": "<|im_end|>",
    "llama3": "<|eot_id|>",
    "gemma2": "<end_of_turn>",
    "r1": "<|end|>",
    "mistral": "</s>",
}


@pytest.mark.parametrize("name", TEMPLATES)
def test_ends_of_prompts_and_answers_are_read_off_the_template(name):
    tokenizer = tokenizer_of(name)
    assert opened(tokenizer).endswith(ENDS[name])
    assert tokenizer.decode(end_of_prompt_ids(tokenizer)).strip() == ENDS[name].strip()
    assert end_of_turn_ids(tokenizer) == {tokenizer.convert_tokens_to_ids(STOPS[name])}
    # Each prompt ends with these tokens, whatever the user says, padded on the left.
    tail = end_of_prompt_ids(tokenizer)
    batch = encode_prompts(tokenizer, ["salt", "where is the museum ?"])
    assert batch.attention_mask[0, 0] == 0
    assert all(row[-len(tail) :].tolist() == tail for row in batch.input_ids)


@pytest.mark.parametrize("name", ["qwen3", "llama3", "mistral"])
@pytest.mark.parametrize("as_turn", ["system", "user"])
def test_a_system_prompt_is_in_every_chat_once_and_is_no_site(name, as_turn):
    text = "Be “brief”, 🙂 and\nkeep {{ braces }} and 'quotes' %} \\ as they are."
    plain, told = tokenizer_of(name), tokenizer_of(name, system=text, system_as=as_turn)
    assert text not in opened(plain)
    assert opened(told).count(text) == 1
    own = [{"role": "system", "content": "other"}, *USER]
    if as_turn == "system":
        assert opened(told) == opened(plain, [{"role": "system", "content": text}, *USER])
        assert text not in opened(told, own)  # a chat that opens with its own keeps it
    keys = [encode_texts(t, [CHAT]).site_keys[0] for t in (plain, told)]
    assert [k for k in keys[0] if k] == [k for k in keys[1] if k]
    assert end_of_prompt_ids(told) == end_of_prompt_ids(plain)
    apply_chat_options(told, ChatOptions(system=text, system_as=as_turn))
    assert opened(told).count(text) == 1


def test_a_template_without_a_system_turn_says_so_and_takes_it_as_user():
    dropping = QWEN3.replace("messages[0].role == 'system'", "false")
    for name in ("gemma2", dropping):
        with pytest.raises(PromptError, match="takes no system prompt") as caught:
            tokenizer_of(name, system="be brief")
        assert "chat.system_as: user" in caught.value.fix
        told = tokenizer_of(name, system="be brief", system_as="user")
        assert "be brief\n\nsalt ?" in opened(told)


def test_options_can_be_set_again_and_taken_back():
    options = {"thinking": False, "system": "be brief"}
    tokenizer = tokenizer_of("qwen3", **options)
    once = tokenizer.chat_template
    apply_chat_options(tokenizer, ChatOptions(**options))
    assert tokenizer.chat_template == once
    apply_chat_options(tokenizer, ChatOptions(thinking=True))
    assert opened(tokenizer) == opened(tokenizer_of("qwen3", thinking=True))
    apply_chat_options(tokenizer, ChatOptions())
    assert tokenizer.chat_template == QWEN3


def test_thinking_is_switched_by_the_templates_own_variable():
    off, on, plain = (tokenizer_of("qwen3", thinking=t) for t in (False, True, None))
    assert opened(off).endswith("<think>\n\n</think>\n\n")
    assert opened(on) == opened(plain) == opened(off).removesuffix("<think>\n\n</think>\n\n")
    # The empty thought is part of what ends the prompt.
    assert len(end_of_prompt_ids(off)) > len(end_of_prompt_ids(on))
    for name in ("gemma2", "llama3", "r1"):
        with pytest.raises(PromptError, match="no switch for thinking"):
            tokenizer_of(name, thinking=False)
    idle = "{% if enable_thinking %}{% endif %}" + CHAT_TEMPLATE
    with pytest.raises(PromptError, match="no switch for thinking"):
        tokenizer_of(idle, thinking=True)


def test_variables_are_set_and_unknown_ones_refused():
    pinned = tokenizer_of("llama3", variables={"date_string": "26 Jul 2024"})
    assert "Today Date: 26 Jul 2024\n" in opened(pinned)
    assert "26 Jul 2024" not in opened(tokenizer_of("llama3"))
    assert "date_string" in template_variables(pinned) | template_variables(tokenizer_of("llama3"))
    with pytest.raises(PromptError, match="does not read date") as caught:
        tokenizer_of("llama3", variables={"date": "today"})
    assert "date_string" in caught.value.expected
    written = "{{ [effort, number, flag, nothing] }}" + CHAT_TEMPLATE
    values = {"effort": 'a "b"', "number": 2.5, "flag": True, "nothing": None}
    assert opened(tokenizer_of(written, variables=values)).startswith(
        "['a \"b\"', 2.5, True, None]"
    )


def test_no_options_leave_the_template_alone_and_leading_newlines_stay():
    tokenizer = make_tokenizer()
    apply_chat_options(tokenizer, ChatOptions())
    assert tokenizer.chat_template == CHAT_TEMPLATE
    spaced = "\n\n" + LLAMA3.replace("{{- bos_token }}", "{{ bos_token }}")
    pinned = {"date_string": "26 Jul 2024"}
    plain = tokenizer_of(spaced.replace('strftime_now("%d %b %Y")', '"26 Jul 2024"'))
    told = tokenizer_of(spaced, variables=pinned)
    assert opened(told) == opened(plain)
    assert opened(plain).startswith("\n")


def test_damaged_and_unnamed_templates_are_errors():
    with pytest.raises(ModelError, match="the chat template is damaged"):
        tokenizer_of("{% if %}", thinking=True)
    tokenizer = make_tokenizer()
    tokenizer.chat_template = {"tools": CHAT_TEMPLATE}
    with pytest.raises(PromptError, match=r"chat templates \['tools'\]"):
        apply_chat_options(tokenizer, ChatOptions(system="x"))
    tokenizer.chat_template = {"default": QWEN3, "tools": CHAT_TEMPLATE}
    apply_chat_options(tokenizer, ChatOptions(thinking=False))
    assert "</think>" in opened(tokenizer)


def test_facts_for_doctor():
    facts = {name: chat_facts(tokenizer_of(name)) for name in TEMPLATES}
    assert {n: f["system_prompt"] for n, f in facts.items()} == {
        "qwen3": True,
        "llama3": True,
        "gemma2": False,
        "r1": True,
        "mistral": True,
    }
    assert {n: f["thinking"] for n, f in facts.items() if f["thinking"]} == {
        "qwen3": "enable_thinking"
    }
    assert "date_string" in facts["llama3"]["variables"]
    assert facts["gemma2"]["variables"] == []
    assert facts["gemma2"]["end_of_turn"] == ["<end_of_turn>"]
    assert facts["gemma2"]["end_of_prompt"][0] == "<end_of_turn>"


def test_answers_stop_at_the_templates_end_of_turn():
    """The generation configuration lists only </s>; the template closes answers otherwise."""
    tokenizer = make_tokenizer(template=CHAT_TEMPLATE.replace("trim }}\n", "trim }}<|system|>\n"))
    stop = tokenizer.convert_tokens_to_ids("<|system|>")
    loaded = wrap_model(make_model("llama"), tokenizer, name="x")
    assert stop_ids(loaded) == {tokenizer.eos_token_id, stop}
    assert stop_ids(make_loaded("llama")) == {tokenizer.eos_token_id}
    # The model writes the stop token at once: nothing is left of the answer.
    loaded.model.lm_head.weight.data.zero_()
    states = torch.ones(1, 16)
    loaded.model.model.norm.weight.data.fill_(1.0)
    handle = loaded.model.lm_head.register_forward_hook(
        lambda _m, _a, logits: torch.nn.functional.one_hot(
            torch.full(logits.shape[:-1], stop), logits.shape[-1]
        ).float()
    )
    try:
        assert generate(loaded, ["salt"], max_new_tokens=4) == [""]
        tokenizer.chat_template = CHAT_TEMPLATE
        assert stop_ids(loaded) == {tokenizer.eos_token_id}
        ran = []
        loaded.model.lm_head.register_forward_pre_hook(lambda *_: ran.append(states))
        generate(loaded, ["salt"], max_new_tokens=4)
        assert len(ran) == 4
    finally:
        handle.remove()


SEED = """{% for m in messages %}{{ '<|' + m.role + '|>' + m.content }}{% endfor %}
{%- if add_generation_prompt %}{{ '<|assistant|><seed:think>' }}{% endif %}"""
CHANNEL = SEED.replace("<seed:think>", "<|channel>thought\\n")
BEGUN = SEED.replace("<seed:think>", "<think>\\nOkay, ")


@pytest.mark.parametrize(
    ("template", "tag"),
    [
        (R1, "<think>"),
        (SEED, "<seed:think>"),
        (CHANNEL, "<|channel>thought"),
        (BEGUN, "<think>"),
        (QWEN3, ""),
    ],
)
def test_a_thought_that_the_template_opens_belongs_to_the_answer(template, tag):
    tokenizer = make_tokenizer(template=template, special=tuple(SPECIAL))
    assert opening(tokenizer) == tag
    loaded = wrap_model(make_model("llama", vocab_size=len(tokenizer)), tokenizer, name="tiny")
    answer = generate(loaded, ["salt ?"], max_new_tokens=4)[0]
    assert answer.startswith(tag)
    assert (read_answer(answer) == "unfinished") == bool(tag)
    # Given back as the start of an answer, the tag is not written twice.
    assert prompt_ids(tokenizer, ["salt ?"], forced=[answer]) == prompt_ids(
        tokenizer, ["salt ?"], forced=[answer.removeprefix(tag)]
    )


OPENINGS = {
    "<|im_start|>assistant\n<longcat_think>\n": "<longcat_think>",
    "<|assistant_start|><|inner_prefix|>": "<|inner_prefix|>",
    "<start_of_turn>model\n<unused94>thought\n": "<unused94>thought",
    "<|begin|>assistant<|think|>": "<|think|>",
    "<|im_start|>assistant\n<think_fast>": "<think_fast>",
    "<|start|>assistant<|channel|>analysis<|message|>The user": "<|channel|>analysis<|message|>",
    "\nASSISTANT: <think>\nOkay, ": "<think>",
    "assistant<think>": "<think>",
    "<think>a</think><think>": "<think>",
    # Closed, or only mentioned.
    "<|begin|>assistant<|think|><|end|><|begin|>assistant": "",
    "<|assistant_start|><|inner_prefix|><|inner_suffix|>": "",
    "<think>\nOkay, let us answer.\n</think>\n\n": "",
    "\nThoughts stand in <think> tags.\nASSISTANT:": "",
    "<|start|>assistant": "",
}


@pytest.mark.parametrize("opening", OPENINGS)
def test_what_a_template_leaves_open(opening):
    assert opened_thought(opening) == OPENINGS[opening]


@pytest.mark.parametrize("template", [BEGUN, SEED.replace("<seed:think>", "")])
def test_a_tag_in_the_users_words_opens_nothing(template):
    tokenizer = make_tokenizer(template=template, special=tuple(SPECIAL))
    tag, forced = opening(tokenizer), "<think>\nOkay, salt"
    end = tokenizer("\nOkay, salt" if tag else forced, add_special_tokens=False)["input_ids"]
    ids = prompt_ids(tokenizer, ["salt <think>"], forced=[forced])[0]
    assert ids[-len(end) :] == end
    plain = prompt_ids(tokenizer, ["salt <think>"])[0]
    assert ids[: -len(end)] == plain


def test_a_closed_thought_of_the_template_opens_nothing():
    tokenizer = tokenizer_of("qwen3", thinking=False)
    assert opening(tokenizer) == ""
    assert opened(tokenizer).endswith("</think>\n\n")


def test_special_tokens_that_mark_thoughts_stay_in_the_answer():
    special = ("<seed:think>", "</seed:think>", "<|im_end|>")
    tokenizer = make_tokenizer(special=special)
    ids = tokenizer("<seed:think>salt</seed:think>bread<|im_end|>", add_special_tokens=False)
    assert read_answer_tokens(tokenizer, [ids["input_ids"]]) == [
        "<seed:think>salt</seed:think>bread"
    ]


# Files of templates


def test_a_byte_order_mark_before_a_template_is_no_part_of_it(tmp_path):
    plain = make_tokenizer(template=CHAT_TEMPLATE)
    wanted = prompt_ids(plain, ["salt"])
    file = tmp_path / "t.jinja"
    for data in (CHAT_TEMPLATE.encode(), CHAT_TEMPLATE.encode("utf-8-sig")):
        file.write_bytes(data)
        tokenizer = make_tokenizer(template="{{ messages[0].content }}")
        set_template(tokenizer, ChatOptions(template=str(file)))
        assert prompt_ids(tokenizer, ["salt"]) == wanted
    marked = make_tokenizer(template="\ufeff" + CHAT_TEMPLATE)  # as a tokenizer's own file has it
    assert prompt_ids(marked, ["salt"]) != wanted  # the control: the mark would be a token
    set_template(marked, ChatOptions())
    assert prompt_ids(marked, ["salt"]) == wanted
    several = make_tokenizer(template=CHAT_TEMPLATE)
    several.chat_template = {"default": "\ufeff" + CHAT_TEMPLATE, "rag": "x"}
    set_template(several, ChatOptions())
    assert several.chat_template == {"default": CHAT_TEMPLATE, "rag": "x"}


def test_the_ends_of_lines_of_a_template_do_not_matter(tmp_path):
    file = tmp_path / "t.jinja"
    found = []
    for end in ("\n", "\r\n"):
        file.write_bytes(QWEN3.replace("\n", end).encode())
        tokenizer = make_tokenizer(template=CHAT_TEMPLATE)
        set_template(tokenizer, ChatOptions(template=str(file)))
        found.append(tokenizer.chat_template)
    assert found[0] == found[1]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "latin-1"])
def test_a_template_in_another_encoding_is_refused(tmp_path, encoding):
    file = tmp_path / "t.jinja"
    file.write_bytes(("é" + CHAT_TEMPLATE).encode(encoding))
    with pytest.raises(PromptError, match=r"chat\.template: .*t\.jinja, line 1: not in UTF-8") as e:
        set_template(make_tokenizer(), ChatOptions(template=str(file)))
    assert "iconv" in e.value.fix
    with pytest.raises(PromptError, match=r"none\.jinja cannot be read"):
        set_template(make_tokenizer(), ChatOptions(template=str(tmp_path / "none.jinja")))
