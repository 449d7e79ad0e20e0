"""From a root to the site that answers for a name (do-irp 18; industrial-identifiers 4).

Prefix by prefix: `0.NA/88` at a root names the site of 88, `0.NA/88.118` asked there the site of
88.118, and so on to the longest delegated ancestor; that one is asked for the name. Referrals (302,
303) are followed, HS_SERV names sites elsewhere, hashes choose the server. What is fetched on the
way comes through `fetch`, so that delegations are cached like everything else.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from protocol.doirp.header import REQUEST_FLAGS, Flag, OpCode
from protocol.doirp.referral import decode_referral
from protocol.doirp.resolution import ResolutionRequest, encode_resolution_request
from protocol.errors import (
    HandleNotFound,
    NotServedHere,
    ParseError,
    RecursionTooDeep,
    ResponseCode,
    SignatureInvalid,
    UpstreamError,
)
from protocol.name import (
    ROOT_RECORD,
    described_prefix,
    fold_prefix,
    parent_prefix,
    prefix_of,
    prefix_record,
    whole_name,
)
from protocol.record import HandleValue, decode_values, encode_values
from resolver.client import Ask, Client, Meter, error_text
from resolver.peers import (
    DERIVED_SERVICE_TYPES,
    DERIVED_TYPES,
    SERVICE_TYPES,
    SITE_TYPES,
    Peer,
    Service,
    ServiceSite,
    services_in,
    sites_in,
)
from resolver.race import Attempt, race
from resolver.replies import Reply
from resolver.steps import Path, Question, Step, text
from resolver.wire_values import EMPTY

ROOT_SOURCE = b"root"
_FINAL = frozenset(
    {ResponseCode.SUCCESS, ResponseCode.HANDLE_NOT_FOUND, ResponseCode.VALUES_NOT_FOUND}
)
_DENIED = frozenset(
    {
        ResponseCode.AUTHENTICATION_NEEDED,
        ResponseCode.INSUFFICIENT_PERMISSIONS,
        ResponseCode.INVALID_ADMIN,
    }
)
_REFERRALS = frozenset({ResponseCode.SERVICE_REFERRAL, ResponseCode.PREFIX_REFERRAL})
_HEDGE_S = (0.3, 1.0)
"""A second site is asked beside a first one after four of its round trips, within these bounds."""


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


class Lame(UpstreamError):
    """A site was named for a zone and says that it is not responsible. reply: its word."""

    def __init__(self, message: str, reply: Reply) -> None:
        super().__init__(message)
        self.reply = reply


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


@dataclass(frozen=True, slots=True)
class Wish:
    """How a name is asked for. public: only what everybody may read. primary: no mirror."""

    public: bool = True
    primary: bool = False
    hops: int = 0

    @property
    def flags(self) -> int:
        # REC is never set: a node that is asked here answers for itself or refers.
        flags = REQUEST_FLAGS & ~Flag.REC & ~Flag.CA & ~Flag.PO
        if self.public:
            flags |= Flag.PO
        if self.primary:
            flags |= Flag.AT
        return int(flags)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a site said. values: u4 count and values; empty unless SUCCESS or a referral.

    ttl_cap_s: what a cache that answered had left of it, None from the source itself.
    """

    code: ResponseCode
    values: bytes
    service: Service
    reply: Reply
    referral: bytes | None = None
    ttl_cap_s: float | None = None


Accept = Callable[[Outcome], Awaitable[None]]
"""Raises SignatureInvalid when an outcome must not be used; another site is asked then."""


class Fetch(Protocol):
    """Values of a name, through the cache."""

    async def __call__(
        self, name: bytes, question: Question, path: Path, *, at: Service | None = None
    ) -> tuple[ResponseCode, bytes]:
        """Code and public values. at: who is to be asked. Raises as Iteration.resolve()."""


