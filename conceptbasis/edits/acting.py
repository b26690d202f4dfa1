"""Proves that an edit acts on the model that the user will run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor

from conceptbasis.edits.intervention import Intervention, apply_intervention
from conceptbasis.errors import InterventionError
from conceptbasis.models.loading.loaded import LoadedModel
from conceptbasis.models.loading.wrapped import is_compiled
from conceptbasis.models.stream.edit_report import EditReport
from conceptbasis.models.stream.hook_points import reading_hook

_N_TOKENS = 6


@contextmanager
def apply_proved(
    model: Any, loaded: LoadedModel, intervention: Intervention
) -> Iterator[EditReport]:
    """Edits a model and checks that first-token logits move, or for `raise` that its hooks run.

    Graphs that torch compiled before do not know later hooks; they are thrown away at the start
    and at the end, so the next call compiles anew.

    Args:
        model: The model as the user calls it, compiled or wrapped.
        loaded: The transformers model inside it.
        intervention: What is done.

    Raises:
        InterventionError: The edit does not act on this model.
    """
    compiled = is_compiled(model)
    before = _logits(model, loaded)
    with ExitStack() as stack:
        if compiled:
            torch.compiler.reset()
            stack.callback(torch.compiler.reset)
        report = stack.enter_context(apply_intervention(loaded, intervention))
        if not _acts(model, loaded, intervention, before):
            raise InterventionError(
                f"the edit changes nothing in {loaded.name}: its hooks are in place, but "
                "the logits of the first token stay as they are",
                expected="a model whose blocks run as modules, so that hooks on them act",
                fix="pass the model before it is compiled or exported (model._orig_mod)",
            )
        yield report


def _acts(model: Any, loaded: LoadedModel, edit: Intervention, before: Tensor) -> bool:
    if edit.gamma == 0 or (edit.mode == "add" and not any(edit.amounts)):
        return True  # it is meant to do nothing
    if edit.mode not in ("cap", "raise"):
        return not torch.equal(_logits(model, loaded), before)
    ran: list[int] = []  # these tokens may lie below every threshold or mean
    with reading_hook(loaded.architecture.blocks[edit.layers[-1]], lambda h: ran.append(h.ndim)):
        _logits(model, loaded)
    return bool(ran)


@torch.no_grad()
def _logits(model: Any, loaded: LoadedModel) -> Tensor:
    """Logits after a few tokens, as the user's own call gives them, without dropout."""
    ids = torch.arange(1, _N_TOKENS + 1, device=loaded.device)[None] % loaded.architecture.d_vocab
    training = loaded.model.training
    if training:
        model.eval()
    try:
        found: Tensor = model(input_ids=ids, use_cache=False).logits[0, -1].float().cpu()
        return found
    finally:
        if training:
            model.train()
