"""The head reads contiguous rows, so that no product is made row by row; its logits stay."""

from __future__ import annotations

import pytest
import torch
from tiny import make_loaded

from conceptbasis.models.loading.head import read_whole_rows

IDS_SHAPE = (3, 7)


@pytest.mark.parametrize("name", ["llama", "gemma3", "gpt2"])
def test_what_the_head_reads_is_contiguous_and_its_logits_are_the_same(name):
    loaded = make_loaded(name)
    head = loaded.model.get_output_embeddings()
    seen = []
    head.register_forward_hook(lambda module, given, out: seen.append(given[0].is_contiguous()))
    ids = torch.randint(3, 300, IDS_SHAPE, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        whole = loaded.model(input_ids=ids).logits[:, -1:]
        last = loaded.model(input_ids=ids, logits_to_keep=1).logits
    assert seen == [True, True]
    torch.testing.assert_close(last, whole, rtol=1e-5, atol=1e-5)


def test_a_slice_is_not_contiguous_without_it_and_it_is_added_once():
    loaded = make_loaded("llama")
    head = loaded.model.get_output_embeddings()
    assert len(head._forward_pre_hooks) == 1
    read_whole_rows(loaded.model)
    assert len(head._forward_pre_hooks) == 1
    head._forward_pre_hooks.clear()
    seen = []
    head.register_forward_hook(lambda module, given, out: seen.append(given[0].is_contiguous()))
    with torch.no_grad():
        loaded.model(input_ids=torch.full(IDS_SHAPE, 5), logits_to_keep=1)
    assert seen == [False]
