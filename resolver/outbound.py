"""The guard of this node's settings: what it may connect to."""

from __future__ import annotations

from ipaddress import ip_address
from urllib.parse import urlsplit

from resolver.config import Settings
from resolver.guard import Guard, GuardSettings


def make_guard(settings: Settings) -> Guard:
    """The rules of [outbound]; the class of the configured parent and roots passes as well."""
    rules = settings.outbound
    guard = Guard(
        GuardSettings(
            allow_private=rules.allow_private,
            allow=rules.allow,
            allow_ports=rules.allow_ports,
            connect_timeout_s=rules.connect_timeout_s,
            max_connections=rules.max_connections,
            max_per_address=rules.max_per_address,
            max_bytes=rules.max_bytes,
        )
    )
    trust(guard, settings.node.parent, *settings.recursion.roots)
    return guard


def trust(guard: Guard, *urls: str) -> None:
    """Let the class of the addresses that the operator named through."""
    guard.trust_class_of(filter(None, map(_literal, urls)))


def _literal(url: str) -> str | None:
    """The address in a URL or HOST:PORT; None for a name."""
    host = urlsplit(url if "://" in url else f"//{url}").hostname or ""
    if host == "localhost":
        return "127.0.0.1"
    try:
        return str(ip_address(host))
    except ValueError:
        return None
