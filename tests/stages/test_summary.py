"""`summary.json` as others read it, and the one word of its verdict."""

from __future__ import annotations

import json

import pytest

from conceptbasis.core.statistics.intervals import wilson
from conceptbasis.errors import ArtifactError
from conceptbasis.methods import catalog, chosen_baselines
from conceptbasis.results.evaluation import Evaluation
from conceptbasis.results.layers import LayerPlan
from conceptbasis.results.summary import SCHEMA
from conceptbasis.runs import files as artifacts
from conceptbasis.runs.storage import from_json, read_result
from conceptbasis.runs.summary import read_summary

BASELINES = [method.name for method in chosen_baselines(None)]
DRAWS = {"random_direction": 2, "shuffled_atoms": 2, "far_layers": 1, "unrelated_recipe": 1}
CONDITIONS = {
    *catalog.of_role("untouched", "native", "transfer", "control"),
    "transported",
    "matched",
    *BASELINES,
    "early_layers_only",
    "last_layer_only",
    "per_layer",
    "per_layer_early",
    "no_guard",
    "sae_error_only",
}


@pytest.fixture(scope="module")
def summary(finished):
    return read_summary(finished.folder)


@pytest.fixture(scope="module")
def rows(summary):
    """Figures by condition."""
    return {row.name: row.figures for row in summary.conditions}


def scored(rate) -> int:
    """Items of a rate that have a verdict."""
    return rate.interval.n if rate.interval else 0


# Fields


def test_summary_has_its_schema_and_a_verdict(summary):
    assert summary.schema == SCHEMA
    assert summary.behavior == "refusal"
    assert summary.primary_judge == "phrases"
    assert summary.verdict.word in ("success", "partial", "failure")


@pytest.mark.parametrize("schema", [1, SCHEMA + 1])
def test_another_schema_is_an_error_that_says_how_to_renew(finished, tmp_path, schema):
    plain = json.loads((finished.folder / "summary.json").read_text())
    (tmp_path / "summary.json").write_text(json.dumps({**plain, "schema": schema}))
    with pytest.raises(ArtifactError, match=r"another version[\s\S]*run the command .* again"):
        read_summary(tmp_path)


@pytest.mark.parametrize("key", ["verdict", "conditions", "plan"])
def test_a_missing_or_strange_key_is_an_error(finished, tmp_path, key):
    plain = json.loads((finished.folder / "summary.json").read_text())
    (tmp_path / "summary.json").write_text(json.dumps({**plain, "strange": 1}))
    with pytest.raises(ArtifactError, match="unknown keys: strange"):
        read_summary(tmp_path)
    del plain[key]
    (tmp_path / "summary.json").write_text(json.dumps(plain))
    with pytest.raises(ArtifactError, match=f"{key} is missing"):
        read_summary(tmp_path)


def test_both_models_are_described(summary):
    donor, target = summary.donor, summary.target
    for side in (donor, target):
        assert [q.layer for q in side.saes.quality] == list(range(side.n_layers))
        for row in side.saes.quality:
            assert 0 < row.explained_variance < 1
            assert 0 <= row.dead_share < 0.5
            assert row.l0 > 1
    assert (donor.n_layers, donor.d_model) == (4, 48)
    assert (target.n_layers, target.d_model) == (3, 40)
    assert donor.d_vocab != target.d_vocab


def test_forecast_and_recipe_have_their_figures(summary):
    forecast = summary.forecast
    assert set(forecast) == {
        "eligible_mass",
        "r_heldout",
        "agreement",
        "svcca",
        "svcca_null",
        "guard_overlap",
        "proxy_success",
        "neighbour_effect",
    }
    assert forecast["svcca"].value > forecast["svcca_null"].value
    recipe, n = summary.recipe, len(summary.layer_map)
    by_layer = (recipe.n_atoms_per_layer, recipe.n_target_atoms_per_layer)
    assert all(len(values) == n for values in (*by_layer, recipe.donor_cosine_per_layer))
    assert recipe.stability is not None
    assert all(0 < k <= 32 for values in by_layer for k in values)


def test_layer_map_is_monotone_and_inside_both_models(summary):
    pairs = list(summary.layer_map)
    assert pairs == sorted(pairs)
    assert len({target for target, _ in pairs}) == len(pairs)
    donors = [donor for _, donor in pairs]
    assert donors == sorted(donors)
    assert all(0 <= target < 3 and 0 <= donor < 4 for target, donor in pairs)
    assert summary.plan.layers == tuple(target for target, _ in pairs)
    assert len(summary.plan.sources) == 1


