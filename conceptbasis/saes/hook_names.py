"""Reads where an SAE was trained from the hook name in its metadata."""

from __future__ import annotations

import re

_LENS_HOOK = re.compile(r"(?:^|\.)blocks\.(\d+)\.hook_(\w+)$")
_MODULE_HOOK = re.compile(r"(?:^|\.)(?:layers|h|blocks)\.(\d+)(?:\.(\w+))?$")
_MODULE_SITES = {
    None: "resid_post",
    "output": "resid_post",
    "self_attn": "attn_out",
    "attn": "attn_out",
    "attention": "attn_out",
    "mlp": "mlp_out",
}


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
