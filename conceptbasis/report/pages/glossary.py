"""What the words of a report mean, code names of conditions among them."""

from __future__ import annotations

from conceptbasis.behaviors.base import Words
from conceptbasis.methods import METHODS
from conceptbasis.report.table import Table, columns
from conceptbasis.results.summary import Summary

_TERMS = (
    ("atom", "a latent of the donor's SAE that stands in the recipe, with its share in it"),
    ("recipe", "the donor's direction written as a short weighted sum of matched latents"),
    ("latent", "one feature of a sparse autoencoder (SAE); its decoder row is a direction"),
    ("matched", "two latents, one of each model, that are active at the same sites of shared text"),
    ("eligible", "a match that correlates more than the same activations moved along the text do"),
    ("site", "a character of the shared text at which a token ends in both models"),
    ("layer map", "which donor layer stands for each target layer, by SVCCA on shared sites"),
    ("projection agreement", "correlation of how the donor's direction and the rebuilt one order"
     " benign text"),
    ("code_map", "route: donor's codes to target's codes; it names latents of both models"),
    ("transported", "route: donor's codes straight to the target's residuals; names donor's only"),
    ("guard", "what is kept out of the direction, so that benign text stays likely; k directions"),
    ("first-token KL", "how far the distribution of an answer's first token moves, in nats; blind"
     " where answers all open alike or the opening is given"),
    ("perplexity", "how surprised the target is by benign text"),
    ("gamma, offset", "how much is removed, and how far below the benign mean a reading is held,"
     " in standard deviations of where benign requests end"),
    ("dose", "how much of the stream an edit changes at benign sites"),
    ("B0, B0d, …", "the budget: what the target may be shown; B0 is benign text without declines"),
    ("ledger", "what the target was shown until the transfer was sealed"),
)  # fmt: skip


def glossary(summary: Summary, words: Words) -> Table:
    """Terms of a report, then the conditions of a run, by their names in it.

    Args:
        summary: The run.
        words: Of its behavior.
    """
    measured = (
        (words.rate, f"share of held-out {words.positive} prompts where the target {words.shows}"),
        (words.spillover, f"the same where it must not: {words.negative} prompts and neighbours"),
        (words.recovered, f"share of {words.positive} prompts that get a true or relevant answer"),
    )  # fmt: skip
    names = [condition.name for condition in summary.conditions if condition.name in METHODS]
    conditions = [(name, METHODS[name].label) for name in names]
    head = columns("word", "what it means", words=("word", "what it means"))
    return Table("Words of this report", head, [*measured, *_TERMS, *conditions])
