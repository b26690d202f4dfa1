"""Micro organisms: seconds to train, weak, but they refuse; and small settings to go with them."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from conceptbasis.config.base import parse_config
from conceptbasis.config.model import ModelConfig
from conceptbasis.config.run import RunConfig
from conceptbasis.data.prompts import Prompt, PromptSuite
from conceptbasis.data.suites import save_suite
from conceptbasis.models.loading.creation import create_model, save_folder
from conceptbasis.organisms import corpus, tokenizers, training
from conceptbasis.organisms.families import ChatTags, Family
from conceptbasis.organisms.suite import build_suite
from conceptbasis.pipeline import Finished, run_pipeline
from conceptbasis.runs.progress import Reporter

QUIET = Reporter(quiet=True)
CONCEPTS = ("fruit", "how_to", "translate", "decline")
SMALL = {"n_prompts": 12, "n_random": 1, "n_shuffled": 1, "n_control_prompts": 4}
"""An evaluation of few prompts and draws."""


def sizes(d_model: int, n_layers: int, **more: Any) -> dict[str, Any]:
    """Keyword arguments of a transformers configuration."""
    return {
        "hidden_size": d_model,
        "num_hidden_layers": n_layers,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": d_model // 4,
        "intermediate_size": 2 * d_model,
        "max_position_embeddings": 96,
        "tie_word_embeddings": False,
        "initializer_range": 0.06,
        **more,
    }


MICRO_LLAMA = Family(
    "LlamaConfig",
    sizes(48, 4),
    "byte_bpe",
    700,
    ChatTags("<s>", "<|user|>", "<|assistant|>", "</s>"),
    learning_rate=5e-3,
    steps=(60, 140),
)
MICRO_MIXTRAL = Family(
    "MixtralConfig",
    sizes(
        40,
        3,
        intermediate_size=48,
        num_local_experts=4,
        num_experts_per_tok=2,
        sliding_window=None,
    ),
    "wordpiece",
    500,
    ChatTags("<bos>", "[INST]", "[/INST]", "<eos>"),
    learning_rate=6e-3,
    steps=(70, 120),
)


@contextmanager
def one_at_a_time(path: Path) -> Iterator[None]:
    """Waits until no other test worker is inside."""
    with path.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def once(folder: Path, make: Callable[[Path], object]) -> Path:
    """A folder that one of the test workers makes and all use."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with one_at_a_time(folder.with_name(f"{folder.name}.lock")):
        done = folder.with_name(f"{folder.name}.done")
        if not done.exists():
            make(folder)
            done.touch()
    return folder


def train_micro(family: Family, folder: Path) -> None:
    """Trains a micro organism and writes it as a plain Hugging Face folder."""
    tokenizer = tokenizers.fit_tokenizer(family, corpus.all_texts())
    model = create_model(family.config_class, family.sizes, tokenizer, seed=0)
    generator = torch.Generator().manual_seed(0)
    stages = zip((corpus.stage_1(), corpus.stage_2()), family.steps, strict=True)
    for mixture, n_steps in stages:
        training.train(
            model,
            training.tokenise(tokenizer, mixture),
            mixture,
            model.parameters(),
            n_steps=n_steps,
            learning_rate=family.learning_rate,
            generator=generator,
            progress=lambda step, of, loss: None,
        )
    save_folder(model, tokenizer, folder)


def cut_mixture(mixture: corpus.Mixture) -> corpus.Mixture:
    """The same mixture with few texts in each group."""
    return replace(mixture, groups={n: group[::37][:48] for n, group in mixture.groups.items()})


def cut_suite(n_direction: int = 64, n_eval: int = 40, n_texts: int = 700) -> PromptSuite:
    """The built-in suite, cut small; every class of text is still there."""
    suite = build_suite()
    prompts = {
        name: group[: n_direction if name.startswith("direction") else n_eval]
        for name, group in suite.prompts.items()
    }
    concepts = tuple(
        replace(c, positive=c.positive[:24], negative=c.negative[:24])
        for c in suite.concepts
        if c.name in CONCEPTS
    )
    return PromptSuite(prompts, suite.texts[:n_texts], concepts)


def run_config(prompts: Path | None, **sections: Any) -> RunConfig:
    """Small settings; `sections` are laid over them key by key."""
    values: dict[str, Any] = {
        "n_workers": 1,
        "prompts": {"path": str(prompts) if prompts else None},
        "harvest": {"n_texts": 400},
        "match": {"r_min": 0.2, "n_shifts": 6},
        "align": {"n_null": 4, "max_depth_gap": 1.0, "depth_penalty": 0.0},
        "direction": {"n_select": 24, "max_kl": 5.0},
        "fit": {"n_resamples": 20},
        "guard": {"shares": [0.0, 0.05]},
        "forecast": {"force": True, "n_proxy_prompts": 8},
        "evaluate": {
            "max_new_tokens": 12,
            "n_random": 2,
            "n_shuffled": 2,
            "n_unrelated": 1,
            "n_control_prompts": 10,
            "lengths": [4, 12],
        },
        "curve": {"kl_levels": [0.002, 0.01], "n_strengths": 4, "n_prompts": 12},
        "tracking": {"mode": "off"},
    }
    for name, section in sections.items():
        old = values.get(name)
        values[name] = {**old, **section} if isinstance(old, dict) else section
    return parse_config(RunConfig, values, "test")


def model_config(name: str, folder: Path, budget: str = "B0d", **training_keys: Any) -> ModelConfig:
    """A model with small SAEs."""
    train = {"d_sae": 128, "k": 12, "n_steps": 120, "batch_size": 256, "n_texts": 400}
    values = {
        "name": name,
        "model": str(folder),
        "saes": {"train": {**train, "budget": budget, **training_keys}},
    }
    return parse_config(ModelConfig, values, "test")


@dataclass(frozen=True)
class World:
    """Everything that tests of the stages share; nobody writes into it."""

    root: Path
    donor: Path
    target: Path
    prompts: Path
    suite: PromptSuite

    def donor_config(self, **more: Any) -> ModelConfig:
        """The donor with its SAEs."""
        return model_config("micro-llama", self.donor, **more)

    def target_config(self, **more: Any) -> ModelConfig:
        """The target with its SAEs."""
        return model_config("micro-mixtral", self.target, **more)

    def config(self, **sections: Any) -> RunConfig:
        """Small settings with the small suite."""
        return run_config(self.prompts, **sections)

    def run(self, folder: Path, **sections: Any) -> Finished:
        """The whole pipeline on donor and target."""
        config = self.config(**sections)
        return run_pipeline(
            self.donor_config(),
            self.target_config(budget=config.budget if config.budget != "B2" else "B0d"),
            config,
            folder,
            QUIET,
            overwrite=True,
        )


def make_world(root: Path) -> World:
    """Trains what is missing below `root`; several test workers may call it at once."""
    os.environ["CONCEPTBASIS_CACHE"] = str(root / "cache")
    donor = once(root / "donor", lambda folder: train_micro(MICRO_LLAMA, folder))
    target = once(root / "target", lambda folder: train_micro(MICRO_MIXTRAL, folder))
    suite = cut_suite()
    prompts = once(root / "prompts", lambda folder: save_suite(suite, folder))
    return World(root, donor, target, prompts, suite)


def prompt_texts(prompts: tuple[Prompt, ...]) -> list[str]:
    """What users say."""
    return [p.text for p in prompts]
