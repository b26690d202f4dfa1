"""Runs every case in a process of its own, one after another, and writes docs/benchmarks.md.

    python -m benchmarks.run                    every case
    python -m benchmarks.run SECTION ...        some sections; the others keep their figures
    python -m benchmarks.run SECTION/CASE ...   some cases, such as 'svcca/ours, large'
    python -m benchmarks.run page               no case: the page again, from the results

One thread each, so that ratios compare code and not schedulers.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results.json"
SAE = (512, 8192, 64, 4096)
SMALL_SAE = (64, 512, 16, 1024)
SVCCA = (20_000, 1024)
SVCCA_LARGE = (100_000, 4096)
SVCCA_STEPS = {"five times the sites": (100_000, 1024), "twice the width": (20_000, 2048)}
"""Sizes between the two, from which the authors' time at the large one is reckoned."""

SECTIONS: dict[str, dict[str, tuple[str, str, tuple[Any, ...]]]] = {
    "correlation": {
        "ours": ("correlation", "ours", (16_384,)),
        "scipy": ("correlation", "sparse_product", (16_384,)),
        "dense": ("correlation", "dense_product", (16_384,)),
        "null": ("correlation", "null", (16_384,)),
        "oracle": ("correlation", "oracle", (16_384,)),
        "streamed": ("correlation", "streamed", (16_384, 5)),
        "streamed twice": ("correlation", "streamed", (16_384, 10)),
        "streamed, a million": ("correlation", "streamed", (16_384, 20)),
        "65k": ("correlation", "ours", (65_536,)),
        "131k": ("correlation", "ours", (131_072,)),
    },
    "svcca": {
        "ours": ("similarity", "ours", SVCCA),
        "ours, float64": ("similarity", "ours", (*SVCCA, False, "float64")),
        "exact": ("similarity", "exact", SVCCA),
        "authors": ("similarity", "authors", SVCCA),
        "authors, CCA alone": ("similarity", "authors_cca", SVCCA),
        "ours, broken": ("similarity", "ours", (*SVCCA, True)),
        "exact, broken": ("similarity", "exact", (*SVCCA, True)),
        "authors, CCA alone, broken": ("similarity", "authors_cca", (*SVCCA, True)),
        "ours, large": ("similarity", "streamed", SVCCA_LARGE),
        "ours, large, float64": ("similarity", "streamed", (*SVCCA_LARGE, "float64")),
        **{
            f"{who}, {name}": ("similarity", who, size)
            for name, size in SVCCA_STEPS.items()
            for who in ("ours", "authors")
        },
    },
    "sae": {
        "ours": ("sae_training", "ours", (*SAE, 8)),
        "ours, six layers": ("sae_training", "ours", (*SAE, 5, 6)),
        "sae-lens": ("sae_training", "sae_lens", (*SAE, 6)),
        "ours, small": ("sae_training", "ours", (*SMALL_SAE, 400)),
        "sae-lens, small": ("sae_training", "sae_lens", (*SMALL_SAE, 400)),
        "equal starts": ("sae_training", "equal_starts", (*SMALL_SAE, 400, 8)),
    },
    "replay": {
        "organism": ("generation", "replay", ("organism", 128)),
        "100M": ("generation", "replay", ("100M", 16)),
        "weights": ("generation", "weight_edit", ("100M", 16)),
        "drafts": ("generation", "drafted", ("organism", 128)),
    },
    "harvest": {
        f"{size}, {kind}": ("generation", "harvest", (size, kind, n))
        for size, n in (("organism", 512), ("100M", 64))
        for kind in ("bare", "all", "half")
    }
    | {"storage": ("storage", "storage", ("llama", "mixtral"))},
    "growth": {
        "sites": ("growth", "partners", ("sites",)),
        "features": ("growth", "partners", ("features",)),
        "active features": ("growth", "partners", ("active features",)),
        "layers": ("growth", "layers", ()),
        "atoms": ("growth", "atoms", ()),
        "prompts": ("growth", "prompts", ()),
    },
}


def main(arguments: list[str]) -> None:
    """One case, for a child process; or sections and cases."""
    if arguments[:1] == ["--case"]:
        module, function, *given = json.loads(arguments[1])
        found = getattr(importlib.import_module(f"benchmarks.{module}"), function)(*given)
        print(json.dumps(found))
        return
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for section, name in chosen(arguments):
        found = _run(SECTIONS[section][name])
        results.setdefault(section, {})[name] = found
        RESULTS.write_text(json.dumps(results, indent=1))
    from benchmarks.page import write_page

    write_page(results, ROOT / "docs" / "benchmarks.md")


def chosen(arguments: list[str]) -> list[tuple[str, str]]:
    """Section and name of the cases that arguments ask for; all when there are none."""
    if arguments == ["page"]:
        return []
    cases = []
    for argument in arguments or SECTIONS:
        section, _, name = argument.partition("/")
        if section not in SECTIONS or (name and name not in SECTIONS[section]):
            known = "; ".join(f"{s}: {', '.join(cases)}" for s, cases in SECTIONS.items())
            raise SystemExit(f"no benchmark {argument!r}; there are {known}")
        cases += [(section, n) for n in ([name] if name else SECTIONS[section])]
    return cases


def _run(case: tuple[str, str, tuple[Any, ...]]) -> dict[str, Any]:
    module, function, given = case
    command = [sys.executable, "-m", "benchmarks.run", "--case"]
    command.append(json.dumps([module, function, *given]))
    threads = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ | threads, stdout=subprocess.PIPE, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"benchmark {module}.{function}{given} failed")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    print(f"{module}.{function}{given}: {found}", file=sys.stderr, flush=True)
    return found


if __name__ == "__main__":
    main(sys.argv[1:])
