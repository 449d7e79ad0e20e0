"""The guard of this node's settings: what it may connect to."""

from __future__ import annotations

from ipaddress import ip_address
from urllib.parse import urlsplit

from resolver.config import Settings
from resolver.guard import Guard


def make_guard(settings: Settings, *named: str) -> Guard:
    """The rules of [outbound]. named: URLs the operator gave, whose class passes as well."""
    guard = Guard(settings.outbound)
    guard.trust_class_of(filter(None, map(literal, (settings.node.parent, *named))))
    return guard


def literal(url: str) -> str | None:
    """The address in a URL; None for a name, which must resolve to what the rules allow."""
    host = urlsplit(url).hostname or ""
    if host == "localhost":
        return "127.0.0.1"
    try:
        return str(ip_address(host))
    except ValueError:
        return None
