"""Every method by name, in the order of display: the one list of what is done to a target."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conceptbasis.config.registry import Registry
from conceptbasis.errors import ConfigError
from conceptbasis.methods.base import Method, Role
from conceptbasis.methods.contrast import CONTRAST_RIDGE, CONTRAST_RIDGE_STREAM
from conceptbasis.methods.far_layers import FAR_LAYERS, NATIVE_FAR
from conceptbasis.methods.layers import (
    EARLY_LAYERS_ONLY,
    LAST_LAYER_ONLY,
    PER_LAYER,
    PER_LAYER_EARLY,
    SINGLE,
    SINGLE_EARLY,
)
from conceptbasis.methods.least_squares import AFFINE, LEAST_SQUARES
from conceptbasis.methods.native import NATIVE, NATIVE_EARLY, NATIVE_PER_LAYER
from conceptbasis.methods.procrustes import PROCRUSTES
from conceptbasis.methods.random_direction import RANDOM_DIRECTION
from conceptbasis.methods.relu_map import RELU_MAP
from conceptbasis.methods.routes import CODE_MAP, MATCHED, NO_GUARD, TRANSFER, TRANSPORTED
from conceptbasis.methods.shuffled_atoms import SHUFFLED_ATOMS
from conceptbasis.methods.unrelated_recipe import UNRELATED_RECIPE
from conceptbasis.methods.untouched import BASELINE, SAE_ERROR_ONLY

if TYPE_CHECKING:
    from conceptbasis.config.run import RunConfig

METHODS: Registry[Method] = Registry(
    "method",
    (
        BASELINE,
        NATIVE,
        NATIVE_PER_LAYER,
        NATIVE_EARLY,
        NATIVE_FAR,
        TRANSFER,
        CODE_MAP,
        TRANSPORTED,
        MATCHED,
        EARLY_LAYERS_ONLY,
        LAST_LAYER_ONLY,
        PER_LAYER,
        PER_LAYER_EARLY,
        SINGLE,
        SINGLE_EARLY,
        NO_GUARD,
        SAE_ERROR_ONLY,
        LEAST_SQUARES,
        AFFINE,
        RELU_MAP,
        PROCRUSTES,
        CONTRAST_RIDGE,
        CONTRAST_RIDGE_STREAM,
        RANDOM_DIRECTION,
        SHUFFLED_ATOMS,
        FAR_LAYERS,
        UNRELATED_RECIPE,
    ),
)
"""Methods by name. Nothing here imports a tensor library until a method computes."""


def register(method: Method) -> None:
    """Adds a method of one's own, under a name that is not taken; it comes last in its group.

    Raises:
        ConfigError: if the name is taken, or the method says not how its edit is made.
    """
    ways = [way for way in (method.plan, method.move, method.fit) if way is not None]
    if len(ways) != 1 or (method.role == "baseline") is (method.plan is not None):
        raise ConfigError(
            f"the method {method.name!r} has {len(ways)} ways to its edit",
            expected="a baseline with `move` or `fit`, or another role with `plan`",
            fix="give exactly one of the three",
        )
    METHODS.register(method)


def with_role(*roles: Role) -> list[Method]:
    """The methods of some roles, in the order of display."""
    return [method for method in METHODS.values() if method.role in roles]


def check_methods(config: RunConfig) -> None:
    """Refuses settings that name a method which does not exist.

    Raises:
        ConfigError: if `transfer.route` or `evaluate.baselines` does.
    """
    chosen_baselines(config.evaluate.baselines)
    routes = ["auto", *(method.name for method in with_role("route"))]
    if config.transfer.route not in routes:
        raise ConfigError(
            f"there is no route {config.transfer.route!r}",
            expected="one of " + ", ".join(routes),
            fix="correct the key transfer.route",
        )


def chosen_baselines(names: tuple[str, ...] | None) -> list[Method]:
    """The baselines of a run, in the order of display.

    Args:
        names: The key `evaluate.baselines`; None for those that every run has.

    Raises:
        ConfigError: if a name is no baseline.
    """
    known = {method.name: method for method in with_role("baseline")}
    unknown = sorted(set(names or ()) - set(known))
    if unknown:
        raise ConfigError(
            f"no baseline is called {', '.join(unknown)}",
            expected="some of " + ", ".join(known),
            fix="correct the key evaluate.baselines, or register the method",
        )
    if names is None:
        return [method for method in known.values() if method.by_default]
    return [method for method in known.values() if method.name in names]
