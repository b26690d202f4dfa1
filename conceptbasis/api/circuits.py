"""Circuits of two models from Python, as data frames."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from conceptbasis.api.frames import frame, html_table
from conceptbasis.api.work import SettingsLike, run_config
from conceptbasis.config.model import ModelLike, as_model_config
from conceptbasis.core.statistics.interval import Interval
from conceptbasis.results.circuits import Circuit, SharedCircuits

if TYPE_CHECKING:
    from pandas import DataFrame

EFFECTS = "side task layer head component in_circuit effect low high"
CIRCUITS = (
    "side task n_heads n_mlps rate faithfulness faithfulness_low faithfulness_high "
    "faithfulness_random faithfulness_p left left_low left_high left_random left_p"
)
OVERLAPS = "side task other_task by n_shared jaccard random low high p"
CROSS_USE = "task by n_components left left_low left_high own random p"


@dataclass(frozen=True, repr=False)
class CircuitStudy:
    """Circuits of a donor and a target.

    Args:
        result: All figures, as in `circuits.json`.
        page: The HTML page.
    """

    result: SharedCircuits
    page: Path

    def _circuits(self) -> Iterator[tuple[str, Circuit]]:
        for side in ("donor", "target"):
            for circuit in getattr(self.result, side).circuits:
                yield side, circuit

    @property
    def effects(self) -> DataFrame:
        """One row per head and MLP of each model and task; `head` is -1 for an MLP."""
        rows = []
        for side, circuit in self._circuits():
            inside = set(circuit.members)
            for e in circuit.effects:
                c, figure = e.component, e.effect
                place = (side, circuit.task, c.layer, c.head, c.name, c in inside)
                rows.append((*place, figure.value, figure.low, figure.high))
        return frame(EFFECTS, rows)

    @property
    def circuits(self) -> DataFrame:
        """One row per circuit: its size, and what is left of the task with it and without it."""
        rows = []
        for side, circuit in self._circuits():
            n_heads = sum(c.kind == "head" for c in circuit.members)
            row = [side, circuit.task, n_heads, len(circuit.members) - n_heads]
            row.append(circuit.prompts.rate.value)
            for figure in (circuit.faithfulness, circuit.completeness):
                row += [figure.value.value, figure.value.low, figure.value.high]
                row += [figure.random.value, figure.p]
            rows.append(row)
        return frame(CIRCUITS, rows)

    @property
    def overlaps(self) -> DataFrame:
        """One row per pair of circuits that was compared; `low` and `high` are of random sets."""
        rows = [
            (o.side, *o.tasks, o.by, o.n_shared, o.score, *_ends(o.random), o.p)
            for o in self.result.overlaps
        ]
        return frame(OVERLAPS, rows)

    @property
    def cross_use(self) -> DataFrame:
        """One row per donor circuit that was knocked out in the target."""
        rows = [
            (c.task, c.by, c.n_components, *_ends(c.carried), c.own.value, c.random.value, c.p)
            for c in self.result.cross_use
        ]
        return frame(CROSS_USE, rows)

    def __repr__(self) -> str:
        tasks = ", ".join(c.task for c in self.result.donor.circuits)
        return f"CircuitStudy({self.result.donor.name} and {self.result.target.name}: {tasks})"

    def _repr_html_(self) -> str:
        table = self.circuits.round(2)
        rows = [[str(cell) for cell in row] for row in table.itertuples(index=False)]
        return f"<p><b>{self!r}</b></p>" + html_table(list(table.columns), rows)


def _ends(figure: Interval) -> tuple[float, float, float]:
    return figure.value, figure.low, figure.high


def circuits(
    donor: ModelLike,
    target: ModelLike,
    *,
    tasks: Sequence[str],
    out: str | PathLike[str],
    run: str | PathLike[str] | None = None,
    share: float = 0.8,
    n_prompts: int = 48,
    n_random: int = 20,
    seed: int = 0,
    config: SettingsLike = None,
    quiet: bool = False,
    **settings: object,
) -> CircuitStudy:
    """Finds the heads and MLPs that carry tasks in two models, and what they share.

    Args:
        donor: A YAML file of `sae_configs/`, its keys, or a hub id or folder.
        target: The same.
        tasks: Names of tasks, such as `refusal` or `digits`.
        out: Folder of the result.
        run: A run between both models, to compare by its matched latents too.
        share: Of a task, that a circuit keeps.
        n_prompts: The most pairs of prompts a task.
        n_random: Random sets beside each figure.
        seed: Of random sets and intervals.
        config: Settings of the run whose prompts and device are used.
        quiet: Whether no progress is told.
        settings: Single settings over those of `config`, by section.

    Raises:
        ConceptBasisError: whatever is wrong with the input.

    Example:
        >>> models = "sae_configs/donor.yaml", "sae_configs/target.yaml"
        >>> few = {"n_prompts": 16, "n_random": 2, "config": "settings.yaml", "quiet": True}
        >>> study = cb.circuits(*models, tasks=["refusal"], out="runs/circuits", **few)
        >>> study.circuits["side"].tolist()
        ['donor', 'target']
    """
    from conceptbasis.models.loading.load import silence_transformers
    from conceptbasis.patching.finding import Search
    from conceptbasis.patching.study import open_subject, study_circuits
    from conceptbasis.report.circuits.page import write_page
    from conceptbasis.runs.progress import Reporter

    silence_transformers()
    parsed, reporter = run_config(config, settings), Reporter(quiet=quiet)
    search = Search.checked(share, n_prompts, n_random, seed)
    models = [as_model_config(model) for model in (donor, target)]
    one, other = (open_subject(model, parsed.device, reporter) for model in models)
    between = None if run is None else Path(run)
    result = study_circuits(one, other, tasks, parsed, search, Path(out), reporter, between)
    return CircuitStudy(result, write_page(Path(out), result))
