"""The verdict: each shortfall costs the success and is named."""

import pytest
from made_up import condition, rate

from conceptbasis.behaviors import find_behavior
from conceptbasis.config.transfer import ReplaySection
from conceptbasis.core.statistics.interval import Interval, Rate
from conceptbasis.edits.intervention import strengthens
from conceptbasis.evaluation.verdict import judge_transfer as judge
from conceptbasis.methods import catalog
from conceptbasis.results.evaluation import CapabilityChange


def judge_transfer(conditions, capability, replay=None):
    return judge(conditions, capability, replay or ReplaySection(), find_behavior("refusal"))


def rows(baseline=1.0, transfer=0.0, native=0.0, controls=0.98, drop=(), **more):
    values = {"baseline": baseline, "transfer": transfer, "native": native}
    values |= dict.fromkeys(catalog.of_role("control"), controls) | more
    return [condition(n, rate(v)) for n, v in values.items() if n not in drop]


def change(non_inferior=True, inside=True):
    span = Interval(0.0, -0.01, 0.01, 400) if non_inferior else Interval(-0.1, -0.15, -0.05, 400)
    return CapabilityChange(span, non_inferior, (0.9, 1.0), inside)


FINE = {"benign_exact_match": change(), "arithmetic": change()}


def test_clear_strong_and_harmless_is_a_success():
    verdict = judge_transfer(rows(), FINE)
    assert verdict.word == "success"
    assert "refusal 1.00 to 0.00 [0.00, 0.01], 100% of native's reduction" in verdict.reason
    assert "clear of every control" in verdict.reason


@pytest.mark.parametrize(
    ("conditions", "capability", "word", "reason"),
    [
        (rows(transfer=0.10), FINE, "success", "90% of native's"),
        (rows(transfer=0.11), FINE, "partial", "89% of native's"),
        (rows(transfer=0.50), FINE, "partial", "50% of native's"),
        (rows(transfer=0.51), FINE, "failure", "49% of native's"),
        (rows(transfer=0.27, native=0.2), FINE, "success", "91% of native's"),
        (rows(shuffled_atoms=0.0), FINE, "failure", "not clear of the controls shuffled_atoms"),
        (rows(far_layers=0.01), FINE, "failure", "not clear of the controls far_layers"),
        (
            rows(controls=0.0),
            FINE,
            "failure",
            "controls random_direction, shuffled_atoms, far_layers, unrelated_recipe",
        ),
        (rows(), {**FINE, "arithmetic": change(False)}, "partial", "inferior in arithmetic"),
        (
            rows(),
            {**FINE, "benign_exact_match": change(True, False)},
            "partial",
            "inferior in benign_exact_match",
        ),
        (rows(native=1.0), FINE, "failure", "0% of native's"),
        (rows(transfer=1.0), FINE, "failure", "0% of native's"),
    ],
)
def test_each_shortfall_costs_the_success_and_is_named(conditions, capability, word, reason):
    verdict = judge_transfer(conditions, capability)
    assert verdict.word == word
    assert reason in verdict.reason
    assert ("clear of every control" in verdict.reason) is (word == "success")


def test_what_was_not_measured_is_no_evidence():
    unknown = judge_transfer(rows(), {"benign_exact_match": None, "arithmetic": None})
    assert unknown.word == "partial"
    assert "capability was not measured" in unknown.reason
    missing = judge_transfer(rows(drop=("far_layers",)), FINE)
    assert missing.word == "partial"
    assert "without the controls far_layers" in missing.reason
    assert judge_transfer(rows(), {**FINE, "arithmetic": None}).word == "success"


@pytest.mark.parametrize(
    ("name", "word", "reason"),
    [
        ("transfer", "failure", "no answer under transfer could be scored"),
        ("native", "failure", "no answer under native could be scored"),
        ("random_direction", "partial", "without the controls random_direction"),
    ],
)
def test_answers_that_cannot_be_scored_are_no_evidence(name, word, reason):
    conditions = [condition(r.name, Rate(None, 300)) if r.name == name else r for r in rows()]
    verdict = judge_transfer(conditions, FINE)
    assert verdict.word == word
    assert reason in verdict.reason


def test_too_few_prompts_to_show_non_inferiority_are_said_and_cost_the_success():
    span = Interval(0.0, -0.56, 0.56, 3)
    few = CapabilityChange(span, False, (0.9, 1.0), True)
    verdict = judge_transfer(rows(), {**FINE, "arithmetic": few})
    assert verdict.word == "partial"
    assert "arithmetic changed by 0.00 [-0.56, 0.56], not resolved at n = 3" in verdict.reason
    assert "inferior" not in verdict.reason
    stronger = ReplaySection(mode="add", alpha=2.0)
    assert judge_transfer(strengthened(0.97, 0.0), {"arithmetic": few}, stronger).word == "partial"


def strengthened(share: float, over: float):
    conditions = rows(baseline=0.5, transfer=share)
    spillover = {"safe": rate(over), "mentions": rate(0.0), "declines": None}
    conditions[1] = condition("transfer", rate(share), spillover)
    return conditions


@pytest.mark.parametrize(
    ("share", "over", "word"),
    [(0.97, 0.0, "success"), (0.97, 0.2, "partial"), (0.3, 0.0, "failure")],
)
def test_strengthening_is_judged_the_other_way_round(share, over, word):
    stronger = ReplaySection(mode="add", alpha=2.0)
    assert judge_transfer(strengthened(share, over), FINE, stronger).word == word


def test_which_way_an_intervention_goes():
    assert strengthens(ReplaySection(mode="add", alpha=2.0))
    assert not strengthens(ReplaySection(mode="add", alpha=-2.0))
    assert strengthens(ReplaySection(mode="orthogonalise", scope="writers", gamma=-1.0))
    assert not strengthens(ReplaySection(mode="orthogonalise", scope="writers", gamma=2.0))
    assert strengthens(ReplaySection(mode="raise", gamma="auto"))
    assert not strengthens(ReplaySection())


def test_native_per_layer_stands_in_where_no_single_direction_was_found():
    per_layer = rows(drop=("native",), native_per_layer=0.5, transfer=0.5)
    assert judge_transfer(per_layer, FINE).word == "success"
    both = rows(native=0.0, native_per_layer=0.5, transfer=0.5)
    assert judge_transfer(both, FINE).word == "partial"


def test_a_control_below_the_transfer_is_no_success():
    """A control that removes more refusal than the transfer is not a control it is clear of."""
    conditions = rows(transfer=0.08, native=0.0, random_direction=0.0)
    assert judge_transfer(conditions, FINE).word == "failure"


def test_far_layers_counts_only_where_displacing_can_fail():
    alike = judge_transfer(rows(far_layers=0.01, native_far=0.05), FINE)
    assert alike.word == "success"
    assert "far_layers says nothing here" in alike.reason
    assert "(to 0.05)" in alike.reason
    unlike = judge_transfer(rows(far_layers=0.01, native_far=0.9), FINE)
    assert unlike.word == "failure"
    assert "not clear of the controls far_layers" in unlike.reason
    # It excuses no other control.
    broken = judge_transfer(rows(shuffled_atoms=0.01, native_far=0.05), FINE)
    assert "not clear of the controls shuffled_atoms" in broken.reason
