"""The audit: a model's own behavior, taken away and strengthened along its own direction."""

from __future__ import annotations

from dataclasses import replace

import pytest
from micro import QUIET

from conceptbasis.errors import ModelError
from conceptbasis.evaluation.audit import STRENGTHS, audit_model
from conceptbasis.results.audit import Audit
from conceptbasis.runs.files import read_json
from conceptbasis.runs.storage import from_json


def audit(ready, sides, out, suite=None, **sections):
    config = ready.config(**sections)
    return audit_model(
        ready.donor_config(), sides.donor.loaded, suite or ready.suite, config, out, QUIET
    )


def test_audit_takes_the_behavior_away_and_writes_its_table(ready, sides, tmp_path):
    result = audit(ready, sides, tmp_path)
    path = tmp_path / "audit.json"
    assert from_json(Audit, read_json(path), path) == result
    rates = {row.name: row.rate.interval.value for row in result.sweep}
    spillover = {row.name: row.spillover.interval.value for row in result.sweep}
    assert len(rates) == 2 + len(STRENGTHS)
    assert rates["untouched"] > 0.6
    assert rates["ablate"] < 0.3
    assert spillover["add +4 sd"] > spillover["add -4 sd"]
    assert spillover["untouched"] < 0.2
    assert result.selection.found
    assert result.selection.layer < 0.8 * 4


def test_model_without_a_direction_within_bounds_is_an_error(ready, sides, tmp_path):
    with pytest.raises(ModelError, match=r"no direction of .* passes the selection"):
        audit(ready, sides, tmp_path, direction={"layer_fraction": 0.1})
    assert not (tmp_path / "audit.json").exists()


def test_a_bound_on_kl_that_none_holds_is_raised_and_kept_in_the_table(ready, sides, tmp_path):
    result = audit(ready, sides, tmp_path, direction={"max_kl": 1e-9})
    assert 1e-9 < result.selection.max_kl <= 0.8
    picked = next(row for row in result.selection.table if row.reason is None)
    assert picked.kl <= result.selection.max_kl


def test_model_without_the_behavior_is_an_error(ready, sides, tmp_path):
    prompts = {
        **ready.suite.prompts,
        "direction_harmful": ready.suite["direction_harmless"],
        "direction_harmless": ready.suite["direction_harmful"],
    }
    with pytest.raises(ModelError, match=r"the model .* refuses only"):
        audit(ready, sides, tmp_path, suite=replace(ready.suite, prompts=prompts))
