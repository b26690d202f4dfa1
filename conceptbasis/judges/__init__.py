"""Judges of answers: one registered file each. Importing this loads no tensor library."""

from __future__ import annotations

from conceptbasis.config.registry import Registry
from conceptbasis.judges.base import Judge
from conceptbasis.judges.first_token import FIRST_TOKEN
from conceptbasis.judges.hostility import HOSTILITY
from conceptbasis.judges.model import MODEL
from conceptbasis.judges.phrases import PHRASES

JUDGES: Registry[Judge] = Registry("judge", (PHRASES, FIRST_TOKEN, MODEL, HOSTILITY))
"""Every judge by name. A behavior names its primary one; the others are measured beside it."""

register, find_judge = JUDGES.register, JUDGES.find
