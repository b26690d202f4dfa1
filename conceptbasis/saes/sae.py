"""Sparse autoencoders in one form: codes that rebuild the raw residual stream."""

from __future__ import annotations

import hashlib
import json
import warnings
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import numpy as np
import scipy.sparse
import torch
from jaxtyping import Float
from torch import Tensor

from conceptbasis.errors import SaeError
from conceptbasis.saes.hook_names import parse_hook_name

_CHUNK = 2**18
_CHUNK_OF_DEVICE = 2**27
"""Codes that are dense at a time; more than fit into a core's cache take longer."""


@dataclass(frozen=True)
class Sae:
    """A sparse autoencoder in one convention: reconstruction = codes @ W_dec + b_dec.

    Whatever its architecture, decoder rows have unit norm, codes carry the scale, and both
    live in the raw residual space. Made by `wrap_sae`. Encoding and decoding run where the SAE was
    loaded, beside its model; what they return lies where what they were given lies, and `W_dec` and
    `b_dec` on the CPU, where recipes are fitted.

    Args:
        W_dec: Unit decoder rows.
        b_dec: What is left when no feature fires.
        layer: The block it was trained on.
        site: The site it was trained on.
        hash: SHA-256 of its weights and architecture.
        name: Where it came from, for messages.
        trained_on: The model its metadata names, or None.
        prepend_bos: Whether it was trained on texts that open with BOS, or None.
        context_size: Tokens of the texts it was trained on, or None.
    """

    W_dec: Float[Tensor, "d_sae d_model"]
    b_dec: Float[Tensor, " d_model"]
    layer: int
    site: str
    hash: str
    name: str
    trained_on: str | None
    prepend_bos: bool | None
    context_size: int | None
    _sae: Any = field(repr=False)
    _scale: Float[Tensor, " d_sae"] = field(repr=False)
    _decoder: tuple[Tensor, Tensor] = field(repr=False)

    @property
    def d_sae(self) -> int:
        """Number of features."""
        return self.W_dec.shape[0]

    @property
    def d_model(self) -> int:
        """Width of the residual stream."""
        return self.W_dec.shape[1]

    @torch.no_grad()
    def encode(self, x: Float[Tensor, "n d_model"]) -> Float[Tensor, "n d_sae"]:
        """Codes, scaled by the decoder norm.

        Args:
            x: Raw residuals.

        Returns:
            Codes in the dtype of the SAE.
        """
        return self._encode(x).to(x.device)

    def _encode(self, x: Float[Tensor, "n d_model"]) -> Float[Tensor, "n d_sae"]:
        """Codes, left where the SAE is."""
        codes: Tensor = self._sae.encode(x.to(self._scale)) * self._scale
        return codes

    @torch.no_grad()
    def encode_sparse(self, x: Float[Tensor, "n d_model"]) -> scipy.sparse.csr_matrix:
        """Codes as a float32 CSR matrix, encoded in chunks.

        Args:
            x: Raw residuals, any number of rows.

        Returns:
            `(n, d_sae)`.
        """
        chunks = [scipy.sparse.csr_matrix((0, self.d_sae), dtype="float32")]
        chunk = _CHUNK if self._scale.device.type == "cpu" else _CHUNK_OF_DEVICE
        rows = max(1, chunk // self.d_sae)
        chunks += [_to_sparse(self._encode(part).float()) for part in x.split(rows)]
        return scipy.sparse.csr_matrix(scipy.sparse.vstack(chunks, format="csr"))

    @torch.no_grad()
    def reconstruct(self, x: Float[Tensor, "*axes d_model"]) -> Float[Tensor, "*axes d_model"]:
        """The residuals that the codes stand for, in the dtype of x.

        Args:
            x: Raw residuals.

        Returns:
            encode(x) @ W_dec + b_dec.
        """
        W_dec, b_dec = self._decoder
        flat = x.reshape(-1, x.shape[-1])
        return (self._encode(flat) @ W_dec + b_dec).to(x).reshape(x.shape)


def _to_sparse(codes: Float[Tensor, "n d"]) -> scipy.sparse.csr_matrix:
    """What scipy makes of a dense matrix, without its detour over coordinates."""
    n, d = codes.shape
    flat = codes.flatten()
    # On the CPU numpy finds them in a tenth of the time.
    found = np.flatnonzero(flat.numpy()) if flat.device.type == "cpu" else flat.nonzero()[:, 0]
    at = torch.as_tensor(found)
    places, values = at.cpu().numpy(), flat[at].cpu().numpy()
    starts = np.searchsorted(places, np.arange(n + 1) * d)
    return scipy.sparse.csr_matrix((values, places % d, starts), (n, d))


def import_sae_lens() -> ModuleType:
    """Imports sae_lens without the DeprecationWarning that its own import causes.

    Returns:
        The module. The first call takes seconds, so call it late.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        import sae_lens
    return sae_lens


@dataclass(frozen=True)
class SaePlace:
    """Where in which model an SAE is wanted.

    Args:
        d_model: Width of the model.
        layer: The block.
        site: The site, such as `resid_post`.
        model_name: The model, for messages.
    """

    d_model: int
    layer: int
    site: str
    model_name: str


def wrap_sae(sae: Any, place: SaePlace, name: str) -> Sae:
    """Brings a sae-lens inference SAE into the convention of `Sae` and verifies it.

    Args:
        sae: A sae-lens `SAE`.
        place: Where it is wanted.
        name: How to call the SAE in messages.

    Returns:
        The SAE.

    Raises:
        SaeError: A mismatch of width, layer or site, a missing normalisation factor, or a
            decoder that is not affine in the codes.
    """
    sae.eval().requires_grad_(False)
    sae.use_error_term = False
    _check_fit(sae, place, name)
    W_dec = sae.W_dec.detach()
    norms = W_dec.norm(dim=-1)
    # Where activations already carry the decoder norm, decoding divides by it.
    rescaled = getattr(sae.cfg, "rescale_acts_by_decoder_norm", False)
    unit, b_dec = W_dec / norms.clamp(min=1e-12)[:, None], sae.b_dec.detach()
    wrapped = Sae(
        W_dec=unit.cpu(),
        b_dec=b_dec.cpu(),
        layer=place.layer,
        site=place.site,
        hash=_hash(sae),
        name=name,
        trained_on=sae.cfg.metadata.model_name,
        prepend_bos=sae.cfg.metadata.prepend_bos,
        context_size=sae.cfg.metadata.context_size,
        _sae=sae,
        _scale=torch.ones_like(norms) if rescaled else norms,
        _decoder=(unit, b_dec),
    )
    _verify(wrapped, sae, name)
    return wrapped


def _check_fit(sae: Any, place: SaePlace, name: str) -> None:
    if sae.cfg.d_in != place.d_model:
        raise SaeError(
            f"{name} has d_in = {sae.cfg.d_in}",
            expected=f"d_model = {place.d_model} of {place.model_name}",
            fix="use an SAE that was trained on this model",
        )
    hook_name = sae.cfg.metadata.hook_name
    found = None if hook_name is None else parse_hook_name(hook_name)
    if hook_name is not None and found != (place.layer, place.site):
        raise SaeError(
            f"{name} was trained at {hook_name}"
            + (f", layer {found[0]} {found[1]}" if found else ", which is not the residual stream"),
            expected=f"layer {place.layer} {place.site} of {place.model_name}, the residual "
            "stream behind that block",
            fix="correct the layer in the model's file, or use an SAE of the residual stream",
        )
    if sae.cfg.normalize_activations == "expected_average_only_in":
        raise SaeError(
            f"{name} was trained on scaled activations and its norm_scaling_factor is missing",
            expected="a factor that is folded into the weights",
            fix="give it as saes.activation_scale: sqrt(d_model) over the mean norm of the "
            "activations it was trained on, which its publisher may state",
        )


def _verify(wrapped: Sae, sae: Any, name: str) -> None:
    """Compares both reconstructions on random input; a normalised output is not affine."""
    generator = torch.Generator().manual_seed(0)
    # Several scales, so that features with high thresholds fire too.
    scales = torch.logspace(0, 3, 32)[:, None]
    x = (scales * torch.randn(32, wrapped.d_model, generator=generator)).to(wrapped.W_dec)
    with torch.no_grad():
        x = x + wrapped.b_dec
        expected = sae.decode(sae.encode(x.to(sae.W_dec))).cpu()
    error = (wrapped.reconstruct(x) - expected).norm() / expected.norm().clamp(min=1e-12)
    if not float(error) < 1e-3:
        raise SaeError(
            f"{name}: codes @ W_dec + b_dec is off its own reconstruction by {float(error):.2g}",
            expected="an SAE whose decoder is affine in the codes, without output normalisation",
            fix="use an SAE without layer_norm, constant_norm_rescale or hook_z reshaping",
        )


def _hash(sae: Any) -> str:
    digest = hashlib.sha256(json.dumps(sae.cfg.architecture()).encode())
    for key, tensor in sorted(sae.state_dict().items()):
        digest.update(f"{key}{tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().float().contiguous().numpy().tobytes())
    return digest.hexdigest()
