"""`train-saes --quiet` prints its results and nothing else."""

from __future__ import annotations

import pytest
import yaml

from conceptbasis.cli.main import main


@pytest.mark.parametrize("quiet", [True, False])
def test_results_are_printed_quiet_or_not(ready, tmp_path, capsys, quiet):
    model, settings = tmp_path / "donor.yaml", tmp_path / "settings.yaml"
    model.write_text(yaml.safe_dump(ready.donor_config().model_dump(mode="json")))
    settings.write_text(yaml.safe_dump(ready.config().model_dump(mode="json")))
    command = ["train-saes", str(model), "--config", str(settings), "--wandb", "off"]
    command += ["--logs", str(tmp_path / "logs")]
    assert main([*command, *(["--quiet"] if quiet else [])]) == 0
    captured = capsys.readouterr()
    assert "explained" in captured.out
    assert "SAEs of micro-llama: " in captured.out
    assert (captured.err == "") == quiet
