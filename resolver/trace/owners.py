"""Who may know more of a thing: the node of its owner, or those named in its events (§9.4).

The record of an identifier, then that of its lot and class, may link to `gs1:epcis` or
`gs1:traceability`; else the site record of its prefix says where its node answers HTTP.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from protocol.epcis.event import biz_location, destinations, read_point, sources
from protocol.epcis.identity import parents_of
from protocol.errors import BadIdentifier, BiaoshiError, NotServedHere, ResponseCode
from protocol.identifier import parse
from protocol.linkset import GS1
from protocol.name import prefix_of, prefix_record, whole_name
from protocol.record import HandleValue, decode_values
from protocol.values.hs_site import Site, Transport
from resolver.links import links_of
from resolver.lookup import Query
from resolver.peers import SITE_TYPES, ServiceSite, sites_in
from resolver.recursion import Recursion
from resolver.steps import Path
from resolver.trace.reach import Failed, Place, Reach

if TYPE_CHECKING:
    from resolver.node import Node

RELATIONS: Final = (GS1 + "epcis", GS1 + "traceability")
_KEPT_S: Final = 60.0
_FAILED_S: Final = 5.0
_MOST: Final = 8_192
_PARTY: Final = ("possessing_party", "owning_party")


class Owners:
    """Finds nodes for one reader; what was found is kept for a minute."""

    def __init__(self, node: Node, reach: Reach) -> None:
        self._node = node
        self._reach = reach
        self._kept: dict[str, tuple[float, tuple[Place, ...] | Failed]] = {}

    async def of(self, id_: str) -> tuple[Place, ...]:
        """The nodes beside this one that an identifier leads to, in order. Raises Failed."""
        now = self._node.now()
        kept = self._kept.get(id_)
        if kept is None or kept[0] <= now:
            found: tuple[Place, ...] | Failed
            try:
                found = await self._find(id_)
            except Failed as failed:
                found = failed
            if len(self._kept) >= _MOST:
                self._kept.clear()
            kept = (now + (_FAILED_S if isinstance(found, Failed) else _KEPT_S), found)
            self._kept[id_] = kept
        if isinstance(kept[1], Failed):
            raise kept[1]
        return kept[1]

    async def _find(self, id_: str) -> tuple[Place, ...]:
        names = names_of(id_)
        if not names:
            raise Failed("resolve", "not_found")
        for name in names:
            places = self._linked(await self.values(name), name)
            if places:
                return places
        if any(self._node.prefixes.responsible(whole_name(name)) for name in names):
            return ()
        return await self._site(names[0])

    async def values(self, name: bytes) -> tuple[HandleValue, ...]:
        """The public values of a name; none where there is no such record. Raises Failed."""
        query = Query(name, do_not_refer=True)
        lookup = self._node.lookup
        answer = lookup.answer_now(query)
        if answer is None:
            answer = await lookup.answer(query)
        if answer.code == ResponseCode.SERVER_NOT_RESPONSIBLE:
            recursion = self._node.asking
            if recursion is None:
                raise Failed("resolve", "not_found")
            answer = await recursion.resolve(query)
        if answer.code == ResponseCode.SUCCESS:
            return tuple(decode_values(answer.values))
        if answer.code in (ResponseCode.HANDLE_NOT_FOUND, ResponseCode.VALUES_NOT_FOUND):
            return ()
        raise Failed("resolve", "unreachable", retriable=True)

    def _linked(self, values: Iterable[HandleValue], name: bytes) -> tuple[Place, ...]:
        kept = tuple(values)
        if not kept:
            return ()
        found: dict[Place, None] = {}
        shown = name.decode("utf-8", "replace")
        for one in links_of(kept, shown, schemes=("http", "https")).links:
            if one.link.relation in RELATIONS:
                parts = urlsplit(one.link.href)
                url = f"{parts.scheme}://{parts.netloc}"
                if parts.netloc and "@" not in parts.netloc:
                    found[Place(parts.netloc.lower(), url)] = None
        return tuple(found)

    async def _site(self, name: bytes) -> tuple[Place, ...]:
        recursion = self._node.asking
        if recursion is None:
            raise Failed("resolve", "not_found")
        for zone in _zones(name):
            if zone in self._node.prefixes.homed():
                return ()
            place = await self._place(recursion, zone)
            if place is not None:
                return (place,)
        raise Failed("resolve", "not_found")

    async def _place(self, recursion: Recursion, zone: bytes) -> Place | None:
        """Where the node of a prefix answers; None where no record of the prefix says it."""
        record = prefix_record(zone)
        try:
            found = await recursion.fetcher.fetch(record, recursion.question(record), Path())
        except NotServedHere:
            return None
        except (BiaoshiError, TimeoutError):
            raise Failed("resolve", "unreachable", retriable=True) from None
        if found.entry.code != ResponseCode.SUCCESS:
            return None
        sites = sites_in(decode_values(found.entry.values), SITE_TYPES)
        return place_of(zone.decode("utf-8", "replace"), sites)


def _zones(name: bytes) -> Iterator[bytes]:
    """The prefix of a name and those above it but the first label, the longest first."""
    labels = prefix_of(whole_name(name)).split(b".")
    for count in range(len(labels), 1, -1):
        yield b".".join(labels[:count])


def place_of(name: str, sites: Iterable[ServiceSite]) -> Place | None:
    """Where a node answers HTTP, TLS first; None: nowhere."""
    found: list[tuple[int, str, bytes]] = []
    for each in sites:
        for site in each.variants:
            found += _addresses(site)
    if not found:
        return None
    _, url, key = min(found)
    return Place(name, url, key)


def _addresses(site: Site) -> Iterator[tuple[int, str, bytes]]:
    for server in site.servers:
        host = f"[{server.ip}]" if ":" in server.ip else server.ip
        for interface in server.interfaces:
            if interface.query and interface.protocol == Transport.HTTPS:
                yield 0, f"https://{host}:{interface.port}", server.public_key
            elif interface.query and interface.protocol == Transport.HTTP:
                yield 1, f"http://{host}:{interface.port}", server.public_key


def parties_of(event: Mapping[str, Any]) -> tuple[str, ...]:
    """Who had or has to do with what an event names: parties and places, canonical."""
    found: dict[str, None] = {}
    for one in (*destinations(event), *sources(event)):
        kind = (one.type or "").rpartition("/")[2]
        if kind.endswith(_PARTY):
            found[one.id] = None
    for place in (biz_location(event), read_point(event)):
        if place is not None:
            found[place] = None
    return tuple(found)


def names_of(id_: str) -> tuple[bytes, ...]:
    """The names under which records of a thing may lie: its own, its lot's, its class's."""
    found: dict[bytes, None] = {}
    for text in (id_, *parents_of(id_)):
        try:
            found[parse(text).handle] = None
        except BadIdentifier:
            if "/" in text and "://" not in text:
                found[text.encode("utf-8", "replace")] = None
    return tuple(found)
