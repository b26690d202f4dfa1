"""Prompts of a task, ready to be run under any knock-out: grouped by shape, recorded once."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from conceptbasis.errors import PromptError
from conceptbasis.models.loading.loaded import LoadedModel
from conceptbasis.models.stream.components import Activations, read_components, replaced
from conceptbasis.models.stream.resuming import Recording, prove_resuming, record, resume
from conceptbasis.models.text.batches import run_batches
from conceptbasis.patching.tasks.base import Pair, TokenPairs
from conceptbasis.results.circuits import Component

LEAST_REFERENCES = 4
"""Corrupted prompts of a shape, at least, over which means are taken."""

LEAST_PAIRS = 8
"""Pairs of a task, at least; half of them find the circuit, half measure it."""

_MOST_REFERENCES, _BATCH = 32, 32
_TOKENS = 1024
"""Tokens of a forward pass, over all sets that run side by side."""

Shape = tuple[str, int]


@dataclass(frozen=True)
class Group:
    """Pairs of one shape and length.

    Args:
        clean: What blocks are called with on clean prompts.
        corrupted: The same on corrupted prompts.
        mean: What each component gives on corrupted prompts of this shape, on average.
        right: By pair, which tokens do the task.
        wrong: By pair, which do not.
    """

    clean: Recording
    corrupted: Recording
    mean: Activations
    right: Bool[Tensor, "n d_vocab"]
    wrong: Bool[Tensor, "n d_vocab"]


@dataclass(frozen=True)
class Probe:
    """Some pairs of a task on one model.

    Args:
        loaded: The model.
        groups: Its pairs.
    """

    loaded: LoadedModel
    groups: tuple[Group, ...]

    def clean(self) -> Float[Tensor, " n"]:
        """The metric of each clean prompt, in logits."""
        return torch.cat([metric(resume(self.loaded, g.clean, 0), g) for g in self.groups])

    def corrupted(self) -> Float[Tensor, " n"]:
        """The metric of each corrupted prompt."""
        return torch.cat([metric(resume(self.loaded, g.corrupted, 0), g) for g in self.groups])

    def without(self, sets: Sequence[Collection[Component]]) -> Float[Tensor, "n_sets n"]:
        """The metric of each clean prompt while components give their mean on corrupted prompts.

        Args:
            sets: What is knocked out at once. Sets run side by side, from their lowest layer on.
        """
        return torch.cat([self._without(group, sets) for group in self.groups], dim=1)

    def _without(
        self, group: Group, sets: Sequence[Collection[Component]]
    ) -> Float[Tensor, "n_sets n"]:
        n_rows, n_tokens, _ = group.clean.inputs[0].shape
        found: list[Tensor] = []

        def read(some: Sequence[Collection[Component]]) -> None:
            lowest = min((c.layer for s in some for c in s), default=0)
            with replaced(self.loaded, some, group.mean):
                logits = resume(self.loaded, group.clean, lowest, n_times=len(some))
            parts = logits.unflatten(0, (len(some), n_rows))
            found.extend(metric(part, group) for part in parts)

        run_batches(sets, max(1, _TOKENS // (n_rows * n_tokens)), read)
        return torch.stack(found)


def metric(logits: Float[Tensor, "n d_vocab"], group: Group) -> Float[Tensor, " n"]:
    """log Σ exp over right tokens − log Σ exp over wrong tokens, in float64 on the CPU."""
    wide = logits.double().cpu()
    sides = (
        wide.masked_fill(~mask, -torch.inf).logsumexp(-1) for mask in (group.right, group.wrong)
    )
    return next(sides) - next(sides)


def make_probes(loaded: LoadedModel, given: TokenPairs, task: str) -> tuple[Probe, Probe, int]:
    """The pairs of a task in two halves, one to find a circuit and one to measure it.

    Args:
        loaded: The model.
        given: Its pairs.
        task: Name of the task, for errors.

    Returns:
        The two halves, and how many pairs were left out since fewer than `LEAST_REFERENCES`
        corrupted prompts, or two pairs, have their shape.

    Raises:
        PromptError: Fewer than `LEAST_PAIRS` pairs are left.
    """
    shapes = _by_shape(given)
    kept = {s: p for s, (p, refs) in shapes.items() if len(refs) >= LEAST_REFERENCES and len(p) > 1}
    n_kept = sum(map(len, kept.values()))
    if n_kept < LEAST_PAIRS:
        raise PromptError(
            f"{n_kept} pairs of the task {task} are left for {loaded.name}: {given.n_unequal} have "
            f"clean and corrupted prompts that do not align, {len(given.pairs) - n_kept} have too "
            "few others of their shape",
            expected=f"at least {LEAST_PAIRS} pairs whose prompts have equally many tokens",
            fix="raise --n-prompts, or use a model whose tokenizer keeps the task's words whole",
        )
    prove_resuming(loaded, _ids([p.clean for p in next(iter(kept.values()))[:2]]))
    halves: tuple[list[Group], list[Group]] = ([], [])
    for shape, pairs in kept.items():
        mean = read_components(loaded, torch.tensor(shapes[shape][1][:_MOST_REFERENCES])).mean()
        for half, groups in enumerate(halves):
            own = pairs[half::2]
            groups += [
                _group(loaded, own[i : i + _BATCH], mean) for i in range(0, len(own), _BATCH)
            ]
    search, check = (Probe(loaded, tuple(groups)) for groups in halves)
    return search, check, len(given.pairs) - n_kept


def _by_shape(given: TokenPairs) -> dict[Shape, tuple[list[Pair], list[tuple[int, ...]]]]:
    found: dict[Shape, tuple[list[Pair], dict[tuple[int, ...], None]]] = {}
    for pair in given.pairs:
        pairs, references = found.setdefault((pair.shape, len(pair.clean)), ([], {}))
        pairs.append(pair)
        references[pair.corrupted] = None
    for shape, ids in given.references:
        if (shape, len(ids)) in found:
            found[shape, len(ids)][1][ids] = None
    return {shape: (pairs, list(refs)) for shape, (pairs, refs) in found.items()}


def _group(loaded: LoadedModel, pairs: Sequence[Pair], mean: Activations) -> Group:
    d_vocab = loaded.architecture.d_vocab
    return Group(
        record(loaded, _ids([p.clean for p in pairs])),
        record(loaded, _ids([p.corrupted for p in pairs])),
        mean,
        _marked([p.right for p in pairs], d_vocab),
        _marked([p.wrong for p in pairs], d_vocab),
    )


def _ids(rows: Sequence[tuple[int, ...]]) -> Int[Tensor, "n pos"]:
    return torch.tensor(rows, dtype=torch.long)


def _marked(tokens: Sequence[tuple[int, ...]], d_vocab: int) -> Bool[Tensor, "n d_vocab"]:
    mask = torch.zeros(len(tokens), d_vocab, dtype=torch.bool)
    for row, chosen in zip(mask, tokens, strict=True):
        row[list(chosen)] = True
    return mask


def counts_by_kind(components: Iterable[Component]) -> Mapping[str, int]:
    """How many heads and MLPs there are."""
    found = {"head": 0, "mlp": 0}
    for component in components:
        found[component.kind] += 1
    return found
