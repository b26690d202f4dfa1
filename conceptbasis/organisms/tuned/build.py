"""Builds tuned models: fetches weights, teaches chat and refusal, checks, keeps in the cache."""

from __future__ import annotations

import copy
import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path

import torch

from conceptbasis.data.prompts import PromptSuite
from conceptbasis.errors import OrganismError
from conceptbasis.models.loading.load import load_model
from conceptbasis.models.loading.loaded import LoadedModel
from conceptbasis.models.text.template import ChatOptions
from conceptbasis.organisms.keeping import CARD, is_complete, keep
from conceptbasis.organisms.packages import WEIGHTS, ensure_weights
from conceptbasis.organisms.spec import Spec
from conceptbasis.organisms.tuned.answers import Answer, asked, ensure_answers, read_answers
from conceptbasis.organisms.tuned.examples import encode
from conceptbasis.organisms.tuned.families import (
    FAMILIES,
    TEACHER,
    answers_path,
    taught_folder,
    tuned_folder,
    unchecked_folder,
    untuned_folder,
)
from conceptbasis.organisms.tuned.lessons import answered, chats, lessons, without
from conceptbasis.organisms.tuned.suite import build_suite
from conceptbasis.organisms.tuned.tuning import Plan, tune
from conceptbasis.organisms.tuned.validity import Effort, answer_loss, check_validity
from conceptbasis.organisms.validity import Criterion
from conceptbasis.runs.files import folder_lock, read_json, versions
from conceptbasis.runs.progress import Reporter

MAX_ROW = 96
"""Longest chat on which the check measures perplexity, in tokens."""


def ensure_tuned(spec: Spec, reporter: Reporter, effort: Effort | None = None) -> Path:
    """The folder of a tuned model, built and checked if the cache does not hold it.

    Args:
        spec: Which one.
        reporter: Told the progress.
        effort: How much the check measures.

    Raises:
        ModelError: The weights cannot be had.
        OrganismError: The model is not valid, or a variant of it was asked for.
    """
    if spec.variant:
        raise OrganismError(
            f"organism {spec}", expected="a tuned model as it is", fix=f"leave out :{spec.variant}"
        )
    folder = tuned_folder(spec)
    if not is_complete(folder):
        started = time.monotonic()
        with folder_lock(folder.parent / f".{folder.name}.building"):
            _build(spec, folder, effort or Effort(), reporter)
        reporter.say(f"organism {spec} built in {time.monotonic() - started:.0f} s: {folder}")
    return folder


def _build(spec: Spec, folder: Path, effort: Effort, reporter: Reporter) -> None:
    answers = teacher_answers(reporter)
    loaded = _open(ensure_untuned(spec, answers, reporter))
    answers = without(answers, FAMILIES[spec.family].left_out)
    held_out = encode(loaded, answered(asked()["held_out"], answers), MAX_ROW, held=False)
    before = answer_loss(loaded, held_out)
    losses = _teach(spec, loaded, answers, reporter)
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
    keep(loaded, unchecked_folder(spec), card)
    raise OrganismError(
        f"organism {spec} is not valid: "
        + "; ".join(f"{c.name} is {c.measured:.3f}" for c in failed),
        expected="; ".join(f"{c.name} {c.bound}" for c in failed),
        fix="try another seed; if several fail, the family's steps or rate are wrong",
    )


def _teach(
    spec: Spec, loaded: LoadedModel, answers: Mapping[str, Answer], reporter: Reporter
) -> dict[str, list[float]]:
    """Teaches refusal and lets it settle, in place; each step is kept. Losses by tuning."""
    family, taught = FAMILIES[spec.family], taught_folder(spec)
    unchecked = unchecked_folder(spec)
    untuned = copy.deepcopy(loaded.architecture.body)
    losses: dict[str, list[float]] = {}

    def run(name: str, plan: Plan, folder: Path) -> None:
        losses[name] = tune(
            loaded,
            lessons(loaded, answers, plan),
            plan,
            seed=spec.seed,
            checkpoint=folder.with_name(f".{folder.name}.tuning.pt"),
            reporter=reporter,
            label=f"organism {spec}, {name}",
            before=untuned,
        )

    if is_complete(unchecked):
        loaded.model.load_state_dict(_open(unchecked).model.state_dict())
        return dict(read_json(unchecked / CARD, ("losses",))["losses"])
    if is_complete(taught):
        loaded.model.load_state_dict(_open(taught).model.state_dict())
    else:
        run("refusal", family.refusal, taught)
        keep(loaded, taught, {"source": asdict(WEIGHTS[spec.family]), "versions": versions()})
    run("settling", family.settling, tuned_folder(spec))
    keep(loaded, unchecked, {"losses": losses, "versions": versions()})
    return losses


def _card(
    spec: Spec, losses: dict[str, list[float]], criteria: list[Criterion]
) -> dict[str, object]:
    return {
        **asdict(spec),
        "source": asdict(WEIGHTS[spec.family]),
        "plans": asdict(FAMILIES[spec.family]),
        "losses": losses,
        "validity": [asdict(c) for c in criteria],
        "versions": versions(),
    }


def teacher_answers(reporter: Reporter) -> Mapping[str, Answer]:
    """The teacher's answers to every harmless request, from the cache or generated now."""
    prompts = [prompt for group in asked().values() for prompt in group]
    path = answers_path()
    known = read_answers(path)
    if all(prompt.text in known for prompt in prompts):
        return {prompt.text: known[prompt.text] for prompt in prompts}
    loaded = load_model(ensure_untuned(Spec(TEACHER), {}, reporter))
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
            chats(loaded, without(answers, family.left_out), family.chat),
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


def tuned_suite(seed: int, reporter: Reporter) -> PromptSuite:
    """The prompt suite of tuned models, with the teacher's answers in the turns.

    Args:
        seed: Decides which prompts are drawn.
        reporter: Told the progress of answers that are not cached.
    """
    return build_suite(teacher_answers(reporter), seed)
