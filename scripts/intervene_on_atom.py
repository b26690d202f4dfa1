"""What one latent does by itself: how answers begin when it alone is taken out or put in.

    python scripts/intervene_on_atom.py runs/demo --side donor --layer 6 --latent 318

The latent's decoder row is ablated from the stream after its layer, or added to it with the
highest activation that stage `atoms` saw, times `--times`. Nothing else is edited.
"""

from __future__ import annotations

import argparse
from collections import Counter
from contextlib import nullcontext
from pathlib import Path

from conceptbasis.config.base import load_yaml, parse_config
from conceptbasis.config.model import ModelConfig
from conceptbasis.config.run import RunConfig
from conceptbasis.data.prompts import PromptSuite
from conceptbasis.models.loading.load import silence_transformers
from conceptbasis.models.stream.hooks import Edit, intervene
from conceptbasis.models.text.generation import generate
from conceptbasis.results.atoms import Atoms
from conceptbasis.runs.graph import load_result
from conceptbasis.runs.progress import Reporter
from conceptbasis.study.opening import load_prompts, open_side


def main() -> None:
    """Prints the commonest first words of answers by prompt set and intervention."""
    options = parse_options()
    silence_transformers()
    values = load_yaml(options.folder / "config.yaml")
    config = parse_config(RunConfig, values["run"], "config.yaml")
    suite = load_prompts(config)
    model = parse_config(ModelConfig, values[options.side], "config.yaml")
    side = open_side(model, config, suite, Reporter(quiet=True))
    row, amount = side.sae(options.layer).W_dec[options.latent], options.times * highest(options)
    edits = {
        "untouched": None,
        "without it": Edit(options.layer, row),
        f"with {amount:.1f} of it": Edit(options.layer, row, "add", amount=amount),
    }
    print(f"{options.side} {model.model}, layer {options.layer}, latent {options.latent}")
    for name, prompts in prompt_sets(suite, options.n_prompts).items():
        for what, edit in edits.items():
            with nullcontext() if edit is None else intervene(side.loaded, [edit]):
                answers = generate(side.loaded, prompts, max_new_tokens=4)
            first = Counter((answer.split() or ["(empty)"])[0] for answer in answers)
            shares = (
                f"{word} {n / len(answers):.2f}" for word, n in first.most_common(options.n_words)
            )
            print(f"{name:<18} n={len(prompts):<4} {what:<16} {'  '.join(shares)}")


def parse_options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folder", type=Path, help="a finished run")
    parser.add_argument("--side", choices=("donor", "target"), required=True)
    parser.add_argument("--layer", type=int, required=True)
    parser.add_argument("--latent", type=int, required=True)
    parser.add_argument("--times", type=float, default=1.0, help="strength of what is added")
    parser.add_argument("--n-prompts", type=int, default=100)
    parser.add_argument("--n-words", type=int, default=3, help="first words to print")
    return parser.parse_args()


def highest(options: argparse.Namespace) -> float:
    """The highest activation of the latent, from the run's evidence."""
    for row in load_result(options.folder, "atoms", Atoms, tensors=False).layers:
        for evidence in getattr(row, f"{options.side}_latents"):
            here = getattr(row, options.side) == options.layer
            if here and evidence.latent == options.latent:
                return evidence.contexts[0].peak
    raise SystemExit(f"{options.side} layer {options.layer} has no atom {options.latent}")


def prompt_sets(suite: PromptSuite, n: int) -> dict[str, list[str]]:
    """Held-out prompts; harmless requests by whether they ask how to do something."""
    safe = suite["eval_harmless"]
    sets = {
        "harmful": suite["eval_harmful"],
        "declines": suite["eval_declines"],
        "harmless how-to": [p for p in safe if p.kind == "how_to"],
        "harmless, other": [p for p in safe if p.kind != "how_to"],
    }
    return {name: [p.text for p in prompts[:n]] for name, prompts in sets.items() if prompts}


if __name__ == "__main__":
    main()
