"""The stages of a run, in their order."""

from __future__ import annotations

from typing import Any

from conceptbasis.errors import ConfigError
from conceptbasis.runs.graph import Stage
from conceptbasis.stages.align import ALIGN
from conceptbasis.stages.atoms import ATOMS
from conceptbasis.stages.baselines import BASELINES
from conceptbasis.stages.curve import CURVE
from conceptbasis.stages.direction import DIRECTION
from conceptbasis.stages.evaluate import EVALUATE
from conceptbasis.stages.fit import FIT
from conceptbasis.stages.flows import FLOWS
from conceptbasis.stages.forecast import FORECAST
from conceptbasis.stages.guard import GUARD
from conceptbasis.stages.harvest import HARVEST
from conceptbasis.stages.match import MATCH
from conceptbasis.stages.replay import REPLAY
from conceptbasis.stages.stability import STABILITY
from conceptbasis.stages.transfer import TRANSFER

STAGES: list[Stage[Any]] = [
    HARVEST,
    DIRECTION,
    MATCH,
    ALIGN,
    FIT,
    TRANSFER,
    GUARD,
    FORECAST,
    REPLAY,
    ATOMS,
    STABILITY,
    BASELINES,
    EVALUATE,
    CURVE,
    FLOWS,
]
"""Every stage; those that read the target's labels come after all that make the transfer."""


def register(stage: Stage[Any], *, after: str) -> None:
    """Adds a stage of one's own.

    Args:
        stage: The stage, under a name and a class of result that are not taken.
        after: Name of the stage that it follows.

    Raises:
        ConfigError: if a name is taken or unknown.
    """
    names = [known.name for known in STAGES]
    if stage.name in names or after not in names:
        raise ConfigError(
            f"the stage {stage.name!r} cannot be added after {after!r}",
            expected=f"a name of its own, after one of {', '.join(names)}",
            fix="correct the names",
        )
    STAGES.insert(names.index(after) + 1, stage)
