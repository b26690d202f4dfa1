"""The page docs/benchmarks.md, made of the results alone."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

Results = dict[str, dict[str, dict[str, Any]]]
PACKAGES = ("torch", "numpy", "scipy", "numba", "sae-lens", "transformers")


def write_page(results: Results, path: Path) -> None:
    """Writes the page; sections that were never run are left out."""
    made = {
        "correlation": _correlation,
        "svcca": _svcca,
        "sae": _sae,
        "replay": _replay,
        "harvest": _harvest,
        "growth": _growth,
    }
    parts = [_head()] + [make(results[name]) for name, make in made.items() if name in results]
    path.write_text("\n\n".join(parts) + "\n", encoding="utf-8")


def _head() -> str:
    versions = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    return f"""# Benchmarks

Written by `make bench` (`benchmarks/`). Every speed is a ratio against a named rival, measured in the same run on
the same data. Each case runs in a process of its own on one thread; seconds are processor time of the work alone
(compilation, imports and making the data are not in them), memory is the most the whole process held. The machine was
shared with other work while this was measured, which makes seconds longer and less steady than on an idle one;
ratios suffer less. Nothing here was measured on a GPU. On a GPU best partners come from
dense blocks in float64 (`core.partners_dense`, compared with the CPU search in the tests, on a CPU), the covariances
of SVCCA take a device, and an SAE step is sae-lens's own.

Python {platform.python_version()}, {versions}; {os.cpu_count()} cores, {platform.machine()}."""


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [" | ".join(head), " | ".join("---" for _ in head), *(" | ".join(r) for r in rows)]
    return "\n".join(f"| {line} |" for line in lines)


def _times(rival: dict[str, Any], ours: dict[str, Any]) -> str:
    return f"{rival['seconds'] / ours['seconds']:.1f}"


def _megabytes(found: dict[str, Any]) -> str:
    return "–" if found.get("megabytes") is None else f"{found['megabytes']:,.0f} MB"


def _seconds(found: dict[str, Any]) -> str:
    return f"{found['seconds']:,.2f} s"


def _correlation(r: dict[str, dict[str, Any]]) -> str:
    ours = r["ours"]
    names = {
        "ours": "`core.partners.best_partners`, top 8 of both sides, with statistics",
        "scipy": "scipy's sparse product alone, no correlations and no partners",
        "dense": "dense float32 product of standardised codes, a block of 512 × 2,048 scaled up",
    }
    rows = [
        [text, _seconds(r[n]), _megabytes(r[n]), _times(r[n], ours)] for n, text in names.items()
    ]
    oracle, null = r["oracle"], r["null"]
    large = "; ".join(
        f"{size}: {_seconds(r[name])} in {_megabytes(r[name])}"
        for name, size in (("65k", "65,536²"), ("131k", "131,072²"))
    )
    streamed = "; ".join(
        f"{sites} {_seconds(r[name])} in {_megabytes(r[name])}"
        for name, sites in (
            ("streamed", "250,000"),
            ("streamed twice", "500,000"),
            ("streamed, a million", "1,000,000"),
        )
    )
    return f"""## Feature correlation

Two dictionaries of 16,384 features, 100,000 sites, 64 draws a site, frequency ∝ rank^(−0.8).

{_table(["", "time", "memory", "time over ours"], rows)}

- Best partners equal those of a float64 product for {oracle["same"]} of {oracle["clear"]} sampled features whose margin
  exceeds 1e-6.
- Larger dictionaries, 100,000 sites, exact top 8: {large}.
- Streamed from files in batches of 50,000 sites: {streamed}.
- The null of three circular shifts on a third of the sites, the proportion of a run: {_seconds(null)},
  {null["seconds"] / ours["seconds"]:.2f} of the correlation over all sites."""


def _svcca(r: dict[str, dict[str, Any]]) -> str:
    if "missing" in r["authors"]:
        rival = f"Rival skipped: {r['authors']['missing']}."
        return f"## SVCCA\n\nOurs {_seconds(r['ours'])}. {rival}"
    names = {
        "ours": "`core.svcca.StreamingCovariances`, float32 products",
        "ours, float64": "the same, float64 products",
        "authors": "google/svcca: SVD of both spaces, then `get_cca_similarity`",
        "authors, CCA alone": "google/svcca: `get_cca_similarity` alone (no SVD, all directions)",
    }
    rows = []
    for name, text in names.items():
        score = r[name]["score"][-1]
        rows.append(
            [
                text,
                _seconds(r[name]),
                _megabytes(r[name]),
                _times(r[name], r["ours"]),
                f"{score:.6f}",
            ]
        )
    failed = r["authors, CCA alone, broken"]["score"][-1]
    failed = f"{failed:.4f}" if isinstance(failed, float) else f"`{failed}`"
    return f"""## SVCCA

