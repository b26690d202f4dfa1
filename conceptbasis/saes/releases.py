"""What reads an SAE of a release or of a repository, and fetches its files."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from torch import Tensor

from conceptbasis.errors import SaeError
from conceptbasis.saes.formats import FILES, read_dictionary_learning, read_sparsify
from conceptbasis.saes.hook_names import settle_hook


def release_converter(release: str, format: str | None) -> Callable[..., Any]:
    """What reads a release.

    Args:
        release: A release name or repository id.
        format: A loader of sae-lens for a repository that its list does not hold.

    Raises:
        SaeError: No loader of that name.
    """
    from sae_lens.loading import pretrained_sae_loaders as loaders

    known = loaders.NAMED_PRETRAINED_SAE_LOADERS
    if format is not None and format not in known:
        raise SaeError(
            f"saes.release.format is {format!r}",
            expected=f"a loader of sae-lens: {', '.join(sorted(known))}",
            fix="correct it, or leave it out where the release is in sae-lens's list",
        )
    name = format or loaders.get_conversion_loader_name(release)
    ours = {
        "sparsify": (FILES["sparsify"], read_sparsify),
        "dictionary_learning_1": (FILES["dictionary_learning"], read_dictionary_learning),
    }

    def read(
        repo_id: str, folder_name: str, device: str, force_download: bool, cfg_overrides: Any
    ) -> tuple[dict[str, Any], dict[str, Tensor], Any]:
        if name in ours:
            files, reader = ours[name]
            folder = _download(repo_id, folder_name, files, force_download)
            config, weights = reader(folder, device, cfg_overrides)
            sparsity = None
        else:
            config, weights, sparsity = known[name](
                repo_id, folder_name, device, force_download, cfg_overrides
            )
        return settle_hook(config, Path("/") / folder_name, repo_id), weights, sparsity

    return read


def _download(repo_id: str, folder: str, files: tuple[str, ...], force_download: bool) -> Path:
    """Fetches the files of one SAE and, where there is one, the settings of its training."""
    from huggingface_hub.errors import EntryNotFoundError
    from sae_lens.loading import pretrained_sae_loaders as loaders

    above = (Path(folder).parent / "config.json").as_posix()
    with suppress(EntryNotFoundError):
        loaders.hf_hub_download(repo_id, filename=above, force_download=force_download)
    for file in files:
        place = loaders.hf_hub_download(
            repo_id, filename=f"{folder}/{file}", force_download=force_download
        )
    return Path(place).parent
