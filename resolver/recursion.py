"""Recursion: answers about names of other nodes, for every face of this one.

A query becomes a fetch of the whole public record, and the answer the asked values of it. What is
at hand is given without waiting; everything else is one task a name. Errors come as answers.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path as FilePath
from typing import Any

from protocol.chain import Roots as TrustRoots
from protocol.errors import BiaoshiError, ResponseCode, SettingsError, UpstreamError
from protocol.name import described_prefix, fold_prefix, prefix_of, whole_name
from protocol.record import HandleValue, decode_values, encode_values, type_matches
from protocol.values.hs_site import encode_site, site_type
from resolver.aliases import HS_ALIAS, MUTUAL, Alias, alias_in, declares, not_declared
from resolver.cache import Cache, Entry, lies_at, within
from resolver.client import Client
from resolver.config import OutboundSettings, RecursionSettings, Settings
from resolver.fetch import Fetched, Fetcher
from resolver.guard import Guard
from resolver.keyfiles import encoded, read_public_keys
from resolver.lookup import Answer, Query
from resolver.metrics import Metrics
from resolver.outbound import literal
from resolver.outcomes import Wish
from resolver.peers import Service
from resolver.pressure import Pressure
from resolver.roots import RootBook, parse_sources
from resolver.steps import Limits, Path, Question, Step, text
from resolver.verify import Need, Verifier
from resolver.wire_values import EMPTY, choose, join, slices

TRUST_FILE = FilePath("trust/roots.json")
PREFETCH_SHARE = 0.1
"""A name asked for in the last tenth of its TTL is fetched anew beforehand, if it is asked often."""
SHED_FROM = 16
"""Fetches under way from which a late reader refuses more: with fewer, it is others' work that
makes it late, and to refuse would not help."""
_OFTEN = 3
"""Uses of an entry that make its name a hot one."""


@dataclass(frozen=True, slots=True)
class Rules:
    """How much verification which prefix needs: the longest prefix that holds a name decides."""

    default: Need = Need.WHEN_SIGNED
    by_prefix: tuple[tuple[bytes, Need], ...] = ()

    def need(self, zone: bytes) -> Need:
        """For names under this folded prefix."""
        best, found = -1, self.default
        for prefix, need in self.by_prefix:
            if len(prefix) > best and (zone == prefix or zone.startswith(prefix + b".")):
                best, found = len(prefix), need
        return found


def rules_of(configured: RecursionSettings) -> Rules:
    """The rules that the settings give."""
    by_prefix = tuple(
        (prefix.upper().encode(), Need(need)) for prefix, need in configured.verify_prefixes
    )
    return Rules(Need(configured.verify), by_prefix)


class Recursion:
    """One for each process; see resolver.lookup for who calls it."""

    def __init__(
        self,
        fetcher: Fetcher,
        roots: RootBook,
        *,
        guard: Guard | None = None,
        limits: Limits | None = None,
        metrics: Metrics | None = None,
        pressure: Pressure | None = None,
    ) -> None:
        """guard: the way out for what goes with a cache (resolver.follow)."""
        self.pressure = pressure or Pressure()
        self.shed_from = SHED_FROM
        self.fetcher = fetcher
        self.guard = guard or Guard(OutboundSettings())
        self.cache = fetcher.cache
        self._roots = roots
        self._limits = limits or Limits()
        self._metrics = metrics or Metrics()
        self._hits = self._metrics.cache["hit"]
        self._denials = self._metrics.cache["negative"]

    def cached(self, query: Query) -> Answer | None:
        """An answer at hand, or None; never waits. Public questions only (threats N8).

        A failure that is remembered is an answer too, unless a stale record can be given.
        """
        if not query.public_only or query.authoritative:
            return None
        name = whole_name(query.handle)
        entry = self.cache.fresh(name)
        if entry is not None and self.fetcher.usable(entry):
            self._prefetch(name, entry)
            (self._hits if entry.code == ResponseCode.SUCCESS else self._denials).inc()
            return self._answer(query, Fetched(entry, cached=True), ())
        return None

    async def resolve(self, query: Query, *, follow_aliases: bool = False) -> Answer:
        """Ask the nodes that know, within every limit. Never raises a BiaoshiError.

        follow_aliases: answer with the record that HS_ALIAS values lead to. Servers leave that to
        their clients (RFC 3651 §3.2.6); browsers' faces and command lines do it.
        """
        if self.pressure.overloaded and self.fetcher.in_flight >= self.shed_from:
            self._metrics.cache["shed"].inc()
            return Answer(
                ResponseCode.SERVER_BUSY,
                query.handle,
                message="this node has more questions than it can answer in time; ask again",
                source="referral",
            )
        question = self.question(query.handle)
        try:
            if query.hops >= self._limits.hops:
                return Answer(
                    ResponseCode.RECURSION_COUNT_TOO_HIGH,
                    query.handle,
                    message=f"{query.hops} servers passed this on already",
                    source="referral",
                )
            async with asyncio.timeout_at(question.deadline):
                if not query.public_only or query.authoritative:
                    return await self._past_the_cache(query, question)
                return await self._resolve(query, question, follow_aliases=follow_aliases)
        except TimeoutError:
            error: BiaoshiError = UpstreamError(
                f"{text(query.handle)} was not found within {self._limits.total_s:g} s"
            )
        except BiaoshiError as caught:
            error = caught
        return Answer(
            error.code,
            query.handle,
            source="referral",
            steps=_steps(question),
            message=str(error),
        )

    async def _resolve(self, query: Query, question: Question, *, follow_aliases: bool) -> Answer:
        path = Path()
        name = whole_name(query.handle)
        while True:
            found = await self.fetcher.fetch(name, question, path)
            if found.stale or not found.cached:
                self._metrics.cache["stale" if found.stale else "miss"].inc()
            alias = _alias(found.entry, query) if follow_aliases else None
            if alias is None:
                return self._answer(query, found, _steps(question))
            target = whole_name(alias.name)
            path = path.within(fold_prefix(name)).deeper(self._limits, f"alias {text(target)}")
            if alias.mutual and not await self._declared_back(target, name, question, path):
                question.steps.append(Step("alias", text(name), not_declared(target, name)))
                return self._answer(query, found, _steps(question))
            question.steps.append(Step("alias", text(name), f"is {text(target)}"))
            name = target

    async def _declared_back(
        self, target: bytes, name: bytes, question: Question, path: Path
    ) -> bool:
        """Whether the record of `target` lists `name` among its identifiers."""
        found = await self.fetcher.fetch(target, question, path)
        entry = found.entry
        return entry.code == ResponseCode.SUCCESS and declares(decode_values(entry.values), name)

    async def _past_the_cache(self, query: Query, question: Question) -> Answer:
        """A primary's word, or values that are not public.

        The asker's identity cannot be passed on, so where a site wants one, the asker is referred
        to it. Nothing of this is shared between askers.
        """
        wish = Wish(public=query.public_only, primary=query.authoritative, hops=query.hops)
        name = whole_name(query.handle)
        outcome, proof = await self.fetcher.directly(name, question, wish)
        base = Answer(
            outcome.code,
            query.handle,
            authoritative=outcome.reply.authoritative,
            source="referral",
            steps=_steps(question),
            verification=proof.text,
        )
        if outcome.code == ResponseCode.SUCCESS:
            chosen = choose(slices(outcome.values), query.indexes, query.types)
            if not chosen:
                return replace(base, code=ResponseCode.VALUES_NOT_FOUND)
            return replace(base, values=join(outcome.values, chosen))
        if outcome.code in (ResponseCode.HANDLE_NOT_FOUND, ResponseCode.VALUES_NOT_FOUND):
            return base
        sites = _site_values(outcome.service)
        return replace(base, code=ResponseCode.SERVICE_REFERRAL, values=sites, referral=b"")

    def _answer(self, query: Query, found: Fetched, steps: tuple[Mapping[str, Any], ...]) -> Answer:
        """The asked values of a record. A cache hit that asks for all of them copies octets."""
        entry, stale_ttl_s = found.entry, self.cache.settings.stale_ttl_s
        code, values = entry.code, EMPTY
        if code == ResponseCode.SUCCESS:
            lowered = stale_ttl_s if found.stale else None
            values = entry.select(query.indexes, query.types, ttl_s=lowered)
            if values[:4] == EMPTY:
                code, values = ResponseCode.VALUES_NOT_FOUND, EMPTY
        return Answer(
            code,
            query.handle,
            values,
            source="cache" if found.cached else "referral",
            steps=steps,
            message="stale: its owner does not answer" if found.stale else "",
            ttl_s=float(stale_ttl_s) if found.stale else self.cache.left_s(entry),
            age_s=self.cache.age_s(entry),
            stale=found.stale,
            verification=entry.proof or "",
        )

    def _prefetch(self, name: bytes, entry: Entry) -> None:
        entry.uses += 1
        life = entry.expires_at - entry.stored_at
        if entry.uses >= _OFTEN and self.cache.left_s(entry) < life * PREFETCH_SHARE:
            self.fetcher.refresh(name, self.question(name))

    def question(self, handle: bytes) -> Question:
        """A new question within the limits of this node."""
        deadline = asyncio.get_running_loop().time() + self._limits.total_s
        return Question(whole_name(handle), self._limits, deadline)

    def trust_for(self, name: bytes) -> TrustRoots:
        """The keys at which chains for a name may end."""
        described = described_prefix(name)
        return self._roots.trust_for(prefix_of(name) if described is None else described)

    def purge(self, handle: bytes) -> bool:
        """Forget what is known of a name; whether there was anything."""
        name = whole_name(handle)
        self.fetcher.outdate(lambda key: key == fold_prefix(name))
        return self._purged(self.cache.purge(name)) > 0

    def purge_prefix(self, prefix: bytes) -> int:
        """Forget a prefix and all names under it; how many."""
        folded = prefix.upper()
        self.fetcher.outdate(lambda key: within(key, folded))
        return self._purged(self.cache.purge_prefix(folded))

    def purge_all(self) -> int:
        """Forget everything; how many names."""
        self.fetcher.outdate(lambda _: True)
        return self._purged(self.cache.purge_all())

    def _purged(self, count: int) -> int:
        self._metrics.cache["purged"].inc(int(count))
        return int(count)

    def doubt_zone(self, zone: bytes) -> None:
        """Have what a prefix's node holds fetched anew when it is next asked for."""
        folded = zone.upper()
        self.fetcher.outdate(lambda key: lies_at(key, folded))
        self.cache.doubt_zone(folded)

    async def close(self) -> None:
        """Stop every fetch."""
        await self.fetcher.close()
        await self._roots.close()


