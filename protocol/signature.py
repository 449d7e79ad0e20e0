"""HS_SIGNATURE and HS_CERT: who vouches for a record, and who for a key (do-irp 14).

Both are JWS texts; so is 0.REVOKED, a certificate of ours that says since when its key counts no
more. A record signature lists one digest per value, so that a partial answer still
verifies; a certificate names a key and what it may sign. Walking from one to a trusted root is
protocol.chain.
"""

from __future__ import annotations

from base64 import b64decode
from binascii import Error as Base64Error
from binascii import b2a_base64
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from hmac import compare_digest
from typing import Any

import orjson

from protocol.errors import ParseError, SignatureInvalid
from protocol.identifier import key_of
from protocol.jws import JsonObject, Jws, parse_jws, parse_object, sign_jws
from protocol.keys import PrivateKey, PublicKey
from protocol.keys.jwk import format_jwk, parse_jwk
from protocol.keys.policy import STRICT, Policy, Weak
from protocol.name import PREFIX_RECORDS, fold_prefix, is_arcwise, prefix_of
from protocol.record import PUBLIC_READ, HandleValue, Reference, value_digest

HS_SIGNATURE = b"HS_SIGNATURE"
HS_CERT = b"HS_CERT"
REVOKED = b"0.REVOKED"
"""A value of ours: the certificate of a key that was revoked, with the claim `revoked`."""
MAX_CHAIN = 50
MAX_DIGESTS = 2_048
MAX_PERMISSIONS = 1_024
_DIGESTS = {"SHA-256": "sha256", "SHA-384": "sha384", "SHA-512": "sha512"}
_WEAK_DIGESTS = {"SHA-1": "sha1", "SHA1": "sha1"}


class Perm(StrEnum):
    """What a certificate lets its subject sign."""

    EVERYTHING = "everything"
    THIS_HANDLE = "thisHandle"
    HANDLES_UNDER_THIS_PREFIX = "handlesUnderThisPrefix"
    DERIVED_PREFIXES = "derivedPrefixes"


@dataclass(frozen=True, slots=True)
class Permission:
    """One entry of `perms`. perm: a Perm, or a word we do not know, which permits nothing."""

    handle: bytes
    perm: str


@dataclass(frozen=True, slots=True)
class Validity:
    """When a signature or certificate holds: seconds since 1970, both ends included.

    None is open. issued is told, not checked.
    """

    not_before: int | None
    expires: int | None
    issued: int | None = None

    def covers(self, now: int) -> bool:
        """Whether `now` lies in it."""
        early = self.not_before is not None and now < self.not_before
        late = self.expires is not None and now > self.expires
        return not early and not late


@dataclass(frozen=True, slots=True)
class Claims:
    """What signatures and certificates have in common.

    chain: references that certify the issuer, nearest first; None when the claim is absent.
    """

    issuer: Reference
    subject: bytes
    validity: Validity
    chain: tuple[Reference, ...] | None


@dataclass(frozen=True, slots=True)
class SignatureClaims:
    """The payload of HS_SIGNATURE. digests: (index, digest octets), in the order written."""

    claims: Claims
    digest_algorithm: str
    digests: tuple[tuple[int, bytes], ...]


@dataclass(frozen=True, slots=True)
class Revocation:
    """Since when a key counts no more.

    log: name of the log of its holder's node. position: what this log has before this change still
    counts; 0: nothing does. time: seconds since 1970, told and not checked.
    """

    log: str
    position: int
    time: int
    reason: str = ""

    def text(self) -> str:
        """For people."""
        why = f" ({self.reason})" if self.reason else ""
        return f"revoked{why} at change {self.position} of {self.log or 'no log'}"


@dataclass(frozen=True, slots=True)
class Certificate:
    """An HS_CERT or 0.REVOKED value: its JWS and what it says."""

    jws: Jws
    claims: Claims
    permissions: tuple[Permission, ...]
    public_key: PublicKey
    revocation: Revocation | None = None

    @property
    def subject(self) -> Reference:
        """The certified identity."""
        return Reference.parse(self.claims.subject)

    @property
    def self_issued(self) -> bool:
        """Whether it names itself as issuer: the end of a chain."""
        return same_identity(self.subject, self.claims.issuer)

    def verify(self, issuer_key: PublicKey, now: int, policy: Policy = STRICT) -> None:
        """Raise SignatureInvalid unless the issuer's key signed it and it holds now."""
        self.jws.verify(issuer_key, policy)
        if not self.claims.validity.covers(now):
            raise SignatureInvalid(f"the certificate of {self.subject.text()} does not hold now")


