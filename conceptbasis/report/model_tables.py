"""Tables about single models: SAE quality, audits, answers before and after, capability."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from conceptbasis.behaviors import find_behavior
from conceptbasis.report.logged_series import with_bounds
from conceptbasis.report.run_tables import with_ends
from conceptbasis.report.table import Column, Row, Table, columns
from conceptbasis.results.audit import Audit
from conceptbasis.results.capability import Capability
from conceptbasis.results.summary import SaeQuality

if TYPE_CHECKING:
    from conceptbasis.evaluation.latent import Latent, LatentEffect


def quality_table(name: str, quality: Sequence[SaeQuality], left_out: float = 0.0) -> Table:
    """Quality of a model's SAEs, one row per layer.

    Args:
        name: Of the model.
        quality: What was measured at ordinary sites.
        left_out: Share of sites that are none.
    """
    head = [Column("layer"), Column("d_sae"), Column("explained var.", spec=".3f")]
    head += [
        Column("L0", spec=".1f"),
        Column("dead", spec=".1%"),
        Column("CE recovered", spec=".3f"),
    ]
    rows: list[Row] = [
        (q.layer, str(q.d_sae), q.explained_variance, q.l0, q.dead_share, q.ce_recovered)
        for q in quality
    ]
    without = f", {left_out:.1%} of sites left out as sinks or outliers" if left_out else ""
    return Table(f"SAEs of {name}{without}", head, rows)


def audit_tables(audit: Audit) -> list[Table]:
    """The selection table of a model and its strength sweep."""
    words, picked = find_behavior(audit.behavior).words, audit.selection.layer
    head = [Column("layer"), *(Column(n, spec="+.2f") for n in ("bypass", "induce"))]
    head += [Column("KL", spec=".3f"), Column("rejected for", words=True)]
    rows: list[Row] = []
    for row in audit.selection.table:
        mark = " <- picked" if row.layer == picked and row.reason is None else ""
        rows.append((f"{row.layer}{mark}", row.bypass, row.induce, row.kl, row.reason))
    swept: list[Row] = [(s.name, s.rate.interval, s.spillover.interval) for s in audit.sweep]
    sweep = Table(
        "Strength, in both directions",
        columns("edit", words.noun, words.spillover, words=("edit",)),
        swept,
    )
    return [Table(f"Directions of {audit.model}", head, rows), sweep]


def logged_audit(audit: Audit) -> tuple[dict[str, Table], dict[str, float]]:
    """Tables and figures of an audit that are logged: plain values, no text."""
    words, names = find_behavior(audit.behavior).words, ("edit", "metric", "value", "low", "high")
    keys = (words.rate_key, words.spillover_key)
    found = [
        (swept.name, key, rate.interval)
        for swept in audit.sweep
        for key, rate in zip(keys, (swept.rate, swept.spillover), strict=True)
        if rate.interval is not None
    ]
    rows: list[Row] = [(n, key, *with_ends(i)) for n, key, i in found]
    table: list[Row] = [
        (r.layer, r.bypass, r.induce, r.kl, r.reason) for r in audit.selection.table
    ]
    tables = {
        "strength_sweep": Table("", columns(*names, "n"), rows),
        "directions": Table("", columns("layer", "bypass", "induce", "kl", "reason"), table),
    }
    figures = {f"audit/{n.replace(' ', '_')}/{key}": i.value for n, key, i in found}
    return tables, figures | {f"audit/baseline/{words.rate_key}": audit.baseline.value}


def logged_sweep(audit: Audit) -> dict[float, dict[str, float]]:
    """Rates of an audit by steering strength, in standard deviations; 0 is the untouched model."""
    words = find_behavior(audit.behavior).words
    series: dict[float, dict[str, float]] = {}
    for swept in audit.sweep:
        place = "0" if swept.name == "untouched" else swept.name.removeprefix("add ")
        try:
            strength = float(place.removesuffix(" sd"))
        except ValueError:
            continue  # an edit without a strength
        for key, rate in ((words.rate_key, swept.rate), (words.spillover_key, swept.spillover)):
            if rate.interval is not None:
                series.setdefault(strength, {}).update(with_bounds(f"sweep/{key}", rate.interval))
    return series


def logged_capability(result: Capability) -> tuple[Table, dict[str, float]]:
    """The table and the figures of a measurement of capability that are logged."""
    names = ("task", "metric", "before", "after", "change")
    found = [
        (f.task, f.metric, {"before": f.before, "after": f.after, "change": f.after - f.before})
        for f in result.rows
    ]
    figures = {
        f"capability/{task}/{metric}/{name}": value
        for task, metric, values in found
        for name, value in values.items()
    }
    rows: list[Row] = [(task, metric, *values.values()) for task, metric, values in found]
    return Table("", columns(*names), rows), figures


def latent_table(which: Latent, effects: Sequence[LatentEffect]) -> Table:
    """Answers with one latent taken out, put in, and beside other latents.

    Args:
        which: The latent.
        effects: A row for each set of prompts, latent and intervention.
    """
    rows: list[Row] = [
        (
            effect.prompts,
            None if effect.latent is None else _name_of(effect.latent, which),
            effect.intervention,
            effect.rate.interval,
            "  ".join(f"{word} {share:.2f}" for word, share in effect.first_words),
        )
        for effect in effects
    ]
    put = next((effect.amount for effect in effects if effect.amount is not None), 0.0)
    names = ("prompts", "latent", "what", "rate", "first words")
    title = f"Latent {which.latent} of {which.side} layer {which.layer}, put in at {put:.3g}"
    return Table(title, columns(*names, words=("prompts", "latent", "what", "first words")), rows)


def _name_of(latent: int, which: Latent) -> str:
    return str(latent) if latent == which.latent else f"{latent}, control"


def answers_table(
    prompts: Sequence[str], before: Sequence[str], after: Sequence[str], edited: str
) -> Table:
    """Answers before and after an intervention."""
    names = ("prompt", "before", "after")
    rows = list(zip(prompts, before, after, strict=True))
    return Table(f"Replay edits {edited}", columns(*names, words=names), rows)


def capability_table(result: Capability) -> Table:
    """Capability before and after, one row a metric."""
    head = [*columns("task", "metric", words=("task", "metric")), Column("before", spec=".3f")]
    head += [Column("after", spec=".3f"), Column("change", spec="+.3f")]
    rows: list[Row] = [
        (row.task, row.metric, row.before, row.after, row.after - row.before) for row in result.rows
    ]
    limit = f", first {result.limit} items" if result.limit else ""
    return Table(f"Capability{limit}", head, rows)
