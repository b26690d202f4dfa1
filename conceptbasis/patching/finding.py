"""Finds the circuit of a task in one model, and says how much of the task it carries.

1. Each component alone is knocked out: at each position it gives its mean over corrupted prompts.
   Its effect is what the metric falls by, with clean prompts at 1 and corrupted ones at 0.
2. Components are knocked out together, those of the smallest effect first. The circuit is what is
   left at the smallest size from which on a stated share of the metric is kept.
3. On other prompts: faithfulness, what the circuit alone keeps; completeness, what is left without
   it.

Source: Lan, Torr and Barez 2024 (2311.04131) and their published code, for knock-outs by means of
corrupted prompts and the share of 0.8; they prune from the last layer to the first, not by effect.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from itertools import groupby

import torch
from jaxtyping import Float
from torch import Tensor

from conceptbasis.core.statistics.interval import Interval
from conceptbasis.core.statistics.intervals import wilson
from conceptbasis.core.statistics.overlap import against, draw_like
from conceptbasis.core.statistics.ratios import bootstrap_shares
from conceptbasis.errors import ConfigError, ModelError
from conceptbasis.models.loading.loaded import LoadedModel
from conceptbasis.models.stream.components import list_components
from conceptbasis.patching.probes import Probe, make_probes
from conceptbasis.patching.tasks.base import Task, TokenPairs
from conceptbasis.results.circuits import (
    AgainstRandom,
    Circuit,
    Component,
    Effect,
    TaskPrompts,
)
from conceptbasis.runs.progress import Reporter
from conceptbasis.runs.seeds import generator

N_DEPTHS = 4
"""Parts of the depth in which random sets have as many components as the circuit."""


@dataclass(frozen=True)
class Search:
    """How circuits are found.

    Args:
        share: Of the metric, that a circuit keeps.
        n_prompts: The most pairs of a task.
        n_random: Random sets beside each figure that needs forward passes.
        n_permutations: Random sets beside each overlap.
        seed: Of all random draws.
    """

    share: float = 0.8
    n_prompts: int = 48
    n_random: int = 20
    n_permutations: int = 2000
    seed: int = 0

    @staticmethod
    def checked(share: float, n_prompts: int, n_random: int, seed: int) -> Search:
        """Settings that a user gave.

        Raises:
            ConfigError: A share that is none, or no random sets.
        """
        if not 0 < share < 1 or n_random < 1:
            raise ConfigError(
                f"share {share:g} with {n_random} random sets",
                expected="a share between 0 and 1, and at least one random set",
                fix="correct --share or --n-random",
            )
        return Search(share, n_prompts, n_random, seed=seed)


@dataclass(frozen=True)
class Measured:
    """Some pairs with the metric of their clean and corrupted prompts."""

    probe: Probe
    clean: Float[Tensor, " n"]
    corrupted: Float[Tensor, " n"]

    @staticmethod
    def of(probe: Probe) -> Measured:
        """Runs both."""
        return Measured(probe, probe.clean(), probe.corrupted())

    @property
    def span(self) -> Float[Tensor, " n"]:
        """Clean less corrupted, pair by pair: what is 1 when normalised."""
        return self.clean - self.corrupted

    def left(self, sets: Sequence[Collection[Component]]) -> Float[Tensor, "n_sets n"]:
        """What is left of the span, pair by pair, without each of some sets of components."""
        return self.probe.without(sets) - self.corrupted

    def share(self, components: Collection[Component]) -> float:
        """The share of the metric that is left without some components."""
        return float(self.left([components]).sum() / self.span.sum())


def depth_of(component: Component, n_layers: int) -> tuple[str, int]:
    """Kind, and in which part of the depth the component is."""
    return component.kind, component.layer * N_DEPTHS // n_layers


def find_circuit(
    task: Task, loaded: LoadedModel, given: TokenPairs, search: Search, reporter: Reporter
) -> tuple[Circuit, Measured]:
    """The circuit of a task in a model.

    Args:
        task: The task.
        loaded: The model.
        given: The task's pairs for it.
        search: How.
        reporter: Told the progress.

    Returns:
        The circuit, and the pairs on which it was measured.

    Raises:
        PromptError: Too few pairs align.
        ModelError: The model does not do the task.
    """
    finding, checking, n_small = make_probes(loaded, given, task.name)
    found, check = Measured.of(finding), Measured.of(checking)
    prompts = _describe(found, check, given, n_small)
    require_task(task, loaded, prompts, found, check)
    effects = measure_effects(found, search, f"{task.name} in {loaded.name}", reporter)
    members, curve = prune(found, [e.component for e in by_effect(effects)], search.share)
    label = f"{task.name} in {loaded.name}"
    faithful, complete = against_random(check, members, search, reporter, label)
    return Circuit(task.name, prompts, effects, members, curve, faithful, complete), check


def require_task(task: Task, loaded: LoadedModel, prompts: TaskPrompts, *halves: Measured) -> None:
    """Refuses a model that does not do the task: its circuit would be one of noise.

    Raises:
        ModelError: with the rate that was measured.
    """
    rate = prompts.rate
    n = sum(h.clean.numel() for h in halves)
    shown = all(float(h.span.mean()) > 2 * float(h.span.std()) / len(h.span) ** 0.5 for h in halves)
    if rate.value < task.least_rate or not shown:
        raise ModelError(
            f"{loaded.name} prefers the right answer on {rate.value:.0%} of {n} prompts of the "
            f"task {task.name} [{rate.low:.2f}, {rate.high:.2f}]; its logit difference is "
            f"{prompts.logit_difference:+.2f} clean, {prompts.logit_difference_corrupted:+.2f} "
            "corrupted",
            expected=f"at least {task.least_rate:.0%}, and clean surely above corrupted",
            fix="use a model that does the task, or another task",
        )


def measure_effects(
    found: Measured, search: Search, label: str, reporter: Reporter
) -> tuple[Effect, ...]:
    """What each component alone takes of the task, in the order of the model."""
    parts = list_components(found.probe.loaded)
    lost: list[Tensor] = []
    with reporter.bar(f"heads and MLPs of {label}") as advance:
        for _, layer in groupby(parts, lambda c: c.layer):
            some = list(layer)
            lost += list(found.clean - found.probe.without([[c] for c in some]))
            advance(len(lost), len(parts), some[-1].name)
    drawn = generator(search.seed, "effects", label)
    shares = bootstrap_shares(torch.stack(lost), found.span, generator=drawn)
    return tuple(Effect(c, share) for c, share in zip(parts, shares, strict=True))


def by_effect(effects: Sequence[Effect]) -> list[Effect]:
    """The largest effect first."""
    return sorted(effects, key=lambda e: -e.effect.value)


def prune(
    found: Measured, order: Sequence[Component], share: float
) -> tuple[tuple[Component, ...], tuple[tuple[int, float], ...]]:
    """The smallest head of an order that keeps a share of the task, and the curve of the search.

    Sizes are halved, as long as the share is kept, and then bisected.

    Args:
        found: Pairs.
        order: All components, the most important first.
        share: What must be kept.
    """
    known: dict[int, float] = {len(order): 1.0}

    def kept(size: int) -> float:
        if size not in known:
            known[size] = found.share(order[size:])
        return known[size]

    high = len(order)
    low = high // 2
    while low > 0 and kept(low) >= share:
        low, high = low // 2, low
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if kept(middle) >= share else (middle, high)
    return tuple(order[:high]), tuple(sorted(known.items()))


def against_random(
    check: Measured,
    members: Sequence[Component],
    search: Search,
    reporter: Reporter,
    label: str,
) -> tuple[AgainstRandom, AgainstRandom]:
    """Faithfulness and completeness of a set, beside random sets of the same kinds and depths."""
    n_layers = check.probe.loaded.architecture.n_layers
    parts = list_components(check.probe.loaded)
    drawn, n_random = generator(search.seed, "random sets", label), search.n_random
    chosen = frozenset(members)

    def depth(component: Component) -> tuple[str, int]:
        return depth_of(component, n_layers)

    def outside(some: AbstractSet[Component]) -> list[Component]:
        return [c for c in parts if c not in some]

    sets = [chosen, *(draw_like(chosen, parts, depth, generator=drawn) for _ in range(n_random))]
    reporter.say(f"{label}: {n_random} random sets")
    kept = check.left([outside(some) for some in sets])
    cut = check.left(sets)
    intervals = generator(search.seed, "shares", label)
    found: list[AgainstRandom] = []
    for values, large in ((kept, True), (cut, False)):
        shares = bootstrap_shares(values, check.span, generator=intervals)
        random, p = against(shares[0].value, [s.value for s in shares[1:]], large=large)
        found.append(AgainstRandom(shares[0], random, p))
    return found[0], found[1]


def _describe(found: Measured, check: Measured, given: TokenPairs, n_small: int) -> TaskPrompts:
    halves = (found, check)
    clean, corrupted = (torch.cat([getattr(h, side) for h in halves]) for side in _SIDES)
    rate: Callable[[Tensor], Interval] = lambda x: wilson(int((x > 0).sum()), x.numel())  # noqa: E731
    return TaskPrompts(
        found.clean.numel(),
        check.clean.numel(),
        given.n_unequal,
        n_small,
        rate(clean),
        rate(corrupted),
        float(clean.mean()),
        float(corrupted.mean()),
    )


_SIDES = ("clean", "corrupted")
