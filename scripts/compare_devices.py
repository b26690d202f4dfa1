"""What scripts/gpu_check.sh prints: how runs on a device differ from the one on the CPU.

    python scripts/compare_devices.py OUT

OUT holds the runs `reference` (CPU, float32) and `float32`, `bfloat16` or both. Status 1 where a
bound is missed.
"""

import sys
from pathlib import Path

import torch

from conceptbasis.errors import ArtifactError
from conceptbasis.results.direction import DonorDirection
from conceptbasis.results.matching import Alignment, MatchSet
from conceptbasis.results.recipe import RecipeSet, Transfer
from conceptbasis.runs.files import read_json
from conceptbasis.runs.graph import PROVENANCE, load_result
from conceptbasis.runs.summary import read_summary

BOUNDS = {"float32": 0.999, "bfloat16": 0.99}


def map_of(folder: Path) -> dict[int, int]:
    """Donor layer by target layer."""
    return dict(load_result(folder, "align", Alignment, tensors=False).layer_map)


def decisions(folder: Path) -> dict[str, set]:
    """Matches, layer map and recipe support of a run, as sets that can be compared."""
    pairs = {
        (row.target, row.donor, int(d), int(t))
        for row in load_result(folder, "match", MatchSet).layers
        for d, t in zip(row.donor_ids, row.target_ids, strict=True)
    }
    support = {
        (row.target, atom.latent)
        for row in load_result(folder, "fit", RecipeSet, tensors=False).layers
        for atom in row.atoms
    }
    layer_map = set(map_of(folder).items())
    return {"matches": pairs, "layer map": layer_map, "recipe support": support}


def directions(folder: Path) -> dict[str, dict[int, torch.Tensor]]:
    """Donor directions of all layers, and the rebuilt ones by target layer."""
    donor = load_result(folder, "direction", DonorDirection).per_layer
    rebuilt = load_result(folder, "transfer", Transfer).by_layer()
    return {"donor directions": dict(enumerate(donor)), "rebuilt directions": rebuilt}


def shared(a: set, b: set) -> float:
    return len(a & b) / len(a | b) if a | b else 1.0


def least_cosine(a: dict[int, torch.Tensor], b: dict[int, torch.Tensor]) -> float:
    """Over the layers that both have; −1 where they share none."""
    cosines = [float(torch.cosine_similarity(a[i].double(), b[i].double(), 0)) for i in a if i in b]
    return min(cosines, default=-1.0)


def device_of(folder: Path) -> str:
    return str(read_json(folder / "transfer" / PROVENANCE)["device"])


def refusal(folder: Path) -> str:
    rows = {c.name: c.figures.rate.interval for c in read_summary(folder).conditions}
    found = rows.get("transfer")
    return "rejected" if not rows else "unscored" if found is None else f"{found.value:.2f}"


def main() -> int:
    out = Path(sys.argv[1])
    wanted, exact = directions(out / "reference"), decisions(out / "reference")
    where = device_of(out / "reference")
    print(f"Reference: {where}, float32, refusal after the transfer {refusal(out / 'reference')}\n")
    names = [*exact, *wanted, "rebuilt, same donor layer"]
    own_map = map_of(out / "reference")
    print(f"| run | device | {' | '.join(names)} | refusal | verdict |")
    print("|" + "---|" * (len(names) + 4))
    failed = 0
    for dtype, bound in BOUNDS.items():
        try:
            found, other = directions(out / dtype), decisions(out / dtype)
        except ArtifactError:
            continue
        shares = [shared(exact[name], other[name]) for name in exact]
        cosines = [least_cosine(wanted[name], found[name]) for name in wanted]
        fits = min(cosines) > bound and (dtype != "float32" or min(shares) == 1)
        failed += not fits
        same = {t for t, d in map_of(out / dtype).items() if own_map.get(t) == d}
        kept = {t: r for t, r in found["rebuilt directions"].items() if t in same}
        cosines.append(least_cosine(wanted["rebuilt directions"], kept))
        cells = [f"{x:.3f}" for x in shares] + [f"{x:.5f}" for x in cosines]
        device = device_of(out / dtype)
        verdict = "within bounds" if fits else "missed"
        print(f"| {dtype} | {device} | {' | '.join(cells)} | {refusal(out / dtype)} | {verdict} |")
    print("\nDecisions: share of both that is in common. Directions: least cosine of any layer.")
    print("A layer map that differs gives other recipes; the last cosine leaves those layers out.")
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