@dataclass(frozen=True, slots=True)
class Report:
    """What one HS_SIGNATURE says about a record, each check apart.

    verified: indexes whose digest holds. unsigned: values it does not list. bad_digest: listed and
    changed. missing: listed and not in the record. problem: why the signature did not verify.
    Says nothing of the signer: that is protocol.chain.
    """

    signature_verifies: bool
    valid_payload: bool
    correct_handle: bool = False
    date_in_range: bool = False
    verified: tuple[int, ...] = ()
    unsigned: tuple[int, ...] = ()
    bad_digest: tuple[int, ...] = ()
    missing: tuple[int, ...] = ()
    uncovered: tuple[int, ...] = ()
    """The unsigned ones that need a signature."""
    problem: str = ""

    @property
    def sound(self) -> bool:
        """The signature itself holds and nothing it lists was changed or taken away."""
        checks = (self.signature_verifies, self.valid_payload)
        bound = (self.correct_handle, self.date_in_range)
        return all(checks) and all(bound) and not self.bad_digest and not self.missing

    def require_sound(self, *, partial: bool = False) -> None:
        """Raise SignatureInvalid unless the signature holds for what it lists.

        partial: for an answer that holds only some values of the record: values that are listed
        and absent are no fault then.
        """
        if not self.signature_verifies or not self.valid_payload:
            raise SignatureInvalid(f"the record's signature does not verify: {self.problem}")
        if not self.correct_handle:
            raise SignatureInvalid("the signature was made for another handle")
        if not self.date_in_range:
            raise SignatureInvalid("the signature does not hold now: too early, or expired")
        if self.bad_digest or (self.missing and not partial):
            raise SignatureInvalid(
                f"values changed {list(self.bad_digest)}, values taken away {list(self.missing)} "
                "since the record was signed"
            )

    def require(self, *, partial: bool = False) -> None:
        """require_sound(), and that it covers every value that needs a signature."""
        self.require_sound(partial=partial)
        if self.uncovered:
            raise SignatureInvalid(f"values {list(self.uncovered)} are covered by no signature")


def needs_signature(value: HandleValue) -> bool:
    """Signatures themselves and what the public may not read need none."""
    return bool(value.permissions & PUBLIC_READ) and value.type.upper() != HS_SIGNATURE


def same_identity(left: Reference, right: Reference) -> bool:
    """Whether two references name the same value (handles by the prefix rule)."""
    return left.index == right.index and fold_prefix(left.handle) == fold_prefix(right.handle)


def _same_name(signed: bytes, asked: bytes) -> bool:
    """Whether a signature made for one name is one for the other.

    A handle is compared by the prefix rule; what is delegated arc by arc has several spellings,
    which are one where they are stored as one: a GTIN as URL and as URN, a label and its number.
    """
    if fold_prefix(signed) == fold_prefix(asked):
        return True
    return is_arcwise(signed) and is_arcwise(asked) and key_of(signed) == key_of(asked)


def sign_record(
    handle: bytes,
    values: Iterable[HandleValue],
    signer: Reference,
    key: PrivateKey,
    *,
    validity: Validity,
    chain: Sequence[Reference] | None = None,
) -> bytes:
    """The data of an HS_SIGNATURE value over those `values` that need a signature.

    chain: where the signer's certificates are, nearest first. Raises ParseError when a name is
    not UTF-8 or the key cannot sign.
    """
    return sign_jws(record_payload(handle, values, signer, validity=validity, chain=chain), key)


def record_payload(
    handle: bytes,
    values: Iterable[HandleValue],
    signer: Reference,
    *,
    validity: Validity,
    chain: Sequence[Reference] | None = None,
) -> bytes:
    """What sign_record() signs. Raises ParseError when a name is not UTF-8."""
    digests = [
        {"index": value.index, "digest": b2a_base64(value_digest(value), newline=False).decode()}
        for value in values
        if needs_signature(value)
    ]
    own = {"digests": {"alg": "SHA-256", "digests": digests}}
    return _payload(own, signer, _text(handle), validity, chain)


def issue_certificate(
    subject: Reference,
    subject_key: PublicKey,
    permissions: Iterable[Permission],
    issuer: Reference,
    issuer_key: PrivateKey,
    *,
    validity: Validity,
    chain: Sequence[Reference] | None = None,
    revocation: Revocation | None = None,
) -> bytes:
    """The data of an HS_CERT value. A self-issued one has issuer == subject and the same key.

    revocation: the data of a 0.REVOKED value instead.
    """
    perms = [{"handle": _text(item.handle), "perm": str(item.perm)} for item in permissions]
    own: JsonObject = {"perms": perms, "publicKey": format_jwk(subject_key)}
    if revocation is not None:
        own["revoked"] = {
            "log": revocation.log,
            "position": revocation.position,
            "time": revocation.time,
            "reason": revocation.reason,
        }
    return sign_jws(_payload(own, issuer, _reference(subject), validity, chain), issuer_key)


