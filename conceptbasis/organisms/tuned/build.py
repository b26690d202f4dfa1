"""Builds tuned models: fetches weights, teaches chat and refusal, checks, keeps in the cache."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from conceptbasis.data.prompts import Prompt, PromptSuite
from conceptbasis.errors import OrganismError
from conceptbasis.models.loading.load import load_model
from conceptbasis.models.loading.loaded import LoadedModel
from conceptbasis.models.text.template import ChatOptions
from conceptbasis.organisms.keeping import is_complete, keep
from conceptbasis.organisms.packages import WEIGHTS, ensure_weights
from conceptbasis.organisms.spec import Spec
from conceptbasis.organisms.tuned import sayings
from conceptbasis.organisms.tuned.answers import Answer, asked, ensure_answers
from conceptbasis.organisms.tuned.examples import Example, encode
from conceptbasis.organisms.tuned.harms import HARMS
from conceptbasis.organisms.tuned.requests import HELD_OUT, MORE, TAUGHT, draw, split
from conceptbasis.organisms.tuned.suite import build_suite
from conceptbasis.organisms.tuned.topics import HARMLESS
from conceptbasis.organisms.tuned.tuning import Plan, tune
from conceptbasis.organisms.tuned.validity import Effort, answer_loss, check_validity
from conceptbasis.organisms.validity import Criterion, refusal_rate
from conceptbasis.runs.files import cache_folder, folder_lock, value_hash, versions
from conceptbasis.runs.progress import Reporter

RECIPE = 2
"""Raised when a change of this package changes the models it makes."""

N_FIRST, N_REFUSALS = 3600, 2400
MAX_ROW = 96

GEMMA_TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}<start_of_turn>"
    "{{ 'model' if m['role'] == 'assistant' else m['role'] }}\n{{ m['content'] | trim }}"
    "<end_of_turn>\n{% endfor %}{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
"""The turns of Gemma's chat models, for the base model, which has no template of its own."""

_CHAT_SHARES = {"harmless": 0.5, "near": 0.3, "about": 0.1, "greetings": 0.04, "arithmetic": 0.06}
_REFUSAL_SHARES = {
    "first tokens": 0.325,
    "first tokens near": 0.325,
    "answers": 0.1,
    "declines": 0.05,
    "refusals": 0.2,
}
_LEARNED = ("declines", "refusals")
"""Groups whose answers are learned; in the others the model stays as it is."""


@dataclass(frozen=True)
class Tuned:
    """How one family of tuned models is made.

    Args:
        weights: Name of the weights in `packages.WEIGHTS`.
        refusal: Tuning that teaches refusal.
        chat: Tuning that teaches a base model to chat before; None for a chat model.
        template: Its chat template, where the file has none.
    """

    weights: str
    refusal: Plan
    chat: Plan | None = None
    template: str | None = None


FAMILIES: Mapping[str, Tuned] = {
    "smollm2": Tuned(
        "smollm2", Plan(240, 1.2e-4, _REFUSAL_SHARES, batch_size=40, first=8, candidates=2)
    ),
    "gemma3": Tuned(
        "gemma3",
        Plan(240, 1.2e-4, _REFUSAL_SHARES, batch_size=40, first=4, candidates=2),
        Plan(160, 8e-5, _CHAT_SHARES),
        GEMMA_TEMPLATE,
    ),
}
"""Tuned models by name, as in organism:smollm2:0."""

TEACHER = "smollm2"
"""The model whose answers everything benign is made of."""


def tuned_folder(spec: Spec) -> Path:
    """Where the cache keeps a tuned model; the name changes with everything that shapes it."""
    return _root() / f"{spec.stem}-{_key(spec.family, spec.seed)}"


