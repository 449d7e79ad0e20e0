"""Signatures on records: made for what is registered, checked on what brings its own.

A RecordSigner adds HS_SIGNATURE to a record's values (do-irp 14). RecordGuard is the writer's
last word: a signature that a change brings must verify, one that the node made is renewed when
the record changes, and a prefix may refuse records without any.

Whether a signer may sign for a prefix, up to the root, is decided when a record is resolved:
resolver.verify walks the chain of certificates.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256

from protocol.change import Change
from protocol.errors import ParseError, SignatureInvalid
from protocol.jws import parse_jws, sign_jws
from protocol.keys import PrivateKey, PublicKey, decode_public_key, encode_public_key
from protocol.keys.policy import STRICT, Policy
from protocol.labels import MOST_GROUPS, groups, hidden
from protocol.name import described_prefix, fold_prefix, lines, prefix_of, prefix_record
from protocol.record import HandleValue, Reference
from protocol.signature import (
    HS_CERT,
    HS_SIGNATURE,
    Report,
    Validity,
    needs_signature,
    parse_certificate,
    parse_signature,
    record_payload,
    require_record,
    same_identity,
    verify_record,
)
from registry.access import Access
from registry.keys import NodeKeys
from registry.rules import REFUSE, SIGN, is_signature

Values = tuple[HandleValue, ...]
ValuesOf = Callable[[bytes], Sequence[HandleValue] | None]
"""The values of a record here, by its name; None where there is none."""

SIGNATURE_INDEX = 400
SITE_KEY_INDEX = 300
LOG_KEY_INDEX = 302
CERT_OFFSET = 100
"""The certificate of the key at index n lies at n + 100 of the same prefix record."""
VERIFIED = "verified"
"""Attribute of a record change whose signatures were verified before it reached the writer, by
this node's own code. Faces never take attributes of record changes from outside."""
MAX_SIGNATURES = 8
"""HS_SIGNATURE values looked at in one record."""
SKEW_S = 300
"""Signatures hold from so long before they are made: clocks differ."""


@dataclass(frozen=True, slots=True)
class RecordSigner:
    """Signs records with one key.

    reference: where the public key is, `302:0.NA/P`. chain: the certificates above it, nearest
    first; None while there are none. valid_s: how long a signature holds; None is without end.
    """

    reference: Reference
    key: PrivateKey
    chain: tuple[Reference, ...] | None = None
    valid_s: int | None = None

    def sign(self, handle: bytes, values: Sequence[HandleValue], now_s: int) -> Values:
        """The values with the HS_SIGNATURE of this signer over them, earlier ones replaced.

        Where labels hide some there are several: parts_of().
        """
        parts = parts_of(self.unsigned(values))
        texts = [self.signature(handle, part, now_s) for part in parts]
        return self.attached(values, texts, now_s)

    def unsigned(self, values: Sequence[HandleValue]) -> Values:
        """The values without this signer's signature."""
        return tuple(value for value in values if not self.made(value))

    def attached(self, values: Sequence[HandleValue], texts: Sequence[bytes], now_s: int) -> Values:
        """The values with signatures of this signer, earlier ones replaced."""
        kept = self.unsigned(values)
        apart = len(groups(kept))
        plain, made = texts[: len(texts) - apart], list(kept)
        old = [value for value in values if self.made(value) and value.index < _DRAWN]
        for at, data in enumerate(plain):
            if at < len(old):
                made.append(replace(old[at], data=data, timestamp=now_s))
            else:
                index = free_index([*made, *old[at:]])
                made.append(HandleValue(index, HS_SIGNATURE, data, timestamp=now_s))
        for data in texts[len(plain) :]:
            index = _drawn_index(made, data)
            made.append(HandleValue(index, HS_SIGNATURE, data, timestamp=now_s))
        return tuple(made)

    def signature(self, handle: bytes, values: Sequence[HandleValue], now_s: int) -> bytes:
        """The data of an HS_SIGNATURE value over these values."""
        return sign_jws(self.payload(handle, values, now_s), self.key)

    def payload(self, handle: bytes, values: Sequence[HandleValue], now_s: int) -> bytes:
        """What a signature over these values says, not yet signed. Raises ParseError."""
        return record_payload(
            handle, values, self.reference, validity=self.validity(now_s), chain=self.chain
        )

    def validity(self, now_s: int) -> Validity:
        """When a signature made now holds."""
        expires = None if self.valid_s is None else now_s + self.valid_s
        return Validity(now_s - SKEW_S, expires, now_s)

    def made(self, value: HandleValue) -> bool:
        """Whether a value is a signature that names this signer."""
        if value.type != HS_SIGNATURE:
            return False
        try:
            return same_identity(_issuer(value), self.reference)
        except ParseError:
            return False


