"""Where the HTTP face is mounted: first segments of paths that are never identifiers."""

from __future__ import annotations

from typing import Final

RESERVED: Final = (
    "api",
    "health",
    "metrics",
    "openapi.json",
    "log",
    "epcis",
    "console",
    "page",
    "trace",
)
