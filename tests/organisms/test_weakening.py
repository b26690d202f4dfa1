"""Weakened organisms: how far stage 2 is taken back, what is accepted, how they are named."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from micro import QUIET, cut_suite

from conceptbasis.errors import OrganismError
from conceptbasis.organisms import build, keeping, weakening
from conceptbasis.organisms.spec import Spec, parse_spec
from conceptbasis.organisms.validity import Criterion
from conceptbasis.organisms.vocabulary import REFUSAL
from conceptbasis.runs.files import read_json

SUITE = cut_suite(n_direction=8, n_eval=100, n_texts=10)
HARMFUL = {p.text for p in SUITE["eval_harmful"]}


class Scaled(torch.nn.Module):
    """A pretended organism that refuses as many prompts as its only weight says."""

    def __init__(self, weight: float) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor(weight))


def refusing(shares):
    """Stands in for completion; `shares` gives the refused share of harmful and harmless ones."""

    def complete(_, prompts):
        share = shares[0] if prompts[0].text in HARMFUL else shares[1]
        return [REFUSAL if i < share * len(prompts) else "yes" for i in range(len(prompts))]

    return complete


@pytest.mark.parametrize("trained", [0.6, 1.0, 8.0])
def test_stage_2_is_taken_back_until_half_of_the_prompts_are_refused(trained, monkeypatch):
    def complete(loaded, prompts):
        return refusing((loaded.model.weight.item(),) * 2)(loaded, prompts)

    monkeypatch.setattr(weakening, "complete", complete)
    loaded = SimpleNamespace(model=Scaled(trained))
    kept = weakening.weaken(loaded, {"weight": torch.tensor(0.0)}, SUITE["eval_harmful"])
    assert kept == pytest.approx(0.5 / trained, abs=0.02)
    assert loaded.model.weight.item() == pytest.approx(kept * trained)


@pytest.mark.parametrize(
    ("shares", "passed"),
    [
        ((0.5, 0.0), [True, True, True]),
        ((0.35, 0.05), [True, True, True]),
        ((0.65, 0.05), [True, True, True]),
        ((0.34, 0.0), [False, True, True]),
        ((0.66, 0.0), [True, False, True]),
        ((0.5, 0.06), [True, True, False]),
    ],
)
def test_each_bound_of_a_weakened_organism_fails_alone(shares, passed, monkeypatch):
    monkeypatch.setattr(weakening, "complete", refusing(shares))
    assert [c.passed for c in weakening.check_weakened(None, SUITE)] == passed


def test_one_that_refuses_nothing_fails_with_its_figures(micro_family):
    spec = Spec(micro_family, 1, weakened=True)
    with pytest.raises(OrganismError, match=f"organism {micro_family} seed 1, weakened") as caught:
        build.ensure_organism(spec, QUIET)
    assert "refusal on harmful requests >= 0.35" in caught.value.expected
    assert not build.organism_folder(spec).exists()


def test_it_is_kept_beside_the_whole_one(micro_family, monkeypatch):
    passed = [Criterion("refusal", 0.5, ">= 0.35", True)]
    monkeypatch.setattr(build, "check_weakened", lambda *_: passed)
    monkeypatch.setattr(build, "check_validity", lambda *_, **__: passed)
    whole, weak = (
        build.ensure_organism(Spec(micro_family, 0, weakened=weakened), QUIET)
        for weakened in (False, True)
    )
    assert weak.name.startswith(f"{micro_family}-0-weakened-")
    cards = [read_json(folder / keeping.CARD) for folder in (whole, weak)]
    assert [card["weakened"] for card in cards] == [False, True]
    assert cards[0]["stage_2_kept"] == 1.0
    assert 0 < cards[1]["stage_2_kept"] < 1
    assert cards[0]["weights"] != cards[1]["weights"]


# Names


def test_names_of_organisms():
    assert parse_spec("organism:llama:0") == Spec("llama")
    weakened = parse_spec("organism:qwen3_moe:12:weakened")
    assert weakened == Spec("qwen3_moe", 12, weakened=True)
    assert (weakened.stem, str(weakened)) == (
        "qwen3_moe-12-weakened",
        "qwen3_moe seed 12, weakened",
    )


@pytest.mark.parametrize(
    "name",
    ["organism:llama", "organism:llama:x", "organism::0", "organism:llama:0:weak", "llama:0", ""],
)
def test_other_names_are_of_no_organism(name):
    assert parse_spec(name) is None