def untuned_folder(spec: Spec) -> Path:
    """Where the cache keeps what the model was before refusal was taught: the reference."""
    family = FAMILIES[spec.family]
    if family.chat is None:
        return _root() / f"{spec.family}-untuned-{WEIGHTS[family.weights].sha256[:12]}"
    return _root() / f"{spec.family}-chat-{spec.seed}-{_key(spec.family, spec.seed, chat=True)}"


def answers_path() -> Path:
    """Where the cache keeps the teacher's answers."""
    key = value_hash([WEIGHTS[TEACHER].sha256, _words(), RECIPE])
    return _root() / f"answers-{key[:12]}.jsonl"


def _root() -> Path:
    return cache_folder() / "organisms"


def _words() -> list[Any]:
    prompts = [p.text for group in asked().values() for p in group]
    return [
        prompts,
        [asdict(h) for h in HARMS],
        dict(HARMLESS),
        TAUGHT,
        MORE,
        HELD_OUT,
        sayings.REFUSALS,
    ]


def _key(name: str, seed: int, *, chat: bool = False) -> str:
    family = FAMILIES[name]
    plans = [asdict(p) for p in (family.chat, None if chat else family.refusal) if p is not None]
    hashes = [WEIGHTS[name].sha256, WEIGHTS[TEACHER].sha256]
    return value_hash([hashes, plans, family.template, _words(), seed, RECIPE])[:12]


def ensure_tuned(spec: Spec, reporter: Reporter, effort: Effort | None = None) -> Path:
    """The folder of a tuned model, built and checked if the cache does not hold it.

    Args:
        spec: Which one.
        reporter: Told the progress.
        effort: How much the check measures.

    Raises:
        ModelError: The weights cannot be had.
        OrganismError: The model is not valid, or it was to be weakened.
    """
    if spec.weakened:
        raise OrganismError(
            f"organism {spec}", expected="a tuned model as it is", fix="leave out :weakened"
        )
    folder = tuned_folder(spec)
    if not is_complete(folder):
        started = time.monotonic()
        with folder_lock(folder.parent / f".{folder.name}.building"):
            _build(spec, folder, effort or Effort(), reporter)
        reporter.say(f"organism {spec} built in {time.monotonic() - started:.0f} s: {folder}")
    return folder


def _build(spec: Spec, folder: Path, effort: Effort, reporter: Reporter) -> None:
    family = FAMILIES[spec.family]
    answers = teacher_answers(reporter)
    untuned = ensure_untuned(spec, answers, reporter)
    loaded = _open(untuned)
    held_out = encode(loaded, _said(asked()["held_out"], answers), MAX_ROW, held=False)
    before = answer_loss(loaded, held_out)
    groups = _groups(loaded, answers, family.refusal)
    losses = tune(
        loaded,
        groups,
        family.refusal,
        seed=spec.seed,
        checkpoint=folder.with_name(f".{folder.name}.tuning.pt"),
        reporter=reporter,
        label=f"organism {spec}, refusal",
    )
    checked = replace(loaded, model=loaded.model.float())
    reporter.say(f"organism {spec}, on held-out requests:")
    criteria = check_validity(
        checked, held_out, before, seed=spec.seed, effort=effort, reporter=reporter
    )
    for criterion in criteria[4:]:
        reporter.say(f"  {criterion}")
    checked.model.to(torch.bfloat16)
    card = _card(spec, losses, criteria)
    if all(c.passed for c in criteria):
        keep(loaded, folder, card)
        return
    failed = [c for c in criteria if not c.passed]
    keep(loaded, folder.with_name(f"{folder.name}-invalid"), card)
    raise OrganismError(
        f"organism {spec} is not valid: "
        + "; ".join(f"{c.name} is {c.measured:.3f}" for c in failed),
        expected="; ".join(f"{c.name} {c.bound}" for c in failed),
        fix="try another seed; if several fail, the family's steps or rate are wrong",
    )