def parse_signature(jws: Jws) -> SignatureClaims:
    """The claims of an HS_SIGNATURE, not yet verified. Raises ParseError."""
    payload = parse_object(jws.payload)
    listed = payload.get("digests")
    if not isinstance(listed, Mapping) or not isinstance(listed.get("digests"), list):
        raise ParseError("a record signature without its list of digests")
    algorithm = listed.get("alg")
    if not isinstance(algorithm, str) or algorithm not in _DIGESTS | _WEAK_DIGESTS:
        raise ParseError(f"value digests by {algorithm!r:.20}; SHA-256 is wanted")
    entries = listed["digests"]
    if len(entries) > MAX_DIGESTS:
        raise ParseError(f"{len(entries)} digests are above {MAX_DIGESTS}")
    digests = tuple(_digest_entry(entry) for entry in entries)
    return SignatureClaims(_claims(payload), algorithm, digests)


def parse_certificate(data: bytes) -> Certificate:
    """An HS_CERT value, not yet verified. Raises ParseError."""
    jws = parse_jws(data)
    payload = parse_object(jws.payload)
    entries = payload.get("perms", [])
    if not isinstance(entries, list) or len(entries) > MAX_PERMISSIONS:
        raise ParseError("the `perms` of a certificate are a list of permissions")
    permissions = tuple(_permission(entry) for entry in entries)
    key = parse_jwk(payload.get("publicKey"))
    revocation = _revocation(payload["revoked"]) if "revoked" in payload else None
    return Certificate(jws, _claims(payload), permissions, key, revocation)


def verify_record(
    handle: bytes,
    values: Iterable[HandleValue],
    signature: bytes,
    key: PublicKey,
    now: int,
    *,
    policy: Policy = STRICT,
) -> Report:
    """What the signature (the data of an HS_SIGNATURE value) says about the record.

    now: seconds since 1970. Raises ParseError when it is no JWS; all else is in the report.
    """
    jws = parse_jws(signature)
    verifies, problem = True, ""
    try:
        jws.verify(key, policy)
    except SignatureInvalid as error:
        verifies, problem = False, str(error)
    try:
        signed = parse_signature(jws)
        if signed.digest_algorithm in _WEAK_DIGESTS:
            policy.allow(Weak.DIGEST_SHA1)
    except (ParseError, SignatureInvalid) as error:
        return Report(verifies, valid_payload=False, problem=problem or str(error))
    verified, unsigned, bad, missing, uncovered = _compare_digests(tuple(values), signed)
    return Report(
        verifies,
        valid_payload=True,
        correct_handle=_same_name(signed.claims.subject, handle),
        date_in_range=signed.claims.validity.covers(now),
        verified=verified,
        unsigned=unsigned,
        bad_digest=bad,
        missing=missing,
        uncovered=uncovered,
        problem=problem,
    )


def require_record(
    values: Iterable[HandleValue], reports: Sequence[Report], *, partial: bool = False
) -> None:
    """Raise SignatureInvalid unless the reports together cover every value that needs it.

    reports: one per HS_SIGNATURE whose signer is trusted (protocol.chain). partial: the values are
    some of the record's only; that a signature lists others is no fault then.
    """
    verified: set[int] = set()
    for report in reports:
        report.require_sound(partial=partial)
        verified.update(report.verified)
    bare = [value.index for value in values if needs_signature(value)]
    if open_ := [index for index in bare if index not in verified]:
        raise SignatureInvalid(f"values {open_} are covered by no signature")


def permits(permissions: Iterable[Permission], handle: bytes) -> bool:
    """Whether any of the permissions covers the handle (do-irp 14, second table)."""
    return any(_covers(permission, handle) for permission in permissions)


def _covers(permission: Permission, handle: bytes) -> bool:
    if permission.perm == Perm.EVERYTHING:
        return True
    # Folded like an identity, but a prefix record is always folded whole.
    owner, asked = fold_prefix(permission.handle), fold_prefix(handle)
    under = owner[len(PREFIX_RECORDS) :] if owner.startswith(PREFIX_RECORDS) else None
    prefix = prefix_of(handle) if b"/" in asked or is_arcwise(asked) else None
    match permission.perm:
        case Perm.THIS_HANDLE:
            return asked == owner or (under is not None and prefix == under)
        case Perm.HANDLES_UNDER_THIS_PREFIX:
            return under is not None and prefix == under
        case Perm.DERIVED_PREFIXES if under is not None:
            derived = under + b"."
            is_prefix_record = asked.startswith(PREFIX_RECORDS + derived)
            return is_prefix_record or (prefix is not None and prefix.startswith(derived))
    return False


