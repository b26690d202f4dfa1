"""What a page of one file is made of: a template, and scripts and styles that a hash admits."""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from markupsafe import Markup


@dataclass(frozen=True)
class Inline:
    """A script or a style within a page, and the hash by which the page's policy admits it."""

    text: Markup
    hash: str


def read_inline(package: str, name: str) -> Inline:
    """A script or style that lies in a package.

    Args:
        package: For example conceptbasis.report.
        name: Of the file.
    """
    from markupsafe import Markup

    text = resources.files(package).joinpath(name).read_text("utf-8")
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return Inline(Markup(text), f"sha256-{digest}")


def json_in_html(value: object) -> str:
    """JSON for a script element: no text in it can end the element or open a comment."""
    text = json.dumps(value, allow_nan=False)
    for sign in "<>&":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text


def template(package: str, name: str) -> Any:
    """A template that escapes all that it is given, and refuses a name that it was not given.

    Args:
        package: For example conceptbasis.report.
        name: Of the file.
    """
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader(package, ""),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
    )
    return environment.get_template(name)
