import json
from pathlib import Path

import pytest
import torch

from conceptbasis.core.directions.difference import (
    difference_of_means,
    mean_difference,
    probe_accuracy,
    select_direction,
)
from conceptbasis.errors import NumericsError

PUBLISHED = json.loads(
    (Path(__file__).parent / "fixtures" / "refusal_direction_selection.json").read_text()
)["models"]


def published_scores(model):
    """Refusal, steering and KL grids (position × layer) of one published run."""
    rows = PUBLISHED[model]["candidates"]
    n_positions = -min(row[0] for row in rows)
    n_layers = 1 + max(row[1] for row in rows)
    grids = torch.full((3, n_positions, n_layers), torch.nan, dtype=torch.float64)
    for position, layer, *scores in rows:
        known = [torch.nan if score is None else score for score in scores]
        grids[:, position, layer] = torch.tensor(known, dtype=torch.float64)
    return grids


def pick(model, **rule):
    selection = select_direction(*published_scores(model), **rule)
    return {"position": selection.position, "layer": selection.layer}


@pytest.mark.parametrize("model", sorted(PUBLISHED))
def test_the_published_picks_are_reproduced(model):
    assert pick(model) == PUBLISHED[model]["picked"]


def test_without_the_kl_filter_or_the_layer_cut_picks_change():
    def wrong(**rule):
        return {model for model in PUBLISHED if pick(model, **rule) != PUBLISHED[model]["picked"]}

    assert wrong(max_kl=float("inf")) == {"llama-2-7b-chat-hf", "qwen-1_8b-chat"}
    assert wrong(max_kl=float("inf"), min_induce=-float("inf")) == set(PUBLISHED)
    assert wrong(layer_fraction=0.4) == set(PUBLISHED)


def test_thresholds_are_inclusive_and_the_layer_cut_is_not():
    refusal = torch.tensor([[-1.0, -2.0, -3.0, -4.0, -9.0]])
    steering = torch.tensor([[1.0, 1.0, 0.0, -0.1, 1.0]])
    kl = torch.tensor([[0.0, 0.2, 0.1, 0.0, 0.0]], dtype=torch.float64)
    selection = select_direction(refusal, steering, kl)
    assert (selection.found, selection.position, selection.layer) == (True, -1, 2)
    assert selection.rejected == {"kl": 1, "steering": 1, "layer": 1}
    assert [row.reason for row in selection.table] == [None, "kl", None, "steering", "layer"]
    assert select_direction(refusal, steering, kl, layer_fraction=1.0).layer == 4


def test_nan_candidates_are_out_and_none_left_is_a_verdict():
    refusal = torch.tensor([[torch.nan, 0.0]])
    selection = select_direction(refusal, torch.zeros(1, 2), torch.ones(1, 2), layer_fraction=1.0)
    assert not selection.found
    assert selection.position is None
    assert selection.rejected == {"nan": 1, "kl": 1}
    with pytest.raises(NumericsError):
        select_direction(torch.zeros(0, 2), torch.zeros(0, 2), torch.zeros(0, 2))


def test_ties_go_to_the_earlier_position_and_the_lower_layer():
    flat = torch.zeros(3, 5)
    selection = select_direction(flat, flat, flat)
    assert (selection.position, selection.layer) == (-3, 0)


def test_difference_of_means_is_the_planted_direction(generator):
    planted = torch.randn(16, generator=generator)
    planted = planted / planted.norm()
    negative = torch.randn(400, 16, generator=generator)
    positive = torch.randn(300, 16, generator=generator) + 8 * planted
    direction = difference_of_means(positive, negative)
    assert float(direction.unit @ planted) > 0.99
    assert direction.norm == pytest.approx(8, rel=0.05)
    assert float(direction.unit.norm()) == pytest.approx(1)
    mixed = torch.cat([positive, negative])[torch.randperm(700, generator=generator)]
    assert abs(float(difference_of_means(mixed[:300], mixed[300:]).unit @ planted)) < 0.9


def test_means_accumulate_in_float64():
    rows = torch.full((4096, 2), 0.1, dtype=torch.float16)
    exact = float(torch.tensor(0.1, dtype=torch.float16))
    difference = mean_difference(rows, torch.zeros(1, 2, dtype=torch.float16))
    assert float(difference[0]) == pytest.approx(exact, abs=1e-12)


def test_a_difference_of_rounding_size_has_no_direction(generator):
    same = torch.randn(16, generator=generator).expand(20, 16)
    with pytest.raises(NumericsError):
        difference_of_means(same + 1e-14, same)
    with pytest.raises(NumericsError):
        difference_of_means(same[:0], same)
    with pytest.raises(NumericsError):
        difference_of_means(same * torch.nan, same)


def test_probe_tells_planted_classes_apart_and_noise_not(generator):
    negative = torch.randn(120, 16, generator=generator)
    noise = torch.randn(80, 16, generator=generator)
    shift = torch.zeros(16)
    shift[3] = 6
    assert probe_accuracy(noise + shift, negative, generator=generator) > 0.98
    assert abs(probe_accuracy(noise, negative, generator=generator) - 0.5) < 0.15


def test_probe_is_held_out_and_not_fooled_by_width(generator):
    wide = torch.randn(40, 2000, generator=generator)
    fitted = mean_difference(wide[:20], wide[20:])
    midpoint = (wide[:20].mean(0) + wide[20:].mean(0)).double() @ fitted / 2
    in_sample = (wide[:20].double() @ fitted > midpoint).double().mean()
    assert float(in_sample) == 1
    assert probe_accuracy(wide[:20], wide[20:], generator=generator) < 0.8


def test_probe_is_balanced_over_unequal_classes(generator):
    few, many = torch.zeros(10, 4), torch.zeros(990, 4)
    assert probe_accuracy(few, many, generator=generator) == 0.5
    with pytest.raises(NumericsError):
        probe_accuracy(few[:3], many, generator=generator)
