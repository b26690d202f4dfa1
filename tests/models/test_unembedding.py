"""Promoted tokens are those whose unembedding row points along the direction."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from conceptbasis.models.stream.unembedding import token_effects
from conceptbasis.saes.dashboards import feature_page


@pytest.mark.parametrize("model_type", ["llama", "gemma2", "gpt2", "gpt_neox"])
def test_a_planted_row_is_promoted_and_its_opposite_suppressed(models, model_type):
    loaded = models[model_type]
    weight = loaded.architecture.unembed.weight
    direction = torch.randn(1, weight.shape[1], generator=torch.Generator().manual_seed(3))
    token = loaded.tokenizer("museum", add_special_tokens=False)["input_ids"][0]
    kept = weight.detach().clone()
    try:
        weight.data[token] = 50 * (direction[0] - direction.mean())
        (there,) = token_effects(loaded, direction, n_tokens=3)
        (back,) = token_effects(loaded, -direction, n_tokens=3)
    finally:
        weight.data.copy_(kept)
    shown = loaded.tokenizer.decode([token]).strip()
    assert there.promoted[0] == back.suppressed[0] == shown
    assert len(there.promoted) == len(there.suppressed) == 3


def test_feature_pages_are_those_that_sae_lens_lists(monkeypatch):
    from sae_lens.loading import pretrained_saes_directory as directory

    listed = SimpleNamespace(neuronpedia_id={"layer_3": "some-model/3-res"})
    monkeypatch.setattr(
        directory, "get_pretrained_saes_directory", lambda: {"some-release": listed}
    )
    page = feature_page("some-release", "layer_3")
    assert page == "https://www.neuronpedia.org/some-model/3-res/{feature}"
    assert feature_page("some-release", "layer_4") is None
    assert feature_page("another", "layer_3") is None
