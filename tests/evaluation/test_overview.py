"""The first screen says what was found, near enough to what the run then does."""

from __future__ import annotations

from dataclasses import replace

import pytest

from conceptbasis.errors import ArtifactError
from conceptbasis.evaluation.overview import measure_overview, overview_lines, require_space
from conceptbasis.results.harvest import Harvest
from conceptbasis.runs.graph import load_result


@pytest.fixture(scope="module")
def overview(ready, sides, finished):
    return measure_overview(
        sides.donor, sides.target, ready.suite, ready.config(), finished.folder / "new" / "run"
    )


def test_estimates_are_near_the_harvest(overview, finished):
    harvest = load_result(finished.folder, "harvest", Harvest, tensors=False)
    assert overview.n_texts == harvest.n_texts
    assert overview.n_sites == pytest.approx(harvest.n_sites, rel=0.1)
    for name, share in zip(("donor", "target"), overview.aligned, strict=True):
        assert share == pytest.approx(harvest.aligned_share[name], abs=0.05)
    written = sum(file.bytes for file in harvest.files.values())
    assert overview.bytes == pytest.approx(written, rel=0.15)
    assert overview.seconds > 0
    assert overview.free > 0


def test_memory_holds_both_models_and_grows_with_the_sites(overview, sides, ready, tmp_path):
    weights = sum(
        p.numel() * p.element_size()
        for side in (sides.donor, sides.target)
        for p in side.loaded.model.parameters()
    )
    assert overview.memory > weights
    more = ready.config(harvest={"n_texts": 2 * overview.n_texts, "layers_at_once": None})
    larger = measure_overview(sides.donor, sides.target, ready.suite, more, tmp_path / "x")
    assert larger.memory > overview.memory


def test_a_disk_that_is_too_small_is_refused_before_anything_is_read(overview, finished, tmp_path):
    require_space(overview, tmp_path / "run")
    full = replace(overview, free=overview.bytes // 2)
    with pytest.raises(ArtifactError, match="free") as caught:
        require_space(full, tmp_path / "run")
    assert "harvest.storage: bfloat16" in caught.value.fix
    require_space(full, finished.folder)  # its activations are there already
    with pytest.raises(ArtifactError):
        require_space(replace(full, free=0, bytes=3 * overview.bytes), finished.folder)


def test_the_screen_names_models_saes_sites_device_time_and_disk(overview, sides, ready, tmp_path):
    config = ready.config()
    lines = overview_lines(sides.donor, sides.target, config, overview, tmp_path / "x")
    text = "\n".join(lines)
    for words in (
        "micro-llama: llama, 4 layers, width 48",
        "SAEs at 3 layers, 128 latents",
        "shared sites",
        "cpu, 1 workers",
        "if nothing is reused",
        "memory  at most about",
        "free",
    ):
        assert words in text, words
    assert max(len(line) for line in lines[:-1]) <= 80
