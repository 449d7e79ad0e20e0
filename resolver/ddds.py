"""NAPTR resolution as a client: OIDs by ORS, GTINs by ONS (RFC 3401-3404; X.672 §7).

Asks a DNS server, or those of the system, for the NAPTR records of an identifier's name, follows
non-terminal records within limits, and gives the URIs in their order. Nothing it finds is fetched.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import dns.asyncresolver
import dns.exception
import dns.flags
import dns.name
import dns.rdatatype
import dns.resolver

from protocol.ddds import apply_rule, parse_rule
from protocol.errors import BadIdentifier, ParseError, UpstreamError
from protocol.naptr import ONS_ROOT, ORS_DUMMY, ORS_ROOT, domain_names, ors_query
from protocol.schemes.base import Identifier

SYSTEM: Final = "system"
MAX_LOOKUPS: Final = 8
"""Names asked for one identifier, ancestors and non-terminal records included."""
MAX_RECORDS: Final = 200
TOTAL_S: Final = 5.0
_UDP_BYTES: Final = 1232
_ORS_PREFIX: Final = "ORS+"
_PORT: Final = 53


@dataclass(frozen=True, slots=True)
class Wish:
    """What to ask, and whom.

    server: HOST[:PORT] (a numeric address) or `system`. services: wanted ones, as `ORS+X` or `X`,
    in any case; none: all. climb: where an OID has no records, ask for its ancestors in turn.
    """

    server: str = SYSTEM
    services: tuple[str, ...] = ()
    ors_root: str = ORS_ROOT
    ors_dummy: str = ORS_DUMMY
    ons_root: str = ONS_ROOT
    climb: bool = False


@dataclass(frozen=True, slots=True)
class Service:
    """One service found: its URI and the record it came from. ttl_s: as the server gave it."""

    service: str
    uri: str
    order: int
    preference: int
    ttl_s: int
    name: str

    def as_dict(self) -> Mapping[str, Any]:
        return {
            "service": self.service,
            "uri": self.uri,
            "order": self.order,
            "preference": self.preference,
            "ttl": self.ttl_s,
            "name": self.name,
        }


@dataclass(slots=True)
class Resolved:
    """What was found. records: best first. steps: each name asked, for people.

    authentic: every answer was validated by the server asked (flag AD), which one has to trust.
    answered: the name whose records these are; "" when none has any.
    """

    records: list[Service] = field(default_factory=list)
    steps: list[Mapping[str, Any]] = field(default_factory=list)
    authentic: bool = True
    answered: str = ""


async def resolve(identifier: Identifier, wish: Wish) -> Resolved:
    """The services of an identifier, by its domain name.

    Raises BadIdentifier where it has none, UpstreamError where no server answers.
    """
    names = _names(identifier, wish)
    walk = _Walk(_resolver(wish.server), identifier.normalized, wish)
    for name in names:
        found = await walk.ask(name)
        if found is not None:
            walk.made.answered = name
            walk.made.records = found
            break
        if not wish.climb:
            break
    return walk.made


def _names(identifier: Identifier, wish: Wish) -> list[str]:
    """The domain name, and for an OID those of its ancestors, nearest first."""
    names = domain_names(
        identifier, ors_root=wish.ors_root, ors_dummy=wish.ors_dummy, ons_root=wish.ons_root
    )
    if "ons_fqdn" in names:
        return [names["ons_fqdn"] + "."]
    if "ors_query" not in names:
        raise BadIdentifier(
            "no-domain-name",
            f"{identifier.normalized} has no domain name: only OIDs and GTINs have one, "
            "and not above 255 octets",
        )
    labels: Sequence[str] = identifier.extra["labels"]
    return [
        ors_query(labels[:end], root=wish.ors_root, dummy=wish.ors_dummy)
        for end in range(len(labels), 0, -1)
    ][:MAX_LOOKUPS]


def _resolver(server: str) -> dns.asyncresolver.Resolver:
    """Who asks. Raises UpstreamError where the system has no servers."""
    try:
        if server == SYSTEM:
            made = dns.asyncresolver.Resolver()
        else:
            made = dns.asyncresolver.Resolver(configure=False)
            host, port = _endpoint(server)
            made.nameservers = [host]
            made.port = port
    except (dns.exception.DNSException, ValueError, OSError) as error:
        raise UpstreamError(
            f"there is no DNS server {server!r} to ask ({error}); give HOST or HOST:PORT, "
            "HOST as a numeric address"
        ) from None
    made.use_edns(0, dns.flags.DO, _UDP_BYTES)
    made.flags = dns.flags.RD | dns.flags.AD
    made.lifetime = TOTAL_S
    made.timeout = TOTAL_S / 3
    return made


def _endpoint(server: str) -> tuple[str, int]:
    """`192.0.2.1`, `192.0.2.1:5353`, `2001:db8::1` or `[2001:db8::1]:5353`."""
    if server.startswith("["):
        host, _, rest = server[1:].partition("]")
        return host, int(rest[1:]) if rest else _PORT
    if server.count(":") == 1:
        host, _, port = server.partition(":")
        return host, int(port)
    return server, _PORT


class _Walk:
    """One identifier's way through the names. made: what is found and was done so far."""

    def __init__(self, resolver: dns.asyncresolver.Resolver, text: str, wish: Wish) -> None:
        self.made = Resolved()
        self._resolver = resolver
        self._text = text
        self._wanted = frozenset(map(_service, wish.services))
        self._asked: set[str] = set()

    async def ask(self, name: str) -> list[Service] | None:
        """The services at a name and at what its records lead to; None where it has no records."""
        answer = await self._look_up(name)
        if answer is None:
            return None
        found: list[Service] = []
        rdatas = sorted(answer, key=lambda rdata: (rdata.order, rdata.preference))
        for rdata in rdatas[:MAX_RECORDS]:
            service = rdata.service.decode("utf-8", "replace")
            flags = rdata.flags.decode("ascii", "replace").lower()
            if self._wanted and _service(service) not in self._wanted and flags:
                continue
            if flags == "u":
                uri = self._rewritten(rdata, name)
                if uri is not None:
                    ttl = answer.rrset.ttl
                    found.append(Service(service, uri, rdata.order, rdata.preference, ttl, name))
            elif not flags:
                found += await self._follow(rdata, name)
            else:
                self._note(name, f"passed over a record with flags {flags!r}")
        return found

    async def _follow(self, rdata: Any, name: str) -> list[Service]:
        """The services at the name that a non-terminal record leads to."""
        after = None
        if rdata.replacement != dns.name.root:
            after = rdata.replacement.to_text()
        elif rdata.regexp:
            after = self._rewritten(rdata, name, uri=False)
        if after is None:
            return []
        return await self.ask(after) or []

    def _rewritten(self, rdata: Any, name: str, *, uri: bool = True) -> str | None:
        """What a record's rule makes of the identifier; None, noted, where it makes nothing."""
        try:
            made = apply_rule(parse_rule(rdata.regexp), self._text)
        except ParseError as error:
            self._note(name, f"passed over a record: {error}")
            return None
        if made is None:
            self._note(name, "passed over a record whose pattern does not match")
        elif not made.isprintable() or " " in made or (uri and ":" not in made):
            self._note(name, f"passed over a record: {made[:80]!r} is no URI")
        else:
            return made
        return None

    async def _look_up(self, name: str) -> Any:
        """The NAPTR records of a name; None where there are none, or no more may be asked."""
        folded = name.lower().rstrip(".")
        if folded in self._asked or len(self._asked) >= MAX_LOOKUPS:
            why = "asked already" if folded in self._asked else "too many names"
            self._note(name, f"not asked: {why}")
            return None
        self._asked.add(folded)
        started = time.perf_counter()
        answer: Any = None
        response: Any = None
        try:
            answer = await self._resolver.resolve(name, dns.rdatatype.NAPTR, search=False)
            outcome = f"{len(answer)} records"
            response = answer.response
        except dns.resolver.NXDOMAIN as absent:
            outcome = "no such name"
            response = next(iter(_responses(absent)), None)
        except dns.resolver.NoAnswer as none:
            outcome = "no NAPTR records"
            response = next(iter(_responses(none)), None)
        except dns.exception.DNSException as error:
            raise UpstreamError(f"no answer for {name}: {error}") from None
        authentic = response is not None and bool(response.flags & dns.flags.AD)
        self.made.authentic = self.made.authentic and authentic
        took = (time.perf_counter() - started) * 1000
        self._note(name, outcome, ms=round(took, 2), authentic=authentic)
        return answer

    def _note(self, name: str, outcome: str, **more: Any) -> None:
        self.made.steps.append({"asked": name, "outcome": outcome, **more})


def _responses(error: Any) -> list[Any]:
    """The messages that an error of the resolver stands for."""
    return [*error.responses().values()] if hasattr(error, "responses") else [error.response()]


def _service(text: str) -> str:
    """A service for comparison: `ORS+UINF`, `uinf` and `UINF` are one."""
    return text.upper().removeprefix(_ORS_PREFIX)
