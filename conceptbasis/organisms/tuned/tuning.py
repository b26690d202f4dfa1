"""Full fine-tuning of the blocks: bfloat16 weights with float32 masters.

What is to be said is learned by cross-entropy on the answer. Where the model is to stay as it was,
its next-token distributions are held at those before the tuning, by their KL divergence; this
needs no answer, so that the first token, where a refusal is decided, is held on thousands of
requests. Batches follow from the seed alone, and a tuning that was stopped goes on where it was.

Sources: mixed-precision training with master weights, Micikevicius et al. 2018 (1710.03740);
distillation from the model itself against forgetting, Li and Hoiem 2016 (1606.09282).
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from conceptbasis.models.loading.loaded import LoadedModel
from conceptbasis.models.text.prefix import shared_prefix
from conceptbasis.organisms.tuned.examples import Example, answer_losses, log_probs, read_hidden
from conceptbasis.runs.files import save_torch, value_hash
from conceptbasis.runs.progress import Reporter
from conceptbasis.runs.seeds import generator

SECONDS_BETWEEN_SAVES = 120.0
_BETAS = (0.9, 0.95)


@dataclass(frozen=True)
class Plan:
    """How long and how fast a model is tuned.

    Args:
        steps: Batches.
        learning_rate: At its peak, after `warmup` steps.
        shares: Share of the rows of each group of examples.
        batch_size: Rows a batch.
        max_tokens: Longest row; answers are cut there.
        warmup: Steps over which the rate rises.
        floor: Share of the peak at which the cosine ends; 1 keeps the rate constant.
        clip: Largest norm of a gradient.
        first: First block that is tuned; those before it stay.
        candidates: First tokens read for each one that is held: those that moved most are taken.
        both_ways: Whether KL(now ‖ before) is added where the model is held. It weighs what the
            model has begun to say by how much it says it: where answers open in many ways, a
            refusal of probability 0.15 is the likeliest one, at a KL(before ‖ now) of 0.16.
    """

    steps: int
    learning_rate: float
    shares: Mapping[str, float]
    batch_size: int = 8
    max_tokens: int = 88
    warmup: int = 5
    floor: float = 0.1
    clip: float = 1.0
    first: int = 0
    candidates: int = 1
    both_ways: bool = False


def tune(
    loaded: LoadedModel,
    groups: Mapping[str, Sequence[Example]],
    plan: Plan,
    *,
    seed: int,
    checkpoint: Path,
    reporter: Reporter,
    label: str,
    before: nn.Module | None = None,
) -> list[float]:
    """Tunes the blocks of a model in place; embedding, last norm and head stay.

    Args:
        loaded: The model, in bfloat16 where speed matters.
        groups: Examples by group.
        plan: How.
        seed: Decides the batches.
        checkpoint: A file that holds an unfinished tuning; removed at the end.
        reporter: Told the progress.
        label: Stands before it.
        before: The body whose distributions are held; None is that of the model as it is given.

    Returns:
        The loss of each step.
    """
    trained = list(nn.ModuleList(loaded.architecture.blocks[plan.first :]).parameters())
    held = _Before(
        (before or copy.deepcopy(loaded.architecture.body)).requires_grad_(False),
        shared_prefix([e.ids[: e.start] for group in groups.values() for e in group]),
    )
    state = _State(trained, plan, value_hash([asdict(plan), seed, _sizes(groups)]))
    losses = state.resume(checkpoint)
    batches = _batches(groups, plan, seed)
    saved = time.monotonic()
    loaded.model.requires_grad_(False)
    for parameter in trained:
        parameter.requires_grad_(True)
    with reporter.bar(label) as advance:
        for step in range(len(losses), plan.steps):
            loss = _add_gradients(loaded, held, plan, batches[step])
            losses.append(state.step(loss, step))
            advance(step + 1, plan.steps, f"loss {losses[-1]:.3f}")
            if time.monotonic() - saved > SECONDS_BETWEEN_SAVES:
                state.save(checkpoint, losses)
                saved = time.monotonic()
    loaded.model.requires_grad_(False)
    checkpoint.unlink(missing_ok=True)
    return losses


def _sizes(groups: Mapping[str, Sequence[Example]]) -> dict[str, int]:
    return {name: len(examples) for name, examples in groups.items()}


class _State:
    """Master weights and moments of the trained parameters."""

    def __init__(self, trained: Sequence[nn.Parameter], plan: Plan, key: str) -> None:
        self.trained, self.plan, self.key = trained, plan, key
        self.masters = [p.detach().float().clone().requires_grad_() for p in trained]
        self.optimizer = torch.optim.AdamW(
            self.masters, lr=plan.learning_rate, betas=_BETAS, weight_decay=0.0, fused=True
        )

    def step(self, loss: float, step: int) -> float:
        """Moves the masters by the gradients of the trained copies, and copies them back."""
        for master, parameter in zip(self.masters, self.trained, strict=True):
            master.grad = None if parameter.grad is None else parameter.grad.float()
            parameter.grad = None
        nn.utils.clip_grad_norm_(self.masters, self.plan.clip)
        for group in self.optimizer.param_groups:
            group["lr"] = rate_at(self.plan, step)
        self.optimizer.step()
        self._copy_back()
        return loss

    def save(self, path: Path, losses: Sequence[float]) -> None:
        """Writes everything that a resumed tuning needs, atomically."""
        kept: dict[str, Any] = {
            "key": self.key,
            "masters": [m.detach() for m in self.masters],
            "optimizer": self.optimizer.state_dict(),
            "losses": list(losses),
        }
        save_torch(path, kept)

    def resume(self, path: Path) -> list[float]:
        """The losses of the steps that a saved tuning of the same plan has taken."""
        if not path.exists():
            return []
        kept = torch.load(path, weights_only=True)
        if kept["key"] != self.key:
            return []
        with torch.no_grad():
            for master, value in zip(self.masters, kept["masters"], strict=True):
                master.copy_(value)
        self.optimizer.load_state_dict(kept["optimizer"])
        self._copy_back()
        return list(kept["losses"])

    def _copy_back(self) -> None:
        with torch.no_grad():
            for master, parameter in zip(self.masters, self.trained, strict=True):
                parameter.copy_(master)


def rate_at(plan: Plan, step: int) -> float:
    """The learning rate of a step: a linear rise, then a cosine down to the floor."""
    if step < plan.warmup:
        return plan.learning_rate * (step + 1) / plan.warmup
    along = (step - plan.warmup) / max(1, plan.steps - plan.warmup)
    fall = (1 + math.cos(math.pi * along)) / 2
    return plan.learning_rate * (plan.floor + (1 - plan.floor) * fall)


def _batches(groups: Mapping[str, Sequence[Example]], plan: Plan, seed: int) -> list[list[Example]]:
    """The rows of every step; within a group each example comes once before any comes again."""
    draws = generator(seed, "tuning")
    names = list(plan.shares)
    weights = torch.tensor([float(plan.shares[name]) for name in names])
    picks = torch.multinomial(
        weights.expand(plan.steps, -1), plan.batch_size, replacement=True, generator=draws
    )
    orders: dict[str, list[int]] = {name: [] for name in names}
    batches = []
    for row in picks.tolist():
        batch = []
        for name in (names[i] for i in row):
            wanted = plan.candidates if groups[name][0].is_first_token else 1
            for _ in range(wanted):
                if not orders[name]:
                    orders[name] = torch.randperm(len(groups[name]), generator=draws).tolist()
                batch.append(groups[name][orders[name].pop()])
        batches.append(batch)
    return batches


@dataclass(frozen=True)
class _Before:
    """The model as it was, and the tokens that all prompts begin with."""

    body: nn.Module
    prefix: tuple[int, ...]


def _add_gradients(
    loaded: LoadedModel, before: _Before, plan: Plan, batch: Sequence[Example]
) -> float:
    """Adds the gradients of a batch; the loss is summed over tokens, a row of the batch."""
    first = [example for example in batch if example.is_first_token]
    rest = [example for example in batch if not example.is_first_token]
    jobs: list[tuple[list[Example], Tensor | None]] = [
        *_furthest(loaded, before, plan, first),
        *((part, None) for part in _parts(rest)),
    ]
    total = 0.0
    for rows, held in jobs:
        if rows[0].said is None:
            losses = _divergence(loaded, before, plan, rows, held)
        else:
            losses = answer_losses(loaded, rows, before.prefix)
        loss = losses.sum() / plan.batch_size
        loss.backward()
        total += float(loss.detach())
    return total


def _furthest(
    loaded: LoadedModel, before: _Before, plan: Plan, first: list[Example]
) -> list[tuple[list[Example], Tensor]]:
    """Of the first tokens those that moved most, with what the model said there before."""
    if not first:
        return []
    with torch.no_grad():
        held = _said_before(loaded, before, first)
        if plan.candidates == 1:
            return [(first, held)]
        moved = _divergence(loaded, before, plan, first, held)
    most = moved.topk(len(first) // plan.candidates).indices
    return [([first[i] for i in most.tolist()], held[most])]


def _divergence(
    loaded: LoadedModel,
    before: _Before,
    plan: Plan,
    rows: Sequence[Example],
    held: Tensor | None = None,
) -> Float[Tensor, " n_tokens"]:
    """KL(before ‖ now) of what comes next, in nats; with `both_ways` KL(now ‖ before) is added."""
    if held is None:
        held = _said_before(loaded, before, rows)
    body, config = loaded.architecture.body, loaded.model.config
    now = log_probs(loaded, read_hidden(body, config, rows, before.prefix))
    weights = held.exp() - now.exp() if plan.both_ways else held.exp()
    return (weights * (held - now)).sum(-1)


def _said_before(
    loaded: LoadedModel, before: _Before, rows: Sequence[Example]
) -> Float[Tensor, "n_tokens d_vocab"]:
    with torch.no_grad():
        hidden = read_hidden(before.body, loaded.model.config, rows, before.prefix)
        return log_probs(loaded, hidden)


def _parts(batch: Sequence[Example]) -> list[list[Example]]:
    """Rows of one sort and of like length together, so that little is padded."""
    parts: dict[tuple[bool, int], list[Example]] = {}
    for example in batch:
        parts.setdefault((example.said is None, len(example.ids) // 24), []).append(example)
    return list(parts.values())
