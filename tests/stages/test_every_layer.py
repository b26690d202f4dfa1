"""One direction at every layer: those without SAEs are edited around means that are read for it."""

from __future__ import annotations

import torch

from conceptbasis.edits.finished import load_replayed
from conceptbasis.edits.intervention import edits_of, intervention_of
from conceptbasis.models.stream.capture import capture
from conceptbasis.models.text.chat import pad_left, prompt_ids

PROMPTS = ["what is a rose ?", "tell me where opium is ."]
FEW = {"n_prompts": 12, "n_random": 1, "n_shuffled": 1, "n_unrelated": 1, "baselines": []}


def test_all_layers_share_the_direction_and_controls_do_the_same(ready, sides, tmp_path):
    replay = {"layers": "every", "offset": "auto"}
    finished = ready.run(tmp_path / "run", replay=replay, evaluate=FEW)
    replayed = load_replayed(tmp_path / "run")
    loaded, edit = sides.target.loaded, intervention_of(replayed)
    n_layers = loaded.architecture.n_layers
    mapped = {target for target, _ in finished.summary.layer_map}
    assert set(edit.layers) == set(range(n_layers)) > mapped
    assert len(replayed.dose.relative) == len(mapped)
    measured = {row.name for row in finished.summary.conditions}
    assert {"random_direction", "shuffled_atoms", "native_single"} <= measured
    x = reads(loaded, edits_of(edit))
    for layer, r, mean in zip(edit.layers, edit.directions, edit.means, strict=True):
        assert torch.allclose(x[layer] @ r, (mean @ r).expand(len(PROMPTS)), atol=1e-3)


def reads(loaded, edits):
    """What each layer holds where prompts end, under the edits."""
    from conceptbasis.models.stream.hooks import intervene

    batch = pad_left(loaded.tokenizer, prompt_ids(loaded.tokenizer, PROMPTS))
    with intervene(loaded, edits):
        found = capture(
            loaded, batch.input_ids, batch.attention_mask,
            layers=range(loaded.architecture.n_layers),
        )  # fmt: skip
    return {layer: h[:, -1].float() for layer, h in found.items()}
