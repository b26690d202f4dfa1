"""What the target may read before evaluation, and what it was shown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from conceptbasis.config.budgets import budget_allows, find_class
from conceptbasis.data.prompts import Text
from conceptbasis.errors import PromptError
from conceptbasis.results.harvest import Shown


class Ledger:
    """Admits texts to the target by class, and counts what results say was shown.

    The target's model asks `gate` before it reads anything: only admitted texts pass, until `seal`
    marks the moment at which the transfer's artifacts are hashed. Only then may the target's
    labels (budget B2) be read.

    Args:
        budget: What is allowed before the seal.
    """

    def __init__(self, budget: str) -> None:
        self.budget = budget
        self.hashes: Mapping[str, str] | None = None
        self._admitted: set[str] = set()
        self._booked: dict[str, tuple[Shown, ...]] = {}

    def allow(self, texts: Iterable[Text]) -> None:
        """Admits texts of classes that the budget allows.

        Raises:
            PromptError: if the budget does not allow a class.
        """
        for text in texts:
            self._require(text.text_class)
            if isinstance(text.content, str):
                self._admitted.add(text.content)
            else:
                self._admitted.update(part for _, part in text.content)

    def gate(self, texts: Sequence[str | list[dict[str, str]]]) -> None:
        """Refuses texts that were not admitted; after the seal everything passes.

        Raises:
            PromptError: naming no text, since it may be one that is redacted.
        """
        if self.hashes is not None:
            return
        for text in texts:
            parts = [text] if isinstance(text, str) else [message["content"] for message in text]
            if not all(part in self._admitted for part in parts):
                raise PromptError(
                    "a text that was not booked would reach the target before the seal",
                    expected="texts that the ledger admitted (`Ledger.allow`)",
                    fix="book the text with its class first; this is a defect of the caller",
                )

    def book(self, origin: str, shown: Iterable[Shown]) -> None:
        """Counts what one result says the target was shown; booked again, it replaces the last.

        Raises:
            PromptError: if the budget does not allow a class.
        """
        entries = tuple(shown)
        for entry in entries:
            self._require(entry.text_class)
        self._booked[origin] = entries

    def _require(self, text_class: str) -> None:
        needed = find_class(text_class).needs
        if not budget_allows(self.budget, needed):
            raise PromptError(
                f"text of class {text_class!r} would reach the target at budget {self.budget}",
                expected=f"classes that {self.budget} allows; {text_class!r} needs {needed}",
                fix="remove that text, or choose a wider `budget`",
            )

    def seal(self, hashes: Mapping[str, str]) -> None:
        """Marks the transfer's artifacts as final, by their hashes."""
        self.hashes = dict(hashes)

    def require_sealed(self) -> Mapping[str, str]:
        """The hashes of the sealed transfer.

        Raises:
            PromptError: if the target's labels would be read before the seal.
        """
        if self.hashes is None:
            raise PromptError(
                "the target's labels would be read before the transfer is final",
                expected="the hashes of the transfer's artifacts",
                fix="run stages that read labels after the seal; this is a defect of the caller",
            )
        return self.hashes

    @property
    def shown(self) -> tuple[Shown, ...]:
        """Texts and sites by class, over everything that was booked."""
        found: dict[str, list[int]] = {}
        for entry in (e for entries in self._booked.values() for e in entries):
            counts = found.setdefault(entry.text_class, [0, 0])
            counts[0] += entry.texts
            counts[1] += entry.sites
        return tuple(Shown(name, texts, sites) for name, (texts, sites) in sorted(found.items()))
