"""The country of a client, for `country` in 10320/loc: said by a trusted proxy, or by a table.

`http.country_header` names the header in which the operator's own proxies say it; what a table is
says resolver.countries.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from aiohttp import web

from resolver.config import HttpSettings
from resolver.countries import Table, is_code
from resolver.http.asked import Senders

_UNKNOWN: Final = frozenset(("XX", "ZZ", "T1"))
"""What proxies say when they do not know."""


class Countries:
    """Where clients are, as far as the settings say."""

    def __init__(self, settings: HttpSettings, folder: Path, senders: Senders) -> None:
        """folder: the node's, for a relative path. Raises SettingsError."""
        self._header = settings.country_header
        self._senders = senders
        path = settings.country_table
        self._table = Table.read(folder / path) if path else None

    def of(self, request: web.BaseRequest) -> str | None:
        """The country of a request's sender, or None.

        The header counts only from a trusted proxy: anybody else could write it.
        """
        if self._header and self._senders.forwarded(request):
            said = request.headers.get(self._header, "").strip().upper()
            if is_code(said) and said not in _UNKNOWN:
                return said
        return None if self._table is None else self._table.country(self._senders.host(request))
