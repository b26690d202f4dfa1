"""Opened micro organisms with their SAEs, studies on them, and one finished run."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session")
def ready(world):
    """The world with all SAEs in the cache."""
    from micro import QUIET, once

    from conceptbasis.study.opening import open_side

    def fill_cache(folder):
        open_side(world.donor_config(), world.config(), world.suite, QUIET)
        for budget in ("B0", "B0d"):
            open_side(world.target_config(budget=budget), world.config(), world.suite, QUIET)

    once(world.root / "saes", fill_cache)
    return world


@pytest.fixture(scope="session")
def sides(ready):
    """Donor and target, opened once a worker; tests must leave them as they were."""
    from micro import QUIET

    from conceptbasis.study.opening import open_side

    configs = (ready.donor_config(), ready.target_config())
    donor, target = (open_side(c, ready.config(), ready.suite, QUIET) for c in configs)
    return SimpleNamespace(donor=donor, target=target)


@pytest.fixture
def make_study(ready, sides, tmp_path):
    """Makes a study in a new run folder; keywords are sections of the configuration."""
    from micro import QUIET

    from conceptbasis.study.ledger import Ledger
    from conceptbasis.study.study import Study

    def make(*, donor=None, target=None, suite=None, folder=None, **sections):
        config = ready.config(**sections)
        return Study(
            folder or tmp_path / "run",
            config,
            donor or sides.donor,
            target or sides.target,
            suite or ready.suite,
            Ledger(config.budget),
            QUIET,
        )

    return make


@pytest.fixture(scope="session")
def finished(ready):
    """One run with the small settings, finished; nobody writes into its folder."""
    from micro import once

    folder = once(ready.root / "run", lambda folder: ready.run(folder, curve={"measure": True}))
    summary = json.loads((folder / "summary.json").read_text())
    return SimpleNamespace(folder=folder, summary=summary)
