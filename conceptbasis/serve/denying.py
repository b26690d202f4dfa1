"""Which requests come from the page of this server, and which from elsewhere."""

from __future__ import annotations

from email.message import Message

from conceptbasis.errors import ConceptBasisError

_NAMES = ("127.0.0.1", "localhost")


class Denied(ConceptBasisError):
    """A request that is not answered.

    Args:
        status: The HTTP status.
        what: What was wrong.
        expected: What would have been right.
        fix: What can be done.
    """

    def __init__(self, status: int, what: str, *, expected: str, fix: str) -> None:
        super().__init__(what, expected=expected, fix=fix)
        self.status = status


def check_headers(headers: Message, port: int) -> None:
    """Refuses what another host name, or the page of another site, asks for.

    Args:
        headers: Of a request.
        port: Where this server listens.

    Raises:
        Denied: with status 403.
    """
    hosts = [f"{name}:{port}" for name in _NAMES]
    given, origin = headers.get_all("Host", []), headers.get("Origin")
    if len(given) != 1 or given[0].lower() not in hosts:
        raise _foreign("Host", " ".join(given), hosts[0])
    if origin is not None and origin not in [f"http://{host}" for host in hosts]:
        raise _foreign("Origin", origin, f"http://{hosts[0]}")
    site = headers.get("Sec-Fetch-Site", "none")
    if site not in ("none", "same-origin"):
        raise _foreign("Sec-Fetch-Site", site, "same-origin")


def _foreign(name: str, found: str, expected: str) -> Denied:
    return Denied(
        403,
        f"a request with {name} {found[:60]!r}",
        expected=f"{expected}: this page answers its own machine and no other site",
        fix="open the address that `conceptbasis serve` printed",
    )