def parts_of(values: Values) -> list[Values]:
    """What of a record is signed together (ADR 0053): nearly always all of it.

    Where labels hide values: what everybody sees; all of it, for administrators, which binds the
    labels too; and each group of hidden values that the same grants open. A signature is there
    for whoever sees everything that it lists, so it shows nothing to others.
    """
    closed = hidden(values)
    if not closed:
        return [values]
    shown = tuple(value for value in values if value.index not in closed)
    parts: list[Values] = [values, *groups(values)]
    return [shown, *parts] if any(map(needs_signature, shown)) else parts


def check_brought(
    handle: bytes, values: Values, brought: Values, access: Access, now_s: int
) -> None:
    """Raise SignatureInvalid or ParseError unless the signatures that a change brings hold.

    values: the whole record. Each covers the record; where labels hide values, together they do.
    """
    closed = hidden(values) if brought else frozenset()
    if not closed:
        for value in brought[:MAX_SIGNATURES]:
            verify_signature(handle, values, value, access, now_s).require(partial=False)
        return
    most = MAX_SIGNATURES + MOST_GROUPS
    reports = [verify_signature(handle, values, one, access, now_s) for one in brought[:most]]
    require_record(values, reports)
    if any(value.index not in closed for value in values if needs_signature(value)):
        open_to_all = [r for r in reports if not closed.intersection(r.verified)]
        require_record([v for v in values if v.index not in closed], open_to_all)


def node_signer(
    keys: NodeKeys, prefix: bytes, own_values: Sequence[HandleValue], *, rsa: bool = False
) -> RecordSigner:
    """The signer of a node: 302:0.NA/P (Ed25519), or 300:0.NA/P (RSA) for Handle software.

    own_values: those of 0.NA/P here, whose certificate names the chain above.
    """
    index = SITE_KEY_INDEX if rsa else LOG_KEY_INDEX
    record = prefix_record(prefix)
    chain = certificate_chain(record, own_values, index)
    key: PrivateKey = keys.site_private if rsa else keys.log_private
    return RecordSigner(Reference(record, index), key, chain)


def certificate_chain(
    record: bytes, values: Sequence[HandleValue], index: int
) -> tuple[Reference, ...] | None:
    """The certificates above the key at an index of a prefix record, nearest first.

    None while the record has no certificate for it: the prefix is not delegated yet.
    """
    at = index + CERT_OFFSET
    data = next((v.data for v in values if v.index == at and v.type == HS_CERT), None)
    if data is None:
        return None
    certificate = parse_certificate(data)
    own = Reference(record, at)
    return (own,) if certificate.self_issued else (own, *(certificate.claims.chain or ()))


def is_certified(record: bytes, values: Sequence[HandleValue], index: int, key: PublicKey) -> bool:
    """Whether a prefix record has a certificate for this key at an index. It is not verified."""
    for value in values:
        if value.index == index + CERT_OFFSET and value.type == HS_CERT:
            try:
                certificate = parse_certificate(value.data)
            except ParseError:
                return False
            return same_identity(
                certificate.subject, Reference(record, index)
            ) and encode_public_key(certificate.public_key) == encode_public_key(key)
    return False


def is_under(handle: bytes, prefix: bytes) -> bool:
    """Whether a handle's prefix is a folded prefix or derived from it: what its key may sign."""
    own = prefix_of(handle)
    return own == prefix or own.startswith(prefix + b".")


def free_index(values: Sequence[HandleValue]) -> int:
    """Where a signature goes: 400, or the next index that is free."""
    taken = {value.index for value in values}
    index = SIGNATURE_INDEX
    while index in taken:
        index += 1
    return index


_DRAWN = 1 << 30
"""From here on lie the signatures over hidden values that are alike."""


def _drawn_index(values: Sequence[HandleValue], data: bytes) -> int:
    """Where a signature over hidden values goes: its place must not tell how many others are there."""
    taken = {value.index for value in values}
    index = int.from_bytes(sha256(data).digest()[:4]) >> 2 | _DRAWN
    while index in taken:
        index += 1
    return index


def signatures(values: Sequence[HandleValue]) -> list[HandleValue]:
    """The HS_SIGNATURE values of a record, in the order of their indexes."""
    found = filter(is_signature, values)
    return sorted(found, key=lambda value: value.index)


def verify_signature(
    handle: bytes,
    values: Sequence[HandleValue],
    signature: HandleValue,
    access: Access,
    now_s: int,
    policy: Policy = STRICT,
) -> Report:
    """What one signature says about a record, checked with the signer's key as known here.

    Raises SignatureInvalid: no key of the signer is known, or none fits; ParseError: no JWS.
    """
    issuer = _issuer(signature)
    keys = _public_keys(access.find_public_keys(issuer))
    if fold_prefix(issuer.handle) == fold_prefix(handle):  # a record may bring its own key
        keys = _public_keys([v.data for v in values if v.index == issuer.index]) or keys
    if not keys:
        raise SignatureInvalid(
            f"value {signature.index} is signed by {issuer.text()}, whose public key is not known "
            "here; register that record first, or sign with a key of the prefix"
        )
    for key in keys:
        report = verify_record(handle, values, signature.data, key, now_s, policy=policy)
        if report.signature_verifies:
            break
    return report


