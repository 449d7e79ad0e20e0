"""Header: the first 24 octets of every message (RFC 3652 §2.2.2; do-irp 5).

Operation codes and flags by their names. Response codes are in protocol.errors. A code that we
do not know stays a number here: a server must be able to echo it in its refusal.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, IntFlag
from struct import Struct
from struct import error as StructError  # noqa: N812 (the library's own spelling is lower case)

from protocol.errors import ParseError, Truncated

HEADER = Struct(">IIIHBBII")
"""operation code, response code, flags, site serial, recursion count, reserved, expiration, body
length. The hot path packs it directly."""
HEADER_SIZE = HEADER.size

UNKNOWN_SERIAL = 0xFFFF
"""Site serial of a client that has no site record."""
EXPIRATION_S = 43_200
"""How far in the future the expiration of a message is set."""
STALE_EXPIRATION_S = 900
"""The same for an answer from a cache past its TTL: no value or flag can say so, this does."""


class OpCode(IntEnum):
    """What a request asks for; the reply repeats it."""

    RESOLUTION = 1
    GET_SITE_INFO = 2
    CREATE_HANDLE = 100
    DELETE_HANDLE = 101
    ADD_VALUE = 102
    REMOVE_VALUE = 103
    MODIFY_VALUE = 104
    LIST_HANDLES = 105
    LIST_DERIVED_PREFIXES = 106
    CHALLENGE_RESPONSE = 200
    VERIFY_RESPONSE = 201
    HOME_PREFIX = 300
    UNHOME_PREFIX = 301
    LIST_HOMED_PREFIXES = 302
    SESSION_SETUP = 400
    SESSION_TERMINATE = 401
    SESSION_EXCHANGE_KEY = 402
    GET_NEXT_TXN_ID = 1000
    RETRIEVE_TXN = 1001
    DUMP_HANDLES = 1002
    BACKUP_SERVER = 1003


ADMINISTRATIVE = frozenset(
    code for code in OpCode if 100 <= code <= 106 or 300 <= code <= 302 or 1000 <= code <= 1003
)
"""Operations that need an interface for administration and a primary site."""


class Flag(IntFlag):
    """Operation flags (opflags)."""

    AT = 0x80000000
    CT = 0x40000000
    ENC = 0x20000000
    REC = 0x10000000
    CA = 0x08000000
    CN = 0x04000000
    KC = 0x02000000
    PO = 0x01000000
    RD = 0x00800000
    OWE = 0x00400000
    MNS = 0x00200000
    DNR = 0x00100000

    AUTHORITATIVE = AT
    CERTIFY = CT
    ENCRYPT = ENC
    RECURSIVE = REC
    CACHE_CERTIFY = CA
    CONTINUOUS = CN
    KEEP_ALIVE = KC
    PUBLIC_ONLY = PO
    RETURN_REQUEST_DIGEST = RD
    OVERWRITE_WHEN_EXISTS = OWE
    MINT_NEW_SUFFIX = MNS
    DO_NOT_REFER = DNR


REQUEST_FLAGS = Flag.REC | Flag.CA | Flag.PO
"""What a client sets unless it has a reason."""
COPIED_FLAGS = Flag.CT | Flag.CA | Flag.AT | Flag.ENC | Flag.PO | Flag.DNR | Flag.RD
"""What a reply repeats from its request."""


@dataclass(frozen=True, slots=True)
class Header:
    """One header. opcode and response_code are plain numbers, known or not.

    response_code 0: a request. expiration: seconds since 1970. body_length: octets of the body,
    a request digest included.
    """

    opcode: int
    response_code: int = 0
    flags: int = REQUEST_FLAGS.value
    site_serial: int = UNKNOWN_SERIAL
    recursion_count: int = 0
    expiration: int = 0
    body_length: int = 0
    reserved: int = 0

    def has(self, flag: Flag) -> bool:
        """Whether all bits of `flag` are set."""
        return self.flags & flag.value == flag.value


def decode_header(data: bytes | bytearray | memoryview) -> Header:
    """Read the first 24 octets of a message. Raises Truncated below that; nothing else."""
    if len(data) < HEADER_SIZE:
        raise Truncated(f"a message has at least {HEADER_SIZE} octets, {len(data)} are there")
    opcode, code, flags, serial, recursion, reserved, expiration, length = HEADER.unpack_from(data)
    return Header(opcode, code, flags, serial, recursion, expiration, length, reserved)


def encode_header(header: Header) -> bytes:
    """The 24 octets. Raises ParseError when a field does not fit its width."""
    try:
        return HEADER.pack(
            header.opcode,
            header.response_code,
            header.flags,
            header.site_serial,
            header.recursion_count,
            header.reserved,
            header.expiration,
            header.body_length,
        )
    except StructError as error:
        raise ParseError(f"a header field does not fit: {error}; {header}") from None
