"""Tables that are logged of a run, from its artifacts.

Nothing here holds text of a prompt or of an answer, so nothing has to be removed from it later.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from conceptbasis.behaviors.base import Behavior, Words
from conceptbasis.judges import find_judge
from conceptbasis.judges.base import Judge
from conceptbasis.report.artifacts import RunFolder
from conceptbasis.report.run_tables import condition_rows, with_ends
from conceptbasis.report.table import Row, Table, columns
from conceptbasis.results.atoms import Atoms, Stability
from conceptbasis.results.edit import Guarded
from conceptbasis.results.evaluation import Curve, Evaluation, LengthRates
from conceptbasis.results.matching import Alignment, MatchSet
from conceptbasis.results.recipe import RecipeSet, Transfer
from conceptbasis.runs.files import write_bytes


def logged_tables(run: RunFolder, stage: str, behavior: Behavior) -> dict[str, Table]:
    """Tables of a finished stage by name; those without a row are left out."""
    words = behavior.words
    of_stage: dict[str, Callable[[], dict[str, Table | None]]] = {
        "match": lambda: {"matches": _matches(run.read("match", MatchSet))},
        "align": lambda: {"layer_similarity": _similarity(run.read("align", Alignment))},
        "replay": lambda: {"safety_overlap": _safety(run)},
        "guard": lambda: {"guard_overlap": _guard(run.read("guard", Guarded))},
        "atoms": lambda: {
            "recipe": _recipe(run),
            "concepts_over_layers": _flows(run.read("atoms", Atoms)),
        },
        "stability": lambda: {"recipe_stability": _stability(run.read("stability", Stability))},
        "evaluate": lambda: _evaluation_tables(run.read("evaluate", Evaluation), words),
        "curve": lambda: {"curve": _curve(run.read("curve", Curve), words)},
    }
    found = of_stage.get(stage, dict)()
    return {name: table for name, table in found.items() if table is not None and table.rows}


def logged_images(folder: Path, pattern: str = "*") -> dict[str, Path]:
    """Figures of a report as small PNG files under `wandb/figures`, by the name they are logged by.

    Args:
        folder: Whose `figures/` holds them as SVG.
        pattern: Names that are meant.
    """
    import vl_convert

    found = {}
    for drawn in sorted((folder / "figures").glob(f"{pattern}.svg")):
        path = folder / "wandb" / "figures" / f"{drawn.stem}.png"
        write_bytes(path, vl_convert.svg_to_png(drawn.read_text(encoding="utf-8"), scale=1))
        found[f"figures/{drawn.stem}"] = path
    return found


def _safety(run: RunFolder) -> Table | None:
    if not (run.finished("align") and run.finished("replay")):
        return None
    from conceptbasis.interpret.safety import safety_overlap  # loads a tensor library

    found = safety_overlap(run.path)
    rows: list[Row] = [(r.layer, r.cosine, r.null, r.p) for r in found.layers] if found else []
    return _table("layer cosine random_95 p", rows)


def _evaluation_tables(found: Evaluation | None, words: Words) -> dict[str, Table | None]:
    if found is None:
        return {}
    return {
        "conditions": condition_rows(found.conditions, words),
        "answer_lengths": _lengths(found.by_length, words),
        "examples": _examples(found, words),
    }


def _lengths(rows: Sequence[LengthRates], words: Words) -> Table:
    found: list[Row] = [
        (row.condition, n, *with_ends(rate.interval))
        for row in rows
        for n, rate in zip(row.n_tokens, row.rates, strict=True)
        if rate.interval is not None
    ]
    return _table(f"condition answer_tokens {words.rate_key} low high n", found)


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


def _curve(curve: Curve | None, words: Words) -> Table | None:
    rows: list[Row] = []
    for row in curve.methods if curve else ():
        for p in row.points:
            rate = with_ends(p.figures.rate.interval)
            damage = (p.figures.kl_first_token.mean.value, p.figures.perplexity)
            rows.append((row.method, p.measure, p.level, p.strength, p.reached, *rate, *damage))
    names = f"method measure level strength reached {words.rate_key} low high n"
    names += " kl_first_token perplexity"
    return _table(names, rows)


def _examples(evaluation: Evaluation, words: Words) -> Table:
    judge = find_judge(evaluation.primary_judge)
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
