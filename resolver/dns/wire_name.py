"""Domain names of settings and commands in wire form."""

from __future__ import annotations

from protocol.errors import SettingsError
from resolver.dns.message import MAX_NAME, name_of


def wire_name(text: str, what: str) -> bytes:
    """A domain name in wire form, lower case. what: who names it. Raises SettingsError."""
    labels = [label.lower().encode("ascii", "replace") for label in text.strip(".").split(".")]
    name = name_of(labels) if all(0 < len(label) < 64 for label in labels) else b""
    if not name or len(name) > MAX_NAME or b"?" in name:
        raise SettingsError(f"{what} = {text!r} is no domain name; write ors.example.org")
    return name
