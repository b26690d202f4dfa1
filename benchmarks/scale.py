"""How long a transfer takes on many GPUs: the graph of stages with durations, by list scheduling.

Durations come from measured pieces (docs/benchmarks.md) and stated assumptions (docs/scale.md);
nothing is measured here.

    python -m benchmarks.scale
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Step:
    """A part of a run.

    Args:
        name: What it is called.
        tasks: Seconds of each of its tasks; one worker does one task at a time.
        needs: Names of the steps that must be finished before any task begins.
        bytes: What each node must be sent before its tasks begin.
    """

    name: str
    tasks: tuple[float, ...]
    needs: tuple[str, ...] = ()
    bytes: float = 0.0


def schedule(steps: Sequence[Step], workers: int, *, rate: float = 1e9) -> dict[str, float]:
    """When each step ends, in seconds: free workers take the next task in the order given.

    Args:
        steps: Each stands after those that it needs.
        workers: How many tasks run at once.
        rate: Bytes a second that a node receives; what a step is sent comes before its tasks.

    Raises:
        ValueError: if there is no worker, or a step stands before one that it needs.
    """
    if workers < 1:
        raise ValueError(f"{workers} workers; at least one is needed")
    free = [0.0] * workers
    ends: dict[str, float] = {}
    for step in steps:
        missing = [name for name in step.needs if name not in ends]
        if missing:
            raise ValueError(f"{step.name} needs {missing[0]}, which does not stand before it")
        ready = max((ends[name] for name in step.needs), default=0.0) + step.bytes / rate
        end = ready
        for seconds in step.tasks:
            done = max(heapq.heappop(free), ready) + seconds
            heapq.heappush(free, done)
            end = max(end, done)
        ends[step.name] = end
    return ends


@dataclass(frozen=True)
class Pair:
    """Two models alike, and what is assumed of them; figures marked * are measured, on a CPU.

    Args:
        layers: Layers with SAEs in each model.
        latents: Of each SAE.
        width: Of the residual stream.
        sites: Shared sites.
        active: Latents that fire at a site.
        parameters: Of each model.
        search: * Seconds of one search of best partners, 131,072², 100,000 sites, 64 draws a site.
        shifts: Searches of the shifted null, each on a third of the sites.
        reach: Largest difference of relative depth at which layers are matched.
        trials: Conditions of the evaluation, all draws.
        trial: Assumed seconds of one condition on one GPU.
        forward: Assumed tokens a second that one GPU reads.
        steps: Of the training of one SAE.
        batch: Sites of a step.
        train: Assumed sites a second of SAE training on one GPU.
    """

    layers: int = 80
    latents: int = 131_072
    width: int = 8_192
    sites: int = 100_000
    active: int = 64
    parameters: float = 70e9
    search: float = 29.67
    shifts: int = 3
    reach: float = 0.15
    trials: int = 60
    trial: float = 600.0
    forward: float = 2_000.0
    steps: int = 30_000
    batch: int = 4_096
    train: float = 25_000.0

    @property
    def pairs(self) -> int:
        """Pairs of layers that are matched."""
        depth = [layer / (self.layers - 1) for layer in range(self.layers)]
        return sum(abs(a - b) <= self.reach for a in depth for b in depth)

    @property
    def residual_bytes(self) -> float:
        """Residuals of both models in float32, as stage `harvest` stores them."""
        return 2 * self.layers * self.sites * self.width * 4

    @property
    def code_bytes(self) -> float:
        """Codes of both models at all sites: a value and an index of 4 bytes each."""
        return 2 * self.layers * self.sites * self.active * 8

    @property
    def sae_bytes(self) -> float:
        """Encoder and decoder of all SAEs of both models in float32."""
        return 2 * self.layers * 2 * self.latents * self.width * 4

    @property
    def model_bytes(self) -> float:
        """Weights of one model at four bits."""
        return self.parameters / 2


def steps_of(pair: Pair, *, train: bool) -> list[Step]:
    """The stages that hold nearly all of the time, as tasks.

    Args:
        pair: The models.
        train: Whether SAEs are trained, one task a layer.
    """
    sae = pair.steps * pair.batch / pair.train
    match = pair.search * (1 + pair.shifts / 3)
    read = pair.sites / pair.forward
    shared = 2 * pair.model_bytes + pair.sae_bytes  # what a study holds, models and SAEs among it
    steps = [Step("train-saes", (sae,) * (2 * pair.layers))] if train else []
    target = pair.model_bytes + pair.sae_bytes / 2
    return [
        *steps,
        Step("harvest", (2 * read,), tuple(s.name for s in steps)),
        Step("match", (match,) * pair.pairs, ("harvest",), shared + pair.code_bytes),
        Step("evaluate", (pair.trial,) * pair.trials, ("match",), target),
    ]


def durations(ends: Mapping[str, float], steps: Sequence[Step]) -> dict[str, float]:
    """Seconds from the end of what a step needs to its own end."""
    return {
        s.name: ends[s.name] - max((ends[name] for name in s.needs), default=0.0) for s in steps
    }


def main() -> None:
    """Prints the reckoning of docs/scale.md."""
    pair = Pair()
    print(f"pairs of layers     {pair.pairs:,}")
    for name in ("residual_bytes", "code_bytes", "sae_bytes", "model_bytes"):
        print(f"{name:<19} {getattr(pair, name) / 1e9:,.0f} GB")
    for workers in (1, 8, 32):
        steps = steps_of(pair, train=True)
        found = durations(schedule(steps, workers), steps)
        hours = ", ".join(f"{name} {seconds / 3600:.1f}" for name, seconds in found.items())
        sent = ", ".join(f"{s.name} {s.bytes / 3.6e12:.2f}" for s in steps if s.bytes)
        print(f"{workers:>2} workers, hours: {hours} (sending at 1 GB/s: {sent})")


if __name__ == "__main__":
    main()
