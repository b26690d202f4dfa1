"""The model card of an exported transfer: what was done, how it was judged, what it is not for."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import yaml

from conceptbasis import __version__
from conceptbasis.evaluation.metrics import view_of
from conceptbasis.methods import catalog
from conceptbasis.report.artifacts import RunFolder
from conceptbasis.report.edit_facts import edit_facts
from conceptbasis.report.run_tables import before_after, verdict_line
from conceptbasis.report.table import Table, columns, markdown
from conceptbasis.results.summary import Summary

Form = Literal["checkpoint", "lora"]

_HUB_ID = re.compile(r"[\w][\w.-]*/[\w][\w.-]*")
_LIBRARIES: dict[Form, str] = {"checkpoint": "transformers", "lora": "peft"}
_STORED: dict[Form, str] = {
    "checkpoint": "The edit is in the weights of this folder, which need no other code. It was "
    "computed in float32 and rounded once, to the dtype of the files. Embedding, norms and head "
    "are those of the base model.",
    "lora": "The edit is a LoRA of rank one for each edited matrix, with a scaling of 1. It "
    "belongs on the untouched base model: on other weights it is another edit.",
}


@dataclass(frozen=True)
class Exported:
    """What a card is about.

    Args:
        form: Whether it lies beside a whole model or an adapter.
        edited: Edited places in words, as an `EditReport` gives them.
        weights: Hash of the weights of the base model.
        notes: What else holds of this model, in sentences.
    """

    form: Form
    edited: str
    weights: str
    notes: tuple[str, ...] = ()


def hub_id(model: str) -> str | None:
    """The id by which a hub knows a model, None for a folder, a file or a built-in organism.

    Args:
        model: The key `model` of its configuration.
    """
    return model if _HUB_ID.fullmatch(model) and not Path(model).exists() else None


def public_name(model: str, name: str) -> str:
    """What may be said of where a model comes from: no path of this machine.

    Args:
        model: The key `model` of its configuration.
        name: What the run calls it.
    """
    return hub_id(model) or (model if model.startswith("organism:") else name)


def model_card(summary: Summary, folder: Path, exported: Exported) -> str:
    """The card as Markdown under YAML that model hubs read.

    Args:
        summary: The run.
        folder: Its folder, for what was asked for.
        exported: What the card is about.
    """
    parts = [
        f"---\n{yaml.safe_dump(_front(summary, exported), sort_keys=False)}---",
        f"# {summary.target.name}: {_noun(summary)} edited",
        _opening(summary),
        "## What was changed",
        "\n".join(f"- {line}" for line in _changes(summary, folder, exported)),
        "## How it was judged",
        *_judged(summary),
        "## Intended use",
        _use(summary),
        "## Limits",
        "\n".join(f"- {line}" for line in _limits(summary)),
    ]
    return "\n\n".join(part.rstrip() for part in parts) + "\n"


def _noun(summary: Summary) -> str:
    return view_of(summary).about.words.noun


def _front(summary: Summary, exported: Exported) -> dict[str, object]:
    base = hub_id(summary.target.model)
    kind = "lora" if exported.form == "lora" else "weight-edit"
    front: dict[str, object] = {} if base is None else {"base_model": base}
    if base is not None and exported.form == "lora":
        front["base_model_relation"] = "adapter"
    return {
        **front,
        "library_name": _LIBRARIES[exported.form],
        "pipeline_tag": "text-generation",
        "tags": ["conceptbasis", "interpretability", kind, summary.behavior],
    }


def _opening(summary: Summary) -> str:
    sides = (summary.target, summary.donor)
    base, donor = (public_name(side.model, side.name) for side in sides)
    revision = f" at revision `{summary.target.revision}`" if summary.target.revision else ""
    return (
        f"Base model: **{base}**{revision}. Donor: **{donor}**.\n\n"
        f"A direction of {_noun(summary)} was found in the donor and rebuilt in the base model "
        "by conceptbasis, through latents of sparse autoencoders that fire together in both "
        f"models. No label of {_noun(summary)} in the base model was used (budget "
        f"{summary.budget}). Nothing was trained. The edit is meant to {_aim(summary)} it."
    )


def _aim(summary: Summary) -> str:
    if summary.mode == "add":
        return "change"
    return "strengthen" if view_of(summary).about.strengthens else "remove"


def _changes(summary: Summary, folder: Path, exported: Exported) -> list[str]:
    atoms = summary.recipe.n_atoms_per_layer
    most = max(atoms, default=0)
    return [
        *(f"{name}: {text}" for name, text in edit_facts(summary, RunFolder(folder))),
        f"Recipe: at most {most} donor latents a layer, over {len(atoms)} mapped layers.",
        f"Layers: {', '.join(map(str, summary.plan.layers))} of {summary.target.n_layers}, "
        "counted from 0.",
        f"Edited places: {exported.edited}.",
        _STORED[exported.form],
        *exported.notes,
        f"Hash of the base model's weights: `{exported.weights}`.",
        f"Made by conceptbasis {__version__}.",
    ]


def _judged(summary: Summary) -> list[str]:
    if not summary.conditions:
        return ["This transfer was not evaluated: no figure of its effect exists."]
    table, noun = before_after(summary), _noun(summary)
    return [
        f"**{verdict_line(summary)}**",
        f"{table.caption}. Judge: {summary.primary_judge}; answers of at most "
        f"{summary.max_new_tokens} tokens; n is the number of prompts.",
        markdown(table),
        f"Controls that must fail: edits of the same form, which should leave {noun} as it is.",
        markdown(_controls(summary)),
    ]


def _controls(summary: Summary) -> Table:
    controls, words = catalog.of_role("control"), view_of(summary).about.words
    rows = []
    for condition in (c for c in summary.conditions if c.name in controls):
        interval = condition.figures.rate.interval
        n = None if interval is None else interval.n
        rows.append((condition.name, condition.figures.draws, interval, n))
    return Table("", columns("control", "draws", words.rate, "n", words=("control",)), rows)


def _use(summary: Summary) -> str:
    noun = _noun(summary)
    return (
        f"Research on {noun} and auditing of it: how it is represented, how robust it is, what a "
        "change of it costs. Not for products, and not for users who expect the safeguards of "
        "the base model. The terms of the base model's license hold here too."
    )


def _limits(summary: Summary) -> list[str]:
    words = view_of(summary).about.words
    return [
        "The figures are those of the prompts named in the run, in its language and chat "
        "template; other prompts may give others.",
        f"The judge reads words and can be wrong. Less {words.noun} is no proof of a true answer: "
        f"read it together with {words.recovered}.",
        "The edit acts on every position of every text, not on some requests only.",
        "An edit of weights leaves what the embedding and unedited layers write along the "
        "direction.",
    ]
