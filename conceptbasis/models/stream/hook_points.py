"""Forward hooks as contexts: they are removed whatever happens inside."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn


@contextmanager
def reading_hook(module: nn.Module, function: Callable[[Tensor], None]) -> Iterator[None]:
    """Passes a module's output to the function.

    Args:
        module: Returns a tensor, or a tuple that starts with one.
        function: Gets the tensor.
    """

    def hook(_module: nn.Module, _args: Any, output: Any) -> None:
        function(output[0] if isinstance(output, tuple) else output)

    handle = module.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def replacing_hook(module: nn.Module, function: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Replaces a module's output by a function of it.

    Args:
        module: Returns a tensor, or a tuple that starts with one.
        function: Gets the tensor and gives one of the same shape.
    """

    def hook(_module: nn.Module, _args: Any, output: Any) -> Any:
        if isinstance(output, tuple):
            return (function(output[0]), *output[1:])
        return function(output)

    handle = module.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def input_hook(module: nn.Module, function: Callable[[Tensor], Tensor | None]) -> Iterator[None]:
    """Passes a block's input to the function; a tensor that it returns replaces the input.

    Args:
        module: A block, called with hidden states first or by name.
        function: Gets the hidden states; None leaves them as they are.
    """

    def hook(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        given = args[0] if args else kwargs["hidden_states"]
        new = function(given)
        if new is None:
            return None
        return ((new, *args[1:]), kwargs) if args else (args, {**kwargs, "hidden_states": new})

    handle = module.register_forward_pre_hook(hook, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()
