"""The page as it is sent: one file, whose policy admits its own script and style and no other."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from conceptbasis.behaviors import find_behavior
from conceptbasis.report.pages.inline import Inline, json_in_html, read_inline, template
from conceptbasis.serve.asking import LONGEST, STRONGEST, WEAKEST
from conceptbasis.serve.opening import SIDES, ServedRun

if TYPE_CHECKING:
    from markupsafe import Markup

_ROOM = "conceptbasis.serve"


@dataclass(frozen=True)
class Page:
    """A page and the content security policy that it is sent with."""

    html: bytes
    policy: str


def render_page(run: ServedRun) -> Page:
    """The page of a run; it names its models, its edit and its recipe's latents."""
    script, style = (read_inline(_ROOM, name) for name in ("page.js", "page.css"))
    summary = run.summary
    text = template(_ROOM, "page.html").render(
        names={"donor": summary.donor.name, "target": summary.target.name},
        noun=find_behavior(summary.behavior).words.noun,
        mode=run.edit.mode,
        layers=run.edit.layers,
        longest=LONGEST,
        usual=run.longest_answer,
        range=(WEAKEST, STRONGEST),
        known=_known(run),
        script=script.text,
        style=style.text,
    )
    return Page(text.encode(), _policy(script, style))


def _policy(script: Inline, style: Inline) -> str:
    return (
        f"default-src 'none'; script-src '{script.hash}'; style-src '{style.hash}'; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def _known(run: ServedRun) -> Markup:
    """The recipe's latents as JSON that no text in them can end: by side, layer and number."""
    from markupsafe import Markup

    latents = {
        side: {
            str(layer): {str(x.latent): asdict(x) for x in row}
            for layer, row in run.latents(side).items()
        }
        for side in SIDES
    }
    return Markup(json_in_html(latents))
