"""SAEs are trained and judged at ordinary sites: sinks are in no figure, and stay as they are."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from micro import QUIET
from tiny import SENTENCES, make_loaded

from conceptbasis.config.base import SINK_RATIO, parse_config
from conceptbasis.config.model import ModelConfig, SaeTraining
from conceptbasis.data.prompts import Text
from conceptbasis.models.stream.hooks import splice
from conceptbasis.models.text.chat import encode_texts
from conceptbasis.runs.progress import Reporter
from conceptbasis.saes.quality import measure_quality, read_texts
from conceptbasis.saes.trained import SaeJob, train_or_reuse

TEXTS = [Text(f"{sentence} {i}", "chat") for i, sentence in enumerate(SENTENCES * 4)]
EVERYTHING = 1e9
"""A ratio above which nothing is."""


@dataclass(frozen=True)
class Made:
    """Rebuilds by a given function."""

    function: object
    name = "made"
    d_sae = 32

    def encode(self, x):
        return torch.cat([x.relu(), (-x).relu()], dim=-1)

    def reconstruct(self, x):
        return self.function(x)


def planted(token: str = "the", size: float = 300.0, **changes):
    """A tiny model in which one token's embedding is much longer than all others."""
    loaded = make_loaded("llama", **changes)
    counts: dict[int, int] = {}
    for row in encode_texts(loaded.tokenizer, [t.as_messages() for t in TEXTS]).input_ids:
        for i in row.tolist():
            counts[i] = counts.get(i, 0) + 1
    rare = [i for i, n in counts.items() if 4 <= n <= len(TEXTS) and i > 8]
    with torch.no_grad():
        weight = loaded.model.get_input_embeddings().weight
        weight[rare[0]] *= size / weight[rare[0]].norm()
    return loaded


def read(loaded, layers, ratio=SINK_RATIO):
    return read_texts(loaded, TEXTS, layers, QUIET, "", max_norm_ratio=ratio)


def test_figures_are_those_of_ordinary_sites():
    """An SAE that knows the sink alone explains all variance where sinks count, none elsewhere."""
    loaded = planted()
    kept, everything = read(loaded, [0]), read(loaded, [0], EVERYTHING)
    assert 0 < kept.left_out < 0.2
    assert everything.left_out == 0
    mean = kept.residuals[0].mean(0)
    knows_sinks = Made(
        lambda x: torch.where(x.norm(dim=-1, keepdim=True) > kept.bounds[0], x, mean)
    )
    (blind,) = measure_quality(loaded, {0: knows_sinks}, TEXTS, kept)
    (fooled,) = measure_quality(loaded, {0: knows_sinks}, TEXTS, everything)
    assert fooled.explained_variance > 0.95
    assert blind.explained_variance == pytest.approx(0, abs=1e-4)


def test_sinks_stay_as_they_are_when_cross_entropy_is_measured():
    loaded = planted()
    kept, everything = read(loaded, [0]), read(loaded, [0], EVERYTHING)
    breaks_sinks = Made(
        lambda x: torch.where(x.norm(dim=-1, keepdim=True) > kept.bounds[0], 0 * x, x)
    )
    (spared,) = measure_quality(loaded, {0: breaks_sinks}, TEXTS, kept)
    (broken,) = measure_quality(loaded, {0: breaks_sinks}, TEXTS, everything)
    assert spared.ce_recovered == pytest.approx(1, abs=1e-9)
    assert abs(broken.ce_recovered - 1) > 1e-3


