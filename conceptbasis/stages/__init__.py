"""The stages of a run, in their order."""

from __future__ import annotations

from typing import Any

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

STAGES: tuple[Stage[Any], ...] = (
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
)
"""Every stage; those that read the target's labels come after all that make the transfer."""
