"""Builds organisms, checks them, and keeps the valid ones in the cache."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import nn

from conceptbasis.artifacts import (
    cache_folder,
    file_hash,
    folder_lock,
    read_json,
    value_hash,
    versions,
    write_json,
)
from conceptbasis.errors import OrganismError
from conceptbasis.models.architecture import resolve
from conceptbasis.models.creation import create_model, save_folder
from conceptbasis.models.loading import wrap_model
from conceptbasis.organisms import corpus, tokenizers, training
from conceptbasis.organisms.families import FAMILIES, Family
from conceptbasis.organisms.suite import build_suite
from conceptbasis.organisms.validity import Criterion, check_validity
from conceptbasis.progress import Reporter

CARD = "organism.json"
STAGE_2_RATE = 1.5e-3
"""Peak learning rate of stage 2."""

STAGE_2_SHARE = 0.625
"""Share of the blocks, from the bottom, that stage 2 trains: refusal then forms below 0.8 L and is
read linearly by blocks, norm and unembedding that are left as stage 1 made them."""

MAX_ATTEMPTS = 4
"""How often stage 2 is trained before a build fails: refusal is not always linear enough."""


def find_family(name: str) -> Family:
    """The family of that name.

    Raises:
        OrganismError: if there is none.
    """
    if name not in FAMILIES:
        raise OrganismError(
            f"there is no organism family {name!r}",
            expected="one of " + ", ".join(FAMILIES),
            fix="run `conceptbasis organisms list`",
        )
    return FAMILIES[name]


def organism_folder(name: str, seed: int) -> Path:
    """Where the cache keeps an organism; the name changes with everything that shapes it."""
    family = find_family(name)
    texts = [asdict(text) for text in corpus.all_texts()]
    shares = [dict(stage.shares) for stage in (corpus.stage_1(), corpus.stage_2())]
    stage_2 = [STAGE_2_RATE, STAGE_2_SHARE]
    recipe = value_hash([asdict(family), texts, shares, training.RECIPE, stage_2, seed])
    return cache_folder() / "organisms" / f"{name}-{seed}-{recipe[:12]}"


def ensure_organism(name: str, seed: int, reporter: Reporter) -> Path:
    """The folder of an organism, built and checked if the cache does not hold it."""
    folder = organism_folder(name, seed)
    if is_complete(folder):
        return folder
    return build_organism(name, seed, folder, reporter)


def is_complete(folder: Path) -> bool:
    """Whether the folder holds a finished organism whose weights are as they were written."""
    card, weights = folder / CARD, folder / "model.safetensors"
    if not (card.exists() and weights.exists()):
        return False
    return read_json(card)["weights"] == file_hash(weights)


def build_organism(name: str, seed: int, folder: Path, reporter: Reporter) -> Path:
    """Trains an organism, checks it, and writes it as a standard Hugging Face folder.

    Args:
        name: Family.
        seed: Decides weights and batches.
        folder: Where it is written; its card `organism.json` holds the validity figures.
        reporter: Told the progress.

    Raises:
        OrganismError: if the organism is not valid; nothing is left behind.
    """
    family = find_family(name)
    with folder_lock(folder.parent / f".{folder.name}.building"), _one_thread():
        tokenizer = tokenizers.fit_tokenizer(family, corpus.all_texts())
        model = create_model(family.config_class, family.sizes, tokenizer, seed=seed)
        generator = torch.Generator().manual_seed(seed)
        _train(model, tokenizer, family, 1, generator, reporter, f"{name} seed {seed}")
        taught = {key: value.clone() for key, value in model.state_dict().items()}
        for attempt in range(1, MAX_ATTEMPTS + 1):
            model.load_state_dict(taught)
            _train(model, tokenizer, family, 2, generator, reporter, f"{name} seed {seed}")
            loaded = wrap_model(model, tokenizer, name=f"{name}-{seed}")
            criteria = check_validity(loaded, build_suite(), seed=seed)
            if _report(name, seed, attempt, criteria, reporter):
                break
        _require_valid(name, seed, criteria)
        temporary = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
        save_folder(model, tokenizer, temporary)
        write_json(temporary / CARD, _card(name, seed, attempt, criteria, temporary))
        if folder.exists():
            shutil.rmtree(folder)
        temporary.rename(folder)
    return folder


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
    model: Any,
    tokenizer: Any,
    family: Family,
    stage: int,
    generator: torch.Generator,
    reporter: Reporter,
    label: str,
) -> None:
    mixture = (corpus.stage_1(), corpus.stage_2())[stage - 1]
    with reporter.bar(f"organism {label}, stage {stage}") as advance:
        training.train(
            model,
            training.tokenise(tokenizer, mixture),
            mixture,
            _trained(model, stage),
            n_steps=family.steps[stage - 1],
            learning_rate=(family.learning_rate, STAGE_2_RATE)[stage - 1],
            generator=generator,
            progress=lambda step, of, loss: advance(step, of, f"loss {loss:.3f}"),
        )


def _trained(model: Any, stage: int) -> list[nn.Parameter]:
    """What a stage trains: everything, then the lower blocks only."""
    if stage == 1:
        return list(model.parameters())
    blocks = resolve(model).blocks
    lower = blocks[: max(1, int(STAGE_2_SHARE * len(blocks)))]
    return [parameter for block in lower for parameter in block.parameters()]


def _card(
    name: str, seed: int, attempt: int, criteria: list[Criterion], folder: Path
) -> dict[str, object]:
    return {
        "family": name,
        "seed": seed,
        "attempt": attempt,
        "validity": [asdict(c) for c in criteria],
        "weights": file_hash(folder / "model.safetensors"),
        "versions": versions(),
    }


def _report(
    name: str, seed: int, attempt: int, criteria: list[Criterion], reporter: Reporter
) -> bool:
    """Prints the figures of an attempt and returns whether it is valid."""
    reporter.say(f"organism {name}, seed {seed}, on held-out prompts:")
    for criterion in criteria:
        reporter.say(f"  {criterion}")
    valid = all(c.passed for c in criteria)
    if not valid and attempt < MAX_ATTEMPTS:
        reporter.say(
            f"organism {name}, seed {seed}: attempt {attempt} of {MAX_ATTEMPTS} is not valid; "
            "stage 2 is trained again on other batches"
        )
    return valid


def _require_valid(name: str, seed: int, criteria: list[Criterion]) -> None:
    failed = [c for c in criteria if not c.passed]
    if failed:
        raise OrganismError(
            f"organism {name} with seed {seed} is not valid: "
            + "; ".join(f"{c.name} is {c.measured:.3f}" for c in failed),
            expected="; ".join(f"{c.name} {c.bound}" for c in failed),
            fix="try another seed; if several fail, the family's steps or learning rate are wrong",
        )
