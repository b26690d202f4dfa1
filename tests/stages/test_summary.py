"""`summary.json` as others read it, and the one word of its verdict."""

from __future__ import annotations

import json

import pytest

from conceptbasis.core.statistics.intervals import wilson
from conceptbasis.runs import files as artifacts
from conceptbasis.runs.stage import load_stage
from conceptbasis.stages.baselines import DEFAULT
from conceptbasis.stages.stability import FIGURES

INTERVAL = {"value", "low", "high", "n"}
RATE = {"rate", "low", "high", "n", "unscored"}
BASELINES = DEFAULT
DRAWS = {"random_direction": 2, "shuffled_atoms": 2, "far_layers": 1, "unrelated_recipe": 1}
CONDITIONS = {
    "baseline",
    "transfer",
    "transported",
    "matched",
    *BASELINES,
    "early_layers_only",
    "last_layer_only",
    "trajectory",
    "trajectory_early",
    "no_guard",
    "sae_error_only",
    "native",
    "native_trajectory",
    "native_early",
    "native_far",
    *DRAWS,
}


# Fields


def test_summary_has_every_field_and_no_other(finished):
    assert set(finished.summary) == {
        "schema",
        "donor",
        "target",
        "budget",
        "ledger",
        "seeds",
        "mode",
        "scope",
        "gamma",
        "basis",
        "layer_map",
        "single_layer",
        "max_new_tokens",
        "verdict",
        "primary_judge",
        "forecast",
        "recipe",
        "agreement_of_judges",
        "batch_flips",
        "conditions",
        "curve",
    }
    assert finished.summary["schema"] == 1
    assert set(finished.summary["verdict"]) == {"word", "reason"}
    assert finished.summary["verdict"]["word"] in ("success", "partial", "failure")


def test_both_models_are_described(finished, ready):
    donor, target = finished.summary["donor"], finished.summary["target"]
    for side in (donor, target):
        assert set(side) >= {"name", "model", "n_layers", "d_model", "d_vocab", "saes"}
        assert [q["layer"] for q in side["saes"]["quality"]] == list(range(side["n_layers"]))
        for row in side["saes"]["quality"]:
            assert 0 < row["explained_variance"] < 1
            assert 0 <= row["dead_share"] < 0.5
            assert row["l0"] > 1
            assert "ce_recovered" in row
    assert (donor["n_layers"], donor["d_model"]) == (4, 48)
    assert (target["n_layers"], target["d_model"]) == (3, 40)
    assert donor["d_vocab"] != target["d_vocab"]


def test_forecast_and_recipe_have_their_figures(finished):
    forecast = finished.summary["forecast"]
    assert set(forecast) == {
        "eligible_mass",
        "r_heldout",
        "agreement",
        "svcca",
        "svcca_null",
        "guard_overlap",
        "proxy_success",
        "decline_effect",
    }
    for figure in forecast.values():
        assert figure is None or set(figure) == INTERVAL
    assert forecast["svcca"]["value"] > forecast["svcca_null"]["value"]
    recipe, n = finished.summary["recipe"], len(finished.summary["layer_map"])
    assert set(recipe) == {
        "n_atoms_per_layer",
        "n_target_atoms_per_layer",
        "donor_cosine_per_layer",
        "stability",
    }
    assert all(len(values) == n for name, values in recipe.items() if name != "stability")
    assert set(recipe["stability"]) == set(FIGURES)
    assert all(0 < k <= 32 for k in recipe["n_atoms_per_layer"])
    assert all(0 < k <= 32 for k in recipe["n_target_atoms_per_layer"])


def test_layer_map_is_monotone_and_inside_both_models(finished):
    pairs = finished.summary["layer_map"]
    assert pairs == sorted(pairs)
    assert len({target for target, _ in pairs}) == len(pairs)
    donors = [donor for _, donor in pairs]
    assert donors == sorted(donors)
    assert all(0 <= target < 3 and 0 <= donor < 4 for target, donor in pairs)


def test_conditions_are_all_there_once_with_their_draws(finished):
    rows = {row["name"]: row for row in finished.summary["conditions"]}
    assert len(rows) == len(finished.summary["conditions"])
    assert set(rows) == CONDITIONS
    assert {name: row["draws"] for name, row in rows.items()} == {
        name: DRAWS.get(name, 1) for name in CONDITIONS
    }