Two spaces of 1,024 dimensions at 20,000 sites, directions that hold 99 % of the variance.

{_table(["", "time", "memory", "time over ours", "mean canonical correlation"], rows)}

- Direct float64 computation: {r["exact"]["score"]:.6f}.
- With an eighth of the columns dead and an eighth repeated: ours {r["ours, broken"]["score"][-1]:.6f}, direct
  {r["exact, broken"]["score"]:.6f}, `get_cca_similarity` alone {failed}.

{_svcca_large(r)}"""


def _svcca_large(r: dict[str, dict[str, Any]]) -> str:
    sizes = {
        "": "20,000 × 1,024",
        ", five times the sites": "100,000 × 1,024",
        ", twice the width": "20,000 × 2,048",
    }
    rows = [
        [
            size,
            _seconds(r[f"ours{n}"]),
            _megabytes(r[f"ours{n}"]),
            _seconds(r[f"authors{n}"]),
            _megabytes(r[f"authors{n}"]),
            _times(r[f"authors{n}"], r[f"ours{n}"]),
        ]
        for n, size in sizes.items()
    ]
    large, exact = r["ours, large"], r["ours, large, float64"]
    own = [_seconds(large), _megabytes(large)]
    reckoned = _reckoned([r[f"authors{n}"]["seconds"] for n in sizes])
    rows.append(["100,000 × 4,096", *own, f"about {reckoned:,.0f} s, reckoned", "–", ""])
    rows[-1][-1] = f"about {reckoned / large['seconds']:.0f}"
    head = ["sites × dimensions", "ours", "memory", "google/svcca", "memory", "time over ours"]
    return f"""By size, google/svcca with both SVDs; 100,000 × 4,096 streamed from files, which are read within the time:

{_table(head, rows)}

- At 100,000 × 4,096 float32 products give {large["score"][-1]:.9f}, float64 products {exact["score"][-1]:.9f} in
  {_seconds(exact)}; float64 products are the direct computation to {_svcca_error(r):.0e} at 20,000 × 1,024. The direct
  one itself was not made at this size.
- google/svcca was not run at 100,000 × 4,096 either: four times the memory of 100,000 × 1,024 exceeds the machine. Its time is
  reckoned as a·n·d² + b·d³ with the a and b that are nearest to the three sizes above."""


def _reckoned(seconds: list[float]) -> float:
    sizes = np.array([(20_000, 1024), (100_000, 1024), (20_000, 2048)], dtype=float)
    n, d = sizes.T
    terms = np.stack([n * d**2, d**3], axis=1)
    law = np.linalg.lstsq(terms / np.array(seconds)[:, None], np.ones(3), rcond=None)[0]
    return float(law @ [100_000 * 4096**2, 4096**3])


def _svcca_error(r: dict[str, dict[str, Any]]) -> float:
    return abs(r["ours, float64"]["score"][-1] - r["exact"]["score"])


def _sae(r: dict[str, dict[str, Any]]) -> str:
    rows = []
    for size, suffix in (("512 → 8,192, k 64, batch 4,096", ""), ("64 → 512, k 16", ", small")):
        for name in ("ours", "sae-lens"):
            found = r[name + suffix]
            rows.append(
                [
                    size,
                    name if name == "ours" else "sae-lens `MultiSAETrainer`",
                    f"{found['sites_per_second']:,.0f}",
                    _times(found, r["ours" + suffix]),
                    f"{found['explained']:.4f}",
                    _megabytes(found),
                ]
            )
    equal = r["equal starts"]
    low, high = equal["difference"]
    mean = {name: np.mean(equal[name]) for name in ("ours", "sae-lens")}
    six = r["ours, six layers"]["seconds"] / r["ours"]["seconds"]
    head = ["size", "", "sites/s", "time over ours", "explained variance", "memory"]
    return f"""## SAE training

BatchTopK in float32. Explained variance is that of one held-out batch: at the large size after 8 steps (ours) and 6
(sae-lens), which says nothing about a finished SAE; at the small one after 400 steps each, ours with the calibrated
threshold of inference, sae-lens's with the k largest of the batch, from unlike random starts.

{_table(head, rows)}

