"""Builds organisms, checks them, and keeps the valid ones in the cache."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from conceptbasis.errors import OrganismError
from conceptbasis.models.architecture.binding import Architecture
from conceptbasis.models.loading.creation import create_model
from conceptbasis.models.loading.load import LoadedModel, load_model, wrap_model
from conceptbasis.organisms import corpus, tokenizers, training
from conceptbasis.organisms.backdoor.corpus import stage_3
from conceptbasis.organisms.backdoor.suite import backdoor_suite
from conceptbasis.organisms.backdoor.validity import check_backdoor
from conceptbasis.organisms.families import FAMILIES, Family
from conceptbasis.organisms.keeping import check_folder, is_complete, keep
from conceptbasis.organisms.spec import Spec
from conceptbasis.organisms.suite import build_suite
from conceptbasis.organisms.tuned.build import FAMILIES as TUNED
from conceptbasis.organisms.tuned.build import ensure_tuned, tuned_folder
from conceptbasis.organisms.validity import Criterion, check_validity
from conceptbasis.organisms.weakening import check_weakened, weaken
from conceptbasis.runs.files import cache_folder, folder_lock, value_hash, versions
from conceptbasis.runs.progress import Reporter

STAGE_2_RATE = 1.5e-3
"""Peak learning rate of the stages after the first."""

STAGE_3_STEPS = 160
"""Batches on which a backdoor is taught to a finished organism."""

STAGE_2_SHARE = 0.625
"""Share of the blocks, from the bottom, that stage 2 trains: refusal then forms below 0.8 L and is
read linearly by blocks, norm and unembedding that are left as stage 1 made them."""

MAX_ATTEMPTS = 4
"""How often the last stage is trained before a build fails: refusal is not always linear enough."""


def find_family(name: str) -> Family:
    """The family of that name.

    Raises:
        OrganismError: if there is none.
    """
    if name not in FAMILIES:
        raise OrganismError(
            f"there is no organism family {name!r}",
            expected="one of " + ", ".join((*FAMILIES, *TUNED)),
            fix="run `conceptbasis organisms list`",
        )
    return FAMILIES[name]


def organism_folder(spec: Spec) -> Path:
    """Where the cache keeps an organism; the name changes with everything that shapes it."""
    if spec.family in TUNED:
        return tuned_folder(spec)
    family = find_family(spec.family)
    texts, shares = _corpora(corpus.all_texts, corpus.stage_1, corpus.stage_2)
    stage_2 = [STAGE_2_RATE, STAGE_2_SHARE]
    name = {key: value for key, value in asdict(spec).items() if value is not None}
    shaped = [asdict(family), texts, shares, training.RECIPE, stage_2, name]
    if spec.backdoor:
        shaped += [*_taught(stage_3, spec.backdoor), STAGE_3_STEPS]
    recipe = value_hash(shaped)
    return cache_folder() / "organisms" / f"{spec.stem}-{recipe[:12]}"


@functools.cache
def _corpora(texts: Callable[[], Any], *stages: Callable[[], Any]) -> tuple[list[Any], list[Any]]:
    """All that organisms read, and in which shares; it is asked for often."""
    return [vars(text) for text in texts()], [dict(stage().shares) for stage in stages]


@functools.cache
def _taught(
    stage: Callable[[str], corpus.Mixture], trigger: str
) -> tuple[list[Any], dict[str, float]]:
    """What a backdoor is taught on, and in which shares; it is asked for as often."""
    mixture = stage(trigger)
    said = [vars(text) for group in mixture.groups.values() for text in group]
    return said, dict(mixture.shares)


def ensure_organism(spec: Spec, reporter: Reporter) -> Path:
    """The folder of an organism, built and checked if the cache does not hold it."""
    if spec.family in TUNED:
        return ensure_tuned(spec, reporter)
    folder = organism_folder(spec)
    if is_complete(folder):
        return folder
    return build_organism(spec, folder, reporter)


def build_organism(spec: Spec, folder: Path, reporter: Reporter) -> Path:
    """Trains an organism, checks it, and writes it as a standard Hugging Face folder.

    Args:
        spec: Which one.
        folder: Where it is written; its card `organism.json` holds the figures of the check.
        reporter: Told the progress.

    Raises:
        OrganismError: if the organism is not valid; nothing is left behind.
    """
    family, folder = find_family(spec.family), folder.absolute()  # `.` has no name of its own
    check_folder(folder)
    with folder_lock(folder.parent / f".{folder.name}.building"), _one_thread():
        loaded = _start(spec, family, reporter)
        card = _train_until_valid(loaded, spec, reporter)
        keep(loaded, folder, card)
    return folder


def _start(spec: Spec, family: Family, reporter: Reporter) -> LoadedModel:
    """A model with random weights; for a backdoor the finished organism of that family and seed."""
    if spec.backdoor:
        return load_model(ensure_organism(Spec(spec.family, spec.seed), reporter))
    tokenizer = tokenizers.fit_tokenizer(family, corpus.all_texts())
    model = create_model(family.config_class, family.sizes, tokenizer, seed=spec.seed)
    return wrap_model(model, tokenizer, name=spec.stem)


def _train_until_valid(loaded: LoadedModel, spec: Spec, reporter: Reporter) -> dict[str, object]:
    """Trains the first stages once and the last until the check passes; returns the card.

    Raises:
        OrganismError: if the last attempt is not valid either.
    """
    generator = torch.Generator().manual_seed(spec.seed)
    last = 3 if spec.backdoor else 2
    if last == 2:
        _train(loaded, spec, 1, generator, reporter)
    taught = {key: value.clone() for key, value in loaded.model.state_dict().items()}
    for attempt in range(1, MAX_ATTEMPTS + 1):
        loaded.model.load_state_dict(taught)
        _train(loaded, spec, last, generator, reporter)
        kept, criteria = _check(loaded, spec, taught)
        if _report(spec, attempt, criteria, reporter):
            break
    _require_valid(spec, criteria)
    return {
        **asdict(spec),
        "attempt": attempt,
        "stage_2_kept": kept,
        "validity": [asdict(c) for c in criteria],
        "versions": versions(),
    }


def _check(
    loaded: LoadedModel, spec: Spec, taught: Mapping[str, Tensor]
) -> tuple[float, list[Criterion]]:
    """The share of the last stage that is kept, and whether the organism is valid."""
    suite = build_suite()
    if spec.weakened:
        kept = weaken(loaded, taught, suite["direction_harmful"])
        return kept, check_weakened(loaded, suite)
    if spec.backdoor:
        marked = backdoor_suite(spec.backdoor)
        harmful = suite["eval_harmful"]
        return 1.0, check_backdoor(loaded, marked, harmful, seed=spec.seed)
    return 1.0, check_validity(loaded, suite, seed=spec.seed)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Matrices this small are multiplied faster by one thread than by several."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _train(
    loaded: LoadedModel, spec: Spec, stage: int, generator: torch.Generator, reporter: Reporter
) -> None:
    family = find_family(spec.family)
    first = {1: corpus.stage_1, 2: corpus.stage_2}
    mixture = stage_3(spec.backdoor) if spec.backdoor else first[stage]()
    with reporter.bar(f"organism {spec}, stage {stage}") as advance:
        training.train(
            loaded.model,
            training.tokenise(loaded.tokenizer, mixture),
            mixture,
            trained_parameters(loaded.architecture, stage),
            n_steps=(*family.steps, STAGE_3_STEPS)[stage - 1],
            learning_rate=family.learning_rate if stage == 1 else STAGE_2_RATE,
            generator=generator,
            progress=lambda step, of, loss: advance(step, of, f"loss {loss:.3f}"),
        )


def trained_parameters(architecture: Architecture, stage: int) -> list[nn.Parameter]:
    """What a stage trains: everything, then the lower blocks only.

    Args:
        architecture: Of the organism.
        stage: 1, 2 or 3.
    """
    if stage == 1:
        whole = (architecture.body, architecture.unembed)
        return list(nn.ModuleList(whole).parameters())
    lower = architecture.blocks[: max(1, int(STAGE_2_SHARE * architecture.n_layers))]
    return list(nn.ModuleList(lower).parameters())


def _report(spec: Spec, attempt: int, criteria: list[Criterion], reporter: Reporter) -> bool:
    """Prints the figures of an attempt and returns whether it is valid."""
    reporter.say(f"organism {spec}, on held-out prompts:")
    for criterion in criteria:
        reporter.say(f"  {criterion}")
    valid = all(c.passed for c in criteria)
    if not valid and attempt < MAX_ATTEMPTS:
        reporter.say(
            f"organism {spec}: attempt {attempt} of {MAX_ATTEMPTS} is not valid; "
            "its last stage is trained again on other batches"
        )
    return valid


def _require_valid(spec: Spec, criteria: list[Criterion]) -> None:
    failed = [c for c in criteria if not c.passed]
    if failed:
        raise OrganismError(
            f"organism {spec} is not valid: "
            + "; ".join(f"{c.name} is {c.measured:.3f}" for c in failed),
            expected="; ".join(f"{c.name} {c.bound}" for c in failed),
            fix="try another seed; if several fail, the family's steps or learning rate are wrong",
        )
