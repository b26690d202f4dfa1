"""What `doctor --model` says: what of a model is read, and what would be edited."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from conceptbasis.config.model import ModelConfig, load_model_config
from conceptbasis.config.run import RunConfig
from conceptbasis.errors import ConfigError

if TYPE_CHECKING:
    from conceptbasis.models.loading.memory import Load


_TOKENS_PER_TEXT = 64
_USUAL_D_SAE, _USUAL_L0 = 16_384, 64
"""Of SAEs that are not trained here, whose sizes are known only once they are loaded."""


def examine_model(name: str, run: RunConfig | None = None) -> dict[str, Any]:
    """Coverage of one model and the memory a transfer takes, without loading its weights.

    Args:
        name: A hub id, a local folder, `organism:FAMILY:SEED`, or a model configuration (YAML).
        run: Settings of the transfer; defaults where None.

    Raises:
        ConceptBasisError: The model or its configuration cannot be used, or it is an organism
            that is not built yet.
    """
    from conceptbasis.models.coverage import examine_coverage
    from conceptbasis.models.loading.load import silence_transformers
    from conceptbasis.models.loading.memory import estimate_memory
    from conceptbasis.models.loading.source import Source
    from conceptbasis.models.text.template import ChatOptions

    silence_transformers()
    is_file = name.endswith((".yaml", ".yml"))
    config = load_model_config(Path(name)) if is_file else ModelConfig(name=name, model=name)
    coverage = examine_coverage(
        Source(
            _place(config.model),
            config.revision,
            config.trust_remote_code,
            config.offline,
            config.gguf_file,
        ),
        architecture=config.architecture,
        chat=ChatOptions(**config.chat.model_dump()),
        quantization=config.quantization,
        dtype=config.dtype,
    )
    load = _load(config, coverage.n_layers, run or RunConfig())
    parts = estimate_memory(coverage.size, load)
    return asdict(coverage) | {"memory": {"load": asdict(load), "bytes": parts}}


def _load(config: ModelConfig, n_layers: int, run: RunConfig) -> Load:
    """What a transfer does with a model, where it can be known before; a partner of equal size."""
    from conceptbasis.models.loading.memory import Load

    training = config.saes.train
    d_sae = training.d_sae if training else _USUAL_D_SAE
    n_saes = n_layers if config.layers == "all" else len(config.layers)
    return Load(
        n_sites=run.harvest.n_texts * _TOKENS_PER_TEXT,
        n_saes=n_saes,
        d_sae=d_sae,
        l0=training.k if training else _USUAL_L0,
        batch_size=run.evaluate.batch_size,
        n_tokens=_TOKENS_PER_TEXT + run.evaluate.max_new_tokens,
        peer_d_sae=d_sae,
        n_workers=run.n_workers,
        layers_at_once=run.harvest.layers_at_once or n_saes,
        top_k=run.match.top_k,
        n_atoms=max(run.fit.n_atoms, run.transfer.n_atoms),
    )


def _place(model: str) -> str:
    """A folder or hub id; that of an organism where one is named."""
    from conceptbasis.organisms.build import is_complete, organism_folder
    from conceptbasis.organisms.spec import parse_spec

    spec = parse_spec(model)
    if spec is None:
        return str(Path(model).expanduser()) if model.startswith("~") else model
    folder = organism_folder(spec)
    if not is_complete(folder):
        raise ConfigError(
            f"{model} is not built yet",
            expected="an organism in the cache",
            fix=f"conceptbasis organisms build {spec.family} --seed {spec.seed}",
        )
    return str(folder)


def model_view(facts: dict[str, Any]) -> RenderableType:
    """Coverage as tables, what would be edited last."""
    head = Text(
        f"{facts['name']}: {facts['family']} ({facts['model_type']}), {facts['n_layers']} layers, "
        f"width {facts['d_model']}, vocabulary {facts['d_vocab']}"
        + (", tied embeddings" if facts["tied"] else "")
    )
    writers = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for column in ("writer", "where", "layers", "count", "shape", "weights"):
        writers.add_column(column, overflow="fold", no_wrap=column != "where")
    for group in facts["groups"]:
        writers.add_row(*_writer_cells(group, facts))
    return Group(head, writers, _facts_table(facts), *_edits(facts), _memory_table(facts["memory"]))


def _memory_table(memory: dict[str, Any]) -> Table:
    """The estimate of `conceptbasis.models.loading.memory.estimate_memory`, part by part."""
    load, parts = memory["load"], memory["bytes"]
    means = {
        "weights": "of the model",
        "residuals": f"harvest of {load['n_sites']} sites, {load['layers_at_once']} layers at once",
        "saes": f"{load['n_saes']} with {load['d_sae']} features",
        "codes": f"of these sites, {load['l0']:g} active",
        "answers": f"{load['batch_size']} at a time, {load['n_tokens']} tokens",
        "match": f"with {load['peer_d_sae']} features, {load['n_workers']} processes",
        "maps": f"from recipes of {load['n_atoms']} features into the target",
        "most": "at once: weights, SAEs, codes and the largest of the others",
    }
    table = Table(title="memory, GB", box=SIMPLE_HEAD, title_justify="left", padding=(0, 1, 0, 0))
    for column in ("part", "GB", "for"):
        table.add_column(column, overflow="fold")
    for part, what in means.items():
        table.add_row(part, f"{parts[part] / 1e9:.2f}", what)
    return table


def _writer_cells(group: dict[str, Any], facts: dict[str, Any]) -> list[str]:
    refused = facts["refusal"] is not None and group["kind"] != "embedding"
    return [
        group["kind"].removesuffix("_expert"),
        group["path"],
        str(group["layers"] or "–"),
        str(group["matrices"]),
        "×".join(map(str, group["shape"])) + (" + bias" if group["bias"] else ""),
        "refused" if refused else "yes",
    ]


def _facts_table(facts: dict[str, Any]) -> Table:
    chat = facts["chat"]
    rows = dict(facts["sites"])
    if "problem" in chat:
        rows["chat"] = chat["problem"]
    else:
        rows["system prompt"] = (
            "taken" if chat["system_prompt"] else "not taken: set chat.system_as: user"
        )
        rows["thinking"] = f"switched by {chat['thinking']}" if chat["thinking"] else "no switch"
        rows["variables"] = ", ".join(chat["variables"]) or "none"
        rows["end of prompt"] = " ".join(chat["end_of_prompt"]).replace("\n", "\\n")
        rows["end of answer"] = " ".join(chat["end_of_turn"]) or "plain text"
    table = Table(box=SIMPLE_HEAD, show_header=False, padding=(0, 1, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows.items():
        table.add_row(name, Text(value))
    return table


def _edits(facts: dict[str, Any]) -> list[Text]:
    hooks = Text(f"edited by hooks:   {facts['by_hooks']}")
    if facts["refusal"] is None:
        return [hooks, Text(f"edited by weights: {facts['by_weights']}")]
    reason = f"edited by weights: embedding only, since {facts['refusal']}"
    return [hooks, Text(reason, style="yellow")]