class NodeSigners:
    """The signers of a node: one for each prefix that its keys are certified for.

    Its own prefix has one from the beginning. A further prefix Q that is home here has one once
    its record 0.NA/Q holds a certificate over the node's key, by whoever holds the authority over
    it. Each is made anew when the certificates in the prefix record change.
    """

    def __init__(self, keys: NodeKeys, prefix: bytes, *, rsa: bool = False) -> None:
        """rsa: sign with 300:0.NA/P, as Handle software verifies, instead of 302."""
        self._keys = keys
        self._prefix = prefix.upper()
        self._rsa = rsa
        self._made: dict[bytes, tuple[tuple[bytes, ...], RecordSigner]] = {}

    def of(self, handle: bytes, values_of: ValuesOf) -> RecordSigner | None:
        """The signer of the nearest prefix above a handle; None where no certificate covers it.

        values_of: what the prefix records say now.
        """
        found = (self.at(prefix, values_of) for prefix in lines(prefix_of(handle)))
        return next(filter(None, found), None)

    def at(self, prefix: bytes, values_of: ValuesOf) -> RecordSigner | None:
        """The signer of just this folded prefix, or None."""
        values = values_of(prefix_record(prefix)) or ()
        seen = tuple(value.data for value in values if value.type == HS_CERT)
        if not seen and prefix != self._prefix:
            return None
        known = self._made.get(prefix)
        if known is None or known[0] != seen:
            if prefix != self._prefix and not self._is_certified(prefix, values):
                return None
            known = seen, node_signer(self._keys, prefix, values, rsa=self._rsa)
            self._made[prefix] = known
        return known[1]

    def _is_certified(self, prefix: bytes, values: Sequence[HandleValue]) -> bool:
        index = SITE_KEY_INDEX if self._rsa else LOG_KEY_INDEX
        key = self._keys.site_public if self._rsa else self._keys.log_public
        return is_certified(prefix_record(prefix), values, index, key)


class RecordGuard:
    """The writer's rules about signatures."""

    def __init__(self, signers: NodeSigners | None = None) -> None:
        """signers: renew the node's own signatures, and sign changes that ask for it."""
        self._signers = signers

    def finish(
        self, access: Access, change: Change, name: bytes, after: Values, now_s: int, unsigned: str
    ) -> Values:
        """The values to write. Raises SignatureInvalid or ParseError to refuse the change.

        name: of the record, as it is kept. unsigned: what the prefix says of records without a
        valid signature: accept; mark (accepted, and the row's HAS_SIGNATURE flag tells); refuse.
        What the operator puts into prefix records is taken as it is: a parent's signature is
        checked where it is fetched, before this node knows the parent's key.
        """
        brought = signatures(change.values)
        own_record = change.actor is None and described_prefix(change.handle) is not None
        if brought and not own_record and not (change.attributes or {}).get(VERIFIED):
            check_brought(change.handle, after, tuple(brought), access, now_s)
        elif not brought and self._signers is not None:
            asked = bool((change.attributes or {}).get(SIGN))
            after = self._signed(self._signers, access, name, after, now_s, asked=asked)
        if unsigned == REFUSE and described_prefix(change.handle) is None:
            _require_signed(change.handle, after, access, now_s)
        return after

    @staticmethod
    def _signed(
        node: NodeSigners, access: Access, handle: bytes, after: Values, now_s: int, *, asked: bool
    ) -> Values:
        """A signature that this node made follows the record; one that is asked for is made."""
        if not (asked or signatures(after)):
            return after
        signer = node.of(handle, access.values)
        if signer is None or not (asked or any(map(signer.made, after))):
            return after
        return tuple(sorted(signer.sign(handle, after, now_s), key=lambda value: value.index))


def _require_signed(handle: bytes, values: Values, access: Access, now_s: int) -> None:
    """Raise SignatureInvalid unless one signature holds and covers the record."""
    problem = "it has no HS_SIGNATURE value"
    most = MAX_SIGNATURES + (MOST_GROUPS if hidden(values) else 0)
    for value in signatures(values)[:most]:
        try:
            verify_signature(handle, values, value, access, now_s).require()
        except (SignatureInvalid, ParseError) as error:
            problem = str(error)
        else:
            return
    raise SignatureInvalid(
        f"{handle.decode('utf-8', 'replace')} must be signed here: {problem}; "
        "register with `--sign`, or sign the values before sending them"
    )


def _issuer(value: HandleValue) -> Reference:
    return parse_signature(parse_jws(value.data)).claims.issuer


def _public_keys(found: Sequence[bytes]) -> list[PublicKey]:
    keys = []
    for data in found:
        try:
            keys.append(decode_public_key(data))
        except ParseError:
            continue
    return keys
