"""Addresses that a browser may be sent to, whatever a record or a request says."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import quote, urlsplit

SAFE: Final = "!#$%&'()*+,/:;=?@[]~"
"""Reserved characters stay as they are in a target; the rest is percent-encoded where needed."""

_plain_host = re.compile(r"[A-Za-z0-9.-]+").fullmatch


def safe_address(target: str, append: str, schemes: frozenset[str]) -> str | None:
    """An address a browser may be sent to, in ASCII; None for any other.

    append: added as it is, unless it would lead to another host.
    """
    target = _web_host(target.strip(" \t\r\n"))
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


def _web_host(target: str) -> str:
    """An address with its host in the form of the DNS; as it is where it has none such."""
    scheme, separator, rest = target.partition("://")
    cut = next((at for at, char in enumerate(rest) if char in "/?#"), len(rest))
    host = rest[:cut]
    if not separator or host.isascii() or "@" in host:
        return target
    name, colon, port = host.partition(":")
    try:
        known = name.encode("idna").decode()
    except UnicodeError:
        return target
    if not _plain_host(known):  # folding may bring slashes and the like into it
        return target
    return f"{scheme}://{known}{colon}{port}{rest[cut:]}"


def _host_is_odd(authority: str) -> bool:
    """Percent signs, spaces or characters beyond ASCII in a host are left to people."""
    host = authority.rpartition("@")[2]
    return not host.isascii() or any(char in host for char in '% "<>^`{|}')
