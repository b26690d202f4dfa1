"""Fits the baselines before the seal, and makes the treatments of every method after it.

Every baseline gets what the transfer gets: the same text, the same weight on ends of prompts, and,
where it has a ridge, the same choice by projection agreement. None reads a label of the target.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import torch

from conceptbasis.config.transfer import ReplaySection
from conceptbasis.edits.intervention import Intervention, strengthens
from conceptbasis.edits.plan import plan_layers
from conceptbasis.errors import InterventionError, NumericsError
from conceptbasis.methods import METHODS
from conceptbasis.methods.base import Fitted, LeftOut, Method, Moved, Treatment
from conceptbasis.methods.bridge import Bridge
from conceptbasis.results.evaluation import Baselines, FittedLayer, FittedMethod
from conceptbasis.results.layers import LayerPair, LayerPlan
from conceptbasis.runs.executor import run_all
from conceptbasis.runs.progress import Reporter

Found = Moved | str
"""A direction, or the reason why there is none."""


def fit_baselines(
    bridge: Bridge, methods: Sequence[Method], reporter: Reporter, *, n_workers: int, device: str
) -> Baselines:
    """The directions of every baseline; those that could not be made have a reason.

    Args:
        bridge: What they are made of.
        methods: The baselines.
        reporter: Told the progress.
        n_workers: Processes that fit, several layers at a time.
        device: A torch device.
    """
    names = [method.name for method in methods if method.move is not None]
    pairs = bridge.alignment.layer_map
    found: dict[int, Mapping[str, Found]] = {}
    if names:
        with reporter.bar("baselines") as advance:
            shared = (bridge, names)
            for place, row in run_all(_move_all, shared, pairs, workers=n_workers, device=device):
                found[place] = row
                advance(len(found), len(pairs), "")
    moved = {name: [found[place][name] for place in range(len(pairs))] for name in names}
    return Baselines(tuple(_fit(bridge, m, moved.get(m.name, ())) for m in methods))


def _move_all(shared: tuple[Bridge, Sequence[str]], pair: LayerPair) -> dict[str, Found]:
    bridge, names = shared
    return {name: _move(bridge, METHODS[name], pair) for name in names}


def _move(bridge: Bridge, method: Method, pair: LayerPair) -> Found:
    """A baseline that fails is a finding about it and must not end the run."""
    assert method.move is not None
    try:
        return method.move(bridge.hand_to(method), pair)
    except LeftOut as error:
        return str(error)
    except NumericsError as error:
        return f"target layer {pair[0]}, donor layer {pair[1]}: {error.what}"


def _fit(bridge: Bridge, method: Method, found: Sequence[Found]) -> FittedMethod:
    """All directions of a method, those that it moved layer by layer among them."""
    try:
        reasons = [reason for reason in found if isinstance(reason, str)]
        if reasons:
            raise LeftOut(reasons[0])
        fitted = Fitted([moved for moved in found if isinstance(moved, Moved)])
        if method.fit is not None:
            fitted = method.fit(bridge.hand_to(method))
    except (LeftOut, NumericsError) as error:
        reason = error.what if isinstance(error, NumericsError) else str(error)
        return FittedMethod(method.name, (), None, None, reason, {})
    means = [m.mean for m in fitted.moved if m.mean is not None]
    return FittedMethod(
        method.name,
        tuple(
            FittedLayer(*m.pair, m.ridge, m.selection, m.agreement, m.details) for m in fitted.moved
        ),
        torch.stack([m.direction for m in fitted.moved]),
        torch.stack(means) if means else None,
        None,
        fitted.notes,
    )


def treatments(bridge: Bridge, method: Method) -> Iterator[Treatment]:
    """What a method does to the target, one treatment a draw.

    Args:
        bridge: Over the results of all stages before the seal.
        method: Any method.

    Raises:
        LeftOut: if it has no edit on this run; the reason is worth telling.
        PromptError: if it reads labels and the transfer is not sealed.
    """
    handed = bridge.hand_to(method)
    made: Iterable[Treatment] = (
        [Treatment(fitted_edit(handed, method))] if method.plan is None else method.plan(handed)
    )
    return iter(made)


def fitted_edit(bridge: Bridge, method: Method) -> Intervention:
    """The edit of a baseline along its fitted directions.

    Args:
        bridge: Gives the directions, and how the run replays.
        method: The baseline.

    Raises:
        LeftOut: if it was not made, or cannot edit this target in this run.
    """
    fitted = bridge.fitted(method.name)
    if fitted.directions is None:
        raise LeftOut(fitted.reason or "it was not made")
    section = bridge.replay if method.form is None else ReplaySection.model_validate(method.form)
    plan = _plan(bridge, section, method, fitted)
    _require_form(bridge, section, method)
    layers = [row.target for row in fitted.layers]
    means = None if fitted.means is None else dict(zip(layers, fitted.means, strict=True))
    by_layer = dict(zip(layers, fitted.directions, strict=True))
    return bridge.edit_along(plan, by_layer, section=section, means=means)


def _plan(
    bridge: Bridge, section: ReplaySection, method: Method, fitted: FittedMethod
) -> LayerPlan:
    replay = bridge.replay
    if section.mode == "orthogonalise" and method.form is not None:
        # A form that edits weights does so layer by layer.
        replay = replay.model_copy(update={"directions": "per_layer"})
    selections = {row.target: row.selection for row in fitted.layers}
    try:
        return plan_layers(selections, replay, bridge.n_layers)
    except InterventionError:
        raise LeftOut("it moves no direction to the layers that this run edits") from None


def _require_form(bridge: Bridge, section: ReplaySection, method: Method) -> None:
    if method.form is not None and strengthens(bridge.replay):
        raise LeftOut("its own form removes a direction, and this run strengthens the behavior")
    obstacle = bridge.weight_obstacle
    if section.mode == "orthogonalise" and obstacle is not None:
        raise LeftOut(f"its own form edits weights, which is refused on {obstacle}")
