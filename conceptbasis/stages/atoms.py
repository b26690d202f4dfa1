"""Stage `atoms`: what the atoms of the recipe stand for, from where they fire in both models.

The target reads nothing for it: its evidence comes from residuals that stage `harvest` kept. The
donor also reads its own direction prompts, token by token.
"""

from __future__ import annotations

from conceptbasis.interpret.ambiguity import ambiguities
from conceptbasis.interpret.evidence import read_views
from conceptbasis.interpret.flows import trace_concepts
from conceptbasis.interpret.pairs import layer_atoms, leave_out
from conceptbasis.methods.rebuilder import Rebuilder
from conceptbasis.results.atoms import Atoms
from conceptbasis.results.direction import DonorDirection
from conceptbasis.results.edit import Guarded
from conceptbasis.results.harvest import Harvest
from conceptbasis.results.matching import MatchSet
from conceptbasis.results.recipe import RecipeSet, Transfer
from conceptbasis.runs.graph import Stage
from conceptbasis.study.study import Study


def atoms(
    study: Study,
    harvest: Harvest,
    direction: DonorDirection,
    matches: MatchSet,
    recipes: RecipeSet,
    transfer: Transfer,
    guarded: Guarded,
) -> Atoms:
    """Evidence of every latent of the recipe on both sides, and the flows over layers."""
    rebuilder = Rebuilder.of(study, harvest, direction, matches)
    views = read_views(study, harvest, sorted({row.donor for row in transfer.layers}))
    layers = []
    with study.reporter.bar("atoms") as advance:
        for recipe, row in zip(recipes.layers, transfer.layers, strict=True):
            left_out = leave_out(rebuilder, transfer.route, recipe, direction)
            ambiguous = ambiguities(study, harvest, direction, row)
            layers.append(layer_atoms(study, harvest, views, row, guarded, left_out, ambiguous))
            advance(len(layers), len(transfer.layers), "")
    return Atoms(tuple(layers), trace_concepts(study, layers, transfer.layers))


ATOMS = Stage(
    "atoms",
    Atoms,
    atoms,
    needs=(Harvest, DonorDirection, MatchSet, RecipeSet, Transfer, Guarded),
    sources=("donor", "target", "donor.saes", "target.saes", "prompts.direction"),
    config=("atoms", "behavior", "match.end_of_prompt_share"),
)
