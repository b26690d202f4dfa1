"""Reads where an SAE was trained from a hook's name, from folders and from a repository's name."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

Settings: TypeAlias = dict[str, Any]
"""A configuration as sae-lens takes it."""
RESIDUAL = "resid_post"
"""The residual stream behind a block, the one site that SAEs are read at."""
_LENS_HOOK = re.compile(r"(?:^|\.)blocks\.(\d+)\.hook_(\w+)$")
_MODULE_HOOK = re.compile(r"(?:^|\.)(?:layers|h|blocks)\.(\d+)(?:\.(\w+))?$")
_INSIDE = re.compile(r"(?:^|\.)(?:layers|h|blocks)\.\d+\.\w")
_MODULE_SITES = {
    None: RESIDUAL,
    "output": RESIDUAL,
    "self_attn": "attn_out",
    "attn": "attn_out",
    "attention": "attn_out",
    "mlp": "mlp_out",
}
_WORDS = {
    "transcoder": "transcod|crosscod|clt$",
    "mlp": "mlp|ffn|ff$|feedforward",
    "attention": "attn|attention|att$",
    RESIDUAL: "resid|res$",
    "embedding": "embed",
}
"""The sites that names tell of, and how their words begin."""
_PLACES = [
    re.compile(form)
    for form in (
        r"(?:embed_tokens|embedding)()",
        r"(?:\w+\.)*(?:layers|h|blocks)[._](\d+)(?:\.\w+)*",
        r"(?:resid|mlp|att|attn|attention)(?:_(?:pre|mid|post|in|out))?_layer_?(\d+)",
        r"layer_(\d+)(?:_width_\w+)?",
    )
]
"""How publishers name the folder of one place: sparsify, dictionary_learning, Gemma Scope."""
_BELOW = re.compile(r"width_\w+|average_l0_\d+|canonical|trainer_\d+|\d+_\d+")
"""Folders below the folder of one place."""
_SITE_FOLDERS = re.compile(r"(resid_post|attn_out|mlp_out|transcoder|crosscoder|clt)(_all)?")
"""Folders above it in Gemma Scope 2."""
_LAYER_ONLY = re.compile(r"blocks\.(\d+)")
"""The hook of a configuration that states a layer and leaves the site open."""
_HINTS = (
    (re.compile(r"embed(?=/)"), "embedding"),
    (re.compile(r"(?:crosscoder|clt|transcoder)(?:_all)?(?=/)"), "transcoder"),
    (re.compile(r"layer(?:_\d+){2,}_width_\w+(?=/)"), "crosscoder of several layers"),
)
"""Names, with the slash above a variant, of publishers, which a user may also give by chance."""


def parse_hook_name(hook_name: str) -> tuple[int, str] | None:
    """Reads layer and site from a hook name.

    Args:
        hook_name: As "blocks.3.hook_resid_post" or "model.layers.3".

    Returns:
        (layer, site), or None when the name follows neither form.
    """
    if match := _LENS_HOOK.search(hook_name):
        return int(match[1]), match[2]
    match = _MODULE_HOOK.search(hook_name)
    if match and match[2] in _MODULE_SITES:
        return int(match[1]), _MODULE_SITES[match[2]]
    return None


def is_residual(hook_name: str) -> bool:
    """Whether a hook name, or what a publisher writes in its place, names the residual stream.

    What names no site at all counts, so that only a statement speaks against an SAE.
    """
    if (found := parse_hook_name(hook_name)) is not None:
        return found[1] == RESIDUAL
    return not _INSIDE.search(hook_name) and _site_of(hook_name) in (RESIDUAL, None)


def states_residual(hook_name: str) -> bool:
    """Whether a name says that it is the residual stream, and not merely nothing else."""
    return is_residual(hook_name) and (
        parse_hook_name(hook_name) is not None or _site_of(hook_name) == RESIDUAL
    )


def _site_of(name: str) -> str | None:
    """The one site that the words of a name tell of; None for none or several."""
    words = re.split(r"[^a-z0-9]+", name.lower().replace("feed_forward", "feedforward"))
    found = {s for s, form in _WORDS.items() if any(re.match(form, word) for word in words)}
    if found == {RESIDUAL} and {"pre", "mid", "in"} & set(words):
        return "resid_pre or resid_mid"
    return found.pop() if len(found) == 1 else None


def hook_of_place(place: str | Path, repository: str = "") -> str | None:
    """The hook that the names of folders and of a repository state.

    Only names in the forms of publishers count: the folder itself or the one above its variants,
    the site's folder of Gemma Scope 2, and the name of a repository. Any other folder on the way
    is the user's own, whatever it is called.

    Args:
        place: The folder of one SAE.
        repository: The repository that it is in, where that is known.
    """
    parts = [part for part in Path(os.path.abspath(place)).parts if part]
    names = [p for p in parts if p.startswith(("models--", "gemma-scope-"))]
    for name in [*names, repository]:
        site = _site_of(name.split("--")[-1].split("/")[-1])
        if site not in (RESIDUAL, None):
            return f"{site} (by the repository's name {name})"
    while parts and _BELOW.fullmatch(parts[-1]):
        parts.pop()
    layer = next((m[1] for form in _PLACES if (m := form.fullmatch(parts[-1]))), None)
    if layer is None:
        return None
    above = "_width_" in parts[-1] and _SITE_FOLDERS.fullmatch(parts[-2])
    for name in (parts[-1], above[1] if above else ""):
        if not is_residual(name):
            return f"{name} (by the folder's name)"
    return f"blocks.{int(layer)}.hook_{RESIDUAL}"


def hint_of_place(place: str | Path) -> str | None:
    """What the folder's name says where the configuration leaves the site open.

    Args:
        place: The folder of one SAE.
    """
    parts = Path(os.path.abspath(place)).parts
    if trainer := re.fullmatch(r"(\w+_layer_?\d+)_trainer_\d+", parts[-1]):
        return hook_of_place(Path(*parts[:-1], trainer[1]))
    n_below = sum(1 for _ in itertools.takewhile(_BELOW.fullmatch, reversed(parts)))
    name = parts[-1 - n_below] + "/" * bool(n_below or "_width_" in parts[-1])
    found = next((site for form, site in _HINTS if form.match(name)), None)
    return f"{found} (by the folder's name {name.rstrip('/')})" if found else None


def settle_hook(config: Settings, place: str | Path, repository: str = "") -> Settings:
    """A configuration of sae-lens with the hook that it, the folder and the repository state.

    Where they differ, what is not the residual stream stands, so that the SAE is refused. A mere
    hint of the folder counts only where the configuration leaves the site open.

    Args:
        config: Of any version; from version 6 on the hook stands under `metadata`.
        place: The folder of one SAE.
        repository: The repository that it is in, where that is known.
    """
    nested = isinstance(config.get("metadata"), Mapping)
    about = dict(config["metadata"] if nested else config)
    hook = about.get("hook_name") or about.pop("hook_point", None)
    out = about.get("hook_name_out")
    hook = f"{hook} to {out}" if out and out != hook else hook
    layer = _LAYER_ONLY.fullmatch(hook or "")
    hint = hint_of_place(place) if layer or not hook else None
    hook = f"blocks.{layer[1]}.hook_{RESIDUAL}" if layer else hook
    names = (hook, about.get("hf_hook_name"), hook_of_place(place, repository), hint)
    said = [name for name in names if name]
    wrong = [name for name in said if " to " in name or not is_residual(name)]
    about.pop("hook_name", None)
    if said:
        about["hook_name"] = (wrong or said)[0]
    return {**config, "metadata": about} if nested else about
