"""Forward passes that start at a block: what lies below it is computed once and kept.

Patching asks for one pass a component. A component of block l leaves all below l as it was, so
that a pass from block l on gives the same logits in about half the time, over all components.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from conceptbasis.errors import ModelError
from conceptbasis.models.loading.loaded import LoadedModel
from conceptbasis.models.stream.capture import forward_body

_TOLERANCE = {torch.bfloat16: 0.1, torch.float16: 0.03}
_CALL = tuple[tuple[Any, ...], dict[str, Any]]


@dataclass(frozen=True)
class Recording:
    """What each block was called with on some prompts.

    Args:
        inputs: By layer, the stream that entered it, `(batch, pos, d_model)`.
        calls: By layer, its other arguments: positions, masks and the like.
    """

    inputs: tuple[Float[Tensor, "batch pos d_model"], ...]
    calls: tuple[_CALL, ...]


@torch.no_grad()
def record(loaded: LoadedModel, ids: Int[Tensor, "batch pos"]) -> Recording:
    """Runs prompts once and keeps what each block was called with.

    Without padding, positions and masks are the same for all rows; those of one row are kept, which
    serve a batch of any size.

    Args:
        loaded: The model.
        ids: Token ids without padding.
    """
    rows: list[tuple[Tensor, _CALL]] = []
    one: list[tuple[Tensor, _CALL]] = []
    for found, given in ((rows, ids), (one, ids[:1])):
        with _recording(loaded.architecture.blocks, found):
            forward_body(loaded, given, torch.ones_like(given))
    return Recording(tuple(h for h, _ in rows), tuple(call for _, call in one))


@torch.no_grad()
def prove_resuming(loaded: LoadedModel, ids: Int[Tensor, "batch pos"]) -> None:
    """Checks that a pass resumed at block 0, of every row twice, gives the model's own logits.

    Args:
        loaded: The model.
        ids: Token ids without padding, at least two rows.

    Raises:
        ModelError: It does not: the model does something between or after its blocks that the
            architecture table does not describe.
    """
    mask = torch.ones_like(ids).to(loaded.device)
    own = loaded.model(input_ids=ids.to(loaded.device), attention_mask=mask, use_cache=False)
    there = own.logits[:, -1].float()
    here = resume(loaded, record(loaded, ids), 0, n_times=2)
    bound = _TOLERANCE.get(loaded.model.dtype, 1e-3) * float(there.abs().max().clamp(min=1))
    if float((torch.cat([there, there]) - here).abs().max()) > bound:
        raise ModelError(
            f"the blocks of {loaded.name}, run one after the other, give other logits than it does",
            expected="a model whose logits are the unembedding of its last block's output",
            fix="report the model type; its heads and MLPs cannot be patched yet",
        )


@torch.no_grad()
def resume(
    loaded: LoadedModel, recording: Recording, layer: int, *, n_times: int = 1
) -> Float[Tensor, "n_rows d_vocab"]:
    """Logits at the last position of a pass that starts at a block, under the hooks in force.

    Args:
        loaded: The model.
        recording: Of the prompts.
        layer: The block to start at; what is recorded below it is kept.
        n_times: How often all prompts are repeated, for hooks that differ by repetition.
    """
    architecture = loaded.architecture
    h = recording.inputs[layer].repeat(n_times, 1, 1)
    for block, (args, kwargs) in zip(
        architecture.blocks[layer:], recording.calls[layer:], strict=True
    ):
        output = block(h, *args, **kwargs)
        h = output[0] if isinstance(output, tuple) else output
    logits = architecture.unembed(architecture.final_norm(h[:, -1:]))[:, 0].float()
    cap = getattr(loaded.model.config.get_text_config(), "final_logit_softcapping", None)
    return cap * torch.tanh(logits / cap) if cap else logits


@contextmanager
def _recording(blocks: tuple[nn.Module, ...], found: list[tuple[Tensor, _CALL]]) -> Iterator[None]:
    def hook(_block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        rest = dict(kwargs)
        h = args[0] if args else rest.pop("hidden_states")
        found.append((h, (args[1:], rest)))

    handles = [block.register_forward_pre_hook(hook, with_kwargs=True) for block in blocks]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
