"""Capability of a target before and after a finished transfer: harness tasks, perplexity."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from conceptbasis.edits.intervention import Intervention, apply_intervention
from conceptbasis.errors import PromptError
from conceptbasis.models.harness import run_tasks
from conceptbasis.models.loading.load import LoadedModel
from conceptbasis.models.text.generation import text_nll
from conceptbasis.results.capability import Capability, TaskFigure
from conceptbasis.runs.progress import Reporter


def measure_capability(
    loaded: LoadedModel,
    intervention: Intervention,
    reporter: Reporter,
    *,
    tasks: Sequence[str | Mapping[str, object]] = (),
    texts: Sequence[str] = (),
    limit: int | None = None,
    n_shots: int | None = None,
    batch_size: int = 16,
    chat: bool = False,
) -> Capability:
    """Tasks of the harness and the perplexity of texts, before and after.

    Args:
        loaded: The target.
        intervention: The finished transfer.
        reporter: Told what is measured.
        tasks: Names of the harness's tasks, or their configurations.
        texts: Any texts; long ones are cut to pieces that fit the context.
        limit: The first items of each task only.
        n_shots: Examples before each item.
        batch_size: Items or texts at a time.
        chat: Whether items of tasks go through the chat template.

    Raises:
        PromptError: if no text has a second token, which is the first that can be predicted.
    """
    pieces = _readable(loaded, texts, reporter)

    def measure() -> dict[tuple[str, str], float]:
        options: dict[str, Any] = {"limit": limit, "n_shots": n_shots, "batch_size": batch_size}
        found = run_tasks(loaded, tasks, chat=chat, **options) if tasks else {}
        figures = {(task, m): v for task, metrics in found.items() for m, v in metrics.items()}
        if pieces:
            figures["texts", "perplexity"] = _perplexity(loaded, pieces, batch_size)
        return figures

    reporter.say("capability of the untouched target")
    before = measure()
    with apply_intervention(loaded, intervention) as report:
        reporter.say(f"capability under the transfer, which edits {report}")
        after = measure()
    rows = tuple(TaskFigure(*name, value, after[name]) for name, value in before.items())
    return Capability(rows, limit, len(pieces), report.as_dict())


def _readable(loaded: LoadedModel, texts: Sequence[str], reporter: Reporter) -> list[str]:
    """Pieces of the texts with a token to predict, so with two."""
    pieces = [piece for text in texts for piece in fit_context(loaded, text)]
    kept = [piece for piece in pieces if len(loaded.tokenizer(piece)["input_ids"]) > 1]
    if texts and not kept:
        raise PromptError(
            f"none of {len(texts)} texts has a token that can be predicted",
            expected="texts of at least two tokens",
            fix="give longer texts; with a table, name the column of the text by --column",
        )
    if len(kept) < len(pieces):
        reporter.say(f"texts: {len(pieces) - len(kept)} of one token are left out")
    return kept


def fit_context(loaded: LoadedModel, text: str) -> list[str]:
    """The text in pieces of as many tokens as the model reads at once, cut between tokens.

    Args:
        loaded: The model.
        text: Any text.
    """
    if loaded.max_length is None:
        return [text]
    room = loaded.max_length - 8  # what special tokens and a cut inside a word may add
    ends = loaded.tokenizer(text, return_offsets_mapping=True, add_special_tokens=False)
    offsets = ends["offset_mapping"]
    cuts = [offsets[i][0] for i in range(0, len(offsets), room)] + [len(text)]
    pieces = [text[a:b] for a, b in itertools.pairwise(cuts)]
    return [piece for piece in pieces if piece.strip()]


def _perplexity(loaded: LoadedModel, pieces: Sequence[str], batch_size: int) -> float:
    nll, tokens = text_nll(loaded, list(pieces), batch_size=batch_size)
    return float(torch.exp(nll.sum() / tokens.sum()))
