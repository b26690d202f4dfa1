"""Whether a device can be used, asked before anything is loaded onto it."""

from __future__ import annotations

import torch

from conceptbasis.errors import ConfigError, reason


def check_device(device: str) -> None:
    """Refuses a device that does not exist here, or that holds no values.

    Raises:
        ConfigError: in that case.
    """
    if device == "cpu":
        return
    try:
        torch.zeros(1, device=device).cpu()
    except (RuntimeError, AssertionError, ImportError) as error:
        raise ConfigError(
            f"device {device!r} cannot be used: {reason(error)}",
            expected="cpu, or cuda where a CUDA build of torch finds a GPU",
            fix="use the device cpu, or install torch for your accelerator",
        ) from error
