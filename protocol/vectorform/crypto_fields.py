"""What the forms about keys and signatures share: fields that hold keys and numbers, verdicts.

Vectors are checked with every weak method accepted: they say what verifies, not what a node takes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from typing import Any

from protocol.errors import BiaoshiError, ParseError, SessionFailed, SignatureInvalid
from protocol.jsonfields import Fields
from protocol.keys import PrivateKey, PublicKey, decode_private_key, decode_public_key
from protocol.vectorform.form import Shape, VectorMismatch, claims_of

_NUMBER = re.compile(r"0|[1-9a-f][0-9a-f]*")
TEST_ONLY = "test_only"
CASE = "case"


def number_text(number: int) -> str:
    """Hexadecimal without leading zeros."""
    return f"{number:x}"


def number_of(fields: Fields, name: str) -> int:
    """The inverse of number_text. Raises ParseError."""
    value = fields.any(name)
    if not isinstance(value, str) or not _NUMBER.fullmatch(value):
        raise ParseError(f"{fields.path(name)} is {value!r:.60}; wanted a hexadecimal number")
    return int(value, 16)


def public_key_of(fields: Fields, name: str = "public_key_hex") -> PublicKey:
    """The key in a field. Raises ParseError."""
    return decode_public_key(fields.hex(name))


def private_key_of(fields: Fields, name: str = "private_key_hex") -> PrivateKey:
    """The private key in a field. Raises ParseError."""
    return decode_private_key(fields.hex(name))


def holds(verify: Callable[[], object]) -> bool:
    """Whether a verification went through. ParseError counts as no: nothing was proved."""
    try:
        verify()
    except (SignatureInvalid, SessionFailed, ParseError):
        return False
    return True


def demand(claim: str, *, so: bool) -> None:
    """Raise VectorMismatch with the claim unless it is so."""
    if not so:
        raise VectorMismatch(claim)


def trying(work: Callable[[], Any], what: str) -> Any:
    """The result of `work`; an error of ours becomes a mismatch that says what failed."""
    try:
        return work()
    except BiaoshiError as error:
        raise VectorMismatch(f"{what}: {error}") from None


def claims_without_case(vector: Mapping[str, Any], *, without: Collection[str] = ()) -> Shape:
    """claims_of() where `case` names the row for people and `test_only` is a warning."""
    claims = claims_of(vector, without=without)
    case = claims.pop(CASE, "")
    demand(f"decoded.{CASE} is {case!r:.60}, no text", so=isinstance(case, str))
    warning = claims.pop(TEST_ONLY, True)
    demand(f"decoded.{TEST_ONLY} is {warning!r:.60}, not true", so=warning is True)
    return claims


def one_bit_apart(left: bytes, right: bytes) -> bool:
    """Whether two octet strings of one length differ in exactly one bit."""
    if len(left) != len(right):
        return False
    return (int.from_bytes(left) ^ int.from_bytes(right)).bit_count() == 1


def says_one_bit(vector: Mapping[str, Any]) -> bool:
    """Whether the row's reason is that one bit was changed; then just that is checked."""
    return "bit changed" in str(vector["decoded"].get("reason", ""))
