"""A model's own directions of a behavior and its single best one by the published rule.

The donor's per-layer directions start a transfer. The target's own ("native") are the upper bound,
measured only after the transfer's artifacts are hashed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from conceptbasis.core.directions.difference import Selection, difference_of_means, select_direction
from conceptbasis.models.loading.loaded import LoadedModel
from conceptbasis.models.stream.capture import capture
from conceptbasis.models.stream.centred import Stream, centred_ablation, read_stream
from conceptbasis.models.stream.hooks import Edit, intervene
from conceptbasis.models.stream.screening import ablation_effects
from conceptbasis.models.text.batches import run_batches
from conceptbasis.models.text.chat import end_of_prompt_ids, pad_left, prompt_ids
from conceptbasis.models.text.generation import first_token_logits

Progress = Callable[[int, int], None]
_ROWS = 64
"""Rows of logits that are widened to float64 at once; a row of a large vocabulary takes 2 MB."""
N_MEASURED = 20
"""Candidates that are measured at a time."""

N_ROUNDS = 2
"""Rounds after which the bound on KL is raised."""

LARGEST_KL = 0.8
"""Where no candidate holds the bound on KL, it is doubled up to this one, in nats."""

MIN_TOKEN_GAIN = 0.02
"""Mean probability a first token must gain on positive prompts to count as a behavior token."""


@dataclass(frozen=True)
class Native:
    """A model's own directions.

    Args:
        per_layer: Unit difference of means at the chosen position, one per layer.
        norms: Norm of each difference.
        selection: Table and pick of the published rule; not found leaves `single` None.
        single: The picked direction.
        behavior_tokens: First tokens that positive prompts make likelier.
        stream: Means and sink bounds of the ablation.
    """

    per_layer: Float[Tensor, "n_layers d_model"]
    norms: Float[Tensor, " n_layers"]
    selection: Selection
    single: Float[Tensor, " d_model"] | None
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


def find_behavior_tokens(
    positive: Float[Tensor, "n_positive d_vocab"], negative: Float[Tensor, "n_negative d_vocab"]
) -> Int[Tensor, " n_tokens"]:
    """First tokens whose mean probability is higher on positive prompts by `MIN_TOKEN_GAIN`.

    Args:
        positive: First-token logits on positive prompts.
        negative: The same on negative prompts.

    Returns:
        Token ids, the largest gain first; at least one.
    """
    gain = positive.softmax(-1).mean(0) - negative.softmax(-1).mean(0)
    order = gain.argsort(descending=True)
    return order[: max(1, int((gain > MIN_TOKEN_GAIN).sum()))].cpu()


def behavior_score(
    logits: Float[Tensor, "n d_vocab"], tokens: Int[Tensor, " n_tokens"]
) -> Float[Tensor, " n"]:
    """log p/(1 − p) with p the probability of the behavior tokens together.

    Args:
        logits: First-token logits.
        tokens: Behavior tokens.

    Source: Arditi et al. 2024 (2406.11717), section 2.3.
    """
    shares = [part.double().softmax(-1)[:, tokens].sum(-1) for part in logits.split(_ROWS)]
    p = torch.cat(shares).clamp(1e-12, 1 - 1e-12)
    return (p / (1 - p)).log().cpu()


def ablation_everywhere(loaded: LoadedModel, direction: Tensor) -> list[Edit]:
    """The edits that ablate one direction from the stream after every block."""
    return [Edit(layer, direction) for layer in range(loaded.architecture.n_layers)]


def first_token_kl(
    before: Float[Tensor, "n d_vocab"], after: Float[Tensor, "n d_vocab"]
) -> Float[Tensor, " n"]:
    """KL(before ‖ after) of the first answer token, in nats, per prompt."""
    parts = []
    for p, q in zip(before.split(_ROWS), after.split(_ROWS), strict=True):
        log_p, log_q = p.double().log_softmax(-1), q.double().log_softmax(-1)
        parts.append((log_p.exp() * (log_p - log_q)).sum(-1).cpu())
    return torch.cat(parts)


def measure_native(
    loaded: LoadedModel,
    positive: Sequence[str],
    negative: Sequence[str],
    *,
    n_select: int = 64,
    max_kl: float = 0.1,
    layer_fraction: float = 0.8,
    n_measured: int = N_MEASURED,
    layers: Sequence[int] | None = None,
    progress: Progress = lambda done, of: None,
) -> Native:
    """Difference of means per layer and position, and the published selection among them.

    Candidates are ablated as edits are replayed: at their benign means, with sinks left alone.
    A first-order estimate orders them, and they are measured in that order, `n_measured` at a
    time, until one passes. If none of two rounds does, the bound on KL is doubled, up to
    `LARGEST_KL`; the rest is measured only if that does not help.

    Args:
        loaded: The model.
        positive: Prompts that show the behavior.
        negative: Prompts that do not.
        n_select: Prompts of each class that the selection uses; the rest make the means.
        max_kl: Largest first-token KL on negative prompts under ablation.
        layer_fraction: Candidates at or above this share of the layers are out.
        n_measured: Candidates measured at a time.
        layers: Where candidates are ablated; None is at every layer, as published.
        progress: Told how many candidates are measured, of how many in this round.
    """
    n_select = min(n_select, len(positive) // 2, len(negative) // 2)
    directions, norms = _differences(loaded, positive[n_select:], negative[n_select:])
    stream = read_stream(loaded, negative[n_select:])
    bench = _make_bench(
        loaded, stream, list(positive[:n_select]), list(negative[:n_select]), layers
    )
    effects = ablation_effects(loaded, bench.positive, bench.tokens, stream, directions)
    order = _order(effects, int(effects.shape[1] * layer_fraction))
    scores = torch.full((3, *effects.shape), torch.nan)
    measured = torch.zeros_like(effects, dtype=torch.bool)

    def pick(bound: float) -> Selection:
        return select_direction(
            *scores, measured=measured, max_kl=bound, layer_fraction=layer_fraction
        )

    selection = pick(max_kl)
    for done, place in enumerate(order):
        scores[:, *place] = _score(loaded, directions[place], float(norms[place]), place[1], bench)
        measured[place] = True
        rounds, is_last = done // n_measured + 1, done + 1 == len(order)
        progress(done + 1, min(rounds * n_measured, len(order)))
        if (done + 1) % n_measured and not is_last:
            continue
        selection = pick(max_kl)
        if not selection.found and (rounds >= N_ROUNDS or is_last):
            selection = _raised(pick, max_kl)
        if selection.found:
            break
    single = None
    if selection.position is not None and selection.layer is not None:
        single = directions[selection.position, selection.layer]
    return Native(directions[-1], norms[-1], selection, single, bench.tokens, stream)


def _raised(pick: Callable[[float], Selection], max_kl: float) -> Selection:
    """The pick at the first doubling of the bound at which one passes; else that at the largest."""
    bound = max_kl
    while bound < LARGEST_KL:
        bound = min(2 * bound, LARGEST_KL)
        selection = pick(bound)
        if selection.found:
            return selection
    return pick(max(max_kl, LARGEST_KL))


@dataclass(frozen=True)
class _Bench:
    """What all candidates are measured on."""

    stream: Stream
    positive: list[str]
    negative: list[str]
    layers: Sequence[int] | None
    base_negative: Float[Tensor, "n d_vocab"]
    tokens: Int[Tensor, " n_tokens"]


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


def _make_bench(
    loaded: LoadedModel,
    stream: Stream,
    positive: list[str],
    negative: list[str],
    layers: Sequence[int] | None,
) -> _Bench:
    before = [first_token_logits(loaded, prompts) for prompts in (positive, negative)]
    tokens = find_behavior_tokens(*before)
    return _Bench(stream, positive, negative, layers, before[1], tokens)


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


def _score(
    loaded: LoadedModel, unit: Tensor, norm: float, layer: int, bench: _Bench
) -> Float[Tensor, " 3"]:
    """Bypass score, induce score and KL of one candidate."""
    with intervene(loaded, centred_ablation(unit, bench.stream, layers=bench.layers)):
        bypass = behavior_score(first_token_logits(loaded, bench.positive), bench.tokens)
        kl = first_token_kl(bench.base_negative, first_token_logits(loaded, bench.negative))
    with intervene(loaded, [Edit(layer, unit, "add", amount=norm)]):
        induce = behavior_score(first_token_logits(loaded, bench.negative), bench.tokens)
    return torch.stack([score.mean().float() for score in (bypass, induce, kl)])
