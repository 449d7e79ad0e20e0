"""Is a record what its owner signed? (do-irp 14; threats I1)

Three things are checked and said apart: the digests of the values, the chain of certificates from
the signer to a trusted root, and the time window of each. Where the certificates come from is the
caller's business: `fetch` gives the values of a name, through the same recursion and its cache.
A good signature says that these values belong to this name and were signed; it does not say that
they are the newest ones.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from protocol.chain import ChainReport, ChainWalk, Roots
from protocol.errors import ParseError, SignatureInvalid
from protocol.jws import parse_jws
from protocol.keys.policy import STRICT
from protocol.keys.policy import Policy as KeyPolicy
from protocol.name import fold_prefix
from protocol.record import HandleValue
from protocol.signature import HS_SIGNATURE, needs_signature, parse_signature, verify_record
from resolver.steps import text

MAX_SIGNATURES = 8
"""Signatures of one record that are looked at."""
MAX_LINKS = 16
"""Certificates of one chain."""
_YEAR_9999 = 253_370_764_800

FetchValues = Callable[[bytes], Awaitable[Sequence[HandleValue]]]
"""The public values of a name; empty when there is no such record. Raises UpstreamError."""


class Need(StrEnum):
    """How much verification a record needs."""

    OFF = "off"
    WHEN_SIGNED = "when-signed"  # a wrong signature is refused, a missing one is said
    REQUIRED = "required"


@dataclass(frozen=True, slots=True)
class Verification:
    """What was checked of a record, and held.

    status: `verified`, `unsigned`, `off` or why it was not checked. signers: who signed, as `index:handle`. root: where
    the chain ended. values: indexes whose digests hold. expires: when the first signature or
    certificate ends, seconds since 1970. links: length of the longest chain.
    """

    status: str
    signers: tuple[str, ...] = ()
    root: str = ""
    values: tuple[int, ...] = ()
    links: int = 0
    expires: int | None = None
    vouchers: tuple[bytes, ...] = ()
    """Folded names of the records whose certificates were used."""
    revoked: tuple[str, ...] = ()
    """Signers whose key was revoked after the change that wrote the record."""

    def lines(self) -> tuple[str, ...]:
        """What was checked, for people."""
        if self.status != "verified":
            return (self.status,)
        return (
            f"{_HOLDS}: {len(self.values)}",
            f"signer {', '.join(self.signers)}, chain of {self.links} to root {self.root}",
            "time window holds" + _until(self.expires),
            *(f"though {each}: this was logged before" for each in self.revoked),
        )

    @property
    def text(self) -> str:
        """The same on one line."""
        return "; ".join(self.lines())

    def as_dict(self) -> Mapping[str, Any]:
        """The same as JSON shows it."""
        shape: dict[str, Any] = {"status": self.status}
        if self.status == "verified":
            shape |= {
                "signers": list(self.signers),
                "root": self.root,
                "values": list(self.values),
                "chainLength": self.links,
                "expires": self.expires,
            }
            if self.revoked:
                shape["revoked"] = list(self.revoked)
        return shape


_HOLDS = "value digests hold"


def told(text: str) -> Mapping[str, Any]:
    """What a kept record's verification said, as JSON: status and the lines of what was checked."""
    if not text.startswith(_HOLDS):
        return {"status": text}
    return {"status": "verified", "checked": text.split("; ")}


UNSIGNED = Verification("unsigned")
NOT_CHECKED = Verification("off")
NO_ROOT_KEY = Verification("not verified: no root key is known")


@dataclass(slots=True)
class _Findings:
    signers: list[str] = field(default_factory=list)
    root: str = ""
    covered: set[int] = field(default_factory=set)
    links: int = 0
    ends: list[int] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    revoked: list[str] = field(default_factory=list)
    vouchers: tuple[bytes, ...] = ()


