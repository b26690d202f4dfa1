"""What a judge is: it says of each answer whether it shows the behavior."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor

    from conceptbasis.judges.model import JudgeModel

Verdict: TypeAlias = bool | None
"""Whether an answer shows the behavior; None where the judge cannot tell."""

Need: TypeAlias = Literal["answers", "first_logits", "model"]


@dataclass(frozen=True)
class Answers:
    """What judges may read.

    Args:
        prompts: What was asked.
        answers: What was answered, in the same order; empty where only first tokens were read.
        first_logits: Logits of the first answer token.
        behavior_tokens: First tokens that open an answer with the behavior.
        model: A judging model.
    """

    prompts: Sequence[str] = ()
    answers: Sequence[str] = ()
    first_logits: Float[Tensor, "n d_vocab"] | None = None
    behavior_tokens: Int[Tensor, " n_tokens"] | None = None
    model: JudgeModel | None = None


@dataclass(frozen=True)
class JudgeError:
    """What a judge says of answers whose kind is known, and that it was not fitted to.

    Answers that it does not score count in neither, as they count in no rate.

    Args:
        sensitivity: Of scored answers that show the behavior: (said to show it, of).
        specificity: Of scored answers that do not: (said not to, of).
        measured_on: What these answers are, for readers.
    """

    sensitivity: tuple[int, int]
    specificity: tuple[int, int]
    measured_on: str


@dataclass(frozen=True)
class Judge:
    """One judge; each is a file of `judges/` and a row of the registry.

    Args:
        name: Its name in results.
        label: Its name for readers.
        needs: Fields of `Answers` that it reads.
        verdicts: The verdict on each answer, None where it has none.
        read: What one answer is, one of `kinds`; None for a judge that knows verdicts only.
        kinds: Every kind of answer with its verdict.
        behavior: The only behavior that it knows; None for a judge of any.
        error: How often it errs; None where nobody has measured it.
    """

    name: str
    label: str
    needs: tuple[Need, ...]
    verdicts: Callable[[Answers], list[Verdict]]
    read: Callable[[str], str] | None = None
    kinds: Mapping[str, Verdict] = field(default_factory=dict)
    behavior: str | None = None
    error: JudgeError | None = None

    def can_read(self, answers: Answers) -> bool:
        """Whether all that the judge needs is there."""
        found = {
            "answers": bool(answers.answers),
            "first_logits": answers.first_logits is not None,
            "model": answers.model is not None,
        }
        return all(found[need] for need in self.needs)
