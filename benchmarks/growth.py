"""How time grows with each size: exponents of log–log fits over four sizes."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from benchmarks import correlation
from benchmarks.case import added_megabytes, measured
from benchmarks.codes import pair
from conceptbasis.core.features.partners import CodePair

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
    seconds, megabytes = [], []
    for size in sizes:
        codes = CodePair(*pair(**{**BASE, key: size}))
        seconds.append(measured(lambda z=codes: correlation._search([z]))["seconds"])
        megabytes.append(added_megabytes(lambda z=codes: correlation._search([z])))
    return {
        "sizes": sizes,
        "seconds_by_size": seconds,
        "exponent": exponent(sizes, seconds),
        "megabytes_by_size": megabytes,
        "memory_exponent": exponent(sizes, megabytes),
    }


def prompts() -> dict[str, Any]:
    """Seconds of completions over numbers of prompts, on a random model of an organism's size."""
    from benchmarks.generation import _prompts, make
    from conceptbasis.models.text.generation import complete

    torch.set_num_threads(1)
    loaded, some = make("organism"), _prompts(300)
    sizes = (75, 150, 300, 600)
    complete(loaded, some[:75], max_new_tokens=12)
    seconds = [
        measured(lambda n=n: complete(loaded, (some * 2)[:n], max_new_tokens=12))["seconds"]
        for n in sizes
    ]
    return {"sizes": sizes, "seconds_by_size": seconds, "exponent": exponent(sizes, seconds)}


def layers() -> dict[str, Any]:
    """Seconds of the harvest over layers of a random model of an organism's width."""
    from benchmarks.generation import _texts, make
    from conceptbasis.models.stream.residuals import read_residuals
    from conceptbasis.runs.progress import Reporter

    texts = [t for t in _texts() if t.text_class == "chat"][:256]
    sizes, seconds = (4, 8, 16, 32), []
    for size in sizes:
        loaded = make("organism", num_hidden_layers=size)

        def read(loaded: Any = loaded, size: int = size) -> None:
            read_residuals(
                loaded,
                texts,
                range(size),
                batch_size=64,
                end_of_prompt=True,
                reporter=Reporter(quiet=True),
                label="",
            )

        read()
        seconds.append(measured(read, repeats=2)["seconds"])
    return {"sizes": sizes, "seconds_by_size": seconds, "exponent": exponent(sizes, seconds)}


def atoms() -> dict[str, Any]:
    """Seconds to rebuild a recipe by `code_map` over its atoms, as many on the target's side."""
    from conceptbasis.core.directions.rebuild import rebuild_code_map
    from conceptbasis.core.directions.recipe import Recipe
    from conceptbasis.core.statistics.moments import StreamingMoments

    sizes, d = (32, 64, 128, 256), 1024
    generator = torch.Generator().manual_seed(0)
    donor, target, residuals = (torch.randn(4000, d, generator=generator) for _ in range(3))
    to_codes, to_residuals = StreamingMoments(d, d), StreamingMoments(d, d)
    to_codes.update(donor, donor + target)
    to_residuals.update(donor + target, residuals + donor)
    seconds = []
    for size in sizes:
        ids, one = torch.arange(size), torch.ones(size)
        recipe = Recipe(ids, one, one, one, one, None, 0.0, d)

        def rebuild(recipe: Any = recipe, size: int = size) -> None:
            for _ in range(5):
                rebuild_code_map(
                    recipe,
                    to_codes.select_inputs(recipe.feature_ids),
                    to_residuals.select_inputs,
                    outputs=torch.arange(d),
                    W_dec_target=torch.eye(d),
                    strength=0.3,
                    n_atoms=size,
                )

        rebuild()
        seconds.append(measured(rebuild, repeats=3)["seconds"] / 5)
    return {"sizes": sizes, "seconds_by_size": seconds, "exponent": exponent(sizes, seconds)}


def exponent(sizes: tuple[int, ...], seconds: list[float]) -> float:
    """Slope of log time over log size."""
    return float(np.polyfit(np.log(sizes), np.log(seconds), 1)[0])
