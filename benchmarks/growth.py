"""How time grows with each size: exponents of log–log fits over four sizes."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from benchmarks import correlation
from benchmarks.case import measured
from benchmarks.codes import pair
from conceptbasis.core.partners import CodePair

BASE = {"n": 40_000, "d": 8192, "active": 32}
GRID = {
    "sites": ("n", (20_000, 40_000, 80_000, 160_000)),
    "features": ("d", (2048, 4096, 8192, 16_384)),
    "active features": ("active", (16, 32, 64, 128)),
}


def partners(name: str) -> dict[str, Any]:
    """Seconds of the search for partners over the sizes of one quantity."""
    key, sizes = GRID[name]
    correlation._warm_up()
    seconds = []
    for size in sizes:
        codes = CodePair(*pair(**{**BASE, key: size}))
        seconds.append(measured(lambda z=codes: correlation._search([z]))["seconds"])
    return {"sizes": sizes, "seconds_by_size": seconds, "exponent": exponent(sizes, seconds)}


def prompts() -> dict[str, Any]:
    """Seconds of completions over numbers of prompts, on a random model of an organism's size."""
    from benchmarks.generation import _prompts, make
    from conceptbasis.models.generation import complete

    torch.set_num_threads(1)
    loaded, some = make("organism"), _prompts(300)
    sizes = (75, 150, 300, 600)
    complete(loaded, some[:75], max_new_tokens=12)
    seconds = [
        measured(lambda n=n: complete(loaded, (some * 2)[:n], max_new_tokens=12))["seconds"]
        for n in sizes
    ]
    return {"sizes": sizes, "seconds_by_size": seconds, "exponent": exponent(sizes, seconds)}


def exponent(sizes: tuple[int, ...], seconds: list[float]) -> float:
    """Slope of log time over log size."""
    return float(np.polyfit(np.log(sizes), np.log(seconds), 1)[0])