def test_a_sink_of_a_later_layer_is_spared_at_an_earlier_one():
    """Its norm at the earlier layer is ordinary, so that layer alone would not tell."""
    loaded = make_loaded("llama")
    first = read(loaded, [0]).residuals[0]
    unit = torch.nn.functional.normalize(first[5] - first.mean(0), dim=0)
    reading = first @ unit
    line = 0.99 * float(reading.quantile(0.96))

    def later(h):
        return torch.where(((before["h"] @ unit) > line)[..., None], 100 * h, h)

    before = {}

    def keep(h):
        before["h"] = h
        return h

    breaks = Made(lambda x: torch.where(((x @ unit) > line)[..., None], 0 * x, x))
    exact = Made(lambda x: x)
    with splice(loaded, {0: keep, 1: later}):
        both, alone = read(loaded, [0, 1]), read(loaded, [0])
        (of_both, _) = measure_quality(loaded, {0: breaks, 1: exact}, TEXTS, both)
        (of_one,) = measure_quality(loaded, {0: breaks}, TEXTS, alone)
    assert 0 < both.left_out < 0.1
    assert alone.left_out == 0
    assert len(both.residuals[0]) == len(both.residuals[1]) < len(alone.residuals[0])
    assert of_both.ce_recovered == pytest.approx(1, abs=1e-9)
    assert abs(of_one.ce_recovered - 1) > 1e-4


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_padding_is_in_no_statistic(attention):
    """The padding's own embedding is planted as a sink; alone, a text has no padding."""
    loaded = planted(attn_implementation=attention)
    assert loaded.model.config._attn_implementation == attention
    with torch.no_grad():
        loaded.model.get_input_embeddings().weight[loaded.tokenizer.pad_token_id] = 900.0
    texts = [Text(t, "chat") for t in ("the cat", "a much longer text of the cat and a dog", "a")]
    layers = [0, 1, 2]
    together = read_texts(loaded, texts, layers, QUIET, "", max_norm_ratio=SINK_RATIO)
    highest = max(bound or 0 for bound in together.bounds.values())
    assert all(float(x.norm(dim=1).max()) < 900 for x in together.residuals.values())
    assert highest < 900
    alone = [read_texts(loaded, [t], layers, QUIET, "", max_norm_ratio=EVERYTHING) for t in texts]
    every = read_texts(loaded, texts, layers, QUIET, "", max_norm_ratio=EVERYTHING)
    for layer in layers:
        expected = torch.cat([one.residuals[layer] for one in alone])
        torch.testing.assert_close(every.residuals[layer], expected, rtol=1e-4, atol=1e-4)


def job(loaded, reporter=QUIET, **saes):
    training = SaeTraining(n_steps=4, d_sae=32, k=4, batch_size=8)
    values = {"name": "tiny", "model": "tiny", "saes": {"train": training.model_dump(), **saes}}
    config = parse_config(ModelConfig, values, "test")
    return SaeJob(config, training, loaded, [0, 2], TEXTS, reporter)


def test_training_sees_no_sinks_and_says_so(tmp_path, monkeypatch, capsys):
    from conceptbasis.saes import trained as trained_module

    seen = {}
    real = trained_module.train_saes

    def spy(stream, **more):
        batches = stream(0)
        some = [next(batches)[0] for _ in range(8)]
        seen["stream"], seen["held"] = torch.cat(some), more["heldout"][0]
        return real(stream, **more)

    monkeypatch.setattr(trained_module, "train_saes", spy)
    loaded = planted()
    bound = read(loaded, [0, 2]).bounds[0]
    found = train_or_reuse(job(loaded, Reporter()), "hash", tmp_path / "a")
    assert float(seen["stream"].norm(dim=1).max()) <= bound
    assert float(seen["held"].norm(dim=1).max()) <= bound
    assert "activations to train on: " in (said := capsys.readouterr().err)
    assert "sites are left out as attention sinks or outliers" in said
    assert train_or_reuse(job(loaded), "hash", tmp_path / "a").left_out == found.left_out
    train_or_reuse(job(loaded, max_norm_ratio=EVERYTHING), "hash", tmp_path / "b")
    assert float(seen["stream"].norm(dim=1).max()) > bound


def test_another_bound_trains_anew_and_reads_anew(tmp_path, monkeypatch):
    """Activations that a killed training left are those of its own settings."""
    from conceptbasis.saes import trained as trained_module

    loaded = planted()
    rows = []

    def killed(stream, **more):
        rows.append(len(more["heldout"][0]))
        raise KeyboardInterrupt

    monkeypatch.setattr(trained_module, "train_saes", killed)
    for ratio in (SINK_RATIO, EVERYTHING):
        with pytest.raises(KeyboardInterrupt):
            train_or_reuse(job(loaded, max_norm_ratio=ratio), "hash", tmp_path / "a")
        left = list((tmp_path / "a").glob("activations-*.safetensors"))
        assert len(left) == 1
    assert rows[0] <= rows[1]
    assert job(loaded).key("hash") != job(loaded, max_norm_ratio=EVERYTHING).key("hash")
