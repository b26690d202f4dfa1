"""The one table of budgets and of text classes: what the target may read before evaluation.

A new budget or class of text is one row; everything else asks the functions below.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Annotated

from pydantic import AfterValidator

from conceptbasis.errors import ConfigError


@dataclass(frozen=True)
class Budget:
    """What the target may read before evaluation (docs/method.md, "Budgets").

    Args:
        name: Its name in the configuration.
        positive: Whether its texts may hold prompts that show the behavior.
        meaning: What it allows beyond the budget before it.
        also: Classes that it allows although their own rows need a wider budget.
    """

    name: str
    positive: bool
    meaning: str
    also: tuple[str, ...] = ()


@dataclass(frozen=True)
class TextClass:
    """What a shared text is.

    Args:
        name: Its name in files of texts and in the ledger.
        needs: The strictest budget that allows it in front of the target.
        benign: Whether models behave on it as they were taught. A statement in place of a request
            (`mention_turns`) is not benign, since some models refuse it.
        request: Whether it holds requests that a model answers; at their ends the model would
            decide to show the behavior.
        concept_of: The budget whose concepts' prompts the ledger books under this class.
        is_text: False where it books prompts only and no text has this class.
    """

    name: str
    needs: str
    benign: bool = False
    request: bool = False
    concept_of: str | None = None
    is_text: bool = True


BUDGETS: list[Budget] = [
    Budget("B0", False, "benign text without polite refusals"),
    Budget("B0d", False, "benign requests that are politely declined"),
    Budget("B1", True, "positive prompts without the target's answers"),
    Budget("B2", True, "positive prompts with answers that show the behavior"),
]
"""From the strictest to the widest; each allows what those before it allow."""

TEXT_CLASSES: list[TextClass] = [
    TextClass("chat", "B0", benign=True, request=True),
    TextClass("arithmetic", "B0", benign=True, request=True),
    TextClass("greetings", "B0", benign=True, request=True),
    TextClass("mentions", "B0", benign=True),
    TextClass("definitions", "B0", benign=True),
    TextClass("mention_turns", "B0"),
    TextClass("concepts", "B0", concept_of="B0", is_text=False),
    TextClass("declines", "B0d", benign=True, concept_of="B0d"),
    TextClass("harmful_requests", "B1", concept_of="B1"),
    TextClass("refusals", "B2", concept_of="B2"),
]


def budget_names() -> tuple[str, ...]:
    """Names of the budgets, from the strictest to the widest."""
    return tuple(row.name for row in BUDGETS)


def budget_allows(budget: str, needed: str) -> bool:
    """Whether text that needs budget `needed` may be shown under `budget`."""
    names = budget_names()
    return names.index(needed) <= names.index(budget)


def find_class(name: str) -> TextClass:
    """The class of texts with a name; `needs` is the strictest budget that allows it.

    Raises:
        ConfigError: if there is none.
    """
    for row in TEXT_CLASSES:
        if row.name == name:
            also = next((budget.name for budget in BUDGETS if name in budget.also), row.needs)
            return replace(row, needs=also if budget_allows(row.needs, also) else row.needs)
    raise ConfigError(
        f"unknown class of text {name!r}",
        expected="one of " + ", ".join(row.name for row in TEXT_CLASSES),
        fix="correct it, or add a row to conceptbasis/config/budgets.py",
    )


def class_names(wanted: Callable[[TextClass], bool] = lambda row: True) -> tuple[str, ...]:
    """Names of the classes that fit, in the order of the table."""
    return tuple(row.name for row in TEXT_CLASSES if wanted(row))


def benign_classes() -> tuple[str, ...]:
    """Classes on which models behave as they were taught."""
    return class_names(lambda row: row.benign)


def request_classes() -> tuple[str, ...]:
    """Classes that hold requests a model answers."""
    return class_names(lambda row: row.request)


def allowed_classes(budget: str) -> tuple[str, ...]:
    """Classes that a budget allows in front of the target."""
    return class_names(lambda row: budget_allows(budget, find_class(row.name).needs))


def concept_class(budget: str) -> str:
    """The class under which the ledger books the prompts of a concept of a budget.

    Concepts of a budget without a class of its own are booked under that of the next stricter
    one, or of the strictest there is.
    """
    rows = {row.concept_of: row.name for row in TEXT_CLASSES if row.concept_of}
    known = [name for name in budget_names() if name in rows]
    stricter = [name for name in known if budget_allows(budget, name)]
    return rows[stricter[-1] if stricter else known[0]]


def may_be_positive(text_class: str) -> bool:
    """Whether texts of a class may hold prompts that show the behavior."""
    needs = find_class(text_class).needs
    return next(row.positive for row in BUDGETS if row.name == needs)


def _known_budget(name: str) -> str:
    if name not in budget_names():
        raise ValueError(f"{name!r} is no budget; give one of {', '.join(budget_names())}")
    return name


def _known_class(name: str) -> str:
    known = class_names(lambda row: row.is_text)
    if name not in known:
        raise ValueError(f"{name!r} is no class of texts; give one of {', '.join(known)}")
    return name


BudgetName = Annotated[str, AfterValidator(_known_budget)]
"""A key of the configuration that names a budget."""

TextClassName = Annotated[str, AfterValidator(_known_class)]
"""A key of the configuration that names a class of texts."""
