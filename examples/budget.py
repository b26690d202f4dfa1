"""A budget in one row: benign requests only, without statements that name a topic.

conceptbasis demo --set extensions='[examples/budget.py]' --set budget=Bplain
"""

from __future__ import annotations

from conceptbasis.config.budgets import BUDGETS, Budget

PLAIN = ("chat", "arithmetic", "greetings")
BUDGETS.insert(0, Budget("Bplain", False, "requests only", also=PLAIN))
