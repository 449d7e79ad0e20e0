"""The request that hands a witness a log's checkpoint (C2SP tlog-witness, `add-checkpoint`).

`old N`, the lines of a consistency proof from N leaves on, an empty line, the signed note. What a
witness decides is resolver.trust.witness_service.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from protocol import note
from protocol.errors import ParseError
from protocol.merkle import HASH_SIZE

MOST_PROOF: Final = 63
"""Lines of a proof that may be sent."""
MOST_BYTES: Final = note.MOST_BYTES + 4_096
SIZE_TYPE: Final = "text/x.tlog.size"
"""Media type of the size that a witness answers 409 with."""

_old = re.compile(r"old (0|[1-9][0-9]{0,18})").fullmatch


@dataclass(frozen=True, slots=True)
class AddCheckpoint:
    """old: the size that the witness cosigned last. raw: the note as it was sent."""

    old: int
    proof: tuple[bytes, ...]
    raw: bytes
    checkpoint: note.Checkpoint


def decode(data: bytes) -> AddCheckpoint:
    """A request's body. Raises ParseError."""
    if len(data) > MOST_BYTES:
        raise ParseError(f"a request to a witness is at most {MOST_BYTES} octets")
    head, gap, raw = data.partition(b"\n\n")
    if not gap:
        raise ParseError("a request to a witness has an empty line before the checkpoint")
    try:
        first, *lines = head.decode("ascii").split("\n")
    except UnicodeDecodeError:
        raise ParseError("the lines before the checkpoint are ASCII") from None
    old = _old(first)
    if old is None:
        raise ParseError(f"not the line of the old size: {first[:80]!r}; it is `old N`")
    if len(lines) > MOST_PROOF:
        raise ParseError(f"a proof has at most {MOST_PROOF} lines, not {len(lines)}")
    said = note.parse_checkpoint(note.decode(raw).text)
    return AddCheckpoint(int(old[1]), tuple(map(_hash, lines)), raw, said)


def encode(old: int, proof: Sequence[bytes], raw: bytes) -> bytes:
    """The body for a checkpoint. raw: the signed note."""
    lines = [f"old {old}", *(base64.b64encode(one).decode() for one in proof)]
    return "\n".join(lines).encode() + b"\n\n" + raw


def decode_size(data: bytes) -> int:
    """The size in an answer of 409. Raises ParseError."""
    text = data[:32].decode("ascii", "replace")
    if not re.fullmatch(r"(0|[1-9][0-9]{0,18})\n", text):
        raise ParseError(f"the witness names no size: {text!r}")
    return int(text)


def _hash(line: str) -> bytes:
    try:
        octets = base64.b64decode(line, validate=True)
    except ValueError:
        octets = b""
    if len(octets) != HASH_SIZE:
        raise ParseError(f"not a hash of a consistency proof: {line[:80]!r}")
    return octets