class Iteration:
    """Finds and asks the responsible site. One for each process."""

    def __init__(
        self,
        client: Client,
        roots: Roots,
        fetch: Fetch,
        *,
        at_hand: Callable[[bytes], bytes | None],
        doubt: Callable[[bytes], bool],
        wall: Callable[[], float],
        certify: bool = True,
    ) -> None:
        """fetch: for what is needed on the way. at_hand: cached values of a name. doubt: have a
        cached name fetched anew; False when it was fetched just now. certify: ask every site to
        sign its reply with the key that its parent published.
        """
        self._client = client
        self._roots = roots
        self._fetch = fetch
        self._at_hand = at_hand
        self._doubt = doubt
        self._wall = wall
        self._certify = certify

    async def resolve(
        self,
        name: bytes,
        question: Question,
        path: Path,
        accept: Accept,
        *,
        wish: Wish | None = None,
        at: Service | None = None,
    ) -> Outcome:
        """What the responsible site says about a name. at: known to be asked first.

        Raises UpstreamError (silent, lame, wrong), SignatureInvalid, RecursionTooDeep (a limit or
        a circle), NotServedHere (no root leads there).
        """
        wish = wish or Wish()
        name = whole_name(name)
        if at is not None:
            return await self._follow(Place(at, path), name, question, accept, wish)
        place = await self.locate(name, question, path)
        try:
            return await self._follow(place, name, question, accept, wish)
        except (UpstreamError, SignatureInvalid) as error:
            if place.unregistered and isinstance(error, Lame):
                # No record, and nobody else's: there is no such prefix, so no such name.
                missing = ResponseCode.HANDLE_NOT_FOUND
                return Outcome(missing, EMPTY, place.service, error.reply)
            # The site may have moved or changed its key since its delegation was cached.
            if not self._doubt(place.service.source):
                raise
            again = await self.locate(name, question, path)
            if again.service.sites == place.service.sites:
                raise
        return await self._follow(again, name, question, accept, wish)

    async def _follow(
        self,
        place: Place,
        name: bytes,
        question: Question,
        accept: Accept,
        wish: Wish,
    ) -> Outcome:
        """Ask a service, and those that it refers to."""
        service, path = place.service, place.path
        asked: set[object] = set()
        while True:
            outcome = await self._ask_service(service, name, question, accept, wish, asked)
            if outcome.code not in _REFERRALS:
                return outcome
            path = path.deeper(question.limits, f"{service.label} refers {text(name)}")
            service = await self._referred(outcome, name, question, path)

    # Where to ask

    async def locate(self, name: bytes, question: Question, path: Path) -> Place:
        """The service that answers for a name. Raises as resolve()."""
        described = described_prefix(name)
        zone = parent_prefix(described) if described is not None else prefix_of(name)
        zone = b"" if zone is None or zone == b"0" or zone.startswith(b"0.") else zone
        root = await self._roots.for_zone(zone or described or b"")
        if root is None:
            raise NotServedHere(
                f"no configured root leads to {text(name)}; add one to `recursion.roots`"
            )
        if not root.tree:
            return await self._as_handle_client(root, zone, question, path)
        chain = [each for each in _ancestors(zone) if _below(each, root.zone)]
        service, position = self._best_known(root, chain)
        while position < len(chain):
            found = await self._step_down(chain[position], service, question, path)
            if found is not None:
                service, path = found
                position += 1
            elif position == len(chain) - 1:
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
                sites = sites_in(_decoded(values), SITE_TYPES)
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
        found = await self._service_of(zone, _decoded(values), question, path)
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
            found = await self._service_of(zone, _decoded(values), question, path)
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
            sites = await self._sites_of(handles, SITE_TYPES, question, path)
        return Service(zone, sites, prefix_record(zone)) if sites else None

    async def _sites_of(
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
                found += sites_in(_decoded(values), types)
        return tuple(found)

    async def _referred(
        self, outcome: Outcome, name: bytes, question: Question, path: Path
    ) -> Service:
        """The service that a referral names, by its values or by a handle."""
        values = _decoded(outcome.values)
        derived = outcome.code == ResponseCode.PREFIX_REFERRAL
        # Values of both kinds are understood in both: what matters is where they lead.
        kinds = (DERIVED_TYPES, SITE_TYPES) if derived else (SITE_TYPES, DERIVED_TYPES)
        sites = sites_in(values, kinds[0]) or sites_in(values, kinds[1])
        if not sites:
            handles = services_in(values, DERIVED_SERVICE_TYPES | SERVICE_TYPES)
            if not handles and outcome.referral:
                handles = (whole_name(outcome.referral),)
            sites = await self._sites_of(handles, SITE_TYPES | DERIVED_TYPES, question, path)
        if not sites:
            raise UpstreamError(
                f"{outcome.service.label} refers {text(name)} to nowhere: no site in the referral"
            )
        zone = described_prefix(name) or prefix_of(name)
        return Service(zone, sites, b"referral")

    # Asking

    async def _ask_service(
        self,
        service: Service,
        name: bytes,
        question: Question,
        accept: Accept,
        wish: Wish,
        asked: set[object],
    ) -> Outcome:
        """The first acceptable outcome of at most `fetches` sites."""
        sites = [site for site in service.sites if site.identity not in asked]
        if wish.primary:
            sites = [site for site in sites if site.primary] or sites
        if not sites:
            raise RecursionTooDeep(f"{text(name)} is referred in a circle, back to {service.label}")
        peers = self._ranked(sites, name)[: question.limits.fetches]
        attempts: list[Attempt[Outcome]] = []
        for site, peer in peers:
            asked.add(site.identity)
            run = partial(self._ask_peer, service, peer, name, question, accept, wish)
            attempts.append(Attempt(self._hedge_s(attempts, peers), run))
        return await race(attempts)

    def _hedge_s(
        self, before: list[Attempt[Outcome]], peers: list[tuple[ServiceSite, Peer]]
    ) -> float:
        if not before:
            return 0.0
        rtt = min(map(self._client.health.rtt_s, peers[len(before) - 1][1].endpoints))
        return min(max(4 * rtt, _HEDGE_S[0]), _HEDGE_S[1])

    def _ranked(self, sites: list[ServiceSite], name: bytes) -> list[tuple[ServiceSite, Peer]]:
        """Sites with the server that holds the name, the quickest first; resting ones last.

        Raises UpstreamError when none is worth asking now.
        """
        peers = []
        for site in sites:
            try:
                peers.append((site, site.peer(name)))
            except ParseError:
                continue
        if not peers:
            raise UpstreamError(f"no site for {text(name)} names a server that can be asked")
        health = self._client.health
        awake = [each for each in peers if not health.all_resting(each[1].endpoints)]
        if not awake:
            where = ", ".join(str(peer) for _, peer in peers)
            raise UpstreamError(f"{where} failed again and again and is left alone for a moment")
        return sorted(awake, key=lambda each: health.rank_peer(each[1]))

    async def _ask_peer(
        self,
        service: Service,
        peer: Peer,
        name: bytes,
        question: Question,
        accept: Accept,
        wish: Wish,
    ) -> Outcome:
        meter = Meter(spend=question.spend)
        referral = ""
        try:
            body = encode_resolution_request(ResolutionRequest(name))
            ask = Ask(OpCode.RESOLUTION, body, name, wish.flags, wish.hops + 1)
            reply = await self._client.send(peer, ask, certify=self._certify, meter=meter)
            outcome = self._outcome(service, peer, name, reply, wish)
            if outcome.code in _REFERRALS:
                referral = _where(outcome)
        finally:
            for tried in meter.tried:
                question.steps.append(
                    Step(
                        service.label,
                        text(name),
                        tried.outcome,
                        tried.took_ms,
                        str(tried.endpoint),
                        tried.endpoint.transport.name.lower(),
                        referral if tried.code in _REFERRALS else "",
                        tried.signature,
                    )
                )
        await accept(outcome)
        return outcome

    def _outcome(
        self, service: Service, peer: Peer, name: bytes, reply: Reply, wish: Wish
    ) -> Outcome:
        """Read a reply. Raises UpstreamError for what no use can be made of."""
        code = reply.code
        try:
            if code in _FINAL:
                values = reply.body if code == ResponseCode.SUCCESS else EMPTY
                return Outcome(code, values, service, reply, ttl_cap_s=self._cap_s(reply))
            if code in _REFERRALS:
                return self._referral(service, reply)
        except ParseError as error:
            raise UpstreamError(f"{peer} sent a broken reply: {error}") from None
        if code in _DENIED and not wish.public:
            return Outcome(code, EMPTY, service, reply)
        if code == ResponseCode.SERVER_NOT_RESPONSIBLE:
            if service.source == ROOT_SOURCE:
                raise NotServedHere(f"the root {peer} does not answer for {text(name)}")
            raise Lame(
                f"lame delegation: {text(service.source)} names {peer}, which is not responsible "
                f"for {text(name)}; is the prefix homed there?",
                reply,
            )
        raise UpstreamError(f"{peer} answers {error_text(reply)}")

    def _referral(self, service: Service, reply: Reply) -> Outcome:
        referral = decode_referral(reply.body)
        values = encode_values(referral.values or ())
        return Outcome(reply.code, values, service, reply, referral.handle or None)

    def _cap_s(self, reply: Reply) -> float | None:
        # An intermediate cache says in the expiration how long its answer still holds.
        if reply.authoritative or not reply.message.header.expiration:
            return None
        return max(0.0, reply.message.header.expiration - self._wall())


def _where(outcome: Outcome) -> str:
    values = _decoded(outcome.values)
    sites = sites_in(values, SITE_TYPES | DERIVED_TYPES)
    names = [str(_first_server(site)) for site in sites]
    names += [text(handle) for handle in services_in(values, SERVICE_TYPES | DERIVED_SERVICE_TYPES)]
    if outcome.referral:
        names.append(text(outcome.referral))
    return ", ".join(names[:3])


def _first_server(site: ServiceSite) -> str:
    try:
        return str(site.peer(b""))
    except ParseError:
        return "a site without servers"


def _decoded(values: bytes) -> tuple[HandleValue, ...]:
    """Values of a reply. Raises UpstreamError."""
    try:
        return decode_values(values)
    except ParseError as error:
        raise UpstreamError(f"the values are broken: {error}") from None


def _ancestors(zone: bytes) -> list[bytes]:
    """b"88.118.8" -> [b"88", b"88.118", b"88.118.8"]; nothing for the empty zone."""
    labels = zone.split(b".") if zone else []
    return [b".".join(labels[: count + 1]) for count in range(len(labels))]


def _below(zone: bytes, root: bytes) -> bool:
    return not root or zone.startswith(root + b".")