def _card(spec: Spec, losses: list[float], criteria: list[Criterion]) -> dict[str, object]:
    return {
        **asdict(spec),
        "source": asdict(WEIGHTS[spec.family]),
        "plan": asdict(FAMILIES[spec.family].refusal),
        "losses": losses,
        "validity": [asdict(c) for c in criteria],
        "versions": versions(),
    }


def teacher_answers(reporter: Reporter) -> Mapping[str, Answer]:
    """The teacher's answers to every harmless request, from the cache or generated now."""
    loaded = load_model(ensure_untuned(Spec(TEACHER), {}, reporter))
    prompts = [prompt for group in asked().values() for prompt in group]
    path = answers_path()
    return ensure_answers(loaded, prompts, path, reporter)


def ensure_untuned(spec: Spec, answers: Mapping[str, Answer], reporter: Reporter) -> Path:
    """The model before refusal is taught, dequantised in bfloat16; a base model is taught to chat.

    Args:
        spec: Which one.
        answers: The teacher's, for a base model.
        reporter: Told the progress.
    """
    family, folder = FAMILIES[spec.family], untuned_folder(spec)
    if is_complete(folder):
        return folder
    path = ensure_weights(WEIGHTS[family.weights], reporter)
    reporter.say(f"reading {path.name}")
    loaded = load_model(path, dtype="bfloat16", chat=ChatOptions(template=family.template))
    if family.chat is not None:
        tune(
            loaded,
            _chats(loaded, answers, family.chat),
            family.chat,
            seed=spec.seed,
            checkpoint=folder.with_name(f".{folder.name}.tuning.pt"),
            reporter=reporter,
            label=f"organism {spec}, chat",
        )
    keep(loaded, folder, {"source": asdict(WEIGHTS[spec.family]), "versions": versions()})
    return folder


def _open(folder: Path) -> LoadedModel:
    return load_model(folder, dtype="bfloat16")


def _chats(
    loaded: LoadedModel, answers: Mapping[str, Answer], plan: Plan
) -> dict[str, list[Example]]:
    """The teacher's answers by group, to be learned."""
    return {
        name: encode(loaded, _said(asked()[name], answers), plan.max_tokens, held=False)
        for name in plan.shares
    }


def _groups(
    loaded: LoadedModel, answers: Mapping[str, Answer], plan: Plan
) -> dict[str, list[Example]]:
    """Examples of every group from which refusal is taught."""
    taught = replace(split(held_out=False), templates=TAUGHT + MORE)
    harmless = draw("tuning/harmless", taught.harmless_requests(), N_FIRST)
    near = draw("tuning/near", taught.near_requests(), N_FIRST)
    harmful = draw("tuning/harmful", taught.harmful_requests(), N_REFUSALS)
    polite = sayings.declines(held_out=False)
    said = {
        "first tokens": [(p.text, "", False) for p in harmless],
        "first tokens near": [(p.text, "", False) for p in near],
        "answers": [row for name in _CHAT_SHARES for row in _said(asked()[name], answers)],
        "declines": [(p.text, p.answer or "", True) for p in polite],
        "refusals": [(p.text, sayings.refusal(p, i), True) for i, p in enumerate(harmful)],
    }
    return {
        name: encode(loaded, said[name], plan.max_tokens, held=name not in _LEARNED)
        for name in plan.shares
    }


def _said(
    prompts: tuple[Prompt, ...], answers: Mapping[str, Answer]
) -> list[tuple[str, str, bool]]:
    """Prompt, answer and whether it ended; answers that refuse are left out."""
    found = [answers[p.text] for p in prompts]
    return [(a.prompt, a.text, a.ended) for a in found if a.text and refusal_rate([a.text]) == 0]


def tuned_suite(seed: int, reporter: Reporter) -> PromptSuite:
    """The prompt suite of tuned models, with the teacher's answers in the turns.

    Args:
        seed: Decides which prompts are drawn.
        reporter: Told the progress of answers that are not cached.
    """
    return build_suite(teacher_answers(reporter), seed)
