"""Puts an edit on the model that it was made for, as a user holds that model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any

from conceptbasis.edits.acting import apply_proved
from conceptbasis.edits.intervention import Intervention
from conceptbasis.errors import InterventionError
from conceptbasis.models.architecture.binding import resolve
from conceptbasis.models.architecture.table import parse_row
from conceptbasis.models.loading.loaded import LoadedModel
from conceptbasis.models.loading.wrapped import adapters_in, hash_weights, same_weights, unwrap
from conceptbasis.models.stream.edit_report import EditReport


@dataclass(frozen=True)
class Belongs:
    """Which model an edit is for.

    Args:
        edit: What the edit is called in an error: this run, or a file.
        target: Name of the model.
        weights: Hashes of the weights of `target` and `donor`, from `hash_weights`.
        architecture: The model's own row of the architecture table, if its file has one.
    """

    edit: str
    target: str
    weights: Mapping[str, str]
    architecture: Mapping[str, object] | None


def edit_target(
    model: Any, intervention: Intervention, belongs: Belongs, *, check: bool
) -> AbstractContextManager[EditReport]:
    """The context in which a transformers model runs under an edit that is proved to act.

    Args:
        model: The target in any dtype, also compiled, or wrapped by PEFT or for several devices.
        intervention: The edit.
        belongs: Which model it is for.
        check: Whether the model's weights must be those of the target.

    Raises:
        InterventionError: if the model's weights are not those of the target (unless `check` is
            off), an adapter would escape an edit of weights, the edit does not act, or the model
            is wrapped in something unknown.
    """
    inner = unwrap(model)
    if not hasattr(inner, "config"):
        raise _no_transformers_model(inner)
    if check:
        _check_weights(model, inner, belongs)
    row = None if belongs.architecture is None else parse_row(belongs.architecture)
    loaded = LoadedModel(inner, None, resolve(inner, row), type(inner).__name__)
    if intervention.mode == "orthogonalise" and adapters_in(inner):
        raise InterventionError(
            "an edit of weights on a model with an active adapter, whose own writes it misses",
            expected="a model with the adapter merged into its weights",
            fix="call model.merge_and_unload() first and pass what it returns",
        )
    return apply_proved(model, loaded, intervention)


def _no_transformers_model(inner: Any) -> InterventionError:
    held = [name for name, _ in inner.named_children()] if hasattr(inner, "named_children") else []
    places = f" (it holds {', '.join(held)})" if held else ""
    return InterventionError(
        f"a {type(inner).__name__} is no transformers model",
        expected="a causal language model of transformers, also compiled, or wrapped by PEFT, "
        "DataParallel or another module that holds nothing but it as `module`",
        fix=f"pass the model inside it{places}; hooks on it act wherever it is called",
    )


def _check_weights(model: Any, inner: Any, belongs: Belongs) -> None:
    found = hash_weights(model)
    if same_weights(found, belongs.weights["target"]):
        return
    name = getattr(inner, "name_or_path", "") or type(inner).__name__
    what = f"{name} is not the target of {belongs.edit} (its weights differ)"
    if same_weights(found, belongs.weights["donor"]):
        what = f"{name} is the donor of {belongs.edit}; the edit is for its target"
    adapted = ", without an adapter of its own" if adapters_in(inner) else ""
    raise InterventionError(
        what,
        expected=f"the weights of {belongs.target}{adapted}",
        fix="load that model, or pass check=False to edit this one all the same",
    )


def adjusted(
    intervention: Intervention, gamma: float | None, layers: Iterable[int] | None
) -> Intervention:
    """An edit at another strength, or on some of its layers.

    Args:
        intervention: The edit.
        gamma: Strength in place of its own; in mode `add`, a multiple of what it adds.
        layers: Some of the edited layers; None is all.
    """
    kept = intervention if layers is None else intervention.restrict(layers)
    if gamma is None:
        return kept
    return kept.scaled(gamma) if kept.mode == "add" else replace(kept, gamma=gamma)
