"""SAEs of a model: trained once, reused from the cache, measured on text they did not see."""

from __future__ import annotations

import shutil
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from micro import QUIET

from conceptbasis.config.base import parse_config
from conceptbasis.config.model import ModelConfig
from conceptbasis.errors import ArtifactError, ConfigError
from conceptbasis.runs import files as artifacts
from conceptbasis.saes import trained as train_sae
from conceptbasis.saes.build import N_JUDGED, chosen_layers, load_or_train
from conceptbasis.saes.quality import code_histograms, measure_quality, quality_line, read_texts
from conceptbasis.saes.training import layer_folder

FEW = {"n_steps": 6, "n_texts": 60, "d_sae": 32, "k": 4, "batch_size": 64}


def load(ready, side, out, config=None, digest="hash"):
    return load_or_train(
        config or ready.target_config(**FEW), side.loaded, digest, ready.suite, QUIET, out=out
    )


@pytest.fixture(scope="module")
def trained(ready, sides, tmp_path_factory):
    out = tmp_path_factory.mktemp("trained") / "saes"
    return load(ready, sides.target, out)


@pytest.fixture
def copy(trained, tmp_path):
    return shutil.copytree(trained.folder, tmp_path / "saes")


def fail(*_, **__):
    raise AssertionError("trained again")