def _steps(question: Question) -> tuple[Mapping[str, Any], ...]:
    return tuple(step.as_dict() for step in question.steps)


def _alias(entry: Entry, query: Query) -> Alias | None:
    """What stands for this name; None where nothing does, or the alias is what was asked."""
    asked = any(type_matches(t, kind) for t in query.types for kind in (HS_ALIAS, MUTUAL))
    if entry.code != ResponseCode.SUCCESS or asked:
        return None
    return alias_in(decode_values(entry.values))


def _site_values(service: Service) -> bytes:
    """The sites of a service as values, for a referral."""
    sites = [variant for site in service.sites for variant in site.variants]
    return encode_values(
        [
            HandleValue(index, site_type(site), encode_site(site))
            for index, site in enumerate(sites, start=1)
        ]
    )


def open_own(settings: Settings, folder: FilePath, *, metrics: Metrics) -> Recursion | None:
    """What a node that resolves for nobody else asks others with; None: it was told of no other.

    Its parent and roots may lie in the networks that it was told they lie in.
    """
    addresses = (settings.node.parent, *settings.recursion.roots)
    if not any(addresses):
        return None
    try:
        made = open_recursion(settings, folder, metrics=metrics)
    except SettingsError:
        return None
    made.guard.trust_class_of(
        [found for url in addresses if url and (found := literal(url)) is not None]
    )
    return made


