"""Components of two models that write alike onto matched latents of a run.

A component is described by what it writes onto the decoder rows of the matched latents at the
first mapped layer at or above it. Both models' rows are in the order of the matches, so that
components of both can be compared.

Heads are matched with heads, MLPs with MLPs, one to one, among those that have
the same mapped layer above them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from conceptbasis.core.statistics.overlap import against, draw_like, jaccard
from conceptbasis.data.prompts import PromptSuite
from conceptbasis.errors import ArtifactError
from conceptbasis.models.loading.loaded import LoadedModel
from conceptbasis.patching.finding import Search, depth_of
from conceptbasis.patching.overlap import components_of
from conceptbasis.results.circuits import Circuit, Component, ModelCircuits, Overlap
from conceptbasis.results.matching import Alignment, MatchSet
from conceptbasis.runs.graph import load_result, verify
from conceptbasis.runs.progress import Reporter
from conceptbasis.runs.seeds import generator
from conceptbasis.runs.settings import read_settings
from conceptbasis.study.opening import add_saes, load_prompts

Writes = Mapping[Component, Float[Tensor, " d_model"]]


@dataclass(frozen=True)
class MappedLayer:
    """Decoder rows of the matched latents of one layer pair, a row of either side a match.

    Args:
        donor: Donor layer.
        target: Target layer.
        donor_rows: Unit rows of the donor's latents.
        target_rows: Of the target's.
    """

    donor: int
    target: int
    donor_rows: Float[Tensor, "n_matches d_donor"]
    target_rows: Float[Tensor, "n_matches d_target"]


def read_mapped_layers(
    run: Path,
    donor: tuple[LoadedModel, str],
    target: tuple[LoadedModel, str],
    reporter: Reporter,
) -> list[MappedLayer]:
    """The layer map of a run with the decoder rows of its matches, lowest layers first.

    Args:
        run: A run folder between both models.
        donor: The donor and the hash of its weights.
        target: The same of the target.
        reporter: Told the progress.

    Raises:
        ArtifactError: The run has no layer map yet, or is one between other models.
    """
    inputs = verify(run / "harvest")["inputs"]
    for side, (loaded, digest) in (("donor", donor), ("target", target)):
        if inputs.get(side) != digest:
            raise ArtifactError(
                f"the {side} of {run} is not {loaded.name}: its weights are others",
                expected="a run between the same two models, in the same order",
                fix="name another run, or leave out --run",
            )
    matches = load_result(run, "match", MatchSet)
    mapped = load_result(run, "align", Alignment, tensors=False).layer_map
    config = read_settings(run)[1]
    suite = load_prompts(config, reporter)
    rows = [
        _decoders(run, donor[0], "donor", suite, reporter),
        _decoders(run, target[0], "target", suite, reporter),
    ]
    found = []
    for here, there in sorted(mapped):
        m = next(m for m in matches.layers if (m.target, m.donor) == (here, there))
        one, other = rows[0][there][m.donor_ids], rows[1][here][m.target_ids]
        found.append(MappedLayer(there, here, one.double(), other.double()))
    return found


def _decoders(
    run: Path, loaded: LoadedModel, side: str, suite: PromptSuite, reporter: Reporter
) -> Mapping[int, Tensor]:
    model, _ = read_settings(run, "donor" if side == "donor" else "target")
    saes = add_saes(model, loaded, suite, reporter).saes.saes
    return {layer: sae.W_dec for layer, sae in saes.items()}


def match_components(
    mapped: Sequence[MappedLayer], donor: Writes, target: Writes
) -> dict[Component, Component]:
    """The target's component for each donor component that has one.

    Formula: one to one, the largest sum of cosines between W_donor w_donor and W_target w_target.

    Args:
        mapped: Matched latents by mapped layer, lowest first.
        donor: What each donor component writes.
        target: The same of the target.
    """
    from scipy.optimize import linear_sum_assignment

    found: dict[Component, Component] = {}
    below = (-1, -1)
    for layer in mapped:
        own = [c for c in donor if below[0] < c.layer <= layer.donor]
        others = [c for c in target if below[1] < c.layer <= layer.target]
        for kind in ("head", "mlp"):
            a, b = ([c for c in side if c.kind == kind] for side in (own, others))
            if a and b and len(layer.donor_rows):
                one = torch.stack([layer.donor_rows @ donor[c] for c in a])
                other = torch.stack([layer.target_rows @ target[c] for c in b])
                rows, places = linear_sum_assignment(-_cosines(one, other).numpy())
                found |= {a[i]: b[j] for i, j in zip(rows, places, strict=True)}
        below = (layer.donor, layer.target)
    return found


def _cosines(a: Float[Tensor, "n_a d"], b: Float[Tensor, "n_b d"]) -> Float[Tensor, "n_a n_b"]:
    unit = [x / x.norm(dim=-1, keepdim=True).clamp(min=1e-12) for x in (a, b)]
    return unit[0] @ unit[1].T


def overlap_by_latents(
    carried: frozenset[Component], circuit: Circuit, target: ModelCircuits, search: Search
) -> Overlap:
    """Jaccard index of the target's circuit with the donor's, carried over by matched latents.

    Random sets have as many heads and MLPs in each quarter of the depth as the carried one.

    Args:
        carried: The matched components of the donor's circuit.
        circuit: The target's circuit.
        target: The target.
        search: How many random sets.
    """
    own, pool = frozenset(circuit.members), components_of(target)
    drawn = generator(search.seed, "latent overlap", circuit.task)
    scores = [
        jaccard(
            own, draw_like(carried, pool, lambda c: depth_of(c, target.n_layers), generator=drawn)
        )
        for _ in range(search.n_permutations)
    ]
    score = jaccard(own, carried)
    random, p = against(score, scores)
    tasks = (circuit.task, circuit.task)
    return Overlap("between", tasks, "latents", len(own & carried), score, random, p)
