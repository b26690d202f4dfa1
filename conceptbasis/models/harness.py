"""The lm-evaluation-harness: any of its tasks on a model in memory, and its `steered` file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from conceptbasis.core.edits import projection as formulas
from conceptbasis.errors import ConfigError, InterventionError, reason
from conceptbasis.models.loading.loaded import LoadedModel
from conceptbasis.models.stream.hooks import Edit
from conceptbasis.runs.files import save_torch

OLDEST = "0.4.12"
"""The first version that runs tasks of one's own and the file `steered` beside transformers 5."""
_EXACT = 1e-9


def run_tasks(
    loaded: LoadedModel,
    tasks: Sequence[str | Mapping[str, Any]],
    *,
    limit: int | None = None,
    n_shots: int | None = None,
    batch_size: int = 16,
    chat: bool = False,
) -> dict[str, dict[str, float]]:
    """Runs tasks of the harness on the model as it is now, under hooks or not.

    Args:
        loaded: The model; it is passed in memory, so no weights are loaded again.
        tasks: Names of the harness, or task configurations.
        limit: The first items of each task only.
        n_shots: Examples before each item; the task's own number where None.
        batch_size: Items at a time.
        chat: Whether items go through the chat template.

    Returns:
        By task, its metrics as the harness names them (`acc`, `acc_stderr`, ...).

    Raises:
        ConfigError: The harness is not installed, or it cannot run a task.
    """
    _require()
    import lm_eval
    from lm_eval.models.huggingface import HFLM

    model = HFLM(
        pretrained=loaded.model,
        tokenizer=loaded.tokenizer,
        batch_size=batch_size,
        max_length=loaded.max_length,
    )
    try:
        found = lm_eval.simple_evaluate(
            model=model,
            tasks=[dict(t) if isinstance(t, Mapping) else t for t in tasks],
            num_fewshot=n_shots,
            limit=limit,
            bootstrap_iters=0,
            log_samples=False,
            apply_chat_template=chat,
            verbosity="ERROR",
        )
    except (KeyError, ValueError, OSError) as error:
        names = ", ".join(t if isinstance(t, str) else str(t.get("task")) for t in tasks)
        raise ConfigError(
            f"the harness cannot run {names}: {reason(error)}",
            expected="tasks that `lm-eval ls tasks` lists, with their data at hand",
            fix="correct the names; without a network, run each task once with one",
        ) from error
    assert found is not None
    return {task: _metrics(values) for task, values in found["results"].items()}


def _metrics(values: Mapping[str, Any]) -> dict[str, float]:
    """The harness writes `metric,filter`; the filter stays where it is not `none`."""
    named = {key.removesuffix(",none"): value for key, value in values.items()}
    return {
        key: float(value)
        for key, value in named.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }


def _require() -> None:
    if find_spec("lm_eval") is not None:
        found = version("lm_eval")
        if _parts(found) < _parts(OLDEST):
            raise ConfigError(
                f"lm-evaluation-harness {found} is installed",
                expected=f"lm_eval {OLDEST} or later; older ones add one layer's vector at all "
                "layers, or call classes that transformers 5 no longer has",
                fix="pip install -U 'conceptbasis[harness]'",
            )
    else:
        raise ConfigError(
            "lm-evaluation-harness is not installed",
            expected="the package lm_eval",
            fix="pip install 'conceptbasis[harness]'",
        )


def _parts(release: str) -> list[int]:
    return [int(part) for part in release.split(".") if part.isdigit()]


def steered_entries(
    loaded: LoadedModel, edits: Sequence[Edit], scope: str
) -> dict[str, dict[str, Any]]:
    """Edits in the terms of the harness's model `steered`.

    The harness can add a vector to a block's output, or set its part along a unit vector to a
    value. Ablation is that value 0; an affine edit is the part of the mean.

    Args:
        loaded: The model.
        edits: At most one a layer.
        scope: Where they act.

    Raises:
        InterventionError: An edit that the harness cannot express.
    """
    names = {id(module): name for name, module in loaded.model.base_model.named_modules()}
    entries: dict[str, dict[str, Any]] = {}
    for edit in edits:
        name = names[id(loaded.architecture.blocks[edit.layer])]
        why = _inexpressible(edit, scope, name in entries)
        if why is not None:
            raise InterventionError(
                f"the harness cannot express {why}",
                expected="one edit a layer of scope stream: add, or ablate or affine with gamma 1",
                fix="use `conceptbasis capability`, which runs the harness under our own hooks",
            )
        entries[name] = _entry(edit)
    return entries


def _inexpressible(edit: Edit, scope: str, taken: bool) -> str | None:
    if scope != "stream":
        return f"scope {scope}"
    if edit.mode != "add" and abs(edit.gamma - 1) > _EXACT:
        return f"{edit.mode} with gamma {edit.gamma}"
    if edit.max_norm is not None:
        return f"an edit of layer {edit.layer} that leaves attention sinks alone"
    return f"two edits of layer {edit.layer}" if taken else None


def _entry(edit: Edit) -> dict[str, Any]:
    r = edit.direction.detach().cpu().float()
    entry = {"steering_vector": r, "bias": None, "head_index": None}
    if edit.mode == "add":
        return entry | {"action": "add", "steering_coefficient": float(edit.amount)}
    value = 0.0
    if edit.mode == "affine":
        assert edit.mean is not None
        # h − r rᵀ(h − μ) sets the part along r to rᵀμ; taken from the formula itself.
        at_zero = formulas.affine(torch.zeros_like(r), r, edit.mean.detach().cpu().float())
        value = float(at_zero @ r)
    return entry | {"action": "clamp", "steering_coefficient": value}


def save_steered(path: Path, entries: Mapping[str, Mapping[str, Any]]) -> None:
    """Writes the file that `lm_eval --model steered --model_args steer_path=FILE` reads.

    Args:
        path: Ends in .pt, as the harness wants it.
        entries: What `steered_entries` returned.

    Raises:
        InterventionError: Another ending.
        ArtifactError: the place cannot be written.
    """
    check_steered_name(path)
    save_torch(path, {name: dict(entry) for name, entry in entries.items()})


def check_steered_name(path: Path) -> None:
    """Refuses a file that the harness would not know.

    Args:
        path: Where the edits are to go.

    Raises:
        InterventionError: It does not end in .pt.
    """
    if path.suffix != ".pt":
        raise InterventionError(
            f"{path} does not end in .pt",
            expected="the ending by which the harness knows its file",
            fix="name it, for example, steered.pt",
        )
