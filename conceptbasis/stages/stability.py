"""Stage `stability`: would other prompts of the donor have given the same recipe?

The direction's prompts are split in two halves several times, noun by noun. The target reads
nothing for it.
"""

from __future__ import annotations

from conceptbasis.core.directions.stability import split_halves
from conceptbasis.interpret.halves import Split, compare_splits, over_layers, over_splits
from conceptbasis.methods.rebuilder import Rebuilder
from conceptbasis.results.atoms import LayerHalves, Stability
from conceptbasis.results.direction import DonorDirection
from conceptbasis.results.harvest import Harvest
from conceptbasis.results.matching import Alignment, MatchSet
from conceptbasis.results.recipe import Transfer
from conceptbasis.runs.graph import Stage
from conceptbasis.study.study import Study, noun_clusters


def stability(
    study: Study,
    harvest: Harvest,
    direction: DonorDirection,
    matches: MatchSet,
    alignment: Alignment,
    transfer: Transfer,
) -> Stability:
    """Compares the halves at every mapped layer; nothing where the prompts cannot be split."""
    splits = _splits(study)
    rebuilder = Rebuilder.of(study, harvest, direction, matches)
    rows: list[LayerHalves] = []
    with study.reporter.bar("stability") as advance:
        for pair in alignment.layer_map if splits else ():
            found = compare_splits(rebuilder, direction, transfer.route, pair, splits)
            rows.append(over_splits(pair, found))
            advance(len(rows), len(alignment.layer_map), "")
    return Stability(len(splits), tuple(rows), over_layers(rows))


def _splits(study: Study) -> list[Split]:
    groups = [noun_clusters(study.prompts(role)) for role in ("positive", "negative")]
    if any(len(group.unique()) < 2 for group in groups):
        return []
    return [
        (
            split_halves(groups[0], study.generator("halves", i, "positive")),
            split_halves(groups[1], study.generator("halves", i, "negative")),
        )
        for i in range(study.config.stability.n_splits)
    ]


STABILITY = Stage(
    "stability",
    Stability,
    stability,
    needs=(Harvest, DonorDirection, MatchSet, Alignment, Transfer),
    sources=("donor.saes", "target.saes", "prompts.direction"),
    config=("stability", "fit", "transfer"),
    wanted=lambda config: config.stability.n_splits > 0,
)
