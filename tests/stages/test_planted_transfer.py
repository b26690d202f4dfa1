"""A transfer from a model into itself, where the right answer is known."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
import torch
from micro import QUIET, once
from steps import Steps

from conceptbasis.core.directions.mappers import fit_contrast_recipe, rebuild_contrast
from conceptbasis.methods import METHODS
from conceptbasis.methods.bridge import Bridge
from conceptbasis.methods.contrast import warped_pairs
from conceptbasis.methods.rebuilder import Rebuilder
from conceptbasis.study.codes import Codes
from conceptbasis.study.ledger import Ledger
from conceptbasis.study.opening import open_side
from conceptbasis.study.recipes import recipe_of
from conceptbasis.study.study import Study

N_ATOMS = {
    "fit": {"n_atoms": 96, "mass": 1.0},
    "align": {"n_features": 96},
    "transfer": {"n_atoms": 96, "benign_cosine": 1.0},
    "direction": {"min_probe": 0.5},
}


@pytest.fixture(scope="module")
def steps(ready, tmp_path_factory) -> Steps:
    """Stages with the donor as its own target, and SAEs that rebuild it well."""
    config, model = ready.config(**N_ATOMS), ready.donor_config(k=24, n_steps=400)
    once(ready.root / "good_saes", lambda _: open_side(model, config, ready.suite, QUIET))
    side = open_side(model, config, ready.suite, QUIET)
    folder = tmp_path_factory.mktemp("self") / "run"
    return Steps(Study(folder, config, side, side, ready.suite, Ledger(config.budget), QUIET))


@pytest.fixture(scope="module")
def bridge(steps) -> Bridge:
    """What methods are handed in that study."""
    results = (steps.harvest, steps.direction, steps.matches, steps.alignment)
    return Bridge.of(steps.study, *results)


def recipes(steps: Steps):
    """Layer pair and recipe of each mapped layer."""
    return [((row.target, row.donor), recipe_of(row)) for row in steps.recipes.layers]


@dataclass
class ShuffledTarget(Codes):
    """Codes whose target rows belong to other sites."""

    def __call__(self, side, layer):
        codes = super().__call__(side, layer)
        if side == "donor":
            return codes
        generator = torch.Generator().manual_seed(0)
        return codes[torch.randperm(codes.shape[0], generator=generator).numpy()]


def cosines(steps: Steps, rebuilder: Rebuilder, route: str) -> list[float]:
    """Cosine of each rebuilt direction with the donor's own at the mapped layer."""
    found = []
    for (target, donor), recipe in recipes(steps):
        r = steps.direction.per_layer[donor]
        rebuilt = rebuilder.rebuild(route, (target, donor), recipe, r)
        own = steps.direction.per_layer[target]
        found.append(float(rebuilt.rebuilt.direction @ own))
    return found


def test_every_layer_stands_for_itself(steps):
    found = steps.alignment
    assert found.layer_map == tuple((i, i) for i in range(4))
    for i in range(4):
        assert found.score[i][i] == max(found.score[i])
        assert found.score[i][i] > 0.999
        assert found.null[i][i] < 0.5
        assert found.cka[i][i] == pytest.approx(1, abs=1e-4)


def test_latents_match_themselves(steps):
    for layer in range(4):
        matches = steps.rebuilder.matches[(layer, layer)]
        best = [matches.best_target(int(i)) for i in matches.eligible_donor]
        assert best == matches.eligible_donor.tolist()
        assert len(best) > 40
        far = steps.rebuilder.matches[(3 if layer < 2 else 0, layer)]
        moved = [far.best_target(int(i)) for i in far.eligible_donor]
        assert moved != far.eligible_donor.tolist()


@pytest.mark.parametrize("route", ["code_map", "transported", "matched"])
def test_rebuilt_direction_is_the_donors_own(steps, route):
    assert min(cosines(steps, steps.rebuilder, route)) > 0.9


