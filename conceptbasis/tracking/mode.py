"""Whether a run is logged to wandb, and whether it goes there at once."""

from __future__ import annotations

import netrc
import os
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from conceptbasis.config.base import parse_config
from conceptbasis.config.run import TrackingSection
from conceptbasis.errors import ConfigError

Resolved = Literal["online", "offline", "off"]

_NAMED = {
    "online": "online",
    "run": "online",
    "offline": "offline",
    "dryrun": "offline",
    "disabled": "off",
}
"""Values of `WANDB_MODE`."""


def key_is_configured() -> bool:
    """Whether wandb would find an API key without asking: in the environment or a netrc file."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    named = os.environ.get("NETRC")
    path = Path(named).expanduser() if named else Path.home() / ".netrc"
    if not path.exists():
        return False
    import wandb

    host = urlsplit(wandb.setup().settings.base_url).netloc
    try:
        entry = netrc.netrc(path).authenticators(host)
    except (netrc.NetrcParseError, OSError):
        return False  # wandb cannot use such a file either
    return entry is not None and bool(entry[2])


def resolve_mode(flag: str | None, configured: str) -> Resolved:
    """The mode of logging: a flag goes before `WANDB_MODE`, and that before the configuration.

    `auto` is online with a key and offline without one.

    Args:
        flag: `--wandb`, None if it was not given.
        configured: `tracking.mode`.

    Raises:
        ConfigError: if `WANDB_MODE` is no mode, or if online is asked for and there is no key,
            since a prompt would hang a job.
    """
    if not os.environ.get("WANDB_MODE", "-").strip():
        del os.environ["WANDB_MODE"]  # wandb takes an empty one for a mode that it does not know
    wanted = flag or _mode_of_environment() or configured
    if wanted == "off":
        return "off"
    if wanted == "offline" or (wanted == "auto" and not key_is_configured()):
        return "offline"
    if not key_is_configured():
        raise ConfigError(
            "logging to wandb is online, but no wandb API key is configured",
            expected="WANDB_API_KEY, or a finished `wandb login`",
            fix="log in, or use --wandb offline and upload later with `wandb sync`",
        )
    return "online"


def with_environment(section: TrackingSection) -> TrackingSection:
    """The settings with project, entity and group from wandb's own variables where none is given.

    Args:
        section: As configured; what was written there or given by `--set` goes first.
    """
    named = {"project": "WANDB_PROJECT", "entity": "WANDB_ENTITY", "group": "WANDB_RUN_GROUP"}
    found = {
        key: value
        for key, variable in named.items()
        if key not in section.model_fields_set and (value := os.environ.get(variable, "").strip())
    }
    if not found:
        return section
    return parse_config(TrackingSection, section.model_dump() | found, "WANDB_PROJECT")


def tags_of_environment() -> tuple[str, ...]:
    """Tags of `WANDB_TAGS`, which wandb drops where a run has tags of its own."""
    given = os.environ.get("WANDB_TAGS", "").split(",")
    return tuple(tag.strip() for tag in given if tag.strip())


def _mode_of_environment() -> str | None:
    named = os.environ.get("WANDB_MODE", "").strip().lower()
    if named and named not in _NAMED:
        raise ConfigError(
            f"WANDB_MODE is {named!r}",
            expected="one of " + ", ".join(_NAMED),
            fix="correct or unset the variable, or give --wandb",
        )
    if named:
        os.environ["WANDB_MODE"] = named  # wandb knows the word in small letters only
    return _NAMED.get(named)
