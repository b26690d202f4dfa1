"""What stands beside the verdict agrees with it and hides nothing."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from conceptbasis.methods import catalog
from conceptbasis.report.beside_verdict import baseline_sentences, control_sentences
from conceptbasis.report.html import build_report
from conceptbasis.results.summary import Summary, Verdict
from conceptbasis.runs.summary import write_summary

sys.path.insert(0, str(Path(__file__).parent))
from synthetic_run import make_summary, wilson, with_condition

from conceptbasis.core.statistics.interval import Rate


def with_rates(summary: Summary, **rates: float) -> Summary:
    for name, value in rates.items():
        summary = with_condition(summary, name, rate=Rate(wilson(value, 300)))
    return summary


def without(summary: Summary, *names: str) -> Summary:
    kept = tuple(c for c in summary.conditions if c.name not in names)
    return replace(summary, conditions=kept)


def test_baselines_that_do_as_much_are_named_with_their_damage_and_what_the_recipe_adds() -> None:
    equal, added = baseline_sentences(with_rates(make_summary(), least_squares=0.0, affine=0.0))
    assert "least_squares 0.00 [0.00, 0.01], affine 0.00" in equal
    assert "procrustes" not in equal
    assert "First-token KL on negative prompts: transfer 0.04" in equal
    assert "12 donor and 10 target latents a layer" in added


def test_where_no_baseline_does_as_much_the_best_is_named() -> None:
    worse = dict.fromkeys(catalog.of_role("baseline"), 0.9) | {"affine": 0.5}
    names = {c.name for c in make_summary().conditions}
    rates = {name: rate for name, rate in worse.items() if name in names}
    found = baseline_sentences(with_rates(make_summary(), **rates))
    assert len(found) == 1
    assert "the best is affine with 0.50" in found[0]


def test_a_run_without_baselines_says_nothing_of_them() -> None:
    assert baseline_sentences(without(make_summary(), *catalog.of_role("baseline"))) == ()
    assert baseline_sentences(replace(make_summary(), conditions=())) == ()


def test_the_caption_asks_of_controls_what_the_verdict_asks() -> None:
    """A success with a control that left the line: the caption does not call it a failure."""
    quiet = " ".join(control_sentences(make_summary()))
    assert "below that of every control; a control may leave the line" in quiet
    assert "these did" not in quiet
    moved = " ".join(control_sentences(with_rates(make_summary(), shuffled_atoms=0.6)))
    assert "Here these did: shuffled_atoms 0.60" in moved
    assert "random_direction" not in moved


def test_a_control_that_the_verdict_sets_aside_is_set_aside_in_the_caption() -> None:
    reason = "refusal 1.00 to 0.00; far_layers says nothing here, since it falls too (to 0.05)"
    summary = replace(make_summary(), verdict=Verdict("success", reason))
    assert "Far_layers says nothing here, since it falls too (to 0.05); the verdict sets it" in (
        " ".join(control_sentences(summary))
    )


def test_a_run_that_strengthens_has_its_own_rule() -> None:
    stronger = replace(make_summary(), mode="raise", gamma=-1.0)
    assert "does not fall" in control_sentences(stronger)[0]
    assert "procrustes 0.88" in baseline_sentences(stronger)[0]


@pytest.mark.parametrize("as_much", [True, False])
def test_the_page_says_it_in_the_box_of_the_verdict(tmp_path: Path, as_much: bool) -> None:
    rates = {"least_squares": 0.0} if as_much else {"least_squares": 0.5, "affine": 0.5}
    write_summary(tmp_path, with_rates(make_summary(), **rates))
    text = build_report(tmp_path).read_text()
    box = text[text.index('<div class="verdict') :].partition("</div>")[0]
    assert ("What the recipe adds" in box) is as_much
    assert "controls must stay at the line" not in text