- From equal weights on equal batches at the small size, {len(equal["ours"])} seeds, both with the k largest of the batch: ours
  {mean["ours"]:.4f}, sae-lens {mean["sae-lens"]:.4f}; difference, 95 % interval over seeds: {low:+.4f} to {high:+.4f}.
- Six layers in lockstep: {six:.2f} of one layer's time for each layer.
- A step is sae-lens's own (`tests/models/test_sae_training.py` compares losses, gradients and thresholds)."""


def _replay(r: dict[str, dict[str, Any]]) -> str:
    rows = []
    for size in ("organism", "100M"):
        plain = r[size]["plain"]
        for mode in ("ablate", "affine"):
            found = r[size][mode]
            same = "equal" if found["tokens"] == plain["tokens"] else "unequal"
            speed = found["tokens"] / found["seconds"]
            share = speed / plain["tokens"] * plain["seconds"]
            rows.append([size, mode, f"{speed:,.0f}", f"{share:.2f}", same])
    w = r["weights"]
    plain, edited = (w[name]["seconds"] for name in ("plain", "edited"))
    same = "equal" if w["equal"] else "unequal"
    saved = r["organism"]["plain"]["seconds"] / r["drafts"]["seconds"]
    head = ["random Llama", "edit of every layer", "tokens/s", "of plain", "token counts"]
    return f"""## Replay

Completions of 24 tokens under hooks at every layer, against the same completions without hooks.

{_table(head, rows)}

- Weights edited at every layer (`orthogonalise`, 100M): {plain / edited:.2f} of plain, token counts {same}; editing all writers and
  putting them back takes {w["edit"]["seconds"]:.2f} s.
- Right drafts checked in one pass (`models.decoding.check_drafts`), against writing token by token: {saved:.1f} times."""


def _harvest(r: dict[str, dict[str, Any]]) -> str:
    rows = []
    for size in ("organism", "100M"):
        bare = r[f"{size}, bare"]
        for kind, text in (("all", "all layers"), ("half", "the first half of the layers")):
            found = r[f"{size}, {kind}"]
            rows.append([size, text, f"{bare['seconds'] / found['seconds']:.2f}"])
    return f"""## Harvest

`stages.harvest.read_residuals`, sites and residuals kept, against bare batched forward passes of the whole model.

{_table(["random Llama", "read", "throughput of bare passes"], rows)}

Residuals stored in half precision (`harvest.storage`), Llama organism to Mixtral organism, all matched pairs of layers,
{r["storage"]["n_features"]:,} eligible donor features; against float32, {r["storage"]["megabytes"]:.0f} MB:

{_stored(r["storage"])}"""


def _stored(found: dict[str, Any]) -> str:
    head = ["storage", "files", "eligible in both, of either", "same best match"]
    head += ["largest change of r", "least cosine of transferred directions"]
    rows = [
        [
            name,
            f"{found[name]['megabytes']:.0f} MB",
            f"{found[name]['eligible_in_both']:.4f}",
            f"{found[name]['same_best']:.4f}",
            f"{found[name]['largest_change_of_r']:.3f}",
            f"{found[name]['least_cosine']:.6f}",
        ]
        for name in ("float16", "bfloat16")
    ]
    return _table(head, rows)


_GROWN = {"prompts": "completions", "layers": "harvest", "atoms": "`code_map`"}


def _growth(r: dict[str, dict[str, Any]]) -> str:
    rows = [
        [
            _GROWN.get(name, "best partners"),
            name,
            ", ".join(f"{s:,}" for s in found["sizes"]),
            ", ".join(f"{s:.2g}" for s in found["seconds_by_size"]),
            f"{found['exponent']:.2f}",
            ", ".join(f"{m:.0f}" for m in found.get("megabytes_by_size", ())) or "–",
            f"{found['memory_exponent']:.2f}" if "memory_exponent" in found else "–",
        ]
        for name, found in r.items()
    ]
    head = ["", "in", "sizes", "seconds", "exponent", "MB added", "exponent"]
    return f"""## Growth

Exponents of log–log fits. Base of best partners: 40,000 sites, 8,192 features, 32 draws a site; memory is what the search adds to
the codes. Harvest: a random model of an organism's width. `code_map`: one recipe of so many atoms, from moments.

{_table(head, rows)}

- Products are square in the active features of a site, but at these sizes going through the rows takes a good part: time is a
  sum of products and rows. Memory is that of the codes by feature and of the named partners (`models.memory.match_bytes`).
- Ridge maps are cubic in atoms in the limit; up to 256 atoms other work outweighs it.
- Pairs of layers that are matched grow with the product of the layers of both models (224 of 832 for 26 and 32)."""
