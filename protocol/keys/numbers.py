"""Keys on the wire: a type text and numbers (do-irp 13.1, 13.2; RFC 3651 §3.2.3).

Numbers are written as big-endian two's complement (a leading 00 when the top bit is set) and read
as unsigned. `ED25519_…`, `P256_…` and `SM2_PUB_KEY` and `…_PRIV_KEY` are our extension: in place of
numbers the 32 octets of an Ed25519 key, or of a curve the uncompressed point (04, x, y: 65 octets)
and the scalar (32 octets). What the numbers mean is left to protocol.keys.
"""

from __future__ import annotations

from dataclasses import dataclass

from protocol.errors import ParseError
from protocol.wire import Reader, Writer

MAX_KEY_BYTES = 16_384
"""Longest encoded key that is read."""
MAX_NUMBER_BYTES = 1_025
"""Longest number: 8192 bits and a leading 00."""
ED25519_BYTES = 32
_RSA_TAIL = b"\0\0\0\0"
"""Written after the numbers of an RSA public key; its absence is accepted."""

RSA_PUBLIC = b"RSA_PUB_KEY"
DSA_PUBLIC = b"DSA_PUB_KEY"
DH_PUBLIC = b"DH_PUB_KEY"
ED25519_PUBLIC = b"ED25519_PUB_KEY"
RSA_CRT = b"RSA_PRIVCRT_KEY"
RSA_PLAIN = b"RSA_PRIV_KEY"
DSA_PRIVATE = b"DSA_PRIV_KEY"
ED25519_PRIVATE = b"ED25519_PRIV_KEY"
P256_PUBLIC = b"P256_PUB_KEY"
P256_PRIVATE = b"P256_PRIV_KEY"
SM2_PUBLIC = b"SM2_PUB_KEY"
SM2_PRIVATE = b"SM2_PRIV_KEY"

PUBLIC_OCTETS: dict[bytes, int] = {ED25519_PUBLIC: 32, P256_PUBLIC: 65, SM2_PUBLIC: 65}
PRIVATE_OCTETS: dict[bytes, int] = {ED25519_PRIVATE: 32, P256_PRIVATE: 32, SM2_PRIVATE: 32}

PUBLIC_NUMBERS: dict[bytes, tuple[str, ...]] = {
    RSA_PUBLIC: ("e", "n"),
    DSA_PUBLIC: ("q", "p", "g", "y"),
    DH_PUBLIC: ("y", "p", "g"),
}
PRIVATE_NUMBERS: dict[bytes, tuple[str, ...]] = {
    RSA_CRT: ("n", "e", "d", "p", "q", "dp", "dq", "qinv"),
    RSA_PLAIN: ("n", "d"),
    DSA_PRIVATE: ("x", "p", "q", "g"),
}


@dataclass(frozen=True, slots=True)
class WireKey:
    """A key as it travels.

    type: one of the texts above. numbers: in the order of its row in PUBLIC_NUMBERS or
    PRIVATE_NUMBERS. octets: of a type in PUBLIC_OCTETS or PRIVATE_OCTETS, which has no numbers.
    flags: 0; public keys only.
    """

    type: bytes
    numbers: tuple[int, ...] = ()
    octets: bytes = b""
    flags: int = 0

    def named(self) -> dict[str, int]:
        """The numbers by name."""
        names = PUBLIC_NUMBERS.get(self.type) or PRIVATE_NUMBERS.get(self.type) or ()
        return dict(zip(names, self.numbers, strict=True))


def read_public_key(data: bytes | memoryview) -> WireKey:
    """The data of HS_PUBKEY, the key of a server or of a session. Raises ParseError."""
    reader = _reader(data)
    type_ = reader.octets(limit=64)
    flags = reader.u2()
    if type_ in PUBLIC_OCTETS:
        key = WireKey(type_, octets=bytes(reader.take(PUBLIC_OCTETS[type_])), flags=flags)
    elif type_ in PUBLIC_NUMBERS:
        key = WireKey(type_, _numbers(reader, len(PUBLIC_NUMBERS[type_])), flags=flags)
    else:
        raise ParseError(
            f"unknown public key type {type_!r}; {_known((*PUBLIC_NUMBERS, *PUBLIC_OCTETS))}"
        )
    if type_ == RSA_PUBLIC and reader.left and reader.take(len(_RSA_TAIL)) != _RSA_TAIL:
        raise ParseError("the octets after an RSA key are not four zeros")
    reader.finish()
    return key


def write_public_key(key: WireKey) -> bytes:
    """The inverse of read_public_key."""
    out = Writer().octets(key.type).u2(key.flags)
    _write_numbers(out, key)
    return out.raw(_RSA_TAIL if key.type == RSA_PUBLIC else b"").finish()


def read_private_key(data: bytes | memoryview) -> WireKey:
    """The octets of a private key (no flags). Raises ParseError, which never shows a number."""
    reader = _reader(data)
    type_ = reader.octets(limit=64)
    if type_ in PRIVATE_OCTETS:
        key = WireKey(type_, octets=bytes(reader.take(PRIVATE_OCTETS[type_])))
    elif type_ in PRIVATE_NUMBERS:
        key = WireKey(type_, _numbers(reader, len(PRIVATE_NUMBERS[type_])))
    else:
        raise ParseError(
            f"unknown private key type {type_!r}; {_known((*PRIVATE_NUMBERS, *PRIVATE_OCTETS))}"
        )
    reader.finish()
    return key


def write_private_key(key: WireKey) -> bytes:
    """The inverse of read_private_key."""
    out = Writer().octets(key.type)
    _write_numbers(out, key)
    return out.finish()


def number_octets(number: int) -> bytes:
    """A non-negative number in the shortest two's complement form; 0 is one zero octet."""
    return number.to_bytes(number.bit_length() // 8 + 1, "big")


def _reader(data: bytes | memoryview) -> Reader:
    if len(data) > MAX_KEY_BYTES:
        raise ParseError(f"a key of {len(data)} octets is above {MAX_KEY_BYTES}")
    return Reader(data)


def _numbers(reader: Reader, count: int) -> tuple[int, ...]:
    return tuple(int.from_bytes(reader.octets(limit=MAX_NUMBER_BYTES), "big") for _ in range(count))


def _write_numbers(out: Writer, key: WireKey) -> None:
    out.raw(key.octets)
    for number in key.numbers:
        out.octets(number_octets(number))


def _known(types: tuple[bytes, ...]) -> str:
    return f"known: {', '.join(sorted(name.decode() for name in types))}"
