"""Methods that edit along no direction: nothing at all, and the error of the SAEs alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from conceptbasis.methods.base import Method, Treatment

if TYPE_CHECKING:
    from conceptbasis.methods.bridge import Bridge


def untouched(bridge: Bridge) -> Iterator[Treatment]:
    """The target as it is."""
    yield Treatment()


def sae_error(bridge: Bridge) -> Iterator[Treatment]:
    """Edited layers replaced by what their SAEs reconstruct, with no direction taken out."""
    yield Treatment(splice=bridge.edit.layers)


BASELINE = Method("baseline", "untouched", "untouched target", untouched, compared=True)

SAE_ERROR_ONLY = Method(
    "sae_error_only", "ablation", "residuals replaced by SAE reconstructions", sae_error
)
