"""Measures the target under trials: every prompt's outcome, nothing summarised yet."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from conceptbasis.data.prompts import Prompt
from conceptbasis.edits.intervention import apply_intervention
from conceptbasis.evaluation.bench import Bench
from conceptbasis.evaluation.relevance import judge_relevance
from conceptbasis.evaluation.trials import Sets, Trial, prompts_of
from conceptbasis.judges import JUDGES, find_judge
from conceptbasis.judges.base import Answers, Judge, Verdict
from conceptbasis.models.stream.edit_report import EditReport
from conceptbasis.models.stream.first_token import first_token_kl
from conceptbasis.models.stream.hooks import splice
from conceptbasis.models.text.divergence import answer_kl
from conceptbasis.models.text.generation import answer_tokens, complete, text_nll
from conceptbasis.runs.code import code_of
from conceptbasis.runs.executor import run_all
from conceptbasis.runs.files import read_json, value_hash, write_json
from conceptbasis.runs.progress import Advance
from conceptbasis.runs.storage import from_json, to_json

N_EXAMPLES = 8
POSITIVE = "positive"
"""Short name of the set of positive prompts."""


@dataclass(frozen=True)
class Outcome:
    """Every prompt's outcome under one trial.

    Args:
        verdicts: By set, the primary judge's verdicts, None where it has none.
        judges: By judge, verdicts on positive prompts; the primary one is the first.
        kinds: What each answer to a positive prompt is; empty for a judge that knows no kinds.
        correct: By set, exact match per prompt; None where the true answer is unknown.
        kl: First-token KL to the untouched model on negative prompts, nats.
        answer_kl: The same over the tokens of the untouched model's answers, mean per prompt.
        nll: Summed negative log-likelihood of the benign texts, and their tokens.
        edited: What was edited, as (done, of).
        answers: The first answers to positive prompts.
    """

    verdicts: Mapping[str, tuple[bool | None, ...]]
    judges: Mapping[str, tuple[bool | None, ...]]
    kinds: tuple[str, ...]
    correct: Mapping[str, tuple[bool | None, ...]]
    kl: tuple[float, ...]
    answer_kl: tuple[float, ...]
    nll: tuple[float, int]
    edited: Mapping[str, tuple[int, int]]
    answers: tuple[str, ...]


@dataclass(frozen=True)
class Kept:
    """An outcome on disk, with the key of what it was measured under."""

    key: str
    outcome: Outcome


def measure_trial(bench: Bench, trial: Trial) -> Outcome:
    """Puts the target under a trial and measures everything."""
    sets = prompts_of(bench.sets, trial)
    with under(bench, trial) as report:
        given = _answer(bench, sets)
        nll, tokens = text_nll(bench.loaded, [t.as_messages() for t in bench.texts], batch_size=128)
    judge, positive = find_judge(bench.behavior.judge), given[POSITIVE]
    after = given[bench.negative].first_logits
    assert after is not None
    known = sets[bench.negative][: len(bench.untouched_answers)]
    answer_kls = answer_kl(
        bench.loaded,
        [p.text for p in known],
        list(bench.untouched_answers[: len(known)]),
        lambda: under(bench, trial),
    )
    verdicts = {name: tuple(judge.verdicts(found)) for name, found in given.items()}
    return Outcome(
        verdicts=verdicts,
        judges=_by_judge(judge, bench.behavior.name, positive),
        kinds=() if judge.read is None else tuple(map(judge.read, positive.answers)),
        correct=_correct(bench, sets, given, verdicts),
        kl=tuple(first_token_kl(bench.untouched[: len(after)], after).tolist()),
        answer_kl=tuple(answer_kls),
        nll=(float(nll.sum()), int(tokens.sum())),
        edited=report.as_dict(),
        answers=tuple(positive.answers[:N_EXAMPLES]),
    )


def _by_judge(primary: Judge, behavior: str, positive: Answers) -> dict[str, tuple[Verdict, ...]]:
    others = [j for j in JUDGES.values() if j is not primary and j.behavior in (None, behavior)]
    able = [primary, *(j for j in others if j.can_read(positive))]
    return {judge.name: tuple(judge.verdicts(positive)) for judge in able}


def _answer(bench: Bench, sets: Sets) -> dict[str, Answers]:
    """Answers to all sets in one go, with the first token's logits of those that need them."""
    asked = [(name, p) for name, prompts in sets.items() for p in prompts]
    needs = find_judge(bench.behavior.judge).needs
    judged = set(sets) if "first_logits" in needs else {POSITIVE, bench.negative}
    found = complete(
        bench.loaded,
        [p.text for _, p in asked],
        max_new_tokens=bench.section.max_new_tokens,
        batch_size=bench.section.batch_size,
        drafts=[bench.drafts.get(p.text, ()) for _, p in asked],
        logits_of=[i for i, (name, _) in enumerate(asked) if name in judged],
    )
    given: dict[str, Answers] = {}
    for name, prompts in sets.items():
        own = [i for i, (of, _) in enumerate(asked) if of == name]
        logits = [found.first_logits[i] for i in own if name in judged]
        given[name] = Answers(
            [p.text for p in prompts],
            [found.texts[i] for i in own],
            torch.stack(logits) if logits else None,
            bench.behavior_tokens,
            bench.judge,
        )
    return given


