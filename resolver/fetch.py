"""Fetcher: a name's public record, from the cache or from its site, verified (threats N3, N8).

Whatever the recursion needs passes here: the records that clients ask for, the prefix records on
the way to them and the certificates above their signatures. One fetch a name is in flight; a
failure is remembered; while the owner is silent a stale record is given.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from protocol.chain import Roots as TrustRoots
from protocol.errors import (
    BiaoshiError,
    ParseError,
    RecursionTooDeep,
    ResponseCode,
    ServerBusy,
    SignatureInvalid,
    UpstreamError,
)
from protocol.name import PREFIX_RECORDS, described_prefix, fold_prefix, prefix_of, whole_name
from protocol.record import HandleValue, decode_values
from resolver.cache import Cache, Entry
from resolver.client import Client
from resolver.flights import Flights
from resolver.iterate import Iteration
from resolver.locate import Root
from resolver.metrics import Metrics
from resolver.outcomes import FINAL, Outcome, Wish
from resolver.peers import Service
from resolver.standing import contradicted, still_stands, tells_of_keys, voucher_of
from resolver.steps import Limits, Path, Question, Step, text
from resolver.verify import NOT_CHECKED, Need, Verification, Verifier, earliest_end

STALE_AFTER_S = 1.8
"""A stale record is given when its owner did not answer for so long (RFC 8767 §5)."""
STALE_ON_THE_WAY_S = 0.8
"""The same for what is only needed on the way, so that the name itself can still be asked for."""
_ENDLESS_S = float("inf")
_SILENT_S = 5.0
DOUBT_AFTER_S = 5.0
"""A delegation younger than this is not fetched anew because its site failed."""


class OutOfTime(UpstreamError):
    """A fetch ended with the time of the question that began it, not by what a site said."""


class RootBook(Protocol):
    """The configured roots and the keys trusted for their names."""

    async def for_zone(self, zone: bytes) -> Root | None:
        """The root of the longest zone that holds this prefix."""

    async def read_again(self, zone: bytes) -> bool:
        """Read the records of the roots for a zone anew; False when they were read just now."""

    def trust_for(self, zone: bytes) -> TrustRoots:
        """The keys at which chains for names under this prefix may end."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """A record at hand. stale: its TTL is past and its owner silent."""

    entry: Entry
    stale: bool = False
    cached: bool = False


class Fetcher:
    """One for each process."""

    def __init__(
        self,
        client: Client,
        roots: RootBook,
        cache: Cache,
        verifier: Verifier,
        *,
        need: Callable[[bytes], Need],
        certify: bool = True,
        key_status_s: float = 30.0,
        max_flights: int = 1000,
        metrics: Metrics | None = None,
    ) -> None:
        """need: how much verification the names under a prefix need. key_status_s: the longest
        life of prefix records, whose certificates vouch for keys. metrics: where to count.
        """
        self.cache = cache
        self.client = client
        self.iteration = Iteration(
            client,
            roots,
            self._on_the_way,
            at_hand=self._at_hand,
            doubt=lambda name: cache.doubt(name, DOUBT_AFTER_S),
            certify=certify,
        )
        self._roots = roots
        self._verifier = verifier
        self._metrics = metrics or Metrics()
        self._need = need
        self._key_status_s = key_status_s
        self._flights: Flights[tuple[bytes, bool], Entry] = Flights(max_flights)
        self._outdated: set[bytes] = set()

    @property
    def in_flight(self) -> int:
        """Fetches under way."""
        return len(self._flights)

    def needs_proof(self, name: bytes) -> bool:
        """Whether records of this name are verified before they are given."""
        return self._need(_zone(name)) != Need.OFF

    def usable(self, entry: Entry) -> bool:
        """Whether a kept record was verified as far as it must be, by keys that still stand."""
        if entry.proof is None:
            return not self.needs_proof(entry.handle)
        if not entry.vouchers or self.cache.now() < entry.proved_until:
            return True
        until = still_stands(self.cache, entry)
        if until is None:
            return False
        entry.proved_until = until
        for name, _ in entry.vouchers:
            voucher = self.cache.peek(name)
            if voucher is not None:
                self._renew_soon(voucher)
        return True

    def _was_usable(self, entry: Entry) -> bool:
        """The same while nobody can be asked: unless it is known that the keys stand no more."""
        if entry.proof is None:
            return not self.needs_proof(entry.handle)
        return not contradicted(self.cache, entry)

    def _proved(self, entry: Entry, proof: Verification) -> None:
        """Write down what was verified, and which prefix records vouched for it."""
        entry.proof, entry.valid_until = proof.text, proof.expires or entry.valid_until
        found = [(name, self.cache.peek(name)) for name in proof.vouchers]
        entry.vouchers = tuple(
            voucher_of(one) if one is not None else (name, b"") for name, one in found
        )
        # While the node that publishes the keys is silent, what it said last is not asked for at
        # every use.
        least = self.cache.now() + _SILENT_S
        ends = [max(one.expires_at, least) if one is not None else 0.0 for _, one in found]
        entry.proved_until = min(ends, default=0.0)

    async def fetch(
        self,
        name: bytes,
        question: Question,
        path: Path,
        *,
        at: Service | None = None,
        verified: bool = True,
    ) -> Fetched:
        """A record, or its absence. verified: False for certificates, which are checked as such.

        Raises UpstreamError, SignatureInvalid, RecursionTooDeep, NotServedHere, ServerBusy.
        """
        name = whole_name(name)
        entry = self.cache.fresh(name)
        if entry is not None and (not verified or self.usable(entry)):
            self._tell(entry, "fresh", question)
            return Fetched(entry, cached=True)
        path = path.within(fold_prefix(name))
        stale = self._stale(name, verified=verified)
        failure = self.cache.failure(name)
        if failure is not None:
            if stale is None or isinstance(failure.error, SignatureInvalid):
                raise failure.error.with_traceback(None)
            return self._give_stale(stale, question)
        return await self._fly(name, question, path, at, stale, verified=verified)

    async def _fly(
        self,
        name: bytes,
        question: Question,
        path: Path,
        at: Service | None,
        stale: Entry | None,
        *,
        verified: bool,
        again: bool = False,
    ) -> Fetched:
        """Start or join the fetch of a name; while its owner is silent the stale record counts."""
        key = (fold_prefix(name), verified)
        own = not self._flights.running(key)
        if not own:
            self._metrics.cache["coalesced"].inc()
            question.steps.append(Step("cache", text(name), "waits for a fetch under way"))
        task = self._flights.join(
            key, lambda: self._land(name, question, path, at, verified=verified)
        )
        patience = STALE_AFTER_S if len(path.names) == 1 else STALE_ON_THE_WAY_S
        try:
            async with asyncio.timeout(patience if stale is not None else None):
                return Fetched(await asyncio.shield(task))
        except (TimeoutError, UpstreamError, RecursionTooDeep) as error:
            if stale is not None:
                return self._give_stale(stale, question)
            foreign = isinstance(error, RecursionTooDeep | OutOfTime)
            if own or again or not foreign or _loop_time() >= question.deadline:
                raise
        # It ended at the limits of another question, not at those of this one.
        return await self._fly(name, question, path, at, stale, verified=verified, again=True)

    def _stale(self, name: bytes, *, verified: bool) -> Entry | None:
        entry = self.cache.stale(name)
        if entry is None or (verified and not self._was_usable(entry)):
            return None
        return entry

    def _tell(self, entry: Entry, state: str, question: Question) -> None:
        """The step of a cache hit: how good and how old it is."""
        told = f"{entry.code.name}, {state}, {self.cache.age_s(entry):.0f} s old"
        if state == "fresh":
            told += f", {self.cache.left_s(entry):.0f} s left"
        question.steps.append(Step("cache", text(entry.handle), told))

    def _give_stale(self, entry: Entry, question: Question) -> Fetched:
        self._tell(entry, "stale", question)
        return Fetched(entry, stale=True, cached=True)

    async def _land(
        self,
        name: bytes,
        question: Question,
        path: Path,
        at: Service | None,
        *,
        verified: bool,
        anew: bool = False,
    ) -> Entry:
        """Fetch, verify and keep; a failure is kept too. anew: although a kept one holds."""
        self._outdated.discard(fold_prefix(name))
        try:
            async with asyncio.timeout_at(question.deadline):
                return await self._ask(name, question, path, at, verified=verified, anew=anew)
        except TimeoutError:
            error: BiaoshiError = OutOfTime(
                f"{text(name)} was not found within {question.limits.total_s:g} s"
            )
        except BiaoshiError as caught:
            error = caught
        if isinstance(error, SignatureInvalid):
            # What vouched for the kept record no longer does: it is not given any more.
            self.cache.purge(name)
        limit = isinstance(error, RecursionTooDeep) or question.deadline <= _loop_time()
        if not isinstance(error, ServerBusy) and (not limit or name == question.name):
            self.cache.fail(name, error)
        raise error

    def outdate(self, concerns: Callable[[bytes], bool]) -> None:
        """Do not keep what is being fetched now for these names: it may be older than a purge."""
        running = {key for key, _ in self._flights.running_keys()}
        self._outdated &= running
        self._outdated.update(filter(concerns, running))

    def refresh(self, name: bytes, question: Question) -> None:
        """Fetch a record anew in the background while the kept one still holds."""
        with suppress(ServerBusy):  # the next asker tries again
            self._flights.join(
                (fold_prefix(name), True),
                lambda: self._land(name, question, Path(), None, verified=True, anew=True),
            )

    async def _ask(
        self,
        name: bytes,
        question: Question,
        path: Path,
        at: Service | None,
        *,
        verified: bool,
        anew: bool,
    ) -> Entry:
        known = None if anew else self.cache.fresh(name)
        if known is not None:
            # Kept without a proof, as a certificate on another record's way.
            try:
                found = await self._prove(name, known.values, known.code, question, path, None)
            except SignatureInvalid:
                self.cache.purge(name)  # another site may have the true one
            else:
                self._proved(known, found)
                return known
        proofs: dict[int, Verification] = {}

        async def accept(outcome: Outcome) -> None:
            _readable(outcome)
            if verified and outcome.code in FINAL:
                signed = outcome.reply.signature == "signed"
                proofs[id(outcome)] = await self._prove(
                    name, outcome.values, outcome.code, question, path, signed
                )

        outcome = await self.iteration.resolve(name, question, path, accept, at=at)
        proof = proofs.get(id(outcome))
        values = decode_values(outcome.values)
        outdated = fold_prefix(name) in self._outdated
        entry = self.cache.put(
            name,
            outcome.code,
            outcome.values,
            valid_until=proof.expires if proof and proof.expires else earliest_end(values),
            authoritative=outcome.reply.authoritative,
            keep=not outdated,
            most_s=self._key_status_s if tells_of_keys(values) else _ENDLESS_S,
        )
        if proof is not None:
            self._proved(entry, proof)
        return entry

    async def _prove(
        self,
        name: bytes,
        values: bytes,
        code: ResponseCode,
        question: Question,
        path: Path,
        signed: bool | None,
    ) -> Verification:
        """Verify a record as its prefix needs it. signed: whether the site signed the reply."""
        zone = _zone(name)
        need = self._need(zone)
        if code != ResponseCode.SUCCESS:
            if need == Need.REQUIRED and signed is False:
                raise SignatureInvalid(
                    f"the site denies {text(name)} without its signature, which is required"
                )
            return NOT_CHECKED

        async def fetch(wanted: bytes) -> Sequence[HandleValue]:
            found = await self.fetch(wanted, question, path, verified=False)
            return decode_values(found.entry.values)

        began = _loop_time()
        outcome = word = ""
        try:
            proof = await self._verifier.verify(
                name, decode_values(values), need, self._roots.trust_for(zone), fetch
            )
            outcome = proof.text
            word = "valid" if proof.status == "verified" else "unsigned"
        except BiaoshiError as error:
            outcome = str(error)
            word = "invalid" if isinstance(error, SignatureInvalid) else ""
            raise
        finally:
            if word and need != Need.OFF:
                self._metrics.verifications[word].inc()
            if need != Need.OFF:
                took_ms = (_loop_time() - began) * 1000
                question.steps.append(Step("verify", text(name), outcome, took_ms))
        return proof

    def _at_hand(self, name: bytes) -> bytes | None:
        entry = self.cache.fresh(name)
        if entry is None or entry.code != ResponseCode.SUCCESS or not self.usable(entry):
            return None
        self._renew_soon(entry)
        return entry.values

    def _renew_soon(self, entry: Entry) -> None:
        """Fetch what vouches for keys anew in good time, while nobody waits for it."""
        if not entry.handle.upper().startswith(PREFIX_RECORDS):
            return
        life_s = entry.expires_at - entry.stored_at
        if life_s <= self._key_status_s and self.cache.left_s(entry) < life_s / 2:
            limits = Limits()
            question = Question(entry.handle, limits, _loop_time() + limits.total_s)
            self.refresh(entry.handle, question)

    async def _on_the_way(
        self, name: bytes, question: Question, path: Path, *, at: Service | None = None
    ) -> tuple[ResponseCode, bytes]:
        found = await self.fetch(name, question, path, at=at)
        return found.entry.code, found.entry.values

    async def directly(
        self, name: bytes, question: Question, wish: Wish
    ) -> tuple[Outcome, Verification]:
        """Past the cache: for questions that want a primary's word or other than public values."""
        proofs: list[Verification] = []

        async def accept(outcome: Outcome) -> None:
            _readable(outcome)
            if outcome.code in FINAL and wish.public:
                signed = outcome.reply.signature == "signed"
                proofs[:] = [
                    await self._prove(name, outcome.values, outcome.code, question, Path(), signed)
                ]

        async with asyncio.timeout_at(question.deadline):
            outcome = await self.iteration.resolve(name, question, Path(), accept, wish=wish)
        return outcome, proofs[0] if proofs else NOT_CHECKED

    async def close(self) -> None:
        """Stop every fetch."""
        await self._flights.close()


def _readable(outcome: Outcome) -> None:
    try:
        decode_values(outcome.values)
    except ParseError as error:
        raise UpstreamError(f"{outcome.reply.endpoint} sent broken values: {error}") from None


def _zone(name: bytes) -> bytes:
    described = described_prefix(name)
    return prefix_of(name) if described is None else described


def _loop_time() -> float:
    return asyncio.get_running_loop().time()
