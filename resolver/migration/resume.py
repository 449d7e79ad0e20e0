"""Where a migration stands in the old server's log, kept from one run to the next.

DIR/migrations.json, a position a source. It is of use only to the folder whose store has what was
done until then, so it is no part of a backup. A source is its address, its key and the prefixes
that move: with another server behind the address, or other prefixes, the dump is taken anew.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from protocol.errors import SettingsError
from protocol.keys import PublicKey, encode_spki
from resolver.migration.primary import Position

FILE = "migrations.json"


@dataclass(frozen=True, slots=True)
class Kept:
    """The position of one source. folder: the node's."""

    folder: Path
    source: str

    @classmethod
    def of(cls, folder: Path, address: str, key: PublicKey, prefixes: frozenset[bytes]) -> Kept:
        """address: HOST:PORT as it was given."""
        names = ",".join(sorted(prefix.decode("utf-8", "replace") for prefix in prefixes))
        return cls(folder, f"{address} {sha256(encode_spki(key)).hexdigest()} {names}")

    def load(self) -> Position | None:
        """The position, or None where none is kept. Raises SettingsError for a broken file."""
        row = self._all().get(self.source)
        if row is None:
            return None
        try:
            return Position(int(row["txn_id"]), int(row["date_ms"]))
        except (KeyError, TypeError, ValueError):
            raise self._broken("a position without its numbers") from None

    def save(self, position: Position | None) -> None:
        """Keep a position, as a whole and durably; None forgets it."""
        rows = self._all()
        rows.pop(self.source, None)
        if position is not None:
            rows[self.source] = {"txn_id": position.txn_id, "date_ms": position.date_ms}
        aside = self.folder / f".{FILE}.new"
        with aside.open("w", encoding="utf-8") as file:
            json.dump(rows, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, self.folder / FILE)  # noqa: PTH105 - the word for what is meant

    def _all(self) -> dict[str, Any]:
        try:
            rows = json.loads((self.folder / FILE).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            raise self._broken(str(error)) from None
        if not isinstance(rows, dict):
            raise self._broken("no object of positions")
        return rows

    def _broken(self, why: str) -> SettingsError:
        return SettingsError(
            f"{self.folder / FILE} cannot be read ({why}); remove it, and the dump is taken anew"
        )
