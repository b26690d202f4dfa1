"""Rows read a few at a time give what one pass over all of them gives."""

from __future__ import annotations

import pytest
import torch

from conceptbasis.errors import NumericsError
from conceptbasis.models.stream.first_token import first_token_kl
from conceptbasis.models.text import wide_rows
from conceptbasis.models.text.decoding import finite, likeliest
from conceptbasis.models.text.wide_rows import kl_of_rows, log_probs_of, rows_at_a_time


@pytest.fixture(params=[torch.float32, torch.bfloat16, torch.float16])
def logits(request):
    draws = torch.Generator().manual_seed(0)
    return (4 * torch.randn(7, 50, generator=draws)).to(request.param)


@pytest.fixture(params=[1, 3, 100])
def _rows(request, monkeypatch):
    monkeypatch.setattr(wide_rows, "_BYTES_IN_CACHE", request.param * 50 * 4)


@pytest.mark.usefixtures("_rows")
def test_log_probabilities_are_those_of_log_softmax(logits):
    rows, ids = torch.tensor([6, 0, 0, 3]), torch.tensor([1, 49, 0, 7])
    found = log_probs_of(logits, rows, ids)
    torch.testing.assert_close(found, logits.float().log_softmax(-1)[rows, ids])
    assert log_probs_of(logits, rows[:0], ids[:0]).shape == (0,)


@pytest.mark.usefixtures("_rows")
def test_kl_is_that_of_torch(logits):
    after = logits.roll(1, -1)
    p, q = logits.double().log_softmax(-1), after.double().log_softmax(-1)
    expected = torch.nn.functional.kl_div(q, p, log_target=True, reduction="none").sum(-1)
    torch.testing.assert_close(kl_of_rows(logits, after).double(), expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(first_token_kl(logits, after), expected)
    assert float(kl_of_rows(logits, logits).abs().max()) < 1e-6


def test_a_row_that_is_larger_than_the_cache_is_read_alone():
    assert rows_at_a_time(torch.empty(2, 2**20), torch.float32) == 1
    assert rows_at_a_time(torch.empty(2, 2**10), torch.float32) == 256


def test_the_first_of_equal_tokens_is_the_likeliest(logits):
    logits[:, 10] = logits[:, 30] = 99.0
    assert likeliest(logits).tolist() == [10] * 7
    assert torch.equal(likeliest(logits), logits.argmax(-1))


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_one_value_that_is_not_finite_is_found(logits, bad):
    assert finite(logits) is logits
    logits[3, 7] = bad
    with pytest.raises(NumericsError, match="NaN or infinity"):
        finite(logits)
    assert finite(logits[:0]).shape == (0, 50)
