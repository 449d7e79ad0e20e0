"""Trust chains: from a record's signature through certificates to a trusted root (do-irp 14).

No I/O: ChainWalk says which record it needs next and takes its values. The signature of the record
itself and its digests are protocol.signature's verify_record; this file decides whether the signer
may sign it.

    walk = ChainWalk(signature, handle, roots, now)
    while (wanted := walk.needs()) is not None:
        walk.give(values_at(wanted))
    walk.report().require()
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from protocol.errors import ParseError, SignatureInvalid
from protocol.jws import Jws, parse_jws
from protocol.keys import PublicKey, encode_public_key
from protocol.keys.policy import STRICT, Policy
from protocol.name import fold_prefix
from protocol.record import HandleValue, Reference
from protocol.signature import (
    HS_CERT,
    MAX_CHAIN,
    REVOKED,
    Certificate,
    Claims,
    Revocation,
    parse_certificate,
    parse_signature,
    permits,
    same_identity,
)

HANDLE_ROOT = b"0.0/0.0"
"""Subject handle of the root of the public Handle System."""
MAX_CANDIDATES = 256
"""Certificates looked at in one record."""


@dataclass(frozen=True, slots=True)
class Roots:
    """Where a chain may end: one of these keys, under one of these subject handles.

    keys: encoded public keys. subjects: folded handles; None takes every subject. unpinned: any
    key that vouches for itself is taken: the chain is checked, but not whose root it ends at.
    """

    keys: frozenset[bytes]
    subjects: frozenset[bytes] | None = frozenset({HANDLE_ROOT})
    unpinned: bool = False

    @classmethod
    def of(
        cls, keys: Iterable[PublicKey], subjects: Iterable[bytes] | None = (HANDLE_ROOT,)
    ) -> Roots:
        """Roots from key objects and subject handles in any case."""
        folded = None if subjects is None else frozenset(map(fold_prefix, subjects))
        return cls(frozenset(map(encode_public_key, keys)), folded)

    @classmethod
    def unknown(cls) -> Roots:
        """No root is known: a chain may end at any key that vouches for itself."""
        return cls(frozenset(), None, unpinned=True)

    def trust(self, certificate: Certificate) -> bool:
        """Whether a self-issued certificate is a trusted root, its own signature not checked."""
        if self.unpinned:
            return True
        try:
            known = encode_public_key(certificate.public_key) in self.keys
        except ParseError:
            return False
        subject = fold_prefix(certificate.subject.handle)
        return known and (self.subjects is None or subject in self.subjects)


@dataclass(frozen=True, slots=True)
class ChainReport:
    """What a walk found. length counts the signature and each certificate.

    trusted: it ends at a trusted root and every link is signed by the next and holds now.
    authorized: trusted, and the permissions of every certificate cover the handle.
    problems: what is wrong, nearest link first. expires: when the first link ends, in seconds since
    1970; None when none does. root: the subject of the last certificate, where it is self-issued.
    """

    length: int
    root_is_trusted: bool
    trusted: bool
    authorized: bool
    signer_key: PublicKey | None
    problems: tuple[str, ...] = ()
    expires: int | None = None
    root: Reference | None = None
    revoked: tuple[str, ...] = ()
    """Keys on the way that were revoked since, though this signature still counts."""

    def require(self) -> PublicKey:
        """The key that may sign the record. Raises SignatureInvalid unless authorized."""
        if not self.authorized or self.signer_key is None:
            raise SignatureInvalid(f"the signer is not trusted: {'; '.join(self.problems)}")
        return self.signer_key


@dataclass(slots=True)
class ChainWalk:
    """The walk from one HS_SIGNATURE towards a root. One use; see the top of the file.

    signature: data of the HS_SIGNATURE value. handle: the signed record. now: seconds since 1970.
    Raises ParseError when the signature is no JWS or has no readable claims.
    """

    signature: bytes
    handle: bytes
    roots: Roots
    now: int
    policy: Policy = STRICT
    max_links: int = MAX_CHAIN
    proven: Mapping[str, int] = field(default_factory=dict)
    """Name of a log -> the change in it that wrote what is signed, as a receipt proved."""
    _jws: Jws = field(init=False)
    _claims: Claims = field(init=False)
    _links: list[Certificate] = field(init=False, default_factory=list)
    _listed: list[Reference] = field(init=False, default_factory=list)
    _wanted: Reference | None = field(init=False, default=None)
    _broken: str = field(init=False, default="")
    _ended: bool = field(init=False, default=False)

    def __post_init__(self) -> None:
        self._jws = parse_jws(self.signature)
        self._claims = parse_signature(self._jws).claims
        self._listed = list(self._claims.chain or ())
        self._wanted = self._next(self._claims)

    def needs(self) -> Reference | None:
        """The value to fetch next (index 0: every HS_CERT of that handle), or None: finished."""
        return self._wanted

    def give(self, values: Iterable[HandleValue]) -> None:
        """The values found at needs(); none when there is no such record."""
        wanted = self._wanted
        if wanted is None:
            return
        child = self._links[-1].claims if self._links else self._claims
        signed = self._links[-1].jws if self._links else self._jws
        held = tuple(values)
        certificate = _pick(held, wanted, child.issuer, signed, self.policy)
        self._wanted = None
        if certificate is None:
            self._broken = f"no certificate for {child.issuer.text()} at {wanted.text()}"
        elif any(certificate.jws.signed == link.jws.signed for link in self._links):
            self._broken = f"the chain runs in a circle at {certificate.subject.text()}"
        else:
            self._links.append(certificate)
            self._go_on(certificate, held)

    def report(self) -> ChainReport:
        """What was found. Before needs() is None the chain counts as broken."""
        problems = list(self._problems())
        root = self._links[-1] if self._ended else None
        root_is_trusted = root is not None and self.roots.trust(root)
        if not root_is_trusted and not self._broken:
            problems.append("the chain does not end at a trusted root; add the root's key")
        trusted = root_is_trusted and not problems
        covering = [permits(link.permissions, self.handle) for link in self._links]
        problems += [
            f"the certificate of {link.subject.text()} does not cover this handle"
            for link, covers in zip(self._links, covering, strict=True)
            if not covers
        ]
        return ChainReport(
            length=1 + len(self._links),
            root_is_trusted=root_is_trusted,
            trusted=trusted,
            authorized=trusted and all(covering),
            signer_key=self._links[0].public_key if self._links else None,
            problems=tuple(problems),
            expires=self._expires(),
            root=root.subject if root is not None else None,
            revoked=tuple(
                f"{link.subject.text()} {link.revocation.text()}"
                for link in self._links
                if link.revocation is not None
            ),
        )

    def _expires(self) -> int | None:
        claims = (self._claims, *(link.claims for link in self._links))
        ends = (each.validity.expires for each in claims)
        return min((end for end in ends if end is not None), default=None)

    def _go_on(self, certificate: Certificate, values: Sequence[HandleValue]) -> None:
        """What comes after a certificate. values: of the record that it lies in."""
        while certificate.self_issued:
            if not any(_refusal(certificate.jws, certificate.public_key, self.policy)):
                self._ended = certificate.revocation is None
                return
            # A root's former or revoked key: the one in use vouches for it, in the same record.
            after = self._successor(certificate, values)
            if after is None:
                self._ended = certificate.revocation is None
                return
            self._links.append(after)
            certificate = after
        if len(self._links) >= self.max_links:
            self._broken = f"the chain has more than {self.max_links} links"
            return
        if not self._listed:
            self._listed = list(certificate.claims.chain or ())
        self._wanted = self._next(certificate.claims)

    def _successor(
        self, certificate: Certificate, values: Sequence[HandleValue]
    ) -> Certificate | None:
        record = Reference(certificate.subject.handle, 0)
        issuer, jws = certificate.claims.issuer, certificate.jws
        found = _pick(values, record, issuer, jws, self.policy)
        known = found is not None and any(found.jws.signed == x.jws.signed for x in self._links)
        if found is None or known or len(self._links) >= self.max_links:
            return None
        return None if any(_refusal(jws, found.public_key, self.policy)) else found

    def _next(self, claims: Claims) -> Reference:
        # Without a list the issuer's own record is asked for its certificates.
        return self._listed.pop(0) if self._listed else Reference(claims.issuer.handle, 0)

    def _earlier(self, revocation: Revocation) -> bool:
        """Whether what is signed was logged before its signer's key was revoked."""
        at = self.proven.get(revocation.log)
        return at is not None and 0 < at < revocation.position

    def _problems(self) -> Iterable[str]:
        if self._broken or self._wanted is not None:
            yield self._broken or "the walk is not finished"
        if not self._claims.validity.covers(self.now):
            yield "the record's signature does not hold now"
        if self._links:
            yield from _refusal(self._jws, self._links[0].public_key, self.policy)
        for at, link in enumerate(self._links):
            # A root vouches for itself; that its key is trusted is asked apart.
            above = self._links[at + 1] if at + 1 < len(self._links) else link
            if above is link and not self._ended:
                continue
            if link.revocation is not None and not self._earlier(link.revocation):
                yield (
                    f"the key of {link.subject.text()} was {link.revocation.text()}; what it "
                    "signed counts only with a receipt for an earlier change of that log"
                )
            try:
                link.verify(above.public_key, self.now, self.policy)
            except SignatureInvalid as error:
                yield f"{link.subject.text()}: {error}"


