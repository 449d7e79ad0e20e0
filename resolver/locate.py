"""Which service answers for a name: from a root down to its longest delegated ancestor.

What is asked for on the way comes through `fetch`, so that delegations are cached like everything
else; what the cache knows already is not asked for at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

from protocol.errors import HandleNotFound, NotServedHere, ResponseCode
from protocol.name import (
    ROOT_RECORD,
    described_prefix,
    fold_prefix,
    parent_prefix,
    prefix_of,
    prefix_record,
)
from protocol.record import HandleValue
from resolver.outcomes import ROOT_SOURCE, decoded
from resolver.peers import (
    SERVICE_TYPES,
    SITE_TYPES,
    Service,
    ServiceSite,
    services_in,
    sites_in,
)
from resolver.steps import Path, Question, text


@dataclass(frozen=True, slots=True)
class Root:
    """Where iteration begins for a zone. zone: a prefix; empty: for every name.

    tree: prefixes are asked for one by one, each at the site of the one above it. Otherwise, as
    in the global Handle system, prefix records are all asked for here.
    """

    zone: bytes
    sites: tuple[ServiceSite, ...]
    tree: bool = True

    @property
    def service(self) -> Service:
        return Service(self.zone, self.sites, ROOT_SOURCE)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a name is to be asked for. path: with the delegations followed.

    unregistered: the site of the zone above denied that the name's prefix has a record.
    """

    service: Service
    path: Path
    unregistered: bool = False


class Roots(Protocol):
    """The configured roots."""

    async def for_zone(self, zone: bytes) -> Root | None:
        """The root of the longest zone that holds this prefix; None when there is none."""

    async def read_again(self, zone: bytes) -> bool:
        """Read the records of the roots for a zone anew; False when they were read just now."""


class Fetch(Protocol):
    """Values of a name, through the cache."""

    async def __call__(
        self, name: bytes, question: Question, path: Path, *, at: Service | None = None
    ) -> tuple[ResponseCode, bytes]:
        """Code and public values. at: who is to be asked. Raises as Iteration.resolve()."""


class Locator:
    """Finds services. One for each process."""

    def __init__(
        self, roots: Roots, fetch: Fetch, at_hand: Callable[[bytes], bytes | None]
    ) -> None:
        """fetch: for what is needed on the way. at_hand: cached values of a name, or None."""
        self._roots = roots
        self._fetch = fetch
        self._at_hand = at_hand

    async def locate(self, name: bytes, question: Question, path: Path) -> Place:
        """The service that answers for a name. Raises as resolve()."""
        described = described_prefix(name)
        zone = parent_prefix(described) if described is not None else prefix_of(name)
        zone = b"" if zone is None or zone == b"0" or zone.startswith(b"0.") else zone
        root = await self._roots.for_zone(described or zone)
        if root is None:
            raise NotServedHere(
                f"no configured root leads to {text(name)}; add one to `recursion.roots`"
            )
        if not root.tree:
            return await self._as_handle_client(root, zone, question, path)
        chain = [each for each in _ancestors(zone) if _below(each, root.zone)]
        service, position = self._best_known(root, chain)
        while position < len(chain):
            last = position == len(chain) - 1
            try:
                found = await self._step_down(chain[position], service, question, path)
            except NotServedHere:
                # A root need not be home to all that lies above its prefixes: 2.999, and not 2.
                if last and described is None:
                    raise
                found = None
            if found is not None:
                service, path = found
                position += 1
            elif last:
                return Place(service, path, unregistered=True)
            else:
                # An ancestor without a record of its own: the prefix itself may have one.
                position = len(chain) - 1
        return Place(service, path)

    def _best_known(self, root: Root, chain: list[bytes]) -> tuple[Service, int]:
        """The service of the longest ancestor that the cache knows, and where to go on."""
        for position in range(len(chain) - 1, -1, -1):
            values = self._at_hand(prefix_record(chain[position]))
            if values is not None:
                sites = sites_in(decoded(values), SITE_TYPES)
                if sites:
                    source = prefix_record(chain[position])
                    return Service(chain[position], sites, source), position + 1
        return root.service, 0

    async def _step_down(
        self, zone: bytes, service: Service, question: Question, path: Path
    ) -> tuple[Service, Path] | None:
        """The service of a zone, asked for at the service above it. None: it has no record."""
        record = prefix_record(zone)
        code, values = await self._fetch(record, question, path, at=service)
        if code != ResponseCode.SUCCESS:
            return None
        found = await self._service_of(zone, decoded(values), question, path)
        if found is None:
            return service, path  # not served apart: the one above answers for it
        return found, path.deeper(question.limits, f"{text(record)} names another site")

    async def _as_handle_client(
        self, root: Root, zone: bytes, question: Question, path: Path
    ) -> Place:
        if not zone:
            return Place(root.service, path)
        record = prefix_record(zone)
        code, values = await self._fetch(record, question, path, at=root.service)
        found = None
        if code == ResponseCode.SUCCESS:
            found = await self._service_of(zone, decoded(values), question, path)
        if found is None:
            raise HandleNotFound(f"the prefix {text(zone)} is not registered, or has no site")
        deeper = path.deeper(question.limits, f"{text(record)} names another site")
        return Place(found, deeper)

    async def _service_of(
        self, zone: bytes, values: Iterable[HandleValue], question: Question, path: Path
    ) -> Service | None:
        """The sites in a prefix record, or of the services that it names (HS_SERV)."""
        kept = tuple(values)
        sites = sites_in(kept, SITE_TYPES)
        if not sites:
            handles = services_in(kept, SERVICE_TYPES)
            sites = await self.sites_of(handles, SITE_TYPES, question, path)
        return Service(zone, sites, prefix_record(zone)) if sites else None

    async def sites_of(
        self,
        handles: Iterable[bytes],
        types: frozenset[bytes],
        question: Question,
        path: Path,
    ) -> tuple[ServiceSite, ...]:
        """The sites that service handles stand for; at most `fetches` of them are looked up."""
        found: list[ServiceSite] = []
        for handle in tuple(dict.fromkeys(map(fold_prefix, handles)))[: question.limits.fetches]:
            if handle == ROOT_RECORD:
                root = await self._roots.for_zone(b"")
                found += root.sites if root is not None else ()
                continue
            below = path.deeper(question.limits, f"the service {text(handle)}")
            code, values = await self._fetch(handle, question, below)
            if code == ResponseCode.SUCCESS:
                found += sites_in(decoded(values), types)
        return tuple(found)


def _ancestors(zone: bytes) -> list[bytes]:
    """b"88.118.8" -> [b"88", b"88.118", b"88.118.8"]; nothing for the empty zone."""
    labels = zone.split(b".") if zone else []
    return [b".".join(labels[: count + 1]) for count in range(len(labels))]


def _below(zone: bytes, root: bytes) -> bool:
    return not root or zone.startswith(root + b".")
