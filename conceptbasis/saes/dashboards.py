"""Public pages about the features of published SAEs."""

from __future__ import annotations

from conceptbasis.saes.sae import import_sae_lens

_PAGE = "https://www.neuronpedia.org/{id}/{feature}"


def feature_page(release: str, sae_id: str) -> str | None:
    """The address of a feature's Neuronpedia page with `{feature}` left open.

    Args:
        release: A release that sae-lens lists.
        sae_id: An SAE of it.

    Returns:
        The address, or None where sae-lens names no page for that SAE.
    """
    import_sae_lens()
    from sae_lens.loading.pretrained_saes_directory import get_pretrained_saes_directory

    listed = get_pretrained_saes_directory().get(release)
    page = None if listed is None else (listed.neuronpedia_id or {}).get(sae_id)
    return None if page is None else _PAGE.replace("{id}", page)
