"""What the target was shown before evaluation, and the guarantee that it was allowed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from conceptbasis.config.budgets import budget_allows, find_class
from conceptbasis.data.prompts import Text
from conceptbasis.errors import PromptError


class Ledger:
    """Counts the texts and sites of each class that the target reads, and refuses the rest.

    Everything on the target's side of a transfer passes through `show` before it reaches the
    target. `seal` marks the moment at which the transfer's artifacts are hashed; only then may
    the target's refusal labels (budget B2) be read.

    Args:
        budget: What is allowed before the seal.
    """

    def __init__(self, budget: str) -> None:
        self.budget = budget
        self.hashes: Mapping[str, str] | None = None
        self._entries: dict[str, list[int]] = {}

    def show(self, text_class: str, n_texts: int, n_sites: int) -> None:
        """Records that the target reads texts of a class.

        Raises:
            PromptError: if the budget does not allow that class.
        """
        needed = find_class(text_class).needs
        if not budget_allows(self.budget, needed):
            raise PromptError(
                f"text of class {text_class!r} would reach the target at budget {self.budget}",
                expected=f"classes that {self.budget} allows; {text_class!r} needs {needed}",
                fix="remove that text, or choose a wider `budget`",
            )
        entry = self._entries.setdefault(text_class, [0, 0])
        entry[0] += n_texts
        entry[1] += n_sites

    def show_texts(self, texts: Iterable[Text], sites: Mapping[str, int] | None = None) -> None:
        """Records a collection of texts by class; `sites` counts aligned sites by class."""
        counts: dict[str, int] = {}
        for text in texts:
            counts[text.text_class] = counts.get(text.text_class, 0) + 1
        for text_class, n in counts.items():
            self.show(text_class, n, (sites or {}).get(text_class, 0))

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
                "the target's refusal labels would be read before the transfer is final",
                expected="the hashes of the transfer's artifacts",
                fix="call seal after the last transfer stage; this is a defect of the caller",
            )
        return self.hashes

    def as_list(self) -> list[dict[str, str | int]]:
        """One entry per class, as it stands in the summary of a run."""
        return [
            {"class": name, "texts": texts, "sites": sites}
            for name, (texts, sites) in sorted(self._entries.items())
        ]
