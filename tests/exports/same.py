"""What is compared of an exported model, and made-up edits of the tiny ones."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from tiny import PROMPTS, encode_prompts, make_loaded, unit

from conceptbasis.edits.intervention import Intervention, apply_intervention
from conceptbasis.models.loading.load import LoadedModel, load_model
from conceptbasis.results.layers import LayerPlan

LAYERS = (0, 2)
D = 16


def saved(folder: Any, model_type: str, **changes: Any) -> LoadedModel:
    """A tiny model as one that was loaded from a folder."""
    made = make_loaded(model_type, **changes)
    made.model.save_pretrained(folder)
    made.tokenizer.save_pretrained(folder)
    return load_model(folder)


def make_edit(mode: str = "orthogonalise", scope: str = "writers", **changes: Any) -> Intervention:
    """An edit of two layers; every field that any mode reads is there."""
    rows = torch.stack([unit(D, 20 + layer) for layer in LAYERS])
    known = {
        "gamma": 1.0,
        "amounts": (1.5, -2.0),
        "means": 0.5 * torch.stack([unit(D, 40 + layer) for layer in LAYERS]),
        "gates": torch.stack([unit(D, 60 + layer) for layer in LAYERS]),
        "thresholds": (0.1, 0.2),
    }
    return Intervention(LayerPlan.per_layer(LAYERS), rows, mode, scope, **{**known, **changes})


def wrong(edit: Intervention) -> Intervention:
    """The same edit along other directions."""
    return replace(edit, directions=torch.stack([unit(D, 80 + layer) for layer in LAYERS]))


@torch.no_grad()
def outputs(model: Any, tokenizer: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits at every token of a few prompts, and the tokens that are chosen greedily."""
    batch = encode_prompts(tokenizer, PROMPTS)
    given = {"input_ids": batch.input_ids, "attention_mask": batch.attention_mask}
    logits = model(**given).logits[batch.attention_mask.bool()]
    chosen = model.generate(**given, max_new_tokens=8, do_sample=False, pad_token_id=0)
    return logits.float(), chosen


def under(loaded: LoadedModel, edit: Intervention) -> tuple[torch.Tensor, torch.Tensor]:
    """The same of a model under an edit of ours."""
    with apply_intervention(loaded, edit):
        return outputs(loaded.model, loaded.tokenizer)


def assert_same(found: Any, expected: Any, atol: float = 2e-5) -> float:
    """Logits agree to rounding and tokens are equal; gives the largest difference."""
    torch.testing.assert_close(found[0], expected[0], rtol=0, atol=atol)
    assert torch.equal(found[1], expected[1])
    return float((found[0] - expected[0]).abs().max())


def assert_differ(found: Any, expected: Any, least: float = 1e-2) -> None:
    """The negative control: logits are far from what they are compared with."""
    assert float((found[0] - expected[0]).abs().max()) > least
