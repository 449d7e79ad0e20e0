"""Which lot an item belongs to, as an event tells it (traceability §9.1, "Lot and class").

By its own spelling (a Digital Link that carries lot and serial), or by the lot number among the
master data (`ilmd`) of the event that made it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import quote

from protocol.epcis.event import INSTANCE_FIELDS, Event, items
from protocol.epcis.identity import canonical_id, level_of, parents_of

_NAMES: Final = ("lotNumber", "mda#lotNumber", "hasBatchLotNumber")
"""Last part of the member's name: CBV master data, its URN, the GS1 Web Vocabulary."""
MAX_LOT: Final = 20


def lots_of(event: Event) -> tuple[tuple[str, str], ...]:
    """(item, lot) for every item of the event whose lot it tells; both canonical, each pair once."""
    return tuple(dict.fromkeys(_lots(event)))


def _lots(event: Event) -> Iterator[tuple[str, str]]:
    told = _lot_number(event.get("ilmd"))
    for name in INSTANCE_FIELDS:
        for text in items(event, name):
            if not isinstance(text, str):
                continue
            item = canonical_id(text.strip())
            above = parents_of(text.strip())
            spelled = next((one for one in above if level_of(one) == "lot"), None)
            if spelled is not None:
                yield item, spelled
            elif told is not None and above and level_of(item) == "item":
                lot = canonical_id(f"{above[-1]}/10/{quote(told, safe='')}")
                if level_of(lot) == "lot":  # not every key has lots: an asset has none
                    yield item, lot


def _lot_number(ilmd: Any) -> str | None:
    if not isinstance(ilmd, dict):
        return None
    for name, value in ilmd.items():
        if name.rpartition(":")[2] in _NAMES or name.endswith("#lotNumber"):
            text = value.get("@value") if isinstance(value, dict) else value
            if isinstance(text, str) and 0 < len(text.strip()) <= MAX_LOT:
                return text.strip()
    return None
