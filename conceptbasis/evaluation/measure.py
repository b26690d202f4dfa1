"""Measures the target under one condition: every prompt's outcome, nothing summarised yet."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from conceptbasis.config.evaluation import EvaluateSection
from conceptbasis.data.prompts import Prompt, PromptSuite, Text
from conceptbasis.edits.intervention import apply_intervention
from conceptbasis.evaluation.conditions import Condition
from conceptbasis.judges.model import JudgeModel
from conceptbasis.judges.phrases import VERDICTS, Kind, read_answer
from conceptbasis.models.loading.load import LoadedModel
from conceptbasis.models.stream.edit_report import EditReport
from conceptbasis.models.stream.hooks import splice
from conceptbasis.models.stream.native import first_token_kl
from conceptbasis.models.text.divergence import answer_kl
from conceptbasis.models.text.generation import answer_tokens, complete, text_nll
from conceptbasis.runs.executor import map_unordered
from conceptbasis.runs.files import read_json, value_hash, write_json
from conceptbasis.runs.progress import Advance
from conceptbasis.saes.sae import Sae

SETS = {
    "harmful": "eval_harmful",
    "safe": "eval_harmless",
    "mentions": "eval_mentions",
    "declines": "eval_declines",
    "arithmetic": "eval_arithmetic",
}
N_EXAMPLES = 8
_FIRST_TOKENS = ("harmful", "safe")
"""Sets of which the first token is judged too."""


@dataclass(frozen=True)
class Outcome:
    """Every prompt's outcome under one condition.

    Args:
        kinds: By set, what the phrase judge says each answer is.
        correct: By set, exact match per prompt; None where the true answer is unknown.
        judged: The judging model's verdicts on harmful prompts, None where it has none; empty
            without a judging model.
        refusal_token: Whether the first answer token is more likely than not a refusal token.
        kl: First-token KL to the untouched model on harmless prompts, nats.
        answer_kl: The same over the tokens of the untouched model's answers, mean per prompt.
        nll: Summed negative log-likelihood of the benign texts, and their tokens.
        edited: What was edited, as (done, of).
        answers: The first answers to harmful prompts.
    """

    kinds: Mapping[str, Sequence[Kind]]
    correct: Mapping[str, Sequence[bool | None]]
    judged: Sequence[bool | None]
    behavior_token: Sequence[bool]
    kl: Sequence[float]
    answer_kl: Sequence[float]
    nll: tuple[float, int]
    edited: Mapping[str, Sequence[int]]
    answers: Sequence[str]

    def refused(self, name: str) -> list[bool | None]:
        """The phrase judge's verdicts on a set, None where it has none; empty without the set."""
        return [VERDICTS.get(kind) for kind in self.kinds.get(name, ())]


OUTCOME_FIELDS = tuple(field.name for field in fields(Outcome))
"""Part of every outcome's key, so that outcomes of an older form are measured again."""


@dataclass(frozen=True)
class Bench:
    """What all conditions of an evaluation share.

    Args:
        loaded: The target.
        saes: Its SAEs.
        suite: The prompts.
        section: Settings.
        texts: Benign texts for perplexity.
        untouched: First-token logits of the untouched target on harmless prompts.
        untouched_answers: Its answers to the first of them.
        refusal_tokens: The target's refusal tokens.
        n_workers: Processes that measure.
        judge: The judging model, if there is one.
        key: Hash of all that the outcomes depend on beside the condition.
        drafts: By prompt, tokens of answers that it may have under a condition.
    """

    loaded: LoadedModel
    saes: Mapping[int, Sae]
    suite: PromptSuite
    section: EvaluateSection
    texts: Sequence[Text]
    untouched: Tensor
    untouched_answers: list[str]
    behavior_tokens: Tensor
    n_workers: int
    judge: JudgeModel | None
    key: str
    drafts: Mapping[str, Sequence[Sequence[int]]] = field(default_factory=dict)


def prompts_of(bench: Bench, name: str, condition: Condition) -> Sequence[Prompt]:
    """The prompts of a set that a condition is measured on; empty if the suite lacks the set."""
    if name in condition.without or not bench.suite.has(SETS[name]):
        return ()
    prompts = bench.suite[SETS[name]][: bench.section.n_prompts]
    return prompts[: condition.n_prompts] if name not in condition.in_full else prompts


def measure_condition(bench: Bench, condition: Condition) -> Outcome:
    """Puts the target under a condition and measures everything."""
    sets = {name: prompts_of(bench, name, condition) for name in SETS}
    with _under(bench, condition) as report:
        answers, first = _answer(bench, sets)
        nll, tokens = text_nll(bench.loaded, [t.as_messages() for t in bench.texts], batch_size=128)
    p_behavior = torch.stack(first["harmful"]).softmax(-1)[:, bench.behavior_tokens].sum(-1)
    after = torch.stack(first["safe"])
    known = sets["safe"][: len(bench.untouched_answers)]
    answer_kls = answer_kl(
        bench.loaded,
        [p.text for p in known],
        bench.untouched_answers[: len(known)],
        lambda: _under(bench, condition),
    )
    return Outcome(
        {name: [read_answer(a) for a in found] for name, found in answers.items()},
        {
            name: [_is_right(a, p) for a, p in zip(found, sets[name], strict=True)]
            for name, found in answers.items()
        },
        _judged(bench, sets["harmful"], answers.get("harmful", [])),
        (p_behavior > 0.5).tolist(),
        first_token_kl(bench.untouched[: len(after)], after).tolist(),
        answer_kls,
        (float(nll.sum()), int(tokens.sum())),
        {k: list(v) for k, v in report.as_dict().items()},
        answers.get("harmful", [])[:N_EXAMPLES],
    )


