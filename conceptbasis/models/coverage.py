"""What of a model can be read and edited, known before a single weight is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from conceptbasis.errors import ConceptBasisError
from conceptbasis.models.architecture.binding import Architecture, WriterSlot, resolve
from conceptbasis.models.architecture.table import ARCHITECTURES, ArchitectureRow, parse_row
from conceptbasis.models.loading.adapters import check_plain_weights, examine_adapter
from conceptbasis.models.loading.fetching import load_config, load_tokenizer, model_class
from conceptbasis.models.loading.memory import ModelSize, model_size
from conceptbasis.models.loading.source import UNREADABLE, Source, unreadable
from conceptbasis.models.stream.edit_report import count_edits
from conceptbasis.models.text.template import (
    ChatOptions,
    apply_chat_options,
    chat_facts,
    set_template,
)
from conceptbasis.models.text.vocabulary import limit_ids


@dataclass(frozen=True)
class WriterGroup:
    """All writers of one kind that stand at one path.

    Args:
        kind: attention, mlp, expert or shared_expert.
        path: Inside a block.
        layers: In how many blocks it stands.
        matrices: How many matrices there are in all.
        shape: Of one of them.
        orientation: `out_in` when the stream is on the rows.
        bias: Whether a bias is written with it.
        norm: The norm that follows, through which a weight edit would not hold.
    """

    kind: str
    path: str
    layers: int
    matrices: int
    shape: tuple[int, ...]
    orientation: str
    bias: bool
    norm: str | None


@dataclass(frozen=True)
class Coverage:
    """What of one model can be read and edited.

    Args:
        name: Hub id or folder.
        model_type: Key of the architecture table.
        family: What people call it.
        n_layers: Decoder blocks.
        d_model: Width of the stream.
        d_vocab: Rows of the embedding.
        tied: Whether embedding and unembedding are one parameter.
        groups: Writers by kind and path.
        sites: The module that each site is read from.
        by_hooks: What an edit of all writers by hooks covers.
        by_weights: The same by weights, or None.
        obstacle: Why weight edits are refused, or None.
        size: What decides how much memory it takes.
        chat: What the chat template says of itself; `problem` where it says nothing.
        adapter: The adapter that is merged into it on load.
    """

    name: str
    model_type: str
    family: str
    n_layers: int
    d_model: int
    d_vocab: int
    tied: bool
    groups: tuple[WriterGroup, ...]
    sites: dict[str, str]
    by_hooks: str
    by_weights: str | None
    obstacle: str | None
    size: ModelSize
    chat: dict[str, Any] = field(default_factory=dict)
    adapter: str | None = None


def examine_coverage(
    source: Source,
    *,
    architecture: Mapping[str, Any] | None = None,
    chat: ChatOptions | None = None,
    quantization: str | None = None,
    dtype: str = "float32",
    adapter: Source | None = None,
) -> Coverage:
    """Reads configuration and tokenizer only, and builds the model without memory for weights.

    Args:
        source: The model.
        architecture: A row of the user's own.
        chat: Chat options of the model configuration.
        quantization: How the model is to be loaded.
        dtype: How its weights are to be held.
        adapter: A PEFT adapter that is merged into it.

    Raises:
        ModelError: Not found, damaged, an architecture that is not in the table, or an adapter
            that loading would refuse.
    """
    config = load_config(source)
    model = _without_weights(source, config)
    # Ties are made when weights are loaded, so they are not yet to be seen in the modules.
    tied = bool(getattr(config, "tie_word_embeddings", False))
    if adapter is not None:
        check_plain_weights(adapter, quantization)
        tied = examine_adapter(_without_weights(source, config), adapter)
        for one in (config, config.get_text_config()):
            one.tie_word_embeddings = tied
        model = _without_weights(source, config)
    row = parse_row(architecture) if architecture is not None else None
    bound = resolve(model, row)
    stored = getattr(config, "quantization_config", None)
    obstacle = _obstacle(bound, quantization or (stored and _method(stored)))
    layers = range(bound.n_layers)
    edited = str(count_edits(bound, layers))
    return Coverage(
        name=source.name,
        model_type=bound.model_type,
        family=bound.row.family,
        n_layers=bound.n_layers,
        d_model=bound.d_model,
        d_vocab=bound.d_vocab,
        tied=bound.tied or tied,
        groups=tuple(_groups(bound)),
        sites=_sites(bound.row),
        by_hooks=edited,
        by_weights=None if obstacle else edited,
        obstacle=obstacle,
        size=model_size(model, bound.d_model, bound.d_vocab, dtype, quantization),
        chat=_chat(source, adapter, chat or ChatOptions(), bound.d_vocab),
        adapter=None if adapter is None else adapter.name,
    )


def _without_weights(source: Source, config: Any) -> Any:
    options = {"trust_remote_code": True} if source.trust_remote_code else {}
    try:
        with torch.device("meta"):
            return model_class(config).from_config(config, **options)
    except UNREADABLE as error:
        raise unreadable("model", source, error) from error


def supported_table() -> str:
    """The architecture table as Markdown, for docs/method.md."""
    lines = [
        "| family | `model_type` | attention writer | MLP writer | experts | weight edits |",
        "|---|---|---|---|---|---|",
    ]
    for model_type, row in ARCHITECTURES.items():
        experts = "–"
        if row.experts:
            experts = f"`{row.experts}`"
            experts += f", transposed, with `{row.experts_bias}`" if row.experts_bias else ""
            experts += f" and `{row.shared_expert}`" if row.shared_expert else ""
        weights = "refused: a norm follows" if row.post_norm else "yes"
        writers = f"`{row.attention_writer}` | `{row.mlp_writer}`"
        lines.append(f"| {row.family} | `{model_type}` | {writers} | {experts} | {weights} |")
    return "\n".join(lines) + "\n"


def _groups(architecture: Architecture) -> list[WriterGroup]:
    found: dict[tuple[str, str], list[WriterSlot]] = {}
    for layer in range(architecture.n_layers):
        for slot in architecture.writers(layer):
            found.setdefault((slot.kind, slot.name.partition(".")[2]), []).append(slot)
    row = architecture.row
    groups = []
    for (kind, path), slots in found.items():
        weight = getattr(slots[0].module, slots[0].weight)
        groups.append(
            WriterGroup(
                kind,
                path,
                layers=len(slots),
                matrices=sum(slot.n_experts or 1 for slot in slots),
                shape=tuple(weight.shape[-2:]),
                orientation=slots[0].orientation,
                bias=slots[0].bias is not None,
                norm=row.attention_norm if kind == "attention" else row.mlp_norm,
            )
        )
    return groups


def _sites(row: ArchitectureRow) -> dict[str, str]:
    attention, mlp = row.attention_norm or row.attention, row.mlp_norm or row.mlp
    return {
        "resid_pre": "input of a block",
        "attn_out": f"output of {attention}",
        "resid_mid": "resid_pre + attn_out",
        "mlp_out": f"output of {mlp}",
        "resid_post": "output of a block",
    }


def _obstacle(architecture: Architecture, quantised: str | None) -> str | None:
    if architecture.post_norm:
        norms = (architecture.row.attention_norm, architecture.row.mlp_norm)
        return f"{' and '.join(n for n in norms if n)} follow the writers"
    return f"its weights are quantised ({quantised})" if quantised else None


def _method(stored: Any) -> str:
    found = stored if isinstance(stored, Mapping) else vars(stored)
    return str(found.get("quant_method", "unknown method"))


def _chat(
    source: Source, adapter: Source | None, options: ChatOptions, n_rows: int
) -> dict[str, Any]:
    try:
        tokenizer = load_tokenizer(source, adapter)
        set_template(tokenizer, options)
        if not getattr(tokenizer, "chat_template", None):
            return {"problem": "no chat template: use a chat model, or give chat.template"}
        limit_ids(tokenizer, n_rows, source.name)
        facts = chat_facts(tokenizer)
        apply_chat_options(tokenizer, options)
        # What can be set is said of the template; where prompts end, of the template as set.
        return facts | {"end_of_prompt": chat_facts(tokenizer)["end_of_prompt"]}
    except ConceptBasisError as error:
        return {"problem": error.what}
