"""The keys that events are signed with, found and trusted: own, of a prefix here, or of another node.

A foreign key counts when the record it lies in is signed up to a trusted root: the chain shows
that the issuer is entitled to its prefix (resolver.verify). What was found is kept for a minute.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from protocol.challenge import HS_PUBKEY
from protocol.errors import BiaoshiError, ParseError, ResponseCode
from protocol.keys import PublicKey, decode_public_key
from protocol.name import fold_prefix
from protocol.record import HandleValue, Reference, decode_values
from registry.signing import LOG_KEY_INDEX, SITE_KEY_INDEX
from resolver.recursion import Recursion
from resolver.steps import Path
from resolver.trace.holder import Holder

_KEPT_S: Final = 60.0
_FAILED_S: Final = 5.0
_MOST: Final = 4_096
_VERIFIED: Final = "value digests hold"


@dataclass(frozen=True, slots=True)
class Keys:
    """keys: that may have signed. trust: own, local, verified, unverified or unknown."""

    keys: tuple[PublicKey, ...] = ()
    trust: str = "unknown"


UNKNOWN: Final = Keys()


class KeyBook:
    """Finds keys for one reader."""

    def __init__(self, node: Holder, recursion: Callable[[], Recursion | None]) -> None:
        self._node = node
        self._recursion = recursion
        self._kept: dict[tuple[bytes, int], tuple[float, Keys]] = {}

    async def find(self, reference: Reference) -> Keys:
        """The keys at a reference. Never raises: nothing found is UNKNOWN."""
        own = self._own(reference)
        if own is not None:
            return own
        key, now = (fold_prefix(reference.handle), reference.index), self._node.now()
        kept = self._kept.get(key)
        if kept is not None and kept[0] > now:
            return kept[1]
        found = await self._found(reference)
        if len(self._kept) >= _MOST:
            self._kept.clear()
        self._kept[key] = (now + (_KEPT_S if found.keys else _FAILED_S), found)
        return found

    def _own(self, reference: Reference) -> Keys | None:
        node = self._node
        if not node.prefix or fold_prefix(reference.handle) != fold_prefix(node.record_name):
            return None
        current: dict[int, PublicKey] = {
            LOG_KEY_INDEX: node.keys.log_public,
            SITE_KEY_INDEX: node.keys.site_public,
        }
        keys = [current[reference.index]] if reference.index in current else []
        keys += [one.key for one in node.keys.rotation.former if one.index == reference.index]
        stored = _decoded(node.access.find_public_keys(reference))
        return Keys((*keys, *stored), "own")

    async def _found(self, reference: Reference) -> Keys:
        node = self._node
        if node.prefixes.responsible(reference.handle):
            return Keys(_decoded(node.access.find_public_keys(reference)), "local")
        recursion = self._recursion()
        if recursion is None:
            return UNKNOWN
        try:
            question = recursion.question(reference.handle)
            found = await recursion.fetcher.fetch(reference.handle, question, Path())
        except (BiaoshiError, TimeoutError):
            return UNKNOWN
        if found.entry.code != ResponseCode.SUCCESS:
            return UNKNOWN
        verified = (found.entry.proof or "").startswith(_VERIFIED)
        keys = _of_index(decode_values(found.entry.values), reference.index)
        return Keys(keys, "verified" if verified else "unverified")


def _of_index(values: Sequence[HandleValue], index: int) -> tuple[PublicKey, ...]:
    return _decoded(
        [
            value.data
            for value in values
            if value.type.upper() == HS_PUBKEY and index in (0, value.index)
        ]
    )


def _decoded(data: Sequence[bytes]) -> tuple[PublicKey, ...]:
    keys = []
    for each in data:
        try:
            keys.append(decode_public_key(each))
        except ParseError:
            continue  # of a kind that signs no events
    return tuple(keys)
