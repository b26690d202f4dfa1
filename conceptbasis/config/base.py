"""What all configuration has in common: sections, YAML files and their errors."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from conceptbasis.config.renamed import old_names
from conceptbasis.errors import ConfigError

SINK_RATIO = 8.0
"""A position is an attention sink or an outlier where its norm is this many times the median."""


class Section(BaseModel):
    """Base of all configuration sections."""

    model_config = ConfigDict(frozen=True, extra="forbid")


Config = TypeVar("Config", bound=Section)


def parse_config(kind: type[Config], values: Mapping[str, Any], origin: str) -> Config:
    """Validates values against a section.

    Raises:
        ConfigError: naming each key or value that does not fit, and the new names of old ones.
    """
    renamed = list(old_names(values))
    if renamed:
        raise ConfigError(
            f"{origin}: " + "; ".join(renamed),
            expected="the keys and values that docs/configuration.md lists",
            fix="rename them in the file or the --set option",
        )
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        found = error.errors()
        problems = [_problem(kind, e["loc"], e["type"], e["msg"]) for e in found]
        unknown = [e["loc"][:-1] for e in found if e["type"] == "extra_forbidden"]
        raise ConfigError(
            f"{origin}: " + "; ".join(problems),
            expected="; ".join(_keys(kind, section) for section in dict.fromkeys(unknown))
            or "values of the types that docs/configuration.md names",
            fix="correct the file or the --set option; docs/configuration.md lists every key",
        ) from error


def _problem(kind: type[Section], where: tuple[Any, ...], code: str, message: str) -> str:
    name = ".".join(str(part) for part in where) or kind.__name__
    if code != "extra_forbidden":
        return f"{name}: {message}"
    near = get_close_matches(str(where[-1]), _section(kind, where[:-1]).model_fields, n=1)
    return f"unknown key {name!r}" + "".join(f" (did you mean {key!r}?)" for key in near)


def _keys(kind: type[Section], section: tuple[Any, ...]) -> str:
    name = ".".join(str(part) for part in section)
    return f"keys{' of ' if section else ''}{name}: " + ", ".join(
        _section(kind, section).model_fields
    )


def _section(kind: type[Section], section: tuple[Any, ...]) -> type[Section]:
    """The class of a section, such as `saes.train` of a model configuration."""
    for part in section:
        if part not in kind.model_fields:
            continue  # a key of a mapping or a place in a list, whose values are sections
        annotation = kind.model_fields[part].annotation
        options = (annotation, *get_args(annotation))
        kind = next(o for o in options if isinstance(o, type) and issubclass(o, Section))
    return kind


class GivenTwice(yaml.MarkedYAMLError):
    """A mapping holds a key twice, of which YAML takes the last."""


class _Loader(yaml.SafeLoader):
    """Refuses a key that is given twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """A mapping whose keys differ; what is merged by `<<` may stand behind a key of its own."""
        seen = set()
        for key, _ in node.value:
            name = (key.tag, str(key.value))
            if name in seen and key.tag != "tag:yaml.org,2002:merge":
                raise GivenTwice(
                    problem=f"the key {key.value!r} is given twice", problem_mark=key.start_mark
                )
            seen.add(name)
        return super().construct_mapping(node, deep=deep)


def parse_yaml(text: str) -> Any:
    """What a text in YAML says.

    Raises:
        yaml.YAMLError: if it is none; `GivenTwice` if it gives a key twice.
    """
    return yaml.load(text, _Loader)


def load_yaml(path: Path) -> dict[str, Any]:
    """Reads a YAML mapping.

    Raises:
        ConfigError: if the file is missing, is not YAML, gives a key twice, or is no mapping.
    """
    try:
        values = parse_yaml(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(
            f"no configuration at {path}",
            expected="a YAML file",
            fix="check the path; sae_configs/ holds ready ones",
        ) from error
    except OSError as error:
        raise ConfigError(
            f"cannot read {path}: {error.strerror}",
            expected="a YAML file",
            fix="name a file that can be read; sae_configs/ holds ready ones",
        ) from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(
            f"{path} is not valid YAML: {error}",
            expected="a YAML mapping",
            fix="correct the file",
        ) from error
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ConfigError(
            f"{path} holds a {type(values).__name__}",
            expected="a YAML mapping of keys to values",
            fix="see the files in sae_configs/",
        )
    return values
