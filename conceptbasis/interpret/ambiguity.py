"""How ambiguous the translation of an atom is: which other target latents fit as well."""

from __future__ import annotations

import torch
from torch import Tensor

from conceptbasis.core.features.ambiguity import correlation_gaps, correlations_with_all
from conceptbasis.core.features.partners import CodePair
from conceptbasis.results.atoms import Ambiguity
from conceptbasis.results.direction import DonorDirection
from conceptbasis.results.harvest import Harvest
from conceptbasis.results.recipe import LayerTransfer
from conceptbasis.study.codes import code_pair
from conceptbasis.study.study import Study

N_CANDIDATES = 8
"""Next best target latents that are compared with the best."""


def ambiguities(
    study: Study, harvest: Harvest, direction: DonorDirection, row: LayerTransfer
) -> dict[int, Ambiguity]:
    """By donor latent of a layer's recipe, how its best match stands beside the next best.

    The others are chosen on the sites that matches are chosen on, and compared on sites that
    nothing was chosen on. So the best has no advantage from having been chosen.

    Args:
        study: The study.
        harvest: The shared sites.
        direction: Weighs the sites, as for the match.
        row: The transferred recipe.
    """
    codes, weigh = study.codes(harvest), study.weights(harvest, direction)
    pair, share = (row.target, row.donor), study.config.match.end_of_prompt_share
    select, report = (code_pair(codes, weigh, pair, name, share) for name in ("select", "report"))
    texts = harvest.text[study.sites(harvest).rows("report")]
    return {
        atom.latent: _ambiguity(
            study, row, (atom.latent, atom.target_latent), select, report, texts
        )
        for atom in row.donor_atoms
        if atom.target_latent is not None
    }


def _ambiguity(
    study: Study,
    row: LayerTransfer,
    pair: tuple[int, int],
    select: CodePair,
    report: CodePair,
    texts: Tensor,
) -> Ambiguity:
    latent, best = pair
    r = correlations_with_all(_column(select, latent), select.target, _weights(select))
    r[best] = -torch.inf
    others = [i for i in r.topk(min(N_CANDIDATES, len(r))).indices.tolist() if r[i] > 0]
    W_dec = study.target.sae(row.target).W_dec.float()
    if not others:
        return Ambiguity(0, (), None, None, None)
    dense = torch.from_numpy(report.target[:, [best, *others]].toarray())
    gaps = correlation_gaps(
        _column(report, latent),
        dense[:, 0],
        dense[:, 1:],
        weights=_weights(report),
        clusters=texts,
        generator=study.generator("ambiguity", row.target, latent),
    )
    rivals = tuple(i for i, gap in zip(others, gaps, strict=True) if gap.low <= 0)
    return Ambiguity(len(others), rivals, others[0], gaps[0], float(W_dec[best] @ W_dec[others[0]]))


def _column(codes: CodePair, latent: int) -> Tensor:
    return torch.from_numpy(codes.donor[:, [latent]].toarray()[:, 0])


def _weights(codes: CodePair) -> Tensor:
    return torch.from_numpy(codes.site_weights())
