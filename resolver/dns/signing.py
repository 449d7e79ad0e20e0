"""DNSSEC: one key for each zone's everything (ECDSA P-256, algorithm 13), signatures made when asked.

A signature is kept until half of its time is over, so that what is asked often is signed once.
Negative answers are compact denials (RFC 9824): one NSEC record made for the very name, so that
nothing can be listed and one signature says all. Key files are the business of resolver.dns.keys.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from struct import Struct
from typing import Final, NamedTuple

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ec import (
    ECDSA,
    EllipticCurvePrivateKey,
)
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from resolver.dns.message import CLASS_IN, MAX_LABEL, MAX_NAME, RRset, Type

ALGORITHM: Final = 13
"""ECDSAP256SHA256 (RFC 6605)."""
FLAGS: Final = 257
"""A zone key that is a secure entry point: the one key signs everything."""
SHA256_DIGEST: Final = 2
EARLIER_S: Final = 3_600
"""Signatures begin to hold an hour ago, for clocks that are behind."""

_DNSKEY = Struct(">HBB")
_DS = Struct(">HBB")
_RRSIG = Struct(">HBBIIIH")
_RR = Struct(">HHIH")


@dataclass(frozen=True, slots=True)
class ZoneKey:
    """A private key with its DNSKEY RDATA and tag."""

    private: EllipticCurvePrivateKey
    rdata: bytes
    tag: int


def zone_key(private: EllipticCurvePrivateKey) -> ZoneKey:
    """The DNSKEY of a private key (RFC 6605 §4)."""
    numbers = private.public_key().public_numbers()
    point = numbers.x.to_bytes(32, "big") + numbers.y.to_bytes(32, "big")
    rdata = _DNSKEY.pack(FLAGS, 3, ALGORITHM) + point
    return ZoneKey(private, rdata, key_tag(rdata))


def key_tag(rdata: bytes) -> int:
    """RFC 4034 appendix B."""
    total = sum(octet << 8 if at % 2 == 0 else octet for at, octet in enumerate(rdata))
    return (total + (total >> 16)) & 0xFFFF


def ds_rdata(owner: bytes, key: ZoneKey) -> bytes:
    """The DS record that the parent zone publishes, SHA-256 (RFC 4034 §5.1.4, RFC 4509)."""
    return _DS.pack(key.tag, ALGORITHM, SHA256_DIGEST) + sha256(owner + key.rdata).digest()


class Kept(NamedTuple):
    """A signature kept. until: when it is made anew. seal: of what it covers."""

    seal: bytes
    until: float
    rrset: RRset


class Signer:
    """Signs RRsets of the node's zones. now: seconds since 1970.

    active: signs everything. all_keys: sign the key records too, so that a resolver that knows
    only one of them accepts all.
    """

    def __init__(
        self,
        active: ZoneKey,
        all_keys: Sequence[ZoneKey],
        *,
        now: Callable[[], float],
        hold_s: int,
        max_kept: int,
    ) -> None:
        self.active = active
        self.all_keys = tuple(all_keys)
        self.kept: dict[tuple[bytes, int], Kept] = {}
        self._now = now
        self._hold_s = hold_s
        self._max = max_kept

    def sign(self, rrset: RRset, zone: bytes, *, keep: bool = True) -> RRset:
        """The RRSIG records of an RRset: kept ones if they cover it still.

        keep: False for what is made for one question only.
        """
        key = (rrset.owner, rrset.type)
        seal = sha256(b"".join((zone, *_canonical(rrset)))).digest()[:16] if keep else b""
        now = self._now()
        kept = self.kept.get(key) if keep else None
        if kept is not None and kept.seal == seal and kept.until > now:
            return kept.rrset
        made = self._made(rrset, zone, int(now))
        if keep:
            self.kept.pop(key, None)
            while len(self.kept) >= self._max:
                del self.kept[next(iter(self.kept))]
            self.kept[key] = Kept(seal, now + self._hold_s / 2, made)
        return made

    def _made(self, rrset: RRset, zone: bytes, now_s: int) -> RRset:
        own = rrset.type in {Type.DNSKEY, Type.CDS, Type.CDNSKEY}
        rdatas = tuple(
            signature(rrset, zone, key, now_s - EARLIER_S, now_s + self._hold_s)
            for key in (self.all_keys if own else (self.active,))
        )
        return RRset(rrset.owner, Type.RRSIG, rrset.ttl, rdatas)


def signature(rrset: RRset, zone: bytes, key: ZoneKey, start_s: int, end_s: int) -> bytes:
    """RRSIG RDATA over an RRset (RFC 4034 §3.1). start_s, end_s: seconds since 1970."""
    labels = _label_count(rrset.owner)
    head = _RRSIG.pack(rrset.type, ALGORITHM, labels, rrset.ttl, end_s, start_s, key.tag) + zone
    signed = b"".join((head, *_canonical(rrset)))
    r, s = decode_dss_signature(key.private.sign(signed, ECDSA(hashes.SHA256())))
    return head + r.to_bytes(32, "big") + s.to_bytes(32, "big")


def _canonical(rrset: RRset) -> Iterable[bytes]:
    """The records in canonical form and order (RFC 4034 §6)."""
    for rdata in sorted(rrset.rdatas):
        yield rrset.owner
        yield _RR.pack(rrset.type, CLASS_IN, rrset.ttl, len(rdata))
        yield rdata


def _label_count(name: bytes) -> int:
    at = count = 0
    while name[at]:
        at += name[at] + 1
        count += 1
    return count


# --- negative answers


def denial(name: bytes, types: Iterable[int], ttl: int) -> RRset:
    """The NSEC of a name alone, up to the first name after it (RFC 9824 §3).

    types: those that are there, without NSEC and RRSIG; NXNAME when the name is not.
    """
    wanted = sorted({*types, Type.RRSIG, Type.NSEC})
    return RRset(name, Type.NSEC, ttl, (successor(name) + type_bitmap(wanted),))


def successor(name: bytes) -> bytes:
    """The first name after this one in canonical order (RFC 4471 §3.1.2, RFC 9824 §3.2)."""
    if len(name) + 2 <= MAX_NAME:
        return b"\x01\x00" + name
    return _past(name)


def _past(name: bytes) -> bytes:
    """The first name after this one and everything below it."""
    label, rest = name[1 : 1 + name[0]], name[1 + name[0] :]
    if len(name) < MAX_NAME and len(label) < MAX_LABEL:
        return bytes((len(label) + 1,)) + label + b"\0" + rest
    # No room beside it either: the next label that is no longer.
    stem = label.rstrip(b"\xff")
    if not stem:
        return _past(rest)
    octet = stem[-1] + 1
    if 0x41 <= octet <= 0x5A:
        octet = 0x5B  # capital letters sort as small ones
    raised = stem[:-1] + bytes((octet,))
    return bytes((len(raised),)) + raised + rest


def type_bitmap(types: Sequence[int]) -> bytes:
    """Types as NSEC writes them (RFC 4034 §4.1.2). types: in rising order."""
    windows: dict[int, bytearray] = {}
    for type_ in types:
        bits = windows.setdefault(type_ >> 8, bytearray(32))
        bits[(type_ & 0xFF) >> 3] |= 0x80 >> (type_ & 7)
    made = bytearray()
    for window, bits in windows.items():
        used = bytes(bits).rstrip(b"\0")
        made += bytes((window, len(used))) + used
    return bytes(made)
