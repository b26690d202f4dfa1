"""How much each shared site counts when the maps into the target are fitted and compared."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from conceptbasis.stages.harvest import Harvest

_MIN_ENDS = 20
"""Classes of text with fewer ends of prompts than this have no weight of their own."""


def weigh_sites(
    harvest: Harvest, rows: Int[Tensor, " n_rows"], end_of_prompt_share: float
) -> Float[Tensor, " n_rows"]:
    """Weights of sites: most on ends of prompts, in equal parts on each class of text.

    Where prompts end is where the direction is read, and a class must not drown another one
    because it has more texts. Classes with few ends count with the other sites.

    Args:
        harvest: The shared texts and their sites.
        rows: The sites to weigh.
        end_of_prompt_share: Weight of all ends of prompts together.
    """
    classes = [text.text_class for text in harvest.texts]
    names = {name: i for i, name in enumerate(sorted(set(classes)))}
    of_text = torch.tensor([names[name] for name in classes])
    # Group 0 holds the sites without a weight of their own.
    group = (of_text[harvest.text[rows]] + 1) * harvest.end_of_prompt[rows]
    group = group * (group.bincount()[group] >= _MIN_ENDS)
    counts = group.bincount(minlength=len(names) + 1)
    classes_with_ends = max(1, int((counts[1:] > 0).sum()))
    shares = torch.full((len(counts),), end_of_prompt_share / classes_with_ends)
    shares[0] = 1 - end_of_prompt_share
    return (shares / counts)[group].double()
