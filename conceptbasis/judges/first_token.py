"""The first token as judge: is it more likely than not one that opens the behavior?

The tokens are those that positive prompts make likelier in the untouched model. It reads no words,
so it works for any behavior and any language.

Source: Arditi et al. 2024 (2406.11717), section 2.3.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from conceptbasis.judges.base import Answers, Judge, Verdict

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor


def judge_first_token(
    logits: Float[Tensor, "n d_vocab"], tokens: Int[Tensor, " n_tokens"]
) -> list[bool]:
    """Whether the behavior's first tokens have more than half of the probability together.

    Args:
        logits: Logits of the first answer token, one row per prompt.
        tokens: First tokens that open the behavior.
    """
    return (logits.softmax(-1)[:, tokens].sum(-1) > 0.5).tolist()


def _verdicts(answers: Answers) -> list[Verdict]:
    assert answers.first_logits is not None
    assert answers.behavior_tokens is not None
    return list(judge_first_token(answers.first_logits, answers.behavior_tokens))


FIRST_TOKEN = Judge("first_token", "first token", ("first_logits",), _verdicts)
