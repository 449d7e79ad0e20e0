"""Where the third-party sample documents are: never in this repository."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from protocol.epcis.jcs import loads

HERE = Path(__file__).resolve()
VECTORS = Path(os.environ.get("BIAOSHI_VECTORS", HERE.parents[4] / "shared" / "vectors")) / "epcis"

needs_vectors = pytest.mark.skipif(
    not (VECTORS / "event-hash.json").is_file(),
    reason=f"no EPCIS vectors in {VECTORS}; set BIAOSHI_VECTORS",
)


@cache
def read(name: str) -> Any:
    """One file of the vectors, numbers exact."""
    return loads((VECTORS / name).read_bytes(), name)


MINIMAL: dict[str, Any] = {
    "@context": "https://ref.gs1.org/standards/epcis/2.0.0/epcis-context.jsonld",
    "type": "ObjectEvent",
    "eventTime": "2026-03-01T10:00:00.000Z",
    "eventTimeZoneOffset": "+01:00",
    "epcList": ["https://id.gs1.org/01/09521234543213/21/A1"],
    "action": "OBSERVE",
    "bizStep": "shipping",
    "disposition": "in_transit",
    "readPoint": {"id": "https://id.gs1.org/414/9521321000018"},
}
"""A valid event of our own."""