def test_code_map_on_shuffled_sites_is_not(steps):
    """Shuffled codes say nothing about residuals, so that next to nothing is written."""
    codes = ShuffledTarget(steps.sites, steps.codes.saes)
    shuffled = replace(steps.rebuilder, codes=codes)
    for pair, recipe in recipes(steps):
        r = steps.direction.per_layer[pair[1]]
        true, other = (
            rebuilder.rebuild("code_map", pair, recipe, r).rebuilt.steering.norm()
            for rebuilder in (steps.rebuilder, shuffled)
        )
        assert float(other) < 0.5 * float(true)


def test_matched_rows_of_permuted_matches_are_not(steps):
    pairs = {}
    for pair, matches in steps.rebuilder.matches.items():
        ids = matches.eligible_target
        moved = ids.roll(len(ids) // 2)
        table = {int(a): int(b) for a, b in zip(ids, moved, strict=True)}
        target_ids = torch.tensor([table[int(i)] for i in matches.target_ids])
        pairs[pair] = replace(matches, target_ids=target_ids)
    permuted = replace(steps.rebuilder, matches=pairs)
    assert max(abs(c) for c in cosines(steps, permuted, "matched")) < 0.6


def test_least_squares_baseline_is_the_identity_here(steps, bridge):
    for pair in steps.alignment.layer_map:
        moved = METHODS["least_squares"].move(bridge, pair)
        assert float(moved.direction @ steps.direction.per_layer[pair[0]]) > 0.9


def test_agreement_is_high_for_the_right_direction_and_low_for_another(steps):
    r = steps.direction.per_layer[2]
    other = torch.roll(r, 7)
    assert steps.rebuilder.agreement((2, 2), r, r, "report") == pytest.approx(1, abs=1e-5)
    assert abs(steps.rebuilder.agreement((2, 2), r, other, "report")) < 0.8


def test_recipe_holds_code_differences_of_eligible_latents(steps):
    for (target, donor), recipe in recipes(steps):
        sae = steps.study.donor.sae(donor)
        delta = sae.encode(steps.direction.positive[donor]).mean(0)
        delta -= sae.encode(steps.direction.negative[donor]).mean(0)
        assert torch.allclose(recipe.coefficients.float(), delta[recipe.feature_ids], atol=1e-4)
        eligible = set(steps.rebuilder.matches[(target, donor)].eligible_donor.tolist())
        assert set(recipe.feature_ids.tolist()) <= eligible
        assert recipe.feature_ids.numel() <= 96
        assert ((recipe.low <= recipe.coefficients) & (recipe.coefficients <= recipe.high)).all()


@pytest.mark.parametrize(("name", "least"), [("relu_map", 0.7), ("procrustes", 0.99)])
def test_dense_maps_find_the_donors_own_direction(steps, bridge, name, least):
    for pair in steps.alignment.layer_map:
        moved = METHODS[name].move(bridge, pair)
        assert float(moved.direction @ steps.direction.per_layer[pair[0]]) > least


def test_affine_map_moves_the_benign_mean_to_itself(steps, bridge):
    for pair in steps.alignment.layer_map:
        own, moved = steps.direction.negative[pair[0]].mean(0), METHODS["affine"].move(bridge, pair)
        assert float((moved.mean - own).norm()) < 0.3 * float(own.norm())


def test_contrast_atoms_of_the_same_model_rebuild_what_they_span(steps):
    """The direction moved over a model's own atoms is the ridge reconstruction of itself."""
    atoms = steps.alignment.concept_directions["donor"]
    for target, donor in warped_pairs(steps.alignment):
        r = steps.direction.per_layer[donor]
        span = torch.linalg.qr(atoms[donor].T).Q
        own, moved = (
            rebuild_contrast(fit_contrast_recipe(r, atoms[donor], strength=1e-6), a).direction
            for a in (atoms[target], atoms[target].roll(1, dims=0))
        )
        inside = span @ (span.T @ r)
        assert float(own @ inside / inside.norm()) > 0.98
        assert float(moved @ inside / inside.norm()) < 0.8
