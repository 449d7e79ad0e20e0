"""Ask the site that answers for a name, and follow where it refers (do-irp 18).

Prefix by prefix: `0.NA/88` at a root names the site of 88, `0.NA/88.118` asked there the site of
88.118, and so on to the longest delegated ancestor (resolver.locate); that one is asked for the
name here. Referrals (302, 303) are followed, HS_SERV names sites elsewhere, hashes choose the
server, and of several sites the quick and truthful one counts.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial

from protocol.doirp.header import OpCode
from protocol.doirp.resolution import ResolutionRequest, encode_resolution_request
from protocol.errors import (
    ParseError,
    RecursionTooDeep,
    ResponseCode,
    SignatureInvalid,
    UpstreamError,
)
from protocol.name import described_prefix, prefix_of, whole_name
from resolver.client import Ask, Client, Meter
from resolver.locate import Fetch, Locator, Place, Roots
from resolver.outcomes import (
    REFERRALS,
    ROOT_SOURCE,
    Lame,
    Outcome,
    Wish,
    decoded,
    read_outcome,
    where_to,
)
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
from resolver.steps import Path, Question, Step, text
from resolver.wire_values import EMPTY

_HEDGE_S = (0.3, 1.0)
"""A second site is asked beside a first one after four of its round trips, within these bounds."""

Accept = Callable[[Outcome], Awaitable[None]]
"""Raises SignatureInvalid when an outcome must not be used; another site is asked then."""


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
        certify: bool = True,
    ) -> None:
        """fetch: for what is needed on the way. at_hand: cached values of a name. doubt: have a
        cached name fetched anew; False when it was fetched just now. certify: ask every site to
        sign its reply with the key that its parent published.
        """
        self._client = client
        self._roots = roots
        self._locator = Locator(roots, fetch, at_hand)
        self._doubt = doubt
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
        place = Place(at, path) if at else await self._locator.locate(name, question, path)
        try:
            return await self._follow(place, name, question, accept, wish)
        except (UpstreamError, SignatureInvalid) as error:
            if place.unregistered and isinstance(error, Lame):
                # No record, and nobody else's: there is no such prefix, so no such name.
                missing = ResponseCode.HANDLE_NOT_FOUND
                return Outcome(missing, EMPTY, place.service, error.reply)
            # The site may have moved or changed its key since its delegation was cached.
            if not await self._looked_again(place.service):
                raise
            again = await self._locator.locate(name, question, path)
            if again.service.sites == place.service.sites:
                raise
        return await self._follow(again, name, question, accept, wish)

    async def _looked_again(self, service: Service) -> bool:
        """Have what is known of a service fetched anew; False when it was just now."""
        if service.source == ROOT_SOURCE:
            return await self._roots.read_again(service.zone)
        return self._doubt(service.source)

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
            if outcome.code not in REFERRALS:
                return outcome
            path = path.deeper(question.limits, f"{service.label} refers {text(name)}")
            service = await self._referred(outcome, name, question, path)

    async def _referred(
        self, outcome: Outcome, name: bytes, question: Question, path: Path
    ) -> Service:
        """The service that a referral names, by its values or by a handle."""
        values = decoded(outcome.values)
        derived = outcome.code == ResponseCode.PREFIX_REFERRAL
        # Values of both kinds are understood in both: what matters is where they lead.
        kinds = (DERIVED_TYPES, SITE_TYPES) if derived else (SITE_TYPES, DERIVED_TYPES)
        sites = sites_in(values, kinds[0]) or sites_in(values, kinds[1])
        if not sites:
            handles = services_in(values, DERIVED_SERVICE_TYPES | SERVICE_TYPES)
            if not handles and outcome.referral:
                handles = (whole_name(outcome.referral),)
            sites = await self._locator.sites_of(
                handles, SITE_TYPES | DERIVED_TYPES, question, path
            )
        if not sites:
            raise UpstreamError(
                f"{outcome.service.label} refers {text(name)} to nowhere: no site in the referral"
            )
        zone = described_prefix(name) or prefix_of(name)
        return Service(zone, sites, b"referral")

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
        peers = self._ranked(service, sites, name, question)
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
        rtt = self._client.health.best_rtt_s(peers[len(before) - 1][1].endpoints)
        return min(max(4 * rtt, _HEDGE_S[0]), _HEDGE_S[1])

    def _ranked(
        self, service: Service, sites: list[ServiceSite], name: bytes, question: Question
    ) -> list[tuple[ServiceSite, Peer]]:
        """The sites to ask with the server that holds the name, the quickest first.

        Why any other is skipped is told as a step. Raises UpstreamError when none is worth asking.
        """

        def skip(where: str, why: str) -> None:
            told = f"skipped: {why}"
            question.steps.append(Step(service.label, text(name), told, address=where))

        peers = []
        for site in sites:
            try:
                peers.append((site, site.peer(name)))
            except ParseError as error:
                skip("", str(error))
        if not peers:
            raise UpstreamError(f"no site for {text(name)} names a server that can be asked")
        health = self._client.health
        awake = []
        for each in peers:
            if health.all_resting(each[1].endpoints):
                skip(
                    str(each[1]), "it failed several times in a row and is left alone for a moment"
                )
            else:
                awake.append(each)
        if not awake:
            where = ", ".join(str(peer) for _, peer in peers)
            raise UpstreamError(f"{where} failed again and again and is left alone for a moment")
        awake.sort(key=lambda each: health.rank_peer(each[1]))
        most = question.limits.fetches
        for _, peer in awake[most:]:
            best = health.best_rtt_s(peer.endpoints)
            skip(str(peer), f"{most} sites are before it (its round trip: {best * 1000:.0f} ms)")
        return awake[:most]

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
            outcome = read_outcome(service, peer, name, reply, wish)
            if outcome.code in REFERRALS:
                referral = where_to(outcome)
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
                        referral if tried.code in REFERRALS else "",
                        tried.signature,
                    )
                )
        await accept(outcome)
        return outcome
