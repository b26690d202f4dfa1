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
from conceptbasis.evaluation.trials import Sets, Trial, prompts_of
from conceptbasis.judges.phrases import VERDICTS, Kind, read_answer
from conceptbasis.models.stream.edit_report import EditReport
from conceptbasis.models.stream.hooks import splice
from conceptbasis.models.stream.native import first_token_kl
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
        kinds: By set, what the phrase judge says each answer is.
        correct: By set, exact match per prompt; None where the true answer is unknown.
        judged: The judging model's verdicts on positive prompts, None where it has none; empty
            without a judging model.
        behavior_token: Whether the first answer token is more likely than not one of the behavior.
        kl: First-token KL to the untouched model on negative prompts, nats.
        answer_kl: The same over the tokens of the untouched model's answers, mean per prompt.
        nll: Summed negative log-likelihood of the benign texts, and their tokens.
        edited: What was edited, as (done, of).
        answers: The first answers to positive prompts.
    """

    kinds: Mapping[str, tuple[Kind, ...]]
    correct: Mapping[str, tuple[bool | None, ...]]
    judged: tuple[bool | None, ...]
    behavior_token: tuple[bool, ...]
    kl: tuple[float, ...]
    answer_kl: tuple[float, ...]
    nll: tuple[float, int]
    edited: Mapping[str, tuple[int, int]]
    answers: tuple[str, ...]

    def verdicts(self, name: str) -> list[bool | None]:
        """The phrase judge's verdicts on a set, None where it has none; empty without the set."""
        return [VERDICTS.get(kind) for kind in self.kinds.get(name, ())]


@dataclass(frozen=True)
class Kept:
    """An outcome on disk, with the key of what it was measured under."""

    key: str
    outcome: Outcome


def measure_trial(bench: Bench, trial: Trial) -> Outcome:
    """Puts the target under a trial and measures everything."""
    sets = prompts_of(bench.sets, trial)
    with _under(bench, trial) as report:
        answers, first = _answer(bench, sets)
        nll, tokens = text_nll(bench.loaded, [t.as_messages() for t in bench.texts], batch_size=128)
    p_behavior = torch.stack(first[POSITIVE]).softmax(-1)[:, bench.behavior_tokens].sum(-1)
    after = torch.stack(first[bench.negative])
    known = sets[bench.negative][: len(bench.untouched_answers)]
    answer_kls = answer_kl(
        bench.loaded,
        [p.text for p in known],
        list(bench.untouched_answers[: len(known)]),
        lambda: _under(bench, trial),
    )
    return Outcome(
        {name: tuple(map(read_answer, found)) for name, found in answers.items()},
        {
            name: tuple(_is_right(a, p) for a, p in zip(found, sets[name], strict=True))
            for name, found in answers.items()
        },
        _judged(bench, sets[POSITIVE], answers[POSITIVE]),
        tuple((p_behavior > 0.5).tolist()),
        tuple(first_token_kl(bench.untouched[: len(after)], after).tolist()),
        tuple(answer_kls),
        (float(nll.sum()), int(tokens.sum())),
        report.as_dict(),
        tuple(answers[POSITIVE][:N_EXAMPLES]),
    )


def _answer(bench: Bench, sets: Sets) -> tuple[dict[str, list[str]], dict[str, list[Tensor]]]:
    """Answers to all sets in one go, and the first token's logits of those that need them."""
    asked = [(name, p) for name, prompts in sets.items() for p in prompts]
    judged = (POSITIVE, bench.negative)
    found = complete(
        bench.loaded,
        [p.text for _, p in asked],
        max_new_tokens=bench.section.max_new_tokens,
        batch_size=bench.section.batch_size,
        drafts=[bench.drafts.get(p.text, ()) for _, p in asked],
        logits_of=[i for i, (name, _) in enumerate(asked) if name in judged],
    )
    answers: dict[str, list[str]] = {}
    first: dict[str, list[Tensor]] = {name: [] for name in judged}
    for i, ((name, _), text) in enumerate(zip(asked, found.texts, strict=True)):
        answers.setdefault(name, []).append(text)
        if name in first:
            first[name].append(found.first_logits[i])
    return answers, first


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


def _judged(
    bench: Bench, prompts: Sequence[Prompt], answers: list[str]
) -> tuple[bool | None, ...]:
    if bench.judge is None:
        return ()
    return tuple(bench.judge.judge([p.text for p in prompts], answers))


@contextmanager
def _under(bench: Bench, trial: Trial) -> Iterator[EditReport]:
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
    keys = [value_hash([bench.key, code, content_hash(replace(t, name="", draw=0))]) for t in trials]
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
