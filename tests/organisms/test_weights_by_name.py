"""`weights:NAME`: the weights of a package as they are, with a template where they have none."""

from __future__ import annotations

import pytest

from conceptbasis.config.model import as_model_config
from conceptbasis.errors import ConfigError
from conceptbasis.organisms.packages import GEMMA_TEMPLATE, WEIGHTS, find_weights, place_of
from conceptbasis.runs.progress import Reporter
from conceptbasis.study import opening

QUIET = Reporter(quiet=True)


@pytest.mark.parametrize("name", list(WEIGHTS))
def test_a_name_means_the_file_of_its_package(name, tmp_path, monkeypatch):
    monkeypatch.setenv("CONCEPTBASIS_CACHE", str(tmp_path))
    monkeypatch.setattr(opening, "ensure_weights", lambda weights, _: place_of(weights))
    path = opening.model_path(as_model_config(f"weights:{name}"), QUIET)
    assert path == tmp_path / "weights" / WEIGHTS[name].file


def test_only_a_file_without_a_template_gets_one_and_the_users_own_wins():
    def template(model, **chat):
        config = as_model_config({"model": model, "chat": chat})
        return opening._chat_options(config).template

    assert template("weights:gemma3") == GEMMA_TEMPLATE
    assert template("weights:smollm2") is None
    assert template("weights:gemma3", template="{{ messages }}") == "{{ messages }}"
    assert template("organism:gemma3:0") is None


def test_an_unknown_name_is_an_error_and_other_models_are_none():
    with pytest.raises(ConfigError, match="weights:llama9"):
        find_weights("weights:llama9")
    assert find_weights("organism:llama:0") is None
    assert find_weights("some/repository") is None
