"""Behaviors as data: one registered file each says what is transferred and how it is told."""

from __future__ import annotations

from conceptbasis.behaviors.backdoor import BACKDOOR
from conceptbasis.behaviors.base import Behavior
from conceptbasis.behaviors.refusal import REFUSAL, SAFETY_CONCEPT
from conceptbasis.config.registry import Registry

BEHAVIORS: Registry[Behavior] = Registry("behavior", (REFUSAL, BACKDOOR))
"""Every behavior by name; the key `behavior` of a run names one of them."""

__all__ = ["BEHAVIORS", "SAFETY_CONCEPT", "Behavior", "find_behavior", "register"]

register, find_behavior = BEHAVIORS.register, BEHAVIORS.find
