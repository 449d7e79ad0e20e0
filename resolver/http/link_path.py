"""Which request paths are GS1 Digital Links, and what they say (traceability §5).

    /01/09521234543213/21/7          a key at the front
    /shop/01/09521234543213          below a stem, unless the stem is a handle's prefix
    /gtin/09521234543213/            word forms, trailing slashes, short GTINs: tolerated
    /DBFKk4XBoALg                    compressed, below a stem too
    /01/09521234543213/EEarwSM       the key in clear, the rest compressed

What is none of these is another identifier and not this page's business.
"""

from __future__ import annotations

import re
from collections.abc import Container
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final

from protocol.errors import BadIdentifier
from protocol.schemes.gs1_compress import expand, is_partly_compressed
from protocol.schemes.gs1_link import CANONICAL, DigitalLink, is_key, parse_uri

_HANDLE_PREFIX: Final = re.compile(
    r"[0-9]+(?:\.[0-9A-Za-z]+)*|0\.NA|[^/]*[:%(][^/]*", re.IGNORECASE
)
"""A first segment that no stem may be: a handle's prefix, or a scheme that says its name."""
_COMPRESSED: Final = re.compile(r"[A-Za-z0-9_-]{8,512}")
_STAND_IN: Final = CANONICAL


@dataclass(frozen=True, slots=True)
class Asked:
    """A Digital Link as it was asked for. link.base: its stem, `/shop` or empty."""

    link: DigitalLink
    compressed: bool = False


def is_link_path(path: str, *, prefix: bool) -> bool:
    """Whether a raw path is written as a Digital Link with its key in clear, right or wrong.

    prefix: whether this node is home to what its first segment says as a handle's prefix.
    """
    segments = path[1:].split("/")
    first = segments[0]
    if len(segments) < 2:
        return False
    if is_key(first):
        return not prefix
    if prefix or _HANDLE_PREFIX.fullmatch(first):
        return False
    return any(is_key(segment) for segment in segments[1:-1])


def link_of(path: str, query: str, homed: Container[bytes]) -> Asked | None:
    """The Digital Link that a raw path of several segments is; None: it is no link.

    homed: the prefixes of handles that are served here. Raises BadIdentifier for a wrong link.
    """
    first, slash, _ = path[1:].partition("/")
    if not slash:
        return None
    prefix = first.upper().encode("utf-8", "surrogateescape") in homed
    if is_link_path(path, prefix=prefix):
        return read_link(path, query)
    return None if prefix else read_compressed(path, query)


@lru_cache(maxsize=4096)
def read_link(path: str, query: str) -> Asked:
    """The Digital Link of a raw path and query, its key in clear. Raises BadIdentifier."""
    compressed = is_partly_compressed(path.rstrip("/"))
    read = expand if compressed else parse_uri
    link = read(f"{_STAND_IN}{path}{'?' * bool(query)}{query}", lenient=True)
    return Asked(_stemmed(link), compressed)


@lru_cache(maxsize=4096)
def read_compressed(path: str, query: str) -> Asked | None:
    """The Digital Link that a path's last segment holds alone; None when it holds none."""
    stem, _, segment = path.rstrip("/").rpartition("/")
    if not _COMPRESSED.fullmatch(segment) or _HANDLE_PREFIX.fullmatch(stem[1:].partition("/")[0]):
        return None
    try:
        link = expand(f"{_STAND_IN}{stem}/{segment}{'?' * bool(query)}{query}")
    except BadIdentifier:
        return None
    return Asked(_stemmed(link), compressed=True)


def _stemmed(link: DigitalLink) -> DigitalLink:
    return replace(link, base=link.base.removeprefix(_STAND_IN).rstrip("/"))