class Verifier:
    """Verifies records. wall: seconds since 1970. policy: which weak methods are taken."""

    def __init__(self, *, wall: Callable[[], float], policy: KeyPolicy = STRICT) -> None:
        self._wall = wall
        self._policy = policy

    async def verify(
        self,
        name: bytes,
        values: Sequence[HandleValue],
        need: Need,
        roots: Roots,
        fetch: FetchValues,
        proven: Mapping[str, int] | None = None,
    ) -> Verification:
        """What was checked. values: the whole public record. roots: keys that are trusted for it.

        proven: the change of a log that wrote the record, as a receipt showed: signatures by keys
        that were revoked later count then.

        Raises SignatureInvalid when it must not be used, UpstreamError when a certificate could
        not be fetched.
        """
        if need == Need.OFF:
            return NOT_CHECKED
        signatures = [value for value in values if value.type.upper() == HS_SIGNATURE]
        if not roots.keys and not roots.unpinned:
            if need == Need.REQUIRED:
                raise SignatureInvalid(f"no root key is known to verify {text(name)} with")
            return NO_ROOT_KEY
        if not signatures:
            if need == Need.REQUIRED:
                raise SignatureInvalid(f"{text(name)} is unsigned and a signature is required")
            return UNSIGNED
        found = _Findings()
        known = {fold_prefix(name): values}
        for value in signatures[:MAX_SIGNATURES]:
            await self._one(name, values, value, roots, fetch, known, found, proven or {})
        found.vouchers = tuple(key for key in known if key != fold_prefix(name))
        return self._judge(name, values, found)

    async def _one(
        self,
        name: bytes,
        values: Sequence[HandleValue],
        signature: HandleValue,
        roots: Roots,
        fetch: FetchValues,
        known: dict[bytes, Sequence[HandleValue]],
        found: _Findings,
        proven: Mapping[str, int],
    ) -> None:
        now = int(self._wall())
        try:
            walk = ChainWalk(signature.data, name, roots, now, self._policy, MAX_LINKS, proven)
            signer = parse_signature(parse_jws(signature.data)).claims.issuer.text()
            chain = await _walk(walk, fetch, known)
            key = chain.require()
        except (ParseError, SignatureInvalid) as error:
            # A signature of a stranger vouches for nothing and spoils nothing.
            found.problems.append(f"signature {signature.index}: {error}")
            return
        report = verify_record(name, values, signature.data, key, now, policy=self._policy)
        if not report.sound:
            # A trusted signer says that these values are not the ones it signed.
            report.require()
        found.signers.append(signer)
        found.root = chain.root.text() if chain.root is not None else ""
        found.covered.update(report.verified)
        found.revoked += chain.revoked
        found.links = max(found.links, chain.length)
        if chain.expires is not None:
            found.ends.append(chain.expires)

    def _judge(self, name: bytes, values: Sequence[HandleValue], found: _Findings) -> Verification:
        if not found.signers:
            raise SignatureInvalid(
                f"no signature of {text(name)} is to be trusted: {'; '.join(found.problems)}"
            )
        bare = [v.index for v in values if needs_signature(v) and v.index not in found.covered]
        if bare:
            raise SignatureInvalid(f"values {bare} of {text(name)} are covered by no signature")
        return Verification(
            "verified",
            tuple(dict.fromkeys(found.signers)),
            found.root,
            tuple(sorted(found.covered)),
            found.links,
            min(found.ends, default=None),
            found.vouchers,
            tuple(dict.fromkeys(found.revoked)),
        )


async def _walk(
    walk: ChainWalk, fetch: FetchValues, known: dict[bytes, Sequence[HandleValue]]
) -> ChainReport:
    while (wanted := walk.needs()) is not None:
        key = fold_prefix(wanted.handle)
        if key not in known:
            known[key] = await fetch(wanted.handle)
        walk.give(known[key])
    return walk.report()


def _until(end: int | None) -> str:
    """` until 2036-11-20`; nothing for an end that no calendar holds."""
    if end is None or not 0 <= end < _YEAR_9999:
        return ""
    return f" until {datetime.fromtimestamp(end, UTC):%Y-%m-%d}"


def earliest_end(values: Sequence[HandleValue]) -> int | None:
    """When the first signature of a record says it ends, its truth not checked.

    For records that are kept without verification: past this they are not given stale.
    """
    ends = []
    for value in values:
        if value.type.upper() == HS_SIGNATURE:
            try:
                ends.append(parse_signature(parse_jws(value.data)).claims.validity.expires)
            except ParseError:
                continue
    return min((end for end in ends if end is not None), default=None)
