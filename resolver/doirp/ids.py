"""Ids of challenges and sessions: random, and naming the reader process that owns them.

31 bits, as deployed clients read them signed. The low eight bits are the reader's number, the next
one tells sessions from challenges; the rest is random. A reader that gets another's id hands the
message on over the node's local sockets.
"""

from __future__ import annotations

from collections.abc import Callable, Container

_OWNER_BITS = 8
_OWNER = (1 << _OWNER_BITS) - 1
_SESSION = 1 << _OWNER_BITS
_RANDOM_AT = _OWNER_BITS + 1
_RANDOM_BITS = 31 - _RANDOM_AT
_TRIES = 64


def owner_of(number: int) -> int:
    """The reader that made an id."""
    return number & _OWNER


def fresh_id(
    owner: int, random: Callable[[int], bytes], taken: Container[int], *, session: bool
) -> int | None:
    """An id that is not taken; None when none was found. random: octets."""
    kind = _SESSION if session else 0
    for _ in range(_TRIES):
        drawn = int.from_bytes(random(4), "big") & ((1 << _RANDOM_BITS) - 1)
        made = drawn << _RANDOM_AT | kind | owner
        if drawn and made not in taken:
            return made
    return None