def test_sae_lens_opens_what_was_trained(trained):
    from sae_lens import SAE

    for layer in range(3):
        sae = SAE.load_from_disk(trained.folder / layer_folder(layer))
        assert (sae.cfg.d_in, sae.cfg.d_sae) == (40, 32)
        x = torch.randn(6, 40, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            expected = sae.decode(sae.encode(x))
        assert torch.allclose(trained.saes[layer].reconstruct(x), expected, atol=1e-4)


def test_finished_saes_are_reused(ready, sides, trained, copy, monkeypatch):
    monkeypatch.setattr(train_sae, "train_saes", fail)
    again = load(ready, sides.target, copy)
    assert (again.hash, again.quality, again.texts) == (
        trained.hash,
        trained.quality,
        trained.texts,
    )


@pytest.mark.parametrize("change", [{"seed": 1}, {"lr": 2e-3}, {"budget": "B0"}])
def test_other_settings_train_anew(ready, sides, copy, monkeypatch, change):
    monkeypatch.setattr(train_sae, "train_saes", fail)
    with pytest.raises(AssertionError, match="trained again"):
        load(ready, sides.target, copy, ready.target_config(**{**FEW, **change}))


def test_another_model_trains_anew(ready, sides, copy, monkeypatch):
    monkeypatch.setattr(train_sae, "train_saes", fail)
    with pytest.raises(AssertionError, match="trained again"):
        load(ready, sides.target, copy, digest="other")


def test_training_is_the_same_for_the_same_seed(ready, sides, trained, tmp_path):
    assert load(ready, sides.target, tmp_path / "a").hash == trained.hash
    other = load(ready, sides.target, tmp_path / "b", ready.target_config(**FEW, seed=3))
    assert other.hash != trained.hash


def test_finished_saes_can_be_read_while_another_process_holds_them(ready, sides, copy, trained):
    with artifacts.folder_lock(copy):
        assert load(ready, sides.target, copy).hash == trained.hash
        with pytest.raises(ArtifactError, match="in use by another process"):
            load(ready, sides.target, copy, digest="other")


def test_damaged_saes_are_named(ready, sides, copy):
    path = copy / layer_folder(1) / "sae_weights.safetensors"
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(ArtifactError, match="corrupt") as caught:
        load(ready, sides.target, copy)
    assert layer_folder(1) in str(caught.value)


def test_text_of_the_target_stays_within_its_budget(trained, ready, sides, tmp_path):
    assert "declines" in trained.texts
    assert not {"harmful_requests", "refusals"} & set(trained.texts)
    strict = load(
        ready, sides.target, tmp_path / "s", ready.target_config(**FEW | {"budget": "B0"})
    )
    assert "declines" not in strict.texts
    assert strict.texts["chat"] > 0


def shown(found):
    return {row.text_class: row.texts for row in found.shown}


def test_everything_that_a_model_read_for_its_saes_is_told(ready, sides, trained, tmp_path):
    """Held-out texts are read too, and those on which SAEs from elsewhere are measured."""
    told = []
    gated = SimpleNamespace(loaded=replace(sides.target.loaded, gate=told.extend))
    new = load(ready, gated, tmp_path / "saes")
    assert new.shown == trained.shown
    assert sum(shown(new).values()) == len({str(text) for text in told}) == FEW["n_texts"]
    assert sum(new.texts.values()) == 54
    assert all(shown(new)[name] >= n for name, n in new.texts.items())
    told.clear()
    judged = load(ready, gated, None, published(ready, trained))
    assert sum(shown(judged).values()) == len({str(text) for text in told})
    assert 0 < sum(shown(judged).values()) <= N_JUDGED
    told.clear()
    load(ready, gated, tmp_path / "saes")
    assert told == []


def test_layers_are_sorted_and_distinct(ready, sides):
    config = ready.target_config().model_copy(update={"layers": (2, 0, 2)})
    assert chosen_layers(config, sides.target.loaded) == [0, 2]
    assert chosen_layers(ready.target_config(), sides.target.loaded) == [0, 1, 2]


class Exact:
    """Rebuilds what it is given, scaled."""

    name, d_sae = "exact", 80

    def __init__(self, scale: float) -> None:
        self.scale = scale

    def encode(self, x):
        return torch.cat([x.relu(), (-x).relu()], dim=1)

    def reconstruct(self, x):
        return self.scale * x


def test_quality_of_a_perfect_and_of_an_empty_sae(ready, sides):
    texts = ready.suite.texts_for("B0")[:24]
    saes = {1: Exact(1.0), 2: Exact(0.0)}
    read = read_texts(sides.target.loaded, texts, [1, 2], QUIET, "", max_norm_ratio=8.0)
    assert read.left_out == 0
    perfect, empty = measure_quality(sides.target.loaded, saes, texts, read)
    assert perfect.explained_variance == pytest.approx(1, abs=1e-5)
    assert perfect.ce_recovered == pytest.approx(1, abs=1e-4)
    assert empty.explained_variance < 0.1
    assert empty.ce_recovered == pytest.approx(0, abs=1e-4)
    assert perfect.l0 == pytest.approx(40)
    assert perfect.dead_share < 0.05


def test_histograms_count_every_site_and_every_feature_once(trained):
    assert sorted(trained.histograms) == [0, 1, 2]
    for histograms in trained.histograms.values():
        counts, edges = histograms["log10_density_dead_lowest"]
        assert sum(counts) == 32
        assert len(edges) == len(counts) + 1
        assert sum(histograms["l0"][0]) > 32
    codes = torch.zeros(100, 4)
    codes[:, 0], codes[:10, 1], codes[:1, 2] = 1.0, 2.0, 3.0
    counts, edges = code_histograms(codes)["log10_density_dead_lowest"]
    assert counts[0] == 1
    assert edges[0] == -3
    assert counts[-1] == 1
    assert sum(code_histograms(codes)["l0"][0]) == 100


def test_metrics_of_training_have_the_names_of_sae_lens(ready, sides, tmp_path):
    seen = []
    config = ready.target_config(**{**FEW, "n_steps": 20})
    load_or_train(
        config,
        sides.target.loaded,
        "hash",
        ready.suite,
        QUIET,
        out=tmp_path / "saes",
        on_metrics=lambda step, metrics: seen.append((step, metrics)),
    )
    ((step, metrics),) = seen
    assert step == 20
    assert metrics["throughput/sites_per_second"] > 0
    for name in (
        "losses/overall_loss",
        "losses/mse_loss",
        "metrics/explained_variance",
        "metrics/l0",
        "sparsity/dead_features",
        "details/current_learning_rate",
        "details/n_training_samples",
    ):
        assert all(f"layer_{layer:02d}/{name}" in metrics for layer in range(3)), name
    assert metrics["layer_01/metrics/l0"] == pytest.approx(4, abs=0.5)
    assert metrics["layer_01/details/n_training_samples"] == 20 * 64


def published(ready, trained, **saes):
    """The target with the SAEs that were trained here, as if somebody had published them."""
    values = ready.target_config(**FEW).model_dump() | {
        "saes": {"folder": str(trained.folder), **saes}
    }
    return parse_config(ModelConfig, values, "test")


def test_saes_from_elsewhere_are_judged_on_chat_text_first(ready, sides, trained, capsys):
    found = load(ready, sides.target, None, published(ready, trained))
    assert found.hash == trained.hash
    assert [row.holds for row in found.quality] == [
        row.explained_variance >= 0.5 for row in found.quality
    ]
    assert found.texts == {}
    line = quality_line(found.quality)
    assert line.startswith("explained variance on chat text")
    assert ("they hold" in line) == all(row.holds for row in found.quality)
    bad = [replace(row, holds=False, explained_variance=0.1) for row in found.quality]
    assert "below 0.5 at layers 0, 1, 2: there they do not hold" in quality_line(bad)


def test_what_differs_is_in_the_set_and_said(ready, sides, trained, monkeypatch, capsys):
    """The model's name is changed; the SAEs still name the one they were trained on."""
    from conceptbasis.runs.progress import Reporter

    own = published(ready, trained)
    for model, expected in ((own.model, []), ("org/another-model", ["model"])):
        config = own.model_copy(update={"model": model})
        found = load_or_train(config, sides.target.loaded, "hash", ready.suite, Reporter())
        assert [w.partition(":")[0] for w in found.warnings] == expected
        assert ("warning: SAEs of" in capsys.readouterr().err) == bool(expected)


def test_subfolders_name_the_folder_of_each_layer(ready, sides, trained, tmp_path):
    for layer in range(3):
        shutil.copytree(trained.folder / layer_folder(layer), tmp_path / f"trainer_{layer}")
    names = {layer: f"trainer_{layer}" for layer in range(3)}
    config = published(ready, trained, folder=str(tmp_path), subfolders=names)
    assert load(ready, sides.target, None, config).hash == trained.hash
    config = published(ready, trained, folder=str(tmp_path), subfolders={0: "trainer_0"})
    with pytest.raises(ConfigError, match=r"saes\.subfolders names no SAE for layers \[1, 2\]"):
        load(ready, sides.target, None, config)


def test_saes_from_elsewhere_are_looked_at_before_any_training(monkeypatch):
    from conceptbasis.study import opening as opened

    asked = []
    monkeypatch.setattr(
        opened, "add_saes", lambda c, *_, **__: asked.append(c.name) or SimpleNamespace(name=c.name)
    )
    trains = ModelConfig(name="donor", model="a")
    loads = parse_config(ModelConfig, {"name": "target", "model": "b", "saes": {"folder": "c"}}, "")
    sides = opened.both_with_saes([(trains, None), (loads, None)], None, None, None)
    assert asked == ["target", "donor"]
    assert [side.name for side in sides] == ["donor", "target"]
