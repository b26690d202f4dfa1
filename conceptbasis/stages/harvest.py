"""Stage `harvest`: residuals of both models at sites that both tokenizers share.

One forward pass per model reads all layers that have an SAE, or one for each group of them.
Padding, BOS and template tokens are no sites, but for the last template token before an answer,
which is the place where both models decide how the answer begins.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from conceptbasis.data.texts import shared_texts
from conceptbasis.models.stream.residuals import Residuals, read_by_groups
from conceptbasis.results.harvest import Harvest, SideName
from conceptbasis.runs.graph import Stage
from conceptbasis.study.shared_sites import align_sites
from conceptbasis.study.study import Study


def harvest(study: Study) -> Harvest:
    """Reads the shared texts with both models and keeps the sites they share."""
    texts = shared_texts(study.suite, study.config)
    study.ledger.allow(texts)
    study.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=study.folder, prefix="harvest-") as spilled:
        read: dict[SideName, Residuals] = {}
        for name in ("donor", "target"):
            side = study.side(name)
            read[name] = read_by_groups(
                side.loaded,
                texts,
                list(side.layers),
                study.config.harvest,
                study.reporter,
                f"harvest {name}",
                Path(spilled) / name,
            )
        found = align_sites(study.folder / "harvest", study.config, texts, read)
    study.reporter.say(_outliers_line(found))
    return found


def _outliers_line(found: Harvest) -> str:
    of = found.n_sites + found.left_out
    by_side = " and ".join(f"{found.dropped[name]:,} of the {name}" for name in found.dropped)
    return (
        f"harvest: {found.left_out:,} of {of:,} shared sites ({found.left_out / of:.1%}) are left "
        f"out as attention sinks or outliers ({by_side})"
    )


HARVEST = Stage(
    "harvest",
    Harvest,
    harvest,
    sources=("donor", "target", "texts", "layers"),
    config=("harvest", "-harvest.layers_at_once", "budget"),
)