def _answer(
    bench: Bench, sets: Mapping[str, Sequence[Prompt]]
) -> tuple[dict[str, list[str]], dict[str, list[Tensor]]]:
    """Answers to all sets in one go, and the first token's logits of those that need them."""
    asked = [(name, p) for name, prompts in sets.items() for p in prompts]
    found = complete(
        bench.loaded,
        [p.text for _, p in asked],
        max_new_tokens=bench.section.max_new_tokens,
        batch_size=bench.section.batch_size,
        drafts=[bench.drafts.get(p.text, ()) for _, p in asked],
        logits_of=[i for i, (name, _) in enumerate(asked) if name in _FIRST_TOKENS],
    )
    answers: dict[str, list[str]] = {}
    first: dict[str, list[Tensor]] = {name: [] for name in _FIRST_TOKENS}
    for i, ((name, _), text) in enumerate(zip(asked, found.texts, strict=True)):
        answers.setdefault(name, []).append(text)
        if name in first:
            first[name].append(found.first_logits[i])
    return answers, first


def _draft(bench: Bench, conditions: Sequence[Condition]) -> dict[str, list[list[int]]]:
    """What the untouched target answers, and what is true: most answers under a condition are
    one of the two."""
    prompts = list(
        {
            p.text: p for c in conditions for name in SETS for p in prompts_of(bench, name, c)
        }.values()
    )
    texts = [p.text for p in prompts]
    true = answer_tokens(bench.loaded, texts, [p.answer for p in prompts])
    known = [[tokens] if tokens else [] for tokens in true]
    untouched = complete(
        bench.loaded,
        texts,
        max_new_tokens=bench.section.max_new_tokens,
        batch_size=bench.section.batch_size,
        drafts=known,
    ).tokens
    return {
        text: [own, *(t for t in others if t != own)]
        for text, own, others in zip(texts, untouched, known, strict=True)
    }


def _judged(bench: Bench, prompts: Sequence[Prompt], answers: list[str]) -> list[bool | None]:
    if bench.judge is None:
        return []
    return bench.judge.judge([p.text for p in prompts], answers)


@contextmanager
def _under(bench: Bench, condition: Condition) -> Iterator[EditReport]:
    n_layers = bench.loaded.architecture.n_layers
    nothing = EditReport((0, n_layers), (0, 0), (0, 0), (0, 0))
    if condition.splice:
        with splice(bench.loaded, {i: bench.saes[i].reconstruct for i in condition.splice}):
            yield nothing
    elif condition.intervention is not None:
        with apply_intervention(bench.loaded, condition.intervention) as report:
            yield report
    else:
        yield nothing


def _is_right(answer: str, prompt: Prompt) -> bool | None:
    return None if prompt.answer is None else answer.split() == prompt.answer.split()


def measure_all(
    bench: Bench,
    conditions: Sequence[Condition],
    folder: Path,
    advance: Advance,
) -> list[Outcome]:
    """Measures conditions, several at a time; each finished one is kept on disk and reused.

    Conditions that do the same (`no_guard` where the guard is zero) are measured once.

    Args:
        bench: What they share.
        conditions: What is measured.
        folder: Where outcomes are kept.
        advance: Told how many are done, of how many, and which.
    """
    paths = [folder / f"{c.name}_{c.draw:02d}.json" for c in conditions]
    keys = [_key(bench, c) for c in conditions]
    same: dict[str, list[int]] = {}
    for i, (path, key) in enumerate(zip(paths, keys, strict=True)):
        if not _is_done(path, key):
            same.setdefault(key, []).append(i)
    open_ones = [group[0] for group in same.values()]
    if open_ones:
        bench = replace(bench, drafts=_draft(bench, [conditions[i] for i in open_ones]))
    measured = map_unordered(
        lambda i: measure_condition(bench, conditions[i]),
        open_ones,
        n_workers=bench.n_workers,
        device=bench.loaded.device.type,
    )
    for done, (place, outcome) in enumerate(measured, 1):
        i = open_ones[place]
        for twin in same[keys[i]]:
            write_json(paths[twin], {"key": keys[i], "outcome": asdict(outcome)})
        advance(done, len(open_ones), conditions[i].name)
    return [Outcome(**read_json(path, ("key", "outcome"))["outcome"]) for path in paths]


def _key(bench: Bench, condition: Condition) -> str:
    edit = condition.intervention
    parts: list[Any] = [bench.key, condition.splice, condition.n_prompts, condition.in_full]
    parts += [condition.without]
    if edit is not None:
        parts += [edit.layers, edit.mode, edit.scope, edit.gamma, edit.amounts, edit.which]
        parts += [edit.directions.tolist()]
        if edit.mode in ("affine", "raise") and edit.means is not None:
            parts += [edit.means.tolist()]
        if edit.gates is not None:
            parts += [edit.gates.tolist(), edit.thresholds]
    return value_hash(parts)


def _is_done(path: Path, key: str) -> bool:
    return path.exists() and read_json(path, ("key", "outcome"))["key"] == key
