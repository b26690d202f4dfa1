"""One decision for a site over all layers: an outlier at one layer is left out at every layer."""

import pytest
import torch

from conceptbasis.core.statistics.outliers import ordinary_sites, require_ordinary
from conceptbasis.errors import NumericsError

SIZES = {0: torch.tensor([1.0, 90.0, 1.0, 1.0]), 7: torch.tensor([1.0, 1.0, 81.0, 80.0])}


@pytest.mark.parametrize(
    ("bounds", "kept"),
    [
        ({0: 8.0, 7: 80.0}, [True, False, False, True]),
        ({0: None, 7: 80.0}, [True, True, False, True]),
        ({0: 8.0, 7: None}, [True, False, True, True]),
        ({0: 100.0, 7: 100.0}, [True] * 4),
        ({0: None, 7: None, 9: 1.0}, [True] * 4),
    ],
)
def test_a_site_is_ordinary_where_it_is_within_the_bound_at_every_layer(bounds, kept):
    assert ordinary_sites(SIZES, bounds).tolist() == kept


def test_the_shape_of_a_batch_is_kept():
    sizes = {layer: norms.reshape(2, 2) for layer, norms in SIZES.items()}
    found = ordinary_sites(sizes, {0: 8.0, 7: 80.0})
    assert found.tolist() == [[True, False], [False, True]]


def test_a_layer_without_known_norms_is_an_error():
    with pytest.raises(NumericsError, match=r"layers \[0, 7\] with bounds of \[0\]"):
        ordinary_sites(SIZES, {0: 8.0})
    with pytest.raises(NumericsError):
        ordinary_sites({}, {0: 8.0})


def test_no_ordinary_site_at_all_is_an_error():
    require_ordinary(torch.tensor([False, True]))
    with pytest.raises(NumericsError, match="all of 2 sites are outliers"):
        require_ordinary(torch.tensor([False, False]))