def _compare_digests(
    values: Sequence[HandleValue], signed: SignatureClaims
) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """verified, unsigned, bad, missing, uncovered."""
    listed: dict[int, list[bytes]] = {}
    for index, digest in signed.digests:
        listed.setdefault(index, []).append(digest)
    name = (_DIGESTS | _WEAK_DIGESTS)[signed.digest_algorithm]
    verified: list[int] = []
    unsigned: list[int] = []
    bad: list[int] = []
    uncovered: list[int] = []
    for value in values:
        digests = listed.get(value.index)
        if digests is None:
            unsigned.append(value.index)
            if needs_signature(value):
                uncovered.append(value.index)
            continue
        own = value_digest(value, name)
        # An index listed twice with two digests vouches for neither.
        good = all(compare_digest(own, digest) for digest in digests)
        (verified if good else bad).append(value.index)
    present = {value.index for value in values}
    missing = [index for index in listed if index not in present]
    return tuple(verified), tuple(unsigned), tuple(bad), tuple(missing), tuple(uncovered)


def _payload(
    own: JsonObject,
    issuer: Reference,
    subject: str,
    validity: Validity,
    chain: Sequence[Reference] | None,
) -> bytes:
    claims: JsonObject = dict(own)
    if chain is not None:
        claims["chain"] = [_reference(link) for link in chain]
    claims |= {"iss": _reference(issuer), "sub": subject}
    times = {"exp": validity.expires, "nbf": validity.not_before, "iat": validity.issued}
    claims |= {name: time for name, time in times.items() if time is not None}
    return orjson.dumps(claims)


def _claims(payload: JsonObject) -> Claims:
    issuer, subject = payload.get("iss"), payload.get("sub")
    if not isinstance(issuer, str) or not isinstance(subject, str):
        raise ParseError("a signature needs the texts `iss` and `sub`")
    times = Validity(*(_time(payload, name) for name in ("nbf", "exp", "iat")))
    return Claims(Reference.parse(_utf8(issuer)), _utf8(subject), times, _chain(payload))


def _chain(payload: JsonObject) -> tuple[Reference, ...] | None:
    chain = payload.get("chain")
    if chain is None:
        return None
    if not isinstance(chain, list) or len(chain) > MAX_CHAIN:
        raise ParseError(f"`chain` is a list of at most {MAX_CHAIN} references")
    if not all(isinstance(link, str) for link in chain):
        raise ParseError("`chain` holds texts such as 400:0.NA/20.5000")
    return tuple(Reference.parse(_utf8(link)) for link in chain)


def _time(payload: JsonObject, name: str) -> int | None:
    time = payload.get(name)
    if time is None or (type(time) is int and abs(time) < 1 << 63):
        return time
    raise ParseError(f"`{name}` is {time!r:.40}; wanted seconds since 1970")


def _digest_entry(entry: Any) -> tuple[int, bytes]:
    if isinstance(entry, Mapping):
        index, digest = entry.get("index"), entry.get("digest")
        if type(index) is int and isinstance(digest, str):
            try:
                return index, b64decode(digest, validate=True)
            except (Base64Error, ValueError):
                raise ParseError(f"digest of value {index} is not base64") from None
    raise ParseError("an entry of the digests is {index, digest}")


def _revocation(said: Any) -> Revocation:
    if isinstance(said, Mapping):
        log, reason = said.get("log"), said.get("reason", "")
        position, time = said.get("position"), said.get("time")
        numbers = all(type(n) is int and 0 <= n < 1 << 63 for n in (position, time))
        if isinstance(log, str) and isinstance(reason, str) and numbers:
            return Revocation(log[:500], int(position or 0), int(time or 0), reason[:500])
    raise ParseError("`revoked` of a certificate is {log, position, time, reason}")


def _permission(entry: Any) -> Permission:
    if isinstance(entry, Mapping):
        handle, perm = entry.get("handle"), entry.get("perm")
        # `everything` may come without a handle.
        if isinstance(perm, str) and isinstance(handle, str | None):
            return Permission(_utf8(handle or ""), perm)
    raise ParseError("an entry of `perms` is {handle, perm}")


def _utf8(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise ParseError("a text of the signature holds half a surrogate pair") from None


def _text(name: bytes) -> str:
    try:
        return name.decode()
    except UnicodeDecodeError:
        raise ParseError(f"{name!r:.80} is not UTF-8; it cannot be signed") from None


def _reference(reference: Reference) -> str:
    return f"{reference.index}:{_text(reference.handle)}"
