"""Directions of a user's own, measured as a run measures its conditions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from conceptbasis.api.frames import conditions_frame
from conceptbasis.api.run import OwnDirections
from conceptbasis.behaviors import find_behavior
from conceptbasis.config.budgets import benign_classes, find_class
from conceptbasis.config.run import RunConfig
from conceptbasis.edits.finished import load_replayed
from conceptbasis.edits.guard import MAX_TEXTS
from conceptbasis.edits.intervention import Intervention, intervention_of
from conceptbasis.errors import ConfigError, InterventionError
from conceptbasis.evaluation import figures, metrics
from conceptbasis.evaluation.bench import Bench
from conceptbasis.evaluation.measure import POSITIVE, measure_trial
from conceptbasis.evaluation.reference import open_reference
from conceptbasis.evaluation.trials import Trial, prompts_by_set
from conceptbasis.methods.base import Treatment
from conceptbasis.models.loading.loaded import LoadedModel
from conceptbasis.models.text.generation import first_token_logits, generate
from conceptbasis.results.evaluation import Evaluation
from conceptbasis.results.layers import LayerPlan
from conceptbasis.runs.graph import load_result
from conceptbasis.runs.progress import Reporter
from conceptbasis.runs.settings import read_settings
from conceptbasis.study.opening import hash_model, load_prompts, open_model

if TYPE_CHECKING:
    from numpy.typing import ArrayLike
    from pandas import DataFrame


def evaluate(
    folder: Path, directions: Mapping[str, OwnDirections], *, n_prompts: int | None, quiet: bool
) -> DataFrame:
    """See `Run.evaluate`."""
    (model, config), replayed = read_settings(folder), load_replayed(folder)
    base = intervention_of(replayed)
    edits: dict[str, Intervention | None] = {"baseline": None, "transfer": base}
    edits |= {name: _along(base, given, name) for name, given in directions.items()}
    reporter = Reporter(quiet=quiet)
    loaded = open_model(model, config.device, reporter)
    if hash_model(loaded) != replayed.target_hash:
        raise ConfigError(
            f"{model.model} is not the model this transfer was made for (its weights differ)",
            expected="the target of the run",
            fix="restore that model, or run the transfer again",
        )
    bench = _bench(folder, loaded, config, n_prompts)
    judged = [*bench.sets[POSITIVE], *bench.sets[bench.negative]]
    reference = open_reference(config.evaluate, model, judged, config.device, reporter)
    bench = replace(bench, reference=reference)
    measured = {}
    with reporter.bar("evaluate") as advance:
        for done, (name, edit) in enumerate(edits.items(), 1):
            outcome = measure_trial(bench, Trial(name, treatment=Treatment(edit=edit)))
            found = figures.condition_figures([outcome], bench.behavior)
            measured[name] = metrics.condition_figures(found, bench.behavior.words)
            advance(done, len(edits), name)
    return conditions_frame(measured)


def _along(base: Intervention, given: OwnDirections, name: str) -> Intervention:
    """The run's edit with other directions."""
    by_layer = given if isinstance(given, Mapping) else dict.fromkeys(base.layers, given)
    unknown = sorted(set(by_layer) - set(base.layers))
    if unknown or not by_layer:
        raise InterventionError(
            f"{name!r} has directions at layers {unknown or 'none'}",
            expected=f"some of the edited layers {list(base.layers)}",
            fix="give a direction for each of these layers, or for some of them",
        )
    layers, width = sorted(by_layer), base.directions.shape[1]
    rows = [_vector(by_layer[layer]) for layer in layers]
    if not all(row.numel() == width and _usable(row) for row in rows):
        raise InterventionError(
            f"{name!r} has a direction of another width, of length 0, or that is not finite",
            expected=f"{width} finite numbers for each layer",
            fix="give directions of the target's residual stream",
        )
    unit = torch.nn.functional.normalize(torch.stack(rows), dim=1)
    return replace(base.restrict(layers), plan=LayerPlan.per_layer(layers), directions=unit)


def _vector(given: ArrayLike) -> Float[Tensor, " d"]:
    if isinstance(given, Tensor):
        return given.detach().cpu().float().flatten()
    return torch.from_numpy(np.array(given, dtype=np.float32).flatten())


def _usable(row: Tensor) -> bool:
    return bool(row.isfinite().all()) and float(row.norm()) > 0


def _bench(folder: Path, loaded: LoadedModel, config: RunConfig, n_prompts: int | None) -> Bench:
    section, suite = config.evaluate, load_prompts(config)
    behavior = find_behavior(config.behavior)
    n = section.n_prompts if n_prompts is None else n_prompts
    negative = [p.text for p in suite[behavior.sets.eval_negative][:n]]
    allowed = [c for c in benign_classes() if find_class(c).needs == "B0"]
    return Bench(
        loaded,
        {},
        behavior,
        prompts_by_set(behavior, suite, n),
        section,
        [t for t in suite.texts if t.text_class in allowed][:MAX_TEXTS],
        first_token_logits(loaded, negative, batch_size=section.batch_size),
        generate(
            loaded,
            negative[: section.n_kl_prompts],
            max_new_tokens=section.max_new_tokens,
            batch_size=section.batch_size,
        ),
        load_result(folder, "evaluate", Evaluation).behavior_tokens,
        1,
        None,
        None,
        "",
    )
