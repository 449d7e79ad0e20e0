"""What child and parent sign about an escrow deposit: JWS texts of their site keys (RSA, key 300).

A deposit is a portion of the log: leaves as they are, bodies as they are or encrypted. Leaves show
nothing (plan §7), so the parent verifies the root of every deposit, an encrypted one as well.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from hmac import compare_digest
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey

from protocol.errors import ParseError, SignatureInvalid
from protocol.jws import parse_jws, parse_object, sign_jws

DEPOSIT: Final = "biaoshi-escrow-deposit"
REQUEST: Final = "biaoshi-escrow-request"
RECEIPT: Final = "biaoshi-escrow-receipt"
CLOCK_S: Final = 300
"""How far the clocks of child and parent may differ."""
MAX_NOTE: Final = 16_384
HEADER: Final = "Escrow-Note"
MEDIA_TYPE: Final = "application/vnd.biaoshi.log+msgpack"
MAX_DEPOSIT: Final = 16 << 20
"""Octets of one deposit; a longer log goes in several."""


@dataclass(frozen=True, slots=True)
class Deposit:
    """Changes first … last of a prefix's log, as they were handed over.

    root: of the first `last` changes; checkpoint: the child's signed note over them. sha256 and
    size: of the octets deposited. audience: fingerprint of the parent's key. issued: s since 1970.
    """

    prefix: str
    first: int
    last: int
    root: bytes
    checkpoint: str
    sha256: str
    size: int
    encrypted: bool
    audience: str
    issued: int

    def sign(self, key: RSAPrivateKey) -> bytes:
        """The deposit's note."""
        return sign_jws(_json({"typ": DEPOSIT, **self.fields()}), key)

    def fields(self) -> dict[str, Any]:
        """What is signed."""
        return {
            "aud": self.audience,
            "bytes": self.size,
            "checkpoint": self.checkpoint,
            "encrypted": self.encrypted,
            "first": self.first,
            "iat": self.issued,
            "last": self.last,
            "prefix": self.prefix,
            "root": self.root.hex(),
            "sha256": self.sha256,
        }


def read_deposit(data: bytes, key: RSAPublicKey, *, audience: str, now: float) -> Deposit:
    """A deposit's note that the child signed, for us, just now. Raises ParseError, SignatureInvalid."""
    fields = _fields(data, DEPOSIT, key)
    deposit = _deposit(fields)
    require_fresh(deposit.audience, deposit.issued, audience=audience, now=now)
    return deposit


def sign_request(key: RSAPrivateKey, prefix: str, part: str, audience: str, issued: int) -> bytes:
    """A child asks for what lies at its parent. part: `list`, or the name of a deposit."""
    fields = {"aud": audience, "iat": issued, "part": part, "prefix": prefix, "typ": REQUEST}
    return sign_jws(_json(fields), key)


def check_request(
    data: bytes, key: RSAPublicKey, prefix: str, part: str, *, audience: str, now: float
) -> None:
    """Raise SignatureInvalid unless the child asks for just this, just now."""
    fields = _fields(data, REQUEST, key)
    if (fields.get("prefix"), fields.get("part")) != (prefix, part):
        raise SignatureInvalid("the request was signed for something else")
    require_fresh(str(fields.get("aud")), fields.get("iat"), audience=audience, now=now)


def sign_receipt(deposit: Deposit, key: RSAPrivateKey, node: str, received: int) -> bytes:
    """The parent's word for a deposit that it verified and made durable."""
    fields = deposit.fields() | {"node": node, "received": received, "typ": RECEIPT}
    return sign_jws(_json(fields), key)


def read_receipt(data: bytes, key: RSAPublicKey) -> tuple[Deposit, int]:
    """What a receipt is for, and when it was given. Raises ParseError, SignatureInvalid."""
    fields = _fields(data, RECEIPT, key)
    return _deposit(fields), _number(fields, "received")


def require_receipt(data: bytes, key: RSAPublicKey, deposit: Deposit) -> None:
    """Raise SignatureInvalid unless a receipt is for this deposit."""
    given, _ = read_receipt(data, key)
    if given != deposit:
        raise SignatureInvalid("the parent's receipt is for something else than was deposited")


def digest(data: bytes) -> str:
    """SHA-256 in hexadecimal."""
    return sha256(data).hexdigest()


def require_fresh(said: str, issued: Any, *, audience: str, now: float) -> None:
    """Raise SignatureInvalid for a note of another time, or for another node."""
    if not compare_digest(said.encode(), audience.encode()):
        raise SignatureInvalid(f"this is meant for the node with key {said[:80]}, not for us")
    if type(issued) is not int or abs(now - issued) > CLOCK_S:
        raise SignatureInvalid("this was not signed just now; set the clocks right and try again")


def _fields(data: bytes, kind: str, key: RSAPublicKey) -> Mapping[str, Any]:
    if len(data) > MAX_NOTE:
        raise ParseError(f"a note of {len(data)} octets is above {MAX_NOTE}")
    jws = parse_jws(data)
    jws.verify(key)
    fields = parse_object(jws.payload)
    if fields.get("typ") != kind:
        raise ParseError(f"this is no {kind}")
    return fields


def _deposit(fields: Mapping[str, Any]) -> Deposit:
    try:
        first, last = _number(fields, "first"), _number(fields, "last")
        size = _number(fields, "bytes")
        if not 0 < first <= last or size > MAX_DEPOSIT or type(fields["encrypted"]) is not bool:
            raise ParseError(f"no deposit has changes {first} to {last} in {size} octets")
        return Deposit(
            prefix=str(fields["prefix"]),
            first=first,
            last=last,
            root=bytes.fromhex(str(fields["root"])),
            checkpoint=str(fields["checkpoint"]),
            sha256=str(fields["sha256"]),
            size=size,
            encrypted=fields["encrypted"],
            audience=str(fields["aud"]),
            issued=_number(fields, "iat"),
        )
    except (KeyError, ValueError) as error:
        raise ParseError(f"the note lacks or garbles {error}") from None


def _number(fields: Mapping[str, Any], name: str) -> int:
    value = fields[name]
    if type(value) is not int or not 0 <= value < 1 << 62:
        raise ParseError(f"{name} is no number")
    return value


def _json(fields: Mapping[str, Any]) -> bytes:
    return json.dumps(fields, separators=(",", ":"), sort_keys=True).encode()
