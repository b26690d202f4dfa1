"""System prompt, thinking and variables of a chat template, and what it says of itself."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from conceptbasis.data.files import read_text
from conceptbasis.errors import PromptError
from conceptbasis.models.text.chat import end_of_prompt_ids, render
from conceptbasis.models.text.day import undated
from conceptbasis.models.text.spans import MARK

Value = str | bool | int | float | None

THINKING_SWITCHES = ("enable_thinking", "thinking")
"""Names under which templates read whether the model is to think first."""
_GIVEN = {"messages", "add_generation_prompt", "raise_exception", "strftime_now", "namespace"}
_END = "{# end of the chat options #}{{ '' }}"
_PROBE = [{"role": "user", "content": MARK.format(0)}]


@dataclass(frozen=True)
class ChatOptions:
    """What is set in a chat template before any prompt is rendered.

    Args:
        system: A system prompt for every chat that does not open with one, or None.
        system_as: `system` gives it a turn of its own; `user` puts it before the first user's
            words, for templates that know no system turn.
        thinking: On, off, or as the template has it (None).
        variables: Values of other variables that the template reads, such as `date_string`.
        template: In place of the tokenizer's own: a Jinja template, or the path of a file
            with the ending .jinja that holds one.
    """

    system: str | None = None
    system_as: Literal["system", "user"] = "system"
    thinking: bool | None = None
    variables: Mapping[str, Value] = field(default_factory=dict)
    template: str | None = None


def set_template(tokenizer: Any, options: ChatOptions) -> None:
    """Gives the tokenizer the chat template of the options, where they name one.

    Args:
        tokenizer: It is changed.
        options: What to set.

    Raises:
        PromptError: The file that holds the template cannot be read.
    """
    template = options.template
    if template is not None and template.endswith(".jinja") and "\n" not in template:
        try:
            template = read_text(Path(template).expanduser())
        except PromptError as error:
            raise PromptError(
                f"chat.template: {error.what}",
                expected="a Jinja template, or a file in UTF-8 that holds one",
                fix=f"{error.fix}; or write the template itself into the configuration",
            ) from error
    if template is not None:
        tokenizer.chat_template = template
    own = getattr(tokenizer, "chat_template", None)
    if isinstance(own, str):  # a byte order mark would be a token before every prompt
        tokenizer.chat_template = own.lstrip("\ufeff")
    elif own:
        tokenizer.chat_template = {name: text.lstrip("\ufeff") for name, text in own.items()}


def apply_chat_options(tokenizer: Any, options: ChatOptions) -> None:
    """Writes the options into the tokenizer's chat template, so that every rendering obeys them.

    They become assignments before the template's own text, in the place of earlier ones. So
    whatever is read from the template afterwards (ends of prompts, sites, hashes) is read with
    them.

    Args:
        tokenizer: A tokenizer with a chat template; it is changed.
        options: What to set.

    Raises:
        PromptError: The template does not read a variable, has no switch for thinking, or takes
            no system prompt.
        ModelError: The template is not valid Jinja.
    """
    template = _template_text(tokenizer).rpartition(_END)[2]
    if options == ChatOptions(template=options.template):
        if _END in _template_text(tokenizer):
            tokenizer.chat_template = template
        return
    tokenizer.chat_template = template
    variables = dict(options.variables)
    if options.thinking is not None:
        variables[_thinking_switch(tokenizer, variables)] = options.thinking
    read = template_variables(tokenizer)
    if set(variables) - read:
        raise PromptError(
            f"the chat template does not read {', '.join(sorted(set(variables) - read))}",
            expected=f"variables it reads: {_listed(read)}",
            fix="correct the names in chat.variables of the model configuration",
        )
    prelude = "".join(f"{{% set {k} = {_literal(v)} %}}" for k, v in variables.items())
    if options.system is not None:
        _require_system(tokenizer, options)
        prelude += _system_prelude(options)
    tokenizer.chat_template = prelude + _END + template


def template_variables(tokenizer: Any) -> set[str]:
    """The variables that the chat template reads beside the messages and special tokens.

    Args:
        tokenizer: A tokenizer with a chat template.

    Raises:
        ModelError: The template is not valid Jinja.
    """
    from jinja2 import meta
    from transformers.utils.chat_template_utils import _compile_jinja_template

    render(tokenizer, _PROBE, add_generation_prompt=True)  # says so if the template is damaged
    text = _template_text(tokenizer)
    parsed = _compile_jinja_template(text).environment.parse(text)
    return meta.find_undeclared_variables(parsed) - _GIVEN - set(tokenizer.special_tokens_map)


def end_of_turn_ids(tokenizer: Any) -> set[int]:
    """The special token that the template writes after an answer, where a model should stop.

    Args:
        tokenizer: A tokenizer with a chat template.

    Returns:
        One id, or none where the template writes nothing or plain text after an answer.
    """
    answer = {"role": "assistant", "content": MARK.format(1)}
    try:
        closed = render(tokenizer, [*_PROBE, answer], add_generation_prompt=False)
    except PromptError:
        return set()
    tail = closed.partition(MARK.format(1))[2].lstrip()
    ids = tokenizer(tail, add_special_tokens=False)["input_ids"] if tail else []
    return {i for i in ids[:1] if i in tokenizer.all_special_ids or _is_special(tokenizer, i)}


def chat_facts(tokenizer: Any) -> dict[str, Any]:
    """What the chat template says of itself, for `doctor`.

    Args:
        tokenizer: A tokenizer with a chat template.

    Returns:
        Whether it takes a system prompt, its switch for thinking, the variables it reads, and
        the tokens that end a prompt and an answer.
    """
    variables = template_variables(tokenizer)
    stops = end_of_turn_ids(tokenizer)
    return {
        "system_prompt": _takes_system(tokenizer, "system word"),
        "thinking": next((name for name in THINKING_SWITCHES if name in variables), None),
        "variables": sorted(variables),
        "end_of_prompt": tokenizer.convert_ids_to_tokens(end_of_prompt_ids(tokenizer)),
        "end_of_turn": tokenizer.convert_ids_to_tokens(sorted(stops)),
    }


def _template_text(tokenizer: Any) -> str:
    template = tokenizer.chat_template
    if not isinstance(template, dict):
        return str(template)
    if "default" not in template:
        raise PromptError(
            f"the tokenizer has chat templates {sorted(template)}",
            expected="one of them called default",
            fix="save one template as chat_template.jinja",
        )
    return str(template["default"])


def _thinking_switch(tokenizer: Any, given: Mapping[str, Value]) -> str:
    """The template's own switch: a variable it reads, and that changes what opens an answer."""
    read = template_variables(tokenizer)
    for name in THINKING_SWITCHES:
        if name in read and name not in given:
            prompts = [
                tokenizer.apply_chat_template(
                    _PROBE,
                    tokenize=False,
                    add_generation_prompt=True,
                    chat_template=undated(tokenizer.get_chat_template()),
                    **{name: on},
                )
                for on in (True, False)
            ]
            if prompts[0] != prompts[1]:
                return name
    raise PromptError(
        "the chat template has no switch for thinking",
        expected=f"a template that reads one of {', '.join(THINKING_SWITCHES)}; this one reads "
        f"{_listed(read)}",
        fix="leave chat.thinking out, or set the template's own variable in chat.variables",
    )