def test_conditions_are_all_there_once_with_their_draws(summary, rows):
    assert len(rows) == len(summary.conditions)
    assert set(rows) == CONDITIONS
    assert {name: row.draws for name, row in rows.items()} == {
        name: DRAWS.get(name, 1) for name in CONDITIONS
    }


def test_conditions_stand_in_the_order_of_display(rows):
    groups = [name for _, members in catalog.grouped(rows) for name in members]
    assert groups == list(rows)


def test_each_condition_has_every_figure(rows):
    for row in rows.values():
        assert set(row.judges) == {"phrases", "first_token"}
        assert row.rate == row.judges["phrases"]
        assert set(row.spillover) == {"safe", "mentions", "declines"}
        assert set(row.capability) == {"benign_exact_match", "arithmetic"}
        assert row.recovered is not None
        assert sum(row.answers.values()) == scored(row.rate) + row.rate.unscored
        assert row.perplexity > 1
        assert set(row.edited) == {"stream", "attention", "mlp", "experts"}


def test_counts_are_pooled_over_draws(rows):
    # 40 prompts a set; controls see 10, random directions all sums, where capability is compared.
    expected = {
        "random_direction": (20, 20, 80),
        "shuffled_atoms": (20, 20, 20),
        "far_layers": (40, 40, 40),
        "unrelated_recipe": (10, 10, 10),
        "transfer": (40, 40, 40),
    }
    for name, (positive, mentions, arithmetic) in expected.items():
        row = rows[name]
        assert scored(row.rate) + row.rate.unscored == positive, name
        judged = row.spillover["mentions"]
        assert scored(judged) + judged.unscored == mentions, name
        assert row.capability["arithmetic"].n == arithmetic, name


def test_intervals_are_wilson(rows):
    for row in rows.values():
        found = row.rate.interval
        if found is None:
            continue
        again = wilson(round(found.value * found.n), found.n)
        assert (found.low, found.high) == pytest.approx((again.low, again.high))


def test_untouched_target_changes_by_nothing_and_an_edited_one_does(summary, rows):
    assert rows["baseline"].kl_first_token.p95 == pytest.approx(0, abs=1e-9)
    assert rows["baseline"].edited["stream"] == (0, 3)
    assert rows["transfer"].kl_first_token.mean.value > 0.01
    assert rows["transfer"].edited["stream"] == (len(summary.layer_map), 3)
    assert rows["last_layer_only"].edited["stream"] == (1, 3)
    early = [target for target, _ in summary.layer_map if target < 2]
    assert rows["early_layers_only"].edited["stream"] == (len(early), 3)


def test_per_prompt_verdicts_give_the_rate(finished, rows):
    found = read_result(finished.folder / "evaluate", Evaluation)
    for name, row in rows.items():
        if row.draws == 1 and row.rate.interval:
            verdicts = found.verdicts[f"{name}.positive"]
            assert int((verdicts >= 0).sum()) == row.rate.interval.n
            rate = float((verdicts == 1).sum() / (verdicts >= 0).sum())
            assert rate == pytest.approx(row.rate.interval.value)


def test_examples_are_redacted(finished, ready):
    text = (finished.folder / "evaluate" / "result.json").read_text()
    examples = json.loads(text)["examples"]
    assert {e["condition"] for e in examples} == {"baseline", "transfer", "native"}
    assert all(e["prompt"].startswith("[") for e in examples)
    assert not [p.text for p in ready.suite["eval_harmful"] if p.text in text]


def test_recipe_file_holds_both_sides_and_its_hash(finished, summary):
    content = json.loads((finished.folder / "recipe.json").read_text())
    digest = content.pop("hash")
    assert artifacts.value_hash(content) == digest
    content["layers"][0]["donor"] = 99
    assert artifacts.value_hash(content) != digest
    tensors = artifacts.load_tensors(finished.folder / "recipe.safetensors")
    assert tensors["directions"].shape == (len(content["layers"]), 40)
    pairs = [(row["target"], row["donor"]) for row in content["layers"]]
    assert pairs[1:] == list(summary.layer_map[1:])
    path = finished.folder / "recipe.json"
    assert from_json(LayerPlan, content["plan"], path) == summary.plan
