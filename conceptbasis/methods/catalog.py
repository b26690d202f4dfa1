"""Every condition of an evaluation by name: what it is there to show, and what it is called.

Free of tensor libraries, so that readers of results list conditions without the methods that make
them. `conceptbasis.methods` adds the functions, and this package's `__init__` must not import them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from conceptbasis.errors import ConfigError

Role: TypeAlias = Literal["untouched", "native", "transfer", "ablation", "baseline", "control"]

GROUPS: Mapping[str, tuple[Role, ...]] = {
    "Untouched and native": ("untouched", "native"),
    "Transfer": ("transfer",),
    "Routes and ablations": ("ablation",),
    "Baselines": ("baseline",),
    "Controls that must fail": ("control",),
}
"""Roles by heading, in the order of display."""

OTHER_GROUP = "Other conditions"


@dataclass(frozen=True)
class Entry:
    """One condition.

    Args:
        name: As in summaries.
        role: What it is there to show.
        label: What a reader sees.
        compared: Whether a comparison of logged runs needs its intervals.
    """

    name: str
    role: Role
    label: str
    compared: bool = False


CATALOG: dict[str, Entry] = {
    entry.name: entry
    for entry in (
        Entry("baseline", "untouched", "untouched target", compared=True),
        Entry("native", "native", "the target's own direction", compared=True),
        Entry("native_per_layer", "native", "the target's own per-layer directions"),
        Entry("native_early", "native", "the target's own direction below 0.8 of the depth"),
        Entry("native_far", "native", "the target's own directions at layers far from theirs"),
        Entry("transfer", "transfer", "transfer", compared=True),
        Entry("code_map", "ablation", "route code_map: a ridge map of latent codes"),
        Entry("transported", "ablation", "route transported: reads of matched latents"),
        Entry("matched", "ablation", "route matched: decoder rows of matched latents"),
        Entry("early_layers_only", "ablation", "edits below 0.8 of the depth only"),
        Entry("last_layer_only", "ablation", "edit at the last layer only"),
        Entry("per_layer", "ablation", "each layer's own direction"),
        Entry("per_layer_early", "ablation", "each layer's own direction, early layers only"),
        Entry("single_direction", "ablation", "one direction at all layers"),
        Entry("single_direction_early", "ablation", "one direction, early layers only"),
        Entry("no_guard", "ablation", "directions without the guard"),
        Entry("sae_error_only", "ablation", "residuals replaced by SAE reconstructions"),
        Entry("least_squares", "baseline", "least-squares map of residuals"),
        Entry("affine", "baseline", "affine map of residuals"),
        Entry("relu_map", "baseline", "map of residuals with one ReLU layer"),
        Entry("procrustes", "baseline", "orthogonal map of residuals"),
        Entry("contrast_ridge", "baseline", "ridge map of contrast directions"),
        Entry("contrast_ridge_stream", "baseline", "the same, edited in the residual stream"),
        Entry("random_direction", "control", "random directions", compared=True),
        Entry("shuffled_atoms", "control", "the recipe's coefficients on other latents"),
        Entry("far_layers", "control", "the transfer's directions at layers far from theirs"),
        Entry("unrelated_recipe", "control", "recipes of unrelated topics"),
    )
}
"""Conditions by name in the order of display; methods of one's own are added by `register`."""


def register(entry: Entry) -> None:
    """Adds a condition of one's own, under a name that is not taken."""
    if entry.name in CATALOG:
        raise ConfigError(
            f"there is a condition {entry.name!r} already",
            expected="a name of its own",
            fix="choose another name",
        )
    CATALOG[entry.name] = entry


def of_role(*roles: Role) -> tuple[str, ...]:
    """Names of the conditions of some roles, in the order of display."""
    return tuple(entry.name for entry in CATALOG.values() if entry.role in roles)


def compared() -> tuple[str, ...]:
    """Names of the conditions whose intervals a comparison of runs shows."""
    return tuple(entry.name for entry in CATALOG.values() if entry.compared)


def grouped(names: Iterable[str]) -> list[tuple[str, list[str]]]:
    """Names by group in the order of display; unknown ones come last, never dropped."""
    given = list(names)
    found = [(group, [n for n in of_role(*roles) if n in given]) for group, roles in GROUPS.items()]
    found.append((OTHER_GROUP, [n for n in given if n not in CATALOG]))
    return [(group, members) for group, members in found if members]
