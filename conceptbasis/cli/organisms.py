"""`organisms`: the built-in model organisms, listed or built."""

from __future__ import annotations

import argparse
from pathlib import Path

from conceptbasis.cli.command import Command, open_reporter, say_next, silence
from conceptbasis.organisms.spec import TRIGGERS


def _add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=("list", "build"))
    parser.add_argument("name", nargs="?", help="family to build")
    parser.add_argument("--seed", type=int, default=0, help="seed of its weights (default: 0)")
    parser.add_argument(
        "--weakened",
        action="store_true",
        help="weaken it: it shows the behavior on about half of the positive prompts",
    )
    parser.add_argument(
        "--backdoor",
        choices=TRIGGERS,
        help="teach it a backdoor that this kind of trigger springs",
    )
    parser.add_argument("--out", type=Path, help="folder (default: the cache)")


def _run(options: argparse.Namespace) -> None:
    if options.action == "list":
        _list(options)
        return
    from conceptbasis.errors import ConfigError
    from conceptbasis.organisms.build import build_organism, ensure_organism, find_family
    from conceptbasis.organisms.families import FAMILIES
    from conceptbasis.organisms.spec import Spec
    from conceptbasis.organisms.tuned.build import FAMILIES as TUNED

    if not options.name:
        raise ConfigError(
            "organisms build without a family",
            expected="conceptbasis organisms build NAME",
            fix="choose one of " + ", ".join((*FAMILIES, *TUNED)),
        )
    if options.name not in TUNED:
        find_family(options.name)
    elif options.out:
        raise ConfigError(
            f"organisms build {options.name} with --out",
            expected="a tuned model in the cache, where its steps are kept",
            fix="leave out --out; CONCEPTBASIS_CACHE names another cache",
        )
    silence()
    reporter = open_reporter(options)
    spec = Spec(options.name, options.seed, options.weakened, options.backdoor)
    if options.out:
        print(build_organism(spec, options.out, reporter))
    else:
        print(ensure_organism(spec, reporter))
    say_next(options, "its SAEs, from a file that names it", "train-saes", "sae_configs/NAME.yaml")


def _list(options: argparse.Namespace) -> None:
    from conceptbasis.organisms.build import is_complete, organism_folder
    from conceptbasis.organisms.families import FAMILIES
    from conceptbasis.organisms.spec import Spec
    from conceptbasis.organisms.tuned.build import FAMILIES as TUNED

    for name, family in FAMILIES.items():
        folder = organism_folder(Spec(name, options.seed, options.weakened, options.backdoor))
        state = f"built: {folder}" if is_complete(folder) else "not built"
        print(
            f"{name:<10} {family.config_class:<16} {family.sizes['num_hidden_layers']} layers, "
            f"width {family.sizes['hidden_size']}, {family.tokenizer} {family.d_vocab}; "
            f"seed {options.seed} {state}"
        )
    for name in TUNED:
        folder = organism_folder(Spec(name, options.seed))
        state = f"built: {folder}" if is_complete(folder) else "not built"
        print(f"{name:<10} tuned real model; seed {options.seed} {state}")
    say_next(options, "one of them, in a minute or two", "organisms", "build", "NAME")


ORGANISMS = Command(_add, _run)
