"""What a model card says for a target of a hub, and what it never says."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

sys.path.insert(0, str(Path(__file__).parents[1] / "report"))
from synthetic_run import SECRET, make_summary, write_run

from conceptbasis.report.card import Exported, hub_id, model_card, public_name


@pytest.fixture
def folder(tmp_path):
    return write_run(tmp_path / "run")


def named(**changes):
    summary = make_summary()
    target = replace(summary.target, model="org/Base-1B", name="base", revision="abc123")
    donor = replace(summary.donor, model="~/secret place/donor", name="donor-a")
    return replace(summary, target=target, donor=donor, mode="orthogonalise", **changes)


def front_of(card):
    return yaml.safe_load(card.split("---\n")[1])


@pytest.mark.parametrize(
    ("form", "more"),
    [("checkpoint", {}), ("lora", {"base_model_relation": "adapter"})],
)
def test_a_target_of_a_hub_is_the_base_model(folder, form, more):
    card = model_card(named(), folder, Exported(form, "5/5 attention", "ab" * 32))
    front = front_of(card)
    assert front["base_model"] == "org/Base-1B"
    assert {key: front[key] for key in more} == more
    assert ("base_model_relation" in front) is bool(more)
    assert front["tags"][-1] == "refusal"
    assert "**org/Base-1B** at revision `abc123`" in card
    assert "**donor-a**" in card
    assert "secret place" not in card


def test_every_section_and_control_is_there_with_n(folder):
    card = model_card(named(), folder, Exported("checkpoint", "x", "y", ("A note.",)))
    for title in ("What was changed", "How it was judged", "Intended use", "Limits"):
        assert f"## {title}\n" in card
    assert "success: refusal fell from 0.99 to 0.02" in card
    assert "at most 12 donor latents a layer" in card
    assert "code_map" in card
    assert "| random_direction | 10 | 0.98 [0.97, 0.98] | 3,000 |" in card
    assert "| refusal, harmful | 0.99 [0.97, 1.00] | 0.02 [0.01, 0.04] |" in card
    assert "meant to remove it" in card
    assert "- A note." in card
    assert SECRET not in card
    assert "no figure of its effect exists" not in card


def test_an_edit_that_strengthens_says_so(folder):
    card = model_card(named(gamma=-0.5), folder, Exported("lora", "x", "y"))
    assert "meant to strengthen it" in card


def test_a_run_without_an_evaluation_says_so(folder):
    card = model_card(named(conditions=()), folder, Exported("lora", "x", "y"))
    assert "no figure of its effect exists" in card


def test_only_ids_of_a_hub_are_told(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "org/here").mkdir(parents=True)
    given = ("org/model", "org/here", "/srv/a/b", "~/a", "./a/b", "a/b/c", "model", "organism:x:0")
    assert [name for name in given if hub_id(name)] == ["org/model"]
    assert public_name("organism:x:0", "n") == "organism:x:0"
    assert public_name("/srv/a/b", "n") == "n"
