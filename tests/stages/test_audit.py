"""The audit: a model's own refusal, taken away and strengthened along its own direction."""

from __future__ import annotations

from dataclasses import replace

import pytest
from micro import QUIET

from conceptbasis.errors import ModelError
from conceptbasis.runs import files as artifacts
from conceptbasis.stages.audit import STRENGTHS, audit_model


def audit(ready, sides, out, suite=None, **sections):
    config = ready.config(**sections)
    return audit_model(
        ready.donor_config(), sides.donor.loaded, suite or ready.suite, config, out, QUIET
    )


def test_audit_takes_refusal_away_and_writes_its_table(ready, sides, tmp_path):
    result = audit(ready, sides, tmp_path)
    assert artifacts.read_json(tmp_path / "audit.json") == result
    rows = {row["name"]: row for row in result["sweep"]}
    assert len(rows) == 2 + len(STRENGTHS)
    assert rows["untouched"]["refusal"]["rate"] > 0.6
    assert rows["ablate"]["refusal"]["rate"] < 0.3
    assert rows["add +4 sd"]["over_refusal"]["rate"] > rows["add -4 sd"]["over_refusal"]["rate"]
    assert rows["untouched"]["over_refusal"]["rate"] < 0.2
    assert result["selection"]["found"]
    assert result["selection"]["layer"] < 0.8 * 4


def test_model_without_a_direction_within_bounds_is_an_error(ready, sides, tmp_path):
    with pytest.raises(ModelError, match=r"no direction of .* passes the selection"):
        audit(ready, sides, tmp_path, direction={"max_kl": 1e-9})
    assert not (tmp_path / "audit.json").exists()


def test_model_that_does_not_refuse_is_an_error(ready, sides, tmp_path):
    prompts = {
        **ready.suite.prompts,
        "direction_harmful": ready.suite["direction_harmless"],
        "direction_harmless": ready.suite["direction_harmful"],
    }
    with pytest.raises(ModelError, match=r"the model .* refuses only"):
        audit(ready, sides, tmp_path, suite=replace(ready.suite, prompts=prompts))
