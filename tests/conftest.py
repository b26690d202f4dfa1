"""Shapes are checked in tests only: jaxtyping instruments the package before it is imported.

Here are micro organisms with their SAEs, studies on them, and one finished run.
"""

import os
from types import SimpleNamespace

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("WANDB_MODE", "offline")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

from jaxtyping import install_import_hook

install_import_hook("conceptbasis.core", "beartype.beartype")

import pytest  # noqa: E402


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory):
    """A folder of this test run that all of its workers share."""
    own = tmp_path_factory.getbasetemp()
    folder = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "shared"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def world(shared_folder):
    """Two micro organisms with unlike tokenizers, a small suite, and a cache for their SAEs."""
    import torch
    from micro import make_world

    torch.set_num_threads(1)
    return make_world(shared_folder)


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

    from conceptbasis.runs.summary import read_summary

    folder = once(ready.root / "run", lambda folder: ready.run(folder, curve={"measure": True}))
    return SimpleNamespace(folder=folder, summary=read_summary(folder))


@pytest.fixture
def file_limit():
    """Lets no file grow beyond so many bytes, as a disk that is full in the middle of a write."""
    import resource
    from contextlib import contextmanager

    @contextmanager
    def limit(n_bytes):
        old = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, old[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, old)

    return limit
