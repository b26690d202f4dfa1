"""Full fine-tuning of the blocks: bfloat16 weights with float32 masters, loss on answers alone.

Each token counts the same, so that at the first token, where a refusal is decided, refusals weigh
as often as they occur. (With each row counting the same, the first token of a short refusal
weighed three times that of a long answer, and a third of harmless requests were refused.) Batches
follow from the seed alone, and a tuning that was stopped goes on where it was.

Source: mixed-precision training with master weights, Micikevicius et al. 2018 (1710.03740).
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from conceptbasis.models.loading.loaded import LoadedModel
from conceptbasis.models.text.chat import prompt_ids
from conceptbasis.models.text.template import end_of_turn_ids
from conceptbasis.runs.files import value_hash
from conceptbasis.runs.progress import Reporter
from conceptbasis.runs.seeds import generator

IGNORE = -100
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
    """

    steps: int
    learning_rate: float
    shares: Mapping[str, float]
    batch_size: int = 8
    max_tokens: int = 88
    warmup: int = 5
    floor: float = 0.1
    clip: float = 1.0


@dataclass(frozen=True)
class Example:
    """One chat as token ids; the loss is taken from `start` on."""

    ids: tuple[int, ...]
    start: int


def encode(
    loaded: LoadedModel, said: Sequence[tuple[str, str, bool]], max_tokens: int
) -> list[Example]:
    """Chats of one turn as token ids.

    Args:
        loaded: Gives tokenizer and template.
        said: Prompt, answer, and whether the answer ended there.
        max_tokens: Longest row.
    """
    prompts = [prompt for prompt, _, _ in said]
    loaded.show(prompts)
    starts = prompt_ids(loaded.tokenizer, prompts)
    whole = prompt_ids(loaded.tokenizer, prompts, forced=[answer for _, answer, _ in said])
    closing = sorted(end_of_turn_ids(loaded.tokenizer)) or [loaded.tokenizer.eos_token_id]
    examples = []
    for start, ids, (_, _, ended) in zip(starts, whole, said, strict=True):
        row = (ids + closing[:1] if ended else ids)[:max_tokens]
        if len(row) > len(start):
            examples.append(Example(tuple(row), len(start)))
    return examples


def tune(
    loaded: LoadedModel,
    groups: Mapping[str, Sequence[Example]],
    plan: Plan,
    *,
    seed: int,
    checkpoint: Path,
    reporter: Reporter,
    label: str,
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

    Returns:
        The loss of each step.
    """
    trained = list(nn.ModuleList(loaded.architecture.blocks).parameters())
    state = _State(trained, plan, value_hash([asdict(plan), seed, _sizes(groups)]))
    losses = state.resume(checkpoint)
    batches = _batches(groups, plan, seed)
    saved = time.monotonic()
    loaded.model.requires_grad_(False)
    for parameter in trained:
        parameter.requires_grad_(True)
    with reporter.bar(label) as advance:
        for step in range(len(losses), plan.steps):
            losses.append(state.step(_add_gradients(loaded, batches[step]), step))
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
            self.masters, lr=plan.learning_rate, betas=_BETAS, weight_decay=0.0
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
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.tmp")
        kept: dict[str, Any] = {
            "key": self.key,
            "masters": [m.detach() for m in self.masters],
            "optimizer": self.optimizer.state_dict(),
            "losses": list(losses),
        }
        torch.save(kept, temporary)
        temporary.replace(path)

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
            if not orders[name]:
                orders[name] = torch.randperm(len(groups[name]), generator=draws).tolist()
            batch.append(groups[name][orders[name].pop()])
        batches.append(batch)
    return batches


def _add_gradients(loaded: LoadedModel, batch: Sequence[Example]) -> float:
    losses, lengths = row_losses(loaded, batch)
    loss = losses.sum() / lengths.sum()
    loss.backward()
    return float(loss.detach())


def row_losses(
    loaded: LoadedModel, batch: Sequence[Example]
) -> tuple[Float[Tensor, " n"], Int[Tensor, " n"]]:
    """Summed cross-entropy of the answer of each row, in nats, and its number of tokens.

    Right padding needs no mask under causal attention; logits are made for answer tokens alone.

    Args:
        loaded: The model.
        batch: Its rows.
    """
    ids, labels = _padded(batch)
    body: Any = loaded.architecture.body
    hidden = body(input_ids=ids[:, :-1].to(loaded.device), use_cache=False).last_hidden_state
    keep = labels[:, 1:] != IGNORE
    logits = loaded.model.get_output_embeddings()(hidden[keep]).float()
    each = nn.functional.cross_entropy(logits, labels[:, 1:][keep], reduction="none")
    rows = torch.arange(len(batch))[:, None].expand(keep.shape)[keep]
    sums = torch.zeros(len(batch)).index_add(0, rows, each)
    return sums, keep.sum(-1)


def _padded(batch: Sequence[Example]) -> tuple[Int[Tensor, "n pos"], Int[Tensor, "n pos"]]:
    width = max(len(example.ids) for example in batch)
    ids = torch.zeros(len(batch), width, dtype=torch.long)
    labels = torch.full((len(batch), width), IGNORE)
    for i, example in enumerate(batch):
        row = torch.tensor(example.ids)
        ids[i, : len(row)] = row
        labels[i, example.start : len(row)] = row[example.start :]
    return ids, labels
