"""A transfer from a model into itself, where the right answer is known."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
import torch
from conceptbasis.methods.dense_maps import DenseMaps
from micro import QUIET, once
from steps import Steps, steps_of

from conceptbasis.core.directions.mappers import fit_contrast_recipe, rebuild_contrast
from conceptbasis.methods.contrast import warped_pairs
from conceptbasis.methods.rebuilder import Rebuilder
from conceptbasis.runs.stage import Run
from conceptbasis.study.ledger import Ledger
from conceptbasis.study.opening import open_side
from conceptbasis.study.study import Codes, Study

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
    run = Run(tmp_path_factory.mktemp("self") / "run", lambda line: None)
    return steps_of(Study(run, config, side, side, ready.suite, Ledger(config.budget), QUIET))


@dataclass
class ShuffledTarget(Codes):
    """Codes whose target rows belong to other sites."""

    def __call__(self, side, layer):
        codes = super().__call__(side, layer)
        if side == "donor":
            return codes
        generator = torch.Generator().manual_seed(0)
        return codes[torch.randperm(codes.shape[0], generator=generator).numpy()]


def cosines(steps: Steps, rebuilder: Rebuilder, basis: str) -> list[float]:
    """Cosine of each rebuilt direction with the donor's own at the mapped layer."""
    found = []
    for target, donor in steps.alignment.layer_map.pairs:
        r = steps.direction.trajectory[donor]
        rebuilt = rebuilder.rebuild(basis, (target, donor), steps.recipes.recipes[target], r)
        own = steps.direction.trajectory[target]
        found.append(float(rebuilt.rebuilt.direction @ own))
    return found


def test_every_layer_stands_for_itself(steps):
    pairs = steps.alignment.layer_map.pairs
    assert pairs == tuple((i, i) for i in range(4))
    result = steps.alignment.output.result
    for i in range(4):
        assert result["score"][i][i] == max(result["score"][i])
        assert result["score"][i][i] > 0.999
        assert result["null"][i][i] < 0.5
        assert result["cka"][i][i] == pytest.approx(1, abs=1e-4)


def test_features_match_themselves(steps):
    for layer in range(4):
        matches = steps.matches.pairs[(layer, layer)]
        best = [matches.best_target(int(i)) for i in matches.eligible_donor]
        assert best == matches.eligible_donor.tolist()
        assert len(best) > 40
        far = steps.matches.pairs[(3 if layer < 2 else 0, layer)]
        moved = [far.best_target(int(i)) for i in far.eligible_donor]
        assert moved != far.eligible_donor.tolist()


@pytest.mark.parametrize("basis", ["code_map", "transported", "matched"])
def test_rebuilt_direction_is_the_donors_own(steps, basis):
    assert min(cosines(steps, steps.rebuilder, basis)) > 0.9


def test_code_map_on_shuffled_sites_is_not(steps):
    """Shuffled codes say nothing about residuals, so that next to nothing is written."""
    codes = ShuffledTarget(steps.study, steps.harvest)
    shuffled = replace(steps.rebuilder, codes=codes)
    for target, donor in steps.alignment.layer_map.pairs:
        recipe, r = steps.recipes.recipes[target], steps.direction.trajectory[donor]
        true, other = (
            rebuilder.rebuild("code_map", (target, donor), recipe, r).rebuilt.steering.norm()
            for rebuilder in (steps.rebuilder, shuffled)
        )
        assert float(other) < 0.5 * float(true)


def test_matched_rows_of_permuted_matches_are_not(steps):
    pairs = {}
    for pair, matches in steps.matches.pairs.items():
        ids = matches.eligible_target
        moved = ids.roll(len(ids) // 2)
        table = {int(a): int(b) for a, b in zip(ids, moved, strict=True)}
        target_ids = torch.tensor([table[int(i)] for i in matches.target_ids])
        pairs[pair] = replace(matches, target_ids=target_ids)
    permuted = replace(steps.rebuilder, matches=replace(steps.matches, pairs=pairs))
    assert max(abs(c) for c in cosines(steps, permuted, "matched")) < 0.6


def test_least_squares_baseline_is_the_identity_here(steps):
    for target, donor in steps.alignment.layer_map.pairs:
        maps = DenseMaps(steps.study, steps.rebuilder, steps.direction)
        choice = maps.least_squares((target, donor)).choice
        assert float(choice.rebuilt.direction @ steps.direction.trajectory[target]) > 0.9


def test_agreement_is_high_for_the_right_direction_and_low_for_another(steps):
    r = steps.direction.trajectory[2]
    other = torch.roll(r, 7)
    assert steps.rebuilder.agreement((2, 2), r, r, "report") == pytest.approx(1, abs=1e-5)
    assert abs(steps.rebuilder.agreement((2, 2), r, other, "report")) < 0.8


def test_recipe_holds_code_differences_of_eligible_features(steps):
    for target, donor in steps.alignment.layer_map.pairs:
        recipe = steps.recipes.recipes[target]
        sae = steps.study.donor.sae(donor)
        delta = sae.encode(steps.direction.positive[donor]).mean(0)
        delta -= sae.encode(steps.direction.negative[donor]).mean(0)
        assert torch.allclose(recipe.coefficients.float(), delta[recipe.feature_ids], atol=1e-4)
        eligible = set(steps.matches.pairs[(target, donor)].eligible_donor.tolist())
        assert set(recipe.feature_ids.tolist()) <= eligible
        assert recipe.feature_ids.numel() <= 96
        assert ((recipe.low <= recipe.coefficients) & (recipe.coefficients <= recipe.high)).all()


@pytest.mark.parametrize(("name", "least"), [("relu_map", 0.7), ("procrustes", 0.99)])
def test_dense_maps_find_the_donors_own_direction(steps, name, least):
    maps = DenseMaps(steps.study, steps.rebuilder, steps.direction)
    for pair in steps.alignment.layer_map.pairs:
        moved = getattr(maps, name)(pair)
        assert float(moved.choice.rebuilt.direction @ steps.direction.trajectory[pair[0]]) > least


def test_affine_map_moves_the_benign_mean_to_itself(steps):
    maps = DenseMaps(steps.study, steps.rebuilder, steps.direction)
    for pair in steps.alignment.layer_map.pairs:
        own = steps.direction.negative[pair[0]].mean(0)
        assert float((maps.affine(pair).mean - own).norm()) < 0.3 * float(own.norm())


def test_contrast_atoms_of_the_same_model_rebuild_what_they_span(steps):
    """The direction moved over a model's own atoms is the ridge reconstruction of itself."""
    atoms = steps.alignment.output.tensors["donor.concepts"]
    for target, donor in warped_pairs(steps.alignment):
        r = steps.direction.trajectory[donor]
        span = torch.linalg.qr(atoms[donor].T).Q
        own, moved = (
            rebuild_contrast(fit_contrast_recipe(r, atoms[donor], strength=1e-6), a).direction
            for a in (atoms[target], atoms[target].roll(1, dims=0))
        )
        inside = span @ (span.T @ r)
        assert float(own @ inside / inside.norm()) > 0.98
        assert float(moved @ inside / inside.norm()) < 0.8
