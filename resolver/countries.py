"""A table of countries by network, from a file of the operator's: none comes with this program.

`http.country_table` is a file of lines NETWORK,CC; the longest network that holds an address
counts:

    # NETWORK,CC (two letters; `#` begins a comment)
    192.0.2.0/24,CN
    2001:db8::/32,GB
"""

from __future__ import annotations

import re
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Final

from protocol.errors import SettingsError
from resolver.config import HttpSettings

MOST_ROWS: Final = 2_000_000
is_code = re.compile(r"[A-Za-z]{2}").fullmatch


class Table:
    """Networks and their countries. A look-up tries the lengths that occur, the longest first."""

    def __init__(self) -> None:
        self._by_length: dict[tuple[int, int], dict[int, str]] = {}
        self._order: dict[int, list[int]] = {4: [], 6: []}

    @classmethod
    def read(cls, path: Path) -> Table:
        """Raises SettingsError that names the line."""
        table = cls()
        try:
            with path.open(encoding="utf-8") as lines:
                for number, line in enumerate(lines, start=1):
                    if number > MOST_ROWS:
                        raise SettingsError(f"{path} has more than {MOST_ROWS} lines")
                    table._take(line.partition("#")[0].strip(), f"{path}, line {number}")
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(
                f"the table of countries {path} cannot be read: {error}; see `http.country_table`"
            ) from None
        for family in table._order:
            lengths = (length for kind, length in table._by_length if kind == family)
            table._order[family] = sorted(lengths, reverse=True)
        return table

    def country(self, host: str) -> str | None:
        """The code of the network that an address lies in, in capitals."""
        try:
            address = ip_address(host)
        except ValueError:
            return None
        number, bits = int(address), address.max_prefixlen
        for length in self._order[address.version]:
            found = self._by_length[address.version, length].get(number >> (bits - length))
            if found is not None:
                return found
        return None

    def _take(self, line: str, where: str) -> None:
        if not line:
            return
        text, _, code = (part.strip() for part in line.partition(","))
        try:
            network = ip_network(text)
        except ValueError as error:
            raise SettingsError(f"{where}: {error}; a line is NETWORK,CC") from None
        if not is_code(code):
            raise SettingsError(
                f"{where}: {code!r} is no code of two letters; a line is NETWORK,CC"
            )
        rows = self._by_length.setdefault((network.version, network.prefixlen), {})
        shift = network.max_prefixlen - network.prefixlen
        rows[int(network.network_address) >> shift] = code.upper()


def check_table(settings: HttpSettings, folder: Path) -> None:
    """Raises SettingsError where there is a table that no reader could use."""
    if settings.country_table:
        Table.read(folder / settings.country_table)
