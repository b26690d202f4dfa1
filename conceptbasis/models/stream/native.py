"""A model's own directions of a behavior and its single best one by the published rule.

The donor's per-layer directions start a transfer. The target's own ("native") are the upper bound,
measured only after the transfer's artifacts are hashed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from conceptbasis.core.directions.difference import Selection, difference_of_means
from conceptbasis.models.loading.loaded import LoadedModel
from conceptbasis.models.stream.candidates import (
    N_MEASURED,
    Candidates,
    Progress,
    make_bench,
    search,
)
from conceptbasis.models.stream.capture import capture
from conceptbasis.models.stream.centred import Stream, read_stream
from conceptbasis.models.stream.hooks import Edit
from conceptbasis.models.stream.screening import ablation_effects
from conceptbasis.models.text.batches import run_batches
from conceptbasis.models.text.chat import end_of_prompt_ids, pad_left, prompt_ids


@dataclass(frozen=True)
class Native:
    """A model's own directions.

    Args:
        per_layer: Unit difference of means at the chosen position, one per layer.
        norms: Norm of each difference.
        selection: Table and pick of the published rule; not found leaves `single` None.
        single: The picked direction.
        layers: Where it was ablated: after every block, or after the middle ones.
        behavior_tokens: First tokens that positive prompts make likelier.
        stream: Means and sink bounds of the ablation.
    """

    per_layer: Float[Tensor, "n_layers d_model"]
    norms: Float[Tensor, " n_layers"]
    selection: Selection
    single: Float[Tensor, " d_model"] | None
    layers: range
    behavior_tokens: Int[Tensor, " n_tokens"]
    stream: Stream


def end_activations(
    loaded: LoadedModel, prompts: Sequence[str], *, batch_size: int = 64
) -> Float[Tensor, "n_positions n_layers n d_model"]:
    """Residuals after each block at the end-of-prompt positions, the last position last.

    Args:
        loaded: The model.
        prompts: One user message each.
        batch_size: Prompts at a time, fewer where memory runs out.
    """
    n_positions = len(end_of_prompt_ids(loaded.tokenizer))
    layers = range(loaded.architecture.n_layers)
    loaded.show(prompts)
    rows = prompt_ids(loaded.tokenizer, list(prompts), max_length=loaded.max_length)
    parts = []

    def read(some: Sequence[list[int]]) -> None:
        batch = pad_left(loaded.tokenizer, list(some))
        found = capture(loaded, batch.input_ids, batch.attention_mask, layers=layers)
        stacked = torch.stack([found[layer][:, -n_positions:].float().cpu() for layer in layers])
        parts.append(stacked.permute(2, 0, 1, 3))

    run_batches(rows, batch_size, read)
    return torch.cat(parts, dim=2)


def ablation_everywhere(loaded: LoadedModel, direction: Tensor) -> list[Edit]:
    """The edits that ablate one direction from the stream after every block."""
    return [Edit(layer, direction) for layer in range(loaded.architecture.n_layers)]


def middle_layers(n_layers: int) -> range:
    """Blocks after which an edit neither hits what all later ones read nor mere output words."""
    return range(n_layers // 3, max(n_layers // 3 + 1, int(0.8 * n_layers)))


def measure_native(
    loaded: LoadedModel,
    positive: Sequence[str],
    negative: Sequence[str],
    *,
    n_select: int = 64,
    max_kl: float = 0.1,
    layer_fraction: float = 0.8,
    n_measured: int = N_MEASURED,
    progress: Progress = lambda done, of: None,
) -> Native:
    """Difference of means per layer and position, and the published selection among them.

    Candidates are ablated as edits are replayed: at their benign means, with sinks left alone.
    A first-order estimate orders them, and they are measured in that order, `n_measured` at a
    time: at every layer, as published, and where none passes, at the middle layers alone, since
    edits of the lowest ones break some models along any direction. If two such rounds find none,
    the bound on KL is doubled for both, up to `LARGEST_KL`; the rest is measured only if that does
    not help.

    Args:
        loaded: The model.
        positive: Prompts that show the behavior.
        negative: Prompts that do not.
        n_select: Prompts of each class that the selection uses; the rest make the means.
        max_kl: Largest first-token KL on negative prompts under ablation.
        layer_fraction: Candidates at or above this share of the layers are out.
        n_measured: Candidates measured at a time.
        progress: Told how many candidates are measured, of how many in this round.
    """
    n_select = min(n_select, len(positive) // 2, len(negative) // 2)
    directions, norms = _differences(loaded, positive[n_select:], negative[n_select:])
    stream = read_stream(loaded, negative[n_select:])
    bench = make_bench(loaded, stream, positive[:n_select], negative[:n_select])
    effects = ablation_effects(loaded, bench.positive, bench.tokens, stream, directions)
    order = _order(effects, int(effects.shape[1] * layer_fraction))
    n_layers = loaded.architecture.n_layers
    found, selection = search(
        [
            Candidates(bench, directions, norms, layers, layer_fraction, order)
            for layers in (range(n_layers), middle_layers(n_layers))
        ],
        max_kl,
        n_measured,
        progress,
    )
    single = None
    if selection.position is not None and selection.layer is not None:
        single = directions[selection.position, selection.layer]
    return Native(directions[-1], norms[-1], selection, single, found.layers, bench.tokens, stream)


def describe_bound(selection: Selection, asked: float) -> str | None:
    """What to say where the bound on KL was raised, or where nothing passed; None otherwise.

    Args:
        selection: What was picked.
        asked: The bound that was asked for.
    """
    if not selection.found:
        failed = ", ".join(f"{n} for {reason}" for reason, n in selection.rejected.items())
        return f"no direction passes the selection ({failed}), even at KL {selection.max_kl:g}"
    if selection.max_kl > asked:
        return (
            f"no direction holds a first-token KL of {asked:g}; the pick holds "
            f"{selection.max_kl:g} (answers that open with few forms move far there)"
        )
    return None


def describe_layers(layers: range, n_layers: int) -> str | None:
    """What to say where a direction was ablated elsewhere than at every layer; None otherwise.

    Args:
        layers: Where it was.
        n_layers: How many there are.
    """
    if len(layers) == n_layers:
        return None
    return (
        "at every layer each direction moves benign answers too far; ablated at the middle layers "
        f"{layers[0]} to {layers[-1]}"
    )


def _differences(
    loaded: LoadedModel, positive: Sequence[str], negative: Sequence[str]
) -> tuple[Float[Tensor, "n_positions n_layers d_model"], Float[Tensor, "n_positions n_layers"]]:
    """Unit difference of means at every position and layer, and its norm."""
    shown, absent = end_activations(loaded, positive), end_activations(loaded, negative)
    found = [
        [difference_of_means(a, b) for a, b in zip(*own, strict=True)]
        for own in zip(shown, absent, strict=True)
    ]
    units = torch.stack([torch.stack([d.unit for d in row]) for row in found])
    return units, torch.tensor([[d.norm for d in row] for row in found])


def _order(
    effects: Float[Tensor, "n_positions n_layers"], last_layer: int
) -> list[tuple[int, int]]:
    """Position and layer of the candidates that may be picked, the most promising first."""
    places = [(p, layer) for p in range(len(effects)) for layer in range(last_layer)]
    return sorted(places, key=lambda place: float(effects[place]))