def open_recursion(
    settings: Settings,
    folder: FilePath,
    *,
    metrics: Metrics | None = None,
    now: Callable[[], float] = time.monotonic,
    wall: Callable[[], float] = time.time,
) -> Recursion:
    """The recursion of a node, by its settings. Raises SettingsError.

    folder: the node's; `root_keys` are relative to it and trust/roots.json lies in it.
    """
    configured = settings.recursion
    metrics = metrics or Metrics()
    guard = Guard(settings.outbound, metrics)
    pressure = Pressure()
    client = Client(guard, now=now, wall=wall, metrics=metrics, breathe=pressure.breathe)
    addresses = configured.roots or ((settings.node.parent,) if settings.node.parent else ())
    roots = RootBook(
        [source for address in addresses for source in parse_sources(address)],
        guard=guard,
        client=client,
        pinned=[
            key for name in configured.root_keys for key in encoded(read_public_keys(folder / name))
        ],
        file=folder / TRUST_FILE,
        now=now,
        wall=wall,
    )
    cache = Cache(settings.cache, now=now, wall=wall, metrics=metrics)
    fetcher = Fetcher(
        client,
        roots,
        cache,
        Verifier(wall=wall),
        need=rules_of(configured).need,
        certify=configured.certify,
        key_status_s=configured.key_status_s,
        metrics=metrics,
    )
    limits = Limits(
        depth=configured.referrals, messages=configured.messages, total_s=configured.total_s
    )
    return Recursion(fetcher, roots, guard=guard, limits=limits, metrics=metrics, pressure=pressure)