def _refusal(jws: Jws, key: PublicKey, policy: Policy) -> Iterable[str]:
    try:
        jws.verify(key, policy)
    except SignatureInvalid as error:
        yield str(error)


def _pick(
    values: Iterable[HandleValue],
    wanted: Reference,
    issuer: Reference,
    signed: Jws,
    policy: Policy,
) -> Certificate | None:
    """The certificate of `issuer` among the values: that whose key made the signature `signed`.

    Keys are replaced, so a record may have several of one identity: the one asked for goes first,
    then the newest; revoked ones come last. Where no key fits, the first is given, for its faults
    to be told.
    """
    fitting = [value for value in values if value.type.upper() in {HS_CERT, REVOKED}]
    # Newest by the time of writing; the record's server sets it.
    fitting.sort(key=lambda value: value.timestamp, reverse=True)
    fitting.sort(key=lambda value: (value.type.upper() == REVOKED, value.index != wanted.index))
    found: list[Certificate] = []
    for value in fitting[:MAX_CANDIDATES]:
        try:
            certificate = parse_certificate(value.data)
        except ParseError:
            continue
        revoked = value.type.upper() == REVOKED
        if revoked != (certificate.revocation is not None):
            continue  # neither hides as the other
        if same_identity(certificate.subject, issuer):
            found.append(certificate)
    if len(found) > 1:
        for certificate in found:
            if certificate.jws.signed != signed.signed and not any(
                _refusal(signed, certificate.public_key, policy)
            ):
                return certificate
    return found[0] if found else None
