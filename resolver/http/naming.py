"""What identifiers are called over HTTP: GS1 keys as Digital Links, and what addresses begin with."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Final

from aiohttp import web

from protocol.errors import BadIdentifier
from protocol.identifier import key_of
from protocol.schemes.gs1_link import CANONICAL, DigitalLink, parse_uri
from resolver.config import Settings
from resolver.http.asked import Senders

_HOST: Final = re.compile(
    r"[A-Za-z0-9.-]{1,253}(?::[0-9]{1,5})?|\[[0-9A-Fa-f:.]{2,45}\](?::[0-9]{1,5})?"
)


class Root:
    """What addresses of this resolver begin with. fixed: as set; "" where requests say it."""

    def __init__(self, settings: Settings, senders: Senders) -> None:
        self.fixed = settings.digital_link.root.rstrip("/")
        self._senders = senders

    def of(self, request: web.BaseRequest) -> str:
        """As set, else as the client called this node."""
        if self.fixed:
            return self.fixed
        host = request.headers.get("Host", "")
        if not _HOST.fullmatch(host):
            return CANONICAL
        return f"{'https' if self._senders.secure(request) else 'http'}://{host}"


def digital_link_of(name: bytes) -> DigitalLink | None:
    """The Digital Link that a name in any spelling is; None for other names."""
    key = key_of(name)
    if key[:1] != b"/":
        return None
    try:
        return replace(parse_uri(CANONICAL + key.decode()), base="")
    except (BadIdentifier, UnicodeDecodeError):
        return None  # an OID-IRI, which begins with a slash as well
