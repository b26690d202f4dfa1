"""What is logged of a run besides its figures: tables and series over layers, from its artifacts.

Nothing here holds text of a prompt or of an answer, so nothing has to be removed from it later.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from conceptbasis.behaviors import find_behavior
from conceptbasis.behaviors.base import Words
from conceptbasis.judges import find_judge
from conceptbasis.judges.base import Judge
from conceptbasis.report.artifacts import RunFolder
from conceptbasis.report.run_tables import condition_rows
from conceptbasis.report.table import Row, Table, columns
from conceptbasis.results.atoms import Atoms, Stability
from conceptbasis.results.direction import DonorDirection
from conceptbasis.results.edit import Guarded
from conceptbasis.results.evaluation import Curve, Evaluation
from conceptbasis.results.matching import Alignment, MatchSet
from conceptbasis.results.recipe import RecipeSet, Transfer
from conceptbasis.results.summary import Summary


def logged_tables(run: RunFolder, summary: Summary) -> dict[str, Table]:
    """Tables of a transfer by name; those whose stages did not run are left out."""
    found = {
        "conditions": condition_rows(summary),
        "layer_similarity": _similarity(run.read("align", Alignment)),
        "matches": _matches(run.read("match", MatchSet)),
        "recipe": _recipe(run),
        "recipe_stability": _stability(run.read("stability", Stability)),
        "concepts_over_layers": _flows(run.read("atoms", Atoms)),
        "curve": _curve(run.read("curve", Curve), summary),
        "guard_overlap": _guard(run.read("guard", Guarded)),
        "examples": _examples(run.read("evaluate", Evaluation), summary),
    }
    return {name: table for name, table in found.items() if table is not None and table.rows}


def _table(names: str, rows: list[Row]) -> Table:
    return Table("", columns(*names.split()), rows)


def _similarity(align: Alignment | None) -> Table | None:
    if align is None:
        return None
    matrices = (align.score, align.null, align.decoder_score, align.cka)
    rows: list[Row] = [
        (j, i, *(m[j][i] for m in matrices), (j, i) in align.layer_map)
        for j, row in enumerate(align.score)
        for i in range(len(row))
    ]
    return _table("target donor svcca null decoder_score cka mapped", rows)


def _matches(matches: MatchSet | None) -> Table | None:
    if matches is None:
        return None
    names = "target donor n_pairs n_eligible_donor n_eligible_target n_mutual_best n_one_to_one"
    names += " r_heldout_mean"
    return _table(names, [[getattr(m, name) for name in names.split()] for m in matches.layers])


def _recipe(run: RunFolder) -> Table | None:
    recipes, transfer = run.read("fit", RecipeSet), run.read("transfer", Transfer)
    if recipes is None or transfer is None:
        return None
    atoms = run.read("atoms", Atoms)
    labels = {
        (row.target, side, entry.latent): entry.label
        for row in (atoms.layers if atoms else ())
        for side, entries in (("donor", row.donor_latents), ("target", row.target_latents))
        for entry in entries
    }
    fitted = {(row.target, atom.latent): atom for row in recipes.layers for atom in row.atoms}
    rows: list[Row] = []
    for layer in transfer.layers:
        for atom in layer.donor_atoms:
            fit = fitted.get((layer.target, atom.latent))
            known = (fit.low, fit.high, fit.frequency, fit.density) if fit else [None] * 4
            donor = labels.get((layer.target, "donor", atom.latent))
            target = labels.get((layer.target, "target", atom.target_latent or 0))
            matched = (atom.target_latent, atom.r_heldout, atom.null_quantile)
            first = (layer.target, layer.donor, atom.latent, atom.coefficient)
            named = (donor, None if atom.target_latent is None else target)
            rows.append((*first, *known, *matched, *named))
    names = "target donor latent coefficient low high frequency density target_latent r_heldout"
    return _table(f"{names} null automatic_label target_automatic_label", rows)


def _flows(atoms: Atoms | None) -> Table | None:
    rows: list[Row] = [
        (flow.label, flow.contribution, a.target, a.donor, a.latent, a.similarity)
        for flow in (atoms.flows if atoms else ())
        if len(flow.atoms) > 1
        for a in flow.atoms
    ]
    return _table("automatic_label contribution target donor latent similarity", rows)


def _stability(stability: Stability | None) -> Table | None:
    names = ("donor_jaccard", "target_jaccard", "donor_cosine", "target_cosine")
    rows: list[Row] = [
        (row.target, row.donor, name, found.mean, found.least, found.most)
        for row in (stability.layers if stability else ())
        for name in names
        if (found := getattr(row.halves, name)) is not None
    ]
    return _table("target donor figure mean least most", rows)


def _guard(guard: Guarded | None) -> Table | None:
    rows: list[Row] = [
        (row.target, k + 1, value)
        for row in (guard.layers if guard else ())
        for k, value in enumerate(row.overlap_curve)
    ]
    return _table("target k overlap", rows)


def _curve(curve: Curve | None, summary: Summary) -> Table | None:
    rows: list[Row] = []
    for row in curve.methods if curve else ():
        for p in row.points:
            found = p.figures.rate.interval
            rate = (found.value, found.low, found.high, found.n) if found else [None] * 4
            damage = (p.figures.kl_first_token.mean.value, p.figures.perplexity)
            rows.append((row.method, p.measure, p.level, p.strength, p.reached, *rate, *damage))
    key = find_behavior(summary.behavior).words.rate_key
    names = f"method measure level strength reached {key} low high n kl_first_token perplexity"
    return _table(names, rows)


def _examples(evaluation: Evaluation | None, summary: Summary) -> Table | None:
    if evaluation is None:
        return None
    judge, words = find_judge(evaluation.primary_judge), find_behavior(summary.behavior).words
    rows: list[Row] = [
        (entry.condition, entry.prompt, redact_answer(entry.answer, judge, words))
        for entry in evaluation.examples
    ]
    return _table("condition prompt answer", rows)


def redact_answer(answer: str, judge: Judge, words: Words) -> str:
    """What kind of answer it is and how long, in place of the answer to a positive prompt."""
    n_words = len(answer.split())
    kind = judge.read(answer) if judge.read else "answer"
    known = {True: words.shows, False: "answers", None: kind}
    word = known[judge.kinds.get(kind)]
    return f"[{word}]" if not n_words else f"[{word}, {n_words} words]"


def layer_series(run: RunFolder) -> dict[int, dict[str, float]]:
    """Per-layer figures of the stages by layer; donor and target layers share the axis."""
    series: dict[int, dict[str, float]] = defaultdict(dict)
    for layer, name, value in _layer_points(run):
        if value is not None:
            series[layer][f"layers/{name}"] = value
    return dict(series)


def _layer_points(run: RunFolder) -> Iterator[tuple[int, str, float | None]]:
    direction, align = run.read("direction", DonorDirection), run.read("align", Alignment)
    if direction is not None:
        for layer, norm in enumerate(direction.norms):
            yield layer, "donor/norm", norm
            yield layer, "donor/probe_accuracy", direction.probe_accuracy[layer]
    recipes, transfer = run.read("fit", RecipeSet), run.read("transfer", Transfer)
    for fit in recipes.layers if recipes else ():
        yield fit.target, "target/donor_cosine", fit.donor_cosine
        yield fit.target, "target/eligible_mass", fit.eligible_mass.value
    if align is not None:
        for target, donor in align.layer_map:
            yield target, "target/svcca", align.score[target][donor]
            yield target, "target/svcca_null", align.null[target][donor]
    for row in transfer.layers if transfer else ():
        yield row.target, "target/agreement", row.agreement
        yield row.target, "target/ridge", row.ridge
    guard = run.read("guard", Guarded)
    for guarded in guard.layers if guard else ():
        yield guarded.target, "target/guard_overlap", guarded.overlap_energy