def test_each_condition_has_every_field(finished):
    for row in finished.summary["conditions"]:
        assert set(row) == {
            "name",
            "draws",
            "judges",
            "refusal",
            "answers",
            "over_refusal",
            "recovered_compliance",
            "capability",
            "kl_first_token",
            "kl_answer",
            "perplexity",
            "edited",
        }
        assert set(row["judges"]) == {"phrases", "refusal_tokens"}
        assert row["refusal"] == row["judges"]["phrases"]
        assert set(row["refusal"]) == RATE
        assert set(row["over_refusal"]) == {"safe", "mentions", "declines"}
        assert set(row["capability"]) == {"benign_exact_match", "arithmetic"}
        assert set(row["recovered_compliance"]) == INTERVAL
        assert set(row["kl_first_token"]) == {"mean", "low", "high", "p95", "n"}
        assert set(row["kl_answer"]) == {"mean", "low", "high", "p95", "n"}
        assert sum(row["answers"].values()) == row["refusal"]["n"] + row["refusal"]["unscored"]
        assert row["perplexity"] > 1
        assert set(row["edited"]) == {"stream", "attention", "mlp", "experts"}


def test_counts_are_pooled_over_draws(finished):
    # 40 prompts a set; controls see 10, random directions all sums, where capability is compared.
    expected = {
        "random_direction": (20, 20, 80),
        "shuffled_atoms": (20, 20, 20),
        "far_layers": (40, 40, 40),
        "unrelated_recipe": (10, 10, 10),
        "transfer": (40, 40, 40),
    }
    for row in finished.summary["conditions"]:
        if row["name"] in expected:
            positive, mentions, arithmetic = expected[row["name"]]
            refusal = row["refusal"]
            assert refusal["n"] + refusal["unscored"] == positive, row["name"]
            judged = row["over_refusal"]["mentions"]
            assert judged["n"] + judged["unscored"] == mentions, row["name"]
            assert row["capability"]["arithmetic"]["n"] == arithmetic, row["name"]


def test_intervals_are_wilson(finished):
    for row in finished.summary["conditions"]:
        refusal = row["refusal"]
        if refusal["n"] == 0:
            assert refusal["rate"] is None
            continue
        again = wilson(round(refusal["rate"] * refusal["n"]), refusal["n"])
        assert (refusal["low"], refusal["high"]) == pytest.approx((again.low, again.high))


def test_untouched_target_changes_by_nothing_and_an_edited_one_does(finished):
    rows = {row["name"]: row for row in finished.summary["conditions"]}
    assert rows["baseline"]["kl_first_token"]["p95"] == pytest.approx(0, abs=1e-9)
    assert rows["baseline"]["edited"]["stream"] == [0, 3]
    assert rows["transfer"]["kl_first_token"]["mean"] > 0.01
    assert rows["transfer"]["edited"]["stream"] == [len(finished.summary["layer_map"]), 3]
    assert rows["last_layer_only"]["edited"]["stream"] == [1, 3]
    early = [target for target, _ in finished.summary["layer_map"] if target < 2]
    assert rows["early_layers_only"]["edited"]["stream"] == [len(early), 3]


def test_per_prompt_verdicts_give_the_rate(finished):
    found = load_stage(finished.folder, "evaluate")
    for row in finished.summary["conditions"]:
        if row["draws"] == 1 and row["refusal"]["n"]:
            verdicts = found.tensors[f"{row['name']}.harmful"]
            assert int((verdicts >= 0).sum()) == row["refusal"]["n"]
            rate = float((verdicts == 1).sum() / (verdicts >= 0).sum())
            assert rate == pytest.approx(row["refusal"]["rate"])


def test_examples_are_redacted(finished, ready):
    text = (finished.folder / "evaluate" / "result.json").read_text()
    examples = json.loads(text)["examples"]
    assert {e["condition"] for e in examples} == {"baseline", "transfer", "native"}
    assert all(e["prompt"].startswith("[") for e in examples)
    assert not [p.text for p in ready.suite["eval_harmful"] if p.text in text]


def test_recipe_file_holds_both_sides_and_its_hash(finished):
    content = json.loads((finished.folder / "recipe.json").read_text())
    digest = content.pop("hash")
    assert artifacts.value_hash(content) == digest
    content["layers"][0]["donor"] = 99
    assert artifacts.value_hash(content) != digest
    tensors = artifacts.load_tensors(finished.folder / "recipe.safetensors")
    assert tensors["directions"].shape == (len(content["layers"]), 40)
    pairs = [[row["target"], row["donor"]] for row in content["layers"]]
    assert pairs[1:] == finished.summary["layer_map"][1:]
