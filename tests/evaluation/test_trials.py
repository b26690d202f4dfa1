"""What is measured on which prompts, and what counts as the same trial."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import pytest
import torch

from conceptbasis.behaviors import find_behavior
from conceptbasis.config.evaluation import EvaluateSection
from conceptbasis.data.prompts import Prompt, PromptSuite
from conceptbasis.edits.intervention import Intervention
from conceptbasis.evaluation.measure import content_hash
from conceptbasis.evaluation.trials import (
    Trial,
    evaluated_methods,
    outline_of,
    prompts_by_set,
    prompts_of,
    sets_of,
)
from conceptbasis.methods import METHODS
from conceptbasis.methods.base import Treatment
from conceptbasis.results.layers import LayerPlan

REFUSAL = find_behavior("refusal")


def edit(**changes):
    plain = Intervention(
        LayerPlan.per_layer([0, 1]),
        torch.eye(2, 4),
        "affine",
        amounts=(1.0, 2.0),
        means=torch.zeros(2, 4),
        gates=torch.zeros(2, 4),
        thresholds=(0.1, 0.2),
    )
    return replace(plain, **changes)


OTHERS = {
    "plan": LayerPlan.single([0, 1], 1),
    "directions": -torch.eye(2, 4),
    "mode": "ablate",
    "scope": "writers",
    "gamma": 0.5,
    "amounts": (1.0, 3.0),
    "means": torch.ones(2, 4),
    "which": "attention",
    "gates": torch.ones(2, 4),
    "thresholds": (0.1, 0.3),
    "max_norms": (80.0, None),
}


@pytest.mark.parametrize("name", [f.name for f in fields(Intervention)])
def test_every_field_of_an_edit_is_part_of_its_key(name):
    """A field that is new fails here until it has another value to be told by."""
    keys = {content_hash(Treatment(e)) for e in (edit(), edit(**{name: OTHERS[name]}))}
    assert len(keys) == 2


def test_a_field_that_is_added_to_an_edit_changes_its_key():
    @dataclass(frozen=True)
    class Wider(Intervention):
        when: str = "always"

    wide = Wider(**vars(edit()))
    assert content_hash(Treatment(wide)) != content_hash(Treatment(edit()))
    assert content_hash(Treatment(replace(wide, when="never"))) != content_hash(Treatment(wide))


def test_equal_edits_have_one_key():
    assert content_hash(Treatment(edit())) == content_hash(Treatment(edit()))


def suite(**sizes):
    prompts = {n: tuple(Prompt(f"{n} {i}") for i in range(k)) for n, k in sizes.items()}
    return PromptSuite(prompts, ())


def test_sets_have_short_names_and_missing_ones_are_left_out():
    assert sets_of(REFUSAL) == {
        "positive": "eval_harmful",
        "safe": "eval_harmless",
        "mentions": "eval_mentions",
        "declines": "eval_declines",
        "arithmetic": "eval_arithmetic",
    }
    found = prompts_by_set(REFUSAL, suite(eval_harmful=4, eval_harmless=3), 2)
    assert {name: len(prompts) for name, prompts in found.items()} == {"positive": 2, "safe": 2}


def test_negative_prompts_that_are_in_no_other_set_have_a_name_of_their_own():
    sets = replace(REFUSAL.sets, spillover={}, capability={})
    behavior = replace(REFUSAL, sets=sets)
    assert sets_of(behavior) == {"positive": "eval_harmful", "negative": "eval_harmless"}


def test_a_trial_reads_some_prompts_of_each_set_and_all_of_others():
    sets = prompts_by_set(REFUSAL, suite(eval_harmful=9, eval_harmless=9, eval_mentions=9), None)
    trial = Trial("random", n_prompts=3, in_full=("safe",), without=("mentions",))
    found = {name: len(prompts) for name, prompts in prompts_of(sets, trial).items()}
    assert found == {"positive": 3, "safe": 9}


def test_draws_use_fewer_prompts_but_random_directions_all_with_known_answers():
    section = EvaluateSection()
    outlines = {name: outline_of(m, section, REFUSAL) for name, m in METHODS.items()}
    assert outlines["transfer"] == (1, Trial("transfer"))
    assert outlines["far_layers"] == (1, Trial("far_layers"))
    assert outlines["shuffled_atoms"] == (10, Trial("shuffled_atoms", n_prompts=80))
    n_draws, random = outlines["random_direction"]
    assert (n_draws, random.n_prompts, random.in_full) == (10, 80, ("arithmetic", "safe"))


def test_settings_choose_baselines_and_controls():
    section = EvaluateSection(controls=False, baselines=("affine",))
    roles = {method.name: method.role for method in evaluated_methods(section)}
    assert "control" not in roles.values()
    assert [name for name, role in roles.items() if role == "baseline"] == ["affine"]
    assert {"native", "no_guard", "matched"} <= set(roles)