def _system_prelude(options: ChatOptions) -> str:
    text = options.system or ""
    if options.system_as == "system":
        turn = f"[{{'role': 'system', 'content': {_literal(text)}}}] + messages"
    else:
        first = f"{_literal(text + chr(10) * 2)} + messages[0]['content']"
        turn = f"[{{'role': messages[0]['role'], 'content': {first}}}] + messages[1:]"
    return "{% if messages[0]['role'] != 'system' %}{% set messages = " + turn + " %}{% endif %}"


def _require_system(tokenizer: Any, options: ChatOptions) -> None:
    if options.system_as == "system" and not _takes_system(tokenizer, options.system or ""):
        raise PromptError(
            "the chat template takes no system prompt",
            expected="a template that writes a system turn",
            fix="set chat.system_as: user, which puts it before the user's words",
        )


def _takes_system(tokenizer: Any, text: str) -> bool:
    """Whether the template writes a system turn where it is given one."""
    try:
        shown = render(
            tokenizer, [{"role": "system", "content": text}, *_PROBE], add_generation_prompt=True
        )
    except PromptError:
        return False
    return text.strip() in shown


def _is_special(tokenizer: Any, token: int) -> bool:
    added = tokenizer.added_tokens_decoder.get(token)
    return added is not None and bool(added.special)


def _literal(value: Value) -> str:
    """A value as Jinja writes it; JSON's escapes are those of its strings."""
    if value is None:
        return "none"
    return json.dumps(value, ensure_ascii=False)


def _listed(names: set[str]) -> str:
    return ", ".join(sorted(names)) or "none"