def _draft(bench: Bench, trials: Sequence[Trial]) -> dict[str, list[list[int]]]:
    """What the untouched target answers, and what is true: most answers under a trial are one of
    the two."""
    asked = (p for t in trials for group in prompts_of(bench.sets, t).values() for p in group)
    prompts = list({p.text: p for p in asked}.values())
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


@contextmanager
def under(bench: Bench, trial: Trial) -> Iterator[EditReport]:
    """The context in which the target is as a trial has it.

    Args:
        bench: Gives target and SAEs.
        trial: What is done.
    """
    treatment, n_layers = trial.treatment, bench.loaded.architecture.n_layers
    nothing = EditReport((0, n_layers), (0, 0), (0, 0), (0, 0))
    if treatment.splice:
        with splice(bench.loaded, {i: bench.saes[i].reconstruct for i in treatment.splice}):
            yield nothing
    elif treatment.edit is not None:
        with apply_intervention(bench.loaded, treatment.edit) as report:
            yield report
    else:
        yield nothing


def _correct(
    bench: Bench,
    sets: Sets,
    given: Mapping[str, Answers],
    verdicts: Mapping[str, Sequence[Verdict]],
) -> dict[str, tuple[bool | None, ...]]:
    """Exact match where the truth is known; else, on requests, whether it is a relevant answer.

    The model is the untouched one here: relevance is judged outside the edit.
    """
    correct = {
        name: tuple(_is_right(a, p) for a, p in zip(found.answers, sets[name], strict=True))
        for name, found in given.items()
    }
    for name in (POSITIVE, bench.negative):
        n = min(bench.section.n_relevance, len(sets[name]))
        if n and all(c is None for c in correct[name]):
            # What is no answer (a refusal, an empty or broken text) needs no judging.
            judged = zip(given[name].answers[:n], verdicts[name], strict=False)
            said = [answer if verdict is False else "" for answer, verdict in judged]
            fits = _relevance(bench, name, said)
            rest = (None,) * (len(sets[name]) - n)
            correct[name] = (*(fit is True for fit in fits), *rest)
    return correct


def _relevance(bench: Bench, name: str, said: Sequence[str]) -> list[bool | None]:
    """Whether answers fit their prompts; what was judged under another trial is not read again."""
    known, prompts, judge = bench.relevance, bench.sets[name], bench.reference or bench.loaded
    keys = [(name, i, answer) for i, answer in enumerate(said)]
    new = [answer if key not in known else "" for key, answer in zip(keys, said, strict=True)]
    for key, fit in zip(keys, judge_relevance(judge, prompts, new), strict=True):
        known.setdefault(key, fit)
    return [known[key] for key in keys]


def _is_right(answer: str, prompt: Prompt) -> bool | None:
    return None if prompt.answer is None else answer.split() == prompt.answer.split()


def measure_all(
    bench: Bench, trials: Sequence[Trial], folder: Path, advance: Advance
) -> list[Outcome]:
    """Measures trials, several at a time; each finished one is kept on disk and reused.

    Trials that do the same (`no_guard` where the guard is zero) are measured once.

    Args:
        bench: What they share.
        trials: What is measured.
        folder: Where outcomes are kept.
        advance: Told how many are done, of how many, and which.
    """
    paths = [folder / f"{t.name}_{t.draw:02d}.json" for t in trials]
    code = value_hash(code_of(measure_trial))
    keys = [
        value_hash([bench.key, code, content_hash(replace(t, name="", draw=0))]) for t in trials
    ]
    same: dict[str, list[int]] = {}
    for i, (path, key) in enumerate(zip(paths, keys, strict=True)):
        if not _is_done(path, key):
            same.setdefault(key, []).append(i)
    open_ones = [group[0] for group in same.values()]
    if open_ones:
        bench = replace(bench, drafts=_draft(bench, [trials[i] for i in open_ones]))
    measured = run_all(
        measure_trial,
        bench,
        [trials[i] for i in open_ones],
        workers=bench.n_workers,
        device=bench.loaded.device.type,
    )
    for done, (place, outcome) in enumerate(measured, 1):
        i = open_ones[place]
        for twin in same[keys[i]]:
            write_json(paths[twin], to_json(Kept(keys[i], outcome)))
        advance(done, len(open_ones), trials[i].name)
    return [from_json(Kept, read_json(path), path).outcome for path in paths]


def content_hash(value: object) -> str:
    """Hash of everything that a dataclass holds, its tensors by their values."""
    tensors: dict[str, Tensor] = {}
    plain = to_json(value, tensors)
    return value_hash([plain, {name: tensor.tolist() for name, tensor in tensors.items()}])


def _is_done(path: Path, key: str) -> bool:
    return path.exists() and read_json(path, ("key", "outcome"))["key"] == key
