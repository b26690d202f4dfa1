"""What `doctor --model` says: what of a model is read, and what would be edited."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.text import Text

from conceptbasis.config.model import ModelConfig, load_model_config
from conceptbasis.config.run import RunConfig
from conceptbasis.errors import ConfigError
from conceptbasis.report.doctor import facts_table
from conceptbasis.report.table import Column, Row, Table, columns, terminal

if TYPE_CHECKING:
    from conceptbasis.models.coverage import Coverage, WriterGroup
    from conceptbasis.models.loading.memory import Load
    from conceptbasis.models.loading.source import Source


@dataclass(frozen=True)
class ModelFacts:
    """What of a model is read and edited, and the memory that a transfer takes.

    Args:
        coverage: What can be read and edited.
        load: What a transfer does with it.
        bytes: Memory by part.
    """

    coverage: Coverage
    load: Load
    bytes: Mapping[str, float]

    def plain(self) -> dict[str, object]:
        """For programs."""
        memory = {"load": asdict(self.load), "bytes": dict(self.bytes)}
        return asdict(self.coverage) | {"memory": memory}


_TOKENS_PER_TEXT = 64
_USUAL_D_SAE, _USUAL_L0 = 16_384, 64
"""Of SAEs that are not trained here, whose sizes are known only once they are loaded."""


def examine_model(name: str, run: RunConfig | None = None) -> ModelFacts:
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
        adapter=_adapter(config),
    )
    load = _load(config, coverage.n_layers, run or RunConfig())
    return ModelFacts(coverage, load, estimate_memory(coverage.size, load))


def _adapter(config: ModelConfig) -> Source | None:
    from conceptbasis.models.loading.source import Source

    if config.adapter is None:
        return None
    return Source(config.adapter, config.adapter_revision, offline=config.offline)


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


def model_view(facts: ModelFacts) -> RenderableType:
    """Coverage as tables, what would be edited last."""
    found = facts.coverage
    head = Text(
        f"{found.name}: {found.family} ({found.model_type}), {found.n_layers} layers, "
        f"width {found.d_model}, vocabulary {found.d_vocab}"
        + (", tied embeddings" if found.tied else "")
        + (f", with {found.adapter} merged into it" if found.adapter else "")
    )
    names = ("writer", "where", "layers", "count", "shape", "weights")
    writers = Table("", columns(*names, words=names), [_writer(g, found) for g in found.groups])
    tables = (writers, facts_table(_facts(found)))
    return Group(head, *map(terminal, tables), *_edits(found), terminal(_memory_table(facts)))


def _memory_table(facts: ModelFacts) -> Table:
    """The estimate of `conceptbasis.models.loading.memory.estimate_memory`, part by part."""
    load = facts.load
    means = {
        "weights": "of the model",
        "residuals": f"harvest of {load.n_sites} sites, {load.layers_at_once} layers at once",
        "saes": f"{load.n_saes} with {load.d_sae} latents",
        "codes": f"of these sites, {load.l0:g} active",
        "answers": f"{load.batch_size} at a time, {load.n_tokens} tokens",
        "match": f"with {load.peer_d_sae} latents, {load.n_workers} processes",
        "maps": f"from recipes of {load.n_atoms} latents into the target",
        "most": "at once: weights, SAEs, codes and the largest of the others",
    }
    rows = [(part, facts.bytes[part] / 1e9, what) for part, what in means.items()]
    head = [Column("part", words=True), Column("GB", spec=".2f"), Column("for", words=True)]
    return Table("memory, GB", head, rows)


def _writer(group: WriterGroup, found: Coverage) -> Row:
    kept = found.obstacle is not None
    return (
        group.kind.removesuffix("_expert"),
        group.path,
        str(group.layers or "–"),
        str(group.matrices),
        "×".join(map(str, group.shape)) + (" + bias" if group.bias else ""),
        "no" if kept else "yes",
    )


def _facts(found: Coverage) -> dict[str, str]:
    chat, rows = found.chat, dict(found.sites)
    if "problem" in chat:
        return rows | {"chat": chat["problem"]}
    taken = "taken" if chat["system_prompt"] else "not taken: set chat.system_as: user"
    return rows | {
        "system prompt": taken,
        "thinking": f"switched by {chat['thinking']}" if chat["thinking"] else "no switch",
        "variables": ", ".join(chat["variables"]) or "none",
        "end of prompt": " ".join(chat["end_of_prompt"]).replace("\n", "\\n"),
        "end of answer": " ".join(chat["end_of_turn"]) or "plain text",
    }


def _edits(found: Coverage) -> list[Text]:
    hooks = Text(f"edited by hooks:   {found.by_hooks}")
    if found.obstacle is None:
        return [hooks, Text(f"edited by weights: {found.by_weights}")]
    reason = f"edited by weights: refused, since {found.obstacle}"
    return [hooks, Text(reason, style="yellow")]
