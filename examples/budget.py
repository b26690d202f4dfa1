"""A budget in one row: benign text and concepts only, without statements that name a topic."""

from __future__ import annotations

from conceptbasis.config.budgets import BUDGETS, Budget

BUDGETS.insert(0, Budget("Bplain", False, "nothing yet: raise classes to it in TEXT_CLASSES"))
