"""Files of one's own that register methods, judges, behaviors, budgets or stages before a run."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from collections.abc import Iterable
from pathlib import Path

from conceptbasis.errors import ConfigError

_LOADED: dict[Path, str] = {}


def load_extensions(paths: Iterable[str]) -> None:
    """Runs Python files once each; what they register is there from then on.

    Raises:
        ConfigError: if a file is missing or fails.
    """
    for name in paths:
        path = Path(name).expanduser().resolve()
        if path in _LOADED:
            continue
        if not path.is_file():
            raise ConfigError(
                f"there is no extension {path}",
                expected="a Python file that registers something (docs/extending.md)",
                fix="correct the key `extensions`",
            )
        _run(path)
        _LOADED[path] = hashlib.sha256(path.read_bytes()).hexdigest()


def _run(path: Path) -> None:
    spec = importlib.util.spec_from_file_location(f"conceptbasis_extension_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # so that its functions can be sent to other processes
    try:
        spec.loader.exec_module(module)
    except ConfigError:
        raise
    except Exception as error:
        raise ConfigError(
            f"the extension {path} fails: {type(error).__name__}: {error}",
            expected="a Python file that runs by itself",
            fix="run it with python to see where it fails",
        ) from error


def extension_hashes(paths: Iterable[str]) -> dict[str, str]:
    """SHA-256 of each extension as it was loaded, by file name."""
    found = {Path(name).expanduser().resolve(): Path(name).name for name in paths}
    return {name: _LOADED[path] for path, name in found.items() if path in _LOADED}
