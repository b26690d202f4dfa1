"""Opening the target of a finished run with its edit, for commands that use a transfer."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from conceptbasis.cli.command import check_device, open_reporter, silence

if TYPE_CHECKING:
    from conceptbasis.edits.intervention import Intervention
    from conceptbasis.models.loading.loaded import LoadedModel


def open_finished(options: argparse.Namespace) -> tuple[LoadedModel, Intervention]:
    """The target of a finished run and its intervention.

    Raises:
        ConfigError: the device cannot be used, or the model's weights are not those of the run.
    """
    from conceptbasis.edits.finished import load_replayed
    from conceptbasis.edits.intervention import intervention_of
    from conceptbasis.errors import ConfigError
    from conceptbasis.runs.files import check_run_folder
    from conceptbasis.runs.settings import read_settings
    from conceptbasis.study.opening import hash_model, open_model

    check_run_folder(options.folder)
    check_device(options.device)
    silence()
    replayed, (model, _) = load_replayed(options.folder), read_settings(options.folder)
    loaded = open_model(model, options.device, open_reporter(options))
    if hash_model(loaded) != replayed.target_hash:
        raise ConfigError(
            f"{model.model} is not the model this transfer was made for (its weights differ)",
            expected="the target of the run",
            fix="restore that model, or run the transfer again",
        )
    return loaded, intervention_of(replayed)
