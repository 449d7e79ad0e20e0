"""Addresses that a browser may be sent to, whatever a record or a request says."""

from __future__ import annotations

from typing import Final
from urllib.parse import quote, urlsplit

SAFE: Final = "!#$%&'()*+,/:;=?@[]~"
"""Reserved characters stay as they are in a target; the rest is percent-encoded where needed."""


def safe_address(target: str, append: str, schemes: frozenset[str]) -> str | None:
    """An address a browser may be sent to, in ASCII; None for any other.

    append: added as it is, unless it would lead to another host.
    """
    own = _parts(target)
    if own is None or own[0] not in schemes or (own[0] in {"http", "https"} and not own[1]):
        return None
    whole = target + append
    if append and _parts(whole) != own:
        whole = target
    return quote(whole, safe=SAFE) if not _host_is_odd(own[1]) else None


def _parts(address: str) -> tuple[str, str] | None:
    """Scheme and authority as a browser would read them; None where it would read otherwise."""
    # Browsers drop tabs and line ends and take a backslash for a slash: such text is not
    # an address for us.
    if not address.isprintable() or "\\" in address or address != address.strip():
        return None
    try:
        parts = urlsplit(address)
        _ = parts.port
    except ValueError:
        return None
    return parts.scheme.lower(), parts.netloc.lower()


def _host_is_odd(authority: str) -> bool:
    """Percent signs, spaces or characters beyond ASCII in a host are left to people."""
    host = authority.rpartition("@")[2]
    return not host.isascii() or any(char in host for char in '% "<>^`{|}')
