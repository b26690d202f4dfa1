"""Tables of circuits, their overlaps and cross-use."""

from __future__ import annotations

from collections.abc import Iterator

from conceptbasis.patching.probes import counts_by_kind
from conceptbasis.report.run_tables import with_ends
from conceptbasis.report.table import Column, Row, Table, columns
from conceptbasis.results.circuits import Circuit, ModelCircuits, SharedCircuits

_P = Column("p", spec=".4f")


def circuit_tables(result: SharedCircuits) -> list[Table]:
    """What is shown on screen and in the page."""
    makers = (prompt_table, size_table, share_table, overlap_table, cross_table)
    return [table for make in makers if (table := make(result)).body]


def _all(result: SharedCircuits) -> Iterator[tuple[str, ModelCircuits, Circuit]]:
    for side, model in (("donor", result.donor), ("target", result.target)):
        for circuit in model.circuits:
            yield side, model, circuit


def prompt_table(result: SharedCircuits) -> Table:
    """Whether the models do the tasks, and on how many pairs."""
    rows: list[Row] = []
    for side, _, circuit in _all(result):
        read = circuit.prompts
        counts = f"{read.n_search}+{read.n_check}"
        out = read.n_unequal + read.n_small
        both = f"{read.logit_difference:+.1f} {read.logit_difference_corrupted:+.1f}"
        rows.append((side, circuit.task, counts, out, read.rate, read.rate_corrupted, both))
    names = ("model", "task", "pairs", "out", "right", "corrupted", "logits")
    return Table(
        "Do the models do the tasks?",
        columns(*names, words=("task",)),
        rows,
        f"donor: {result.donor.name}, target: {result.target.name}; pairs: to find the circuit and "
        "to measure it; out: left out, since prompts do not align in the model's tokens; right: "
        "share of clean and of corrupted prompts on which the right answer is likelier; logits: "
        "mean difference on both",
    )


def size_table(result: SharedCircuits) -> Table:
    """How many components each circuit has."""
    rows: list[Row] = []
    for side, model, circuit in _all(result):
        n = counts_by_kind(circuit.members)
        heads = f"{n['head']} of {model.n_layers * model.n_heads}"
        best = ", ".join(c.name for c in circuit.members[:6])
        rows.append((side, circuit.task, heads, f"{n['mlp']} of {model.n_layers}", best))
    return Table(
        "Circuits",
        columns("model", "task", "heads", "MLPs", "first six", words=("task", "first six")),
        rows,
        "the fewest components, largest effect first, that keep "
        f"{result.settings['share']:.0%} of the task on the pairs of the search",
    )


def share_table(result: SharedCircuits) -> Table:
    """Faithfulness and completeness."""
    head = columns("model", "task", "knocked out", words=("task", "knocked out"))
    head += [Column("circuit"), Column("random sets"), _P]
    rows: list[Row] = []
    for side, _, circuit in _all(result):
        sides = (("all but it", circuit.faithfulness), ("it alone", circuit.completeness))
        rows += [(side, circuit.task, n, a.value, a.random, a.p) for n, a in sides]
    return Table(
        "Faithfulness and completeness: share of the task that is left",
        head,
        rows,
        "all but it: faithfulness, high is good; it alone: completeness, low is good; random: as "
        "many of each kind in each quarter of the depth, with the range of 95 % of them; p: share "
        "of random sets that do as well",
    )


def overlap_table(result: SharedCircuits) -> Table:
    """What circuits have in common."""
    head = [Column("model"), Column("tasks", words=True), Column("by", words=True)]
    head += [Column("shared"), Column("Jaccard"), Column("random sets"), _P]
    rows: list[Row] = []
    for o in result.overlaps:
        tasks = o.tasks[0] if o.tasks[0] == o.tasks[1] else ", ".join(o.tasks)
        rows.append((o.side, tasks, o.by, o.n_shared, o.score, o.random, o.p))
    return Table(
        "Overlap",
        head,
        rows,
        "components: of two tasks in one model, random sets with as many of each kind in each "
        "quarter of the depth; depth: of the shares of heads and MLPs in each part of the depth "
        "between models, random sets with as many of each kind; latents: of the target's circuit "
        "with the components that match the donor's",
    )


def cross_table(result: SharedCircuits) -> Table:
    """The donor's circuits in the target."""
    head = [Column("task"), Column("by", words=True), Column("n"), Column("carried")]
    head += [Column("own"), Column("random sets"), _P]
    rows: list[Row] = [
        (c.task, c.by, c.n_components, c.carried, c.own.value, c.random, c.p)
        for c in result.cross_use
    ]
    return Table(
        "Cross-use: the donor's circuit knocked out in the target",
        head,
        rows,
        "share of the task that is left in the target; n: components that were carried over; own: "
        "without the target's own circuit; random sets: as many of each kind, by latents in each "
        "quarter of the depth",
    )


def effect_table(result: SharedCircuits, most: int = 12) -> Table:
    """The components of the largest effects in each circuit."""
    head = [Column("model"), Column("task", words=True), Column("component"), Column("effect")]
    rows: list[Row] = []
    for side, _, circuit in _all(result):
        by_component = {e.component: e.effect for e in circuit.effects}
        for component in circuit.members[:most]:
            effect = by_component[component]
            rows.append((side, circuit.task, component.name, effect))
    return Table(
        f"The components of each circuit that matter most by themselves (up to {most})",
        head,
        rows,
        "effect: share of the task that falls when the component alone is knocked out",
    )


def logged_circuits(result: SharedCircuits) -> tuple[dict[str, Table], dict[str, float]]:
    """Tables and figures that are logged: plain values, no text of a prompt."""
    ends = ("value", "low", "high", "n")
    effects: list[Row] = []
    figures: dict[str, float] = {}
    for side, model in (("donor", result.donor), ("target", result.target)):
        for circuit in model.circuits:
            inside = set(circuit.members)
            for e in circuit.effects:
                place = (side, circuit.task, e.component.name, e.component in inside)
                effects.append((*place, *with_ends(e.effect)))
            key = f"circuits/{side}/{circuit.task}"
            figures[f"{key}/size"] = float(len(circuit.members))
            figures[f"{key}/faithfulness"] = circuit.faithfulness.value.value
            figures[f"{key}/left_without"] = circuit.completeness.value.value
    for o in result.overlaps:
        key = f"circuits/overlap/{o.side}/{o.by}/{'-'.join(dict.fromkeys(o.tasks))}"
        figures |= {key: o.score, f"{key}/p": o.p}
    for c in result.cross_use:
        key = f"circuits/cross_use/{c.by}/{c.task}"
        figures |= {key: c.carried.value, f"{key}/random": c.random.value, f"{key}/p": c.p}
    names = ("side", "task", "component", "in_circuit")
    shown = {
        name: Table("", table.columns, [table.texts(row) for row in table.rows])
        for name, table in (
            ("circuits", size_table(result)),
            ("circuit_shares", share_table(result)),
            ("circuit_overlaps", overlap_table(result)),
            ("circuit_cross_use", cross_table(result)),
        )
    }
    return {"effects": Table("", columns(*names, *ends), effects), **shown}, figures
