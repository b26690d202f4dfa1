"""Weights of sites follow where the donor's direction varies, not how many texts there are."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from conceptbasis.study.weights import class_shares, weigh_sites

N = {"chat": 300, "declines": 60, "greetings": 60, "mentions": 10}
SPREAD = {"chat": 1.0, "declines": 3.0, "greetings": 0.0, "mentions": 50.0}


@pytest.fixture
def sites():
    """Two sites a text, the second its end; ends vary along the first axis by their class."""
    generator = torch.Generator().manual_seed(0)
    classes = [name for name, n in N.items() for _ in range(n)]
    text = torch.arange(len(classes)).repeat_interleave(2)
    end = torch.tensor([False, True]).repeat(len(classes))
    x = torch.randn(len(text), 6, generator=generator)
    spread = torch.tensor([SPREAD[classes[i]] for i in text.tolist()])
    x[end, 0] = torch.randn(int(end.sum()), generator=generator) * spread[end]
    return SimpleNamespace(
        texts=[SimpleNamespace(text_class=name) for name in classes],
        text=text,
        end_of_prompt=end,
        rows=lambda split: torch.arange(len(text)),
        residuals=lambda side, layer: x,
        layers=lambda side: {0, 1},
    )


def direction(axis: int, window: tuple[int, ...] = (0, 1)) -> SimpleNamespace:
    return SimpleNamespace(window=window, per_layer=torch.eye(6)[[axis, axis]])


def test_a_class_counts_by_the_variance_of_its_ends(sites):
    shares = class_shares(sites, direction(0))
    assert sum(shares.values()) == pytest.approx(1)
    assert shares["declines"] == pytest.approx(0.9, abs=0.06)
    assert shares["chat"] == pytest.approx(0.1, abs=0.06)
    assert shares["greetings"] == pytest.approx(0, abs=1e-9)
    assert "mentions" not in shares  # too few ends to have a weight of their own
    # Along a direction that varies everywhere alike, the classes share alike.
    other = class_shares(sites, direction(3))
    assert all(share == pytest.approx(1 / 3, abs=0.12) for share in other.values())


def test_weights_add_up_and_ends_hold_their_share(sites):
    shares = class_shares(sites, direction(0))
    weights = weigh_sites(sites, sites.rows("fit"), shares, 0.85)
    of_text = [sites.texts[i].text_class for i in sites.text.tolist()]
    ends = sites.end_of_prompt
    declines = ends & torch.tensor([name == "declines" for name in of_text])
    few = torch.tensor([name == "mentions" for name in of_text])
    assert float(weights.sum()) == pytest.approx(1)
    assert float(weights[ends & ~few].sum()) == pytest.approx(0.85)
    assert float(weights[declines].sum()) == pytest.approx(0.85 * shares["declines"])
    # Sites of a class with few ends count like sites that end nothing.
    assert weights[few & ends][0] == weights[~ends][0]


def test_a_class_without_a_share_leaves_its_weight_to_the_others(sites):
    weights = weigh_sites(sites, sites.rows("fit"), {"declines": 0.4}, 0.85)
    chat = torch.tensor([sites.texts[i].text_class == "chat" for i in sites.text.tolist()])
    assert float(weights.sum()) == pytest.approx(1)
    assert float(weights[chat & sites.end_of_prompt].sum()) == 0
