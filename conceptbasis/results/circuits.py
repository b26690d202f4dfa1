"""What `circuits` leaves: which components carry a task, and how far two models share them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from conceptbasis.core.statistics.interval import Interval


@dataclass(frozen=True, order=True)
class Component:
    """An attention head, or the MLP (or the mixture of experts) of a block.

    Args:
        layer: Index of the block.
        head: Index of the head, -1 for the MLP.
    """

    layer: int
    head: int = -1

    @property
    def kind(self) -> str:
        """`head` or `mlp`."""
        return "mlp" if self.head < 0 else "head"

    @property
    def name(self) -> str:
        """As the field writes it: L5H3 is head 3 of block 5, L5MLP its MLP."""
        return f"L{self.layer}" + ("MLP" if self.head < 0 else f"H{self.head}")


@dataclass(frozen=True)
class Effect:
    """What the task loses when one component alone is knocked out.

    Args:
        component: Which.
        effect: Fall of the normalised metric, 1 for all of it, over the prompts of the search.
    """

    component: Component
    effect: Interval


@dataclass(frozen=True)
class AgainstRandom:
    """A figure of a set of components beside that of random sets.

    Args:
        value: Of the set itself.
        random: Mean over the random sets, and the range that holds 95 % of them; n counts sets.
        p: Share of random sets that do at least as well, with the set itself among them.
    """

    value: Interval
    random: Interval
    p: float


@dataclass(frozen=True)
class TaskPrompts:
    """The prompts of a task that a model read.

    Args:
        n_search: Pairs on which the circuit was found.
        n_check: Other pairs, on which it was measured.
        n_unequal: Pairs left out, since clean and corrupted prompt differ in their tokens.
        n_small: Pairs left out, since too few others have their shape.
        rate: Share of clean prompts on which the right answer is likelier than the wrong one.
        rate_corrupted: The same on corrupted prompts.
        logit_difference: Mean of the metric on clean prompts, in logits.
        logit_difference_corrupted: The same on corrupted prompts.
    """

    n_search: int
    n_check: int
    n_unequal: int
    n_small: int
    rate: Interval
    rate_corrupted: Interval
    logit_difference: float
    logit_difference_corrupted: float


@dataclass(frozen=True)
class Circuit:
    """Components of one model that carry a task.

    Args:
        task: Its name.
        prompts: What was read.
        effects: Of every component by itself.
        members: The circuit, most important first.
        curve: Number of components that are kept, and the share of the task that is left.
        faithfulness: Share of the task left when all but the circuit is knocked out.
        completeness: Share of the task left when the circuit alone is knocked out.
    """

    task: str
    prompts: TaskPrompts
    effects: tuple[Effect, ...]
    members: tuple[Component, ...]
    curve: tuple[tuple[int, float], ...]
    faithfulness: AgainstRandom
    completeness: AgainstRandom


@dataclass(frozen=True)
class ModelCircuits:
    """All circuits of one model.

    Args:
        name: What the model is called.
        model: The hub id, folder or file.
        model_hash: Of its weights.
        n_layers: Number of blocks.
        n_heads: Heads of a block.
        circuits: One a task.
    """

    name: str
    model: str
    model_hash: str
    n_layers: int
    n_heads: int
    circuits: tuple[Circuit, ...]


@dataclass(frozen=True)
class Overlap:
    """How alike two circuits are, beside random sets.

    Args:
        side: `donor` or `target` for two tasks of one model, `between` for one task of both.
        tasks: The two tasks; twice the same between models.
        by: `components`, `depth` or `latents`: what is compared.
        n_shared: Components in both; None where none can be the same.
        score: Jaccard index of the sets, or of their profiles, against random sets.
        p: Share of random sets that overlap at least as much.
        random: Mean of the score over random sets and the range of 95 % of them.
    """

    side: str
    tasks: tuple[str, str]
    by: str
    n_shared: int | None
    score: float
    random: Interval
    p: float


@dataclass(frozen=True)
class CrossUse:
    """The donor's circuit carried to the target and knocked out there.

    Args:
        task: Its name.
        by: `depth`: as many components at the same relative depth; `latents`: the best matched.
        n_components: Of the carried set.
        carried: Share of the target's task left, over all draws of the carried set.
        own: The same with the target's own circuit, the bound.
        random: The same with random sets of as many components of each kind; n counts sets.
        p: Share of random sets that take as much of the task.
    """

    task: str
    by: str
    n_components: int
    carried: Interval
    own: Interval
    random: Interval
    p: float


@dataclass(frozen=True)
class SharedCircuits:
    """Circuits of a donor and a target, their overlaps and cross-use.

    Args:
        schema: Version of this file.
        donor: The donor's circuits.
        target: The target's.
        overlaps: Within each model and between them.
        cross_use: The donor's sets in the target.
        left_out: What was not computed, and why.
        settings: How it was computed.
    """

    schema: int
    donor: ModelCircuits
    target: ModelCircuits
    overlaps: tuple[Overlap, ...]
    cross_use: tuple[CrossUse, ...]
    left_out: tuple[str, ...]
    settings: Mapping[str, float]
