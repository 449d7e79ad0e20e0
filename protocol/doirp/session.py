"""Bodies of session set-up (400) and key exchange (402) (RFC 3652 §3.8; do-irp 9.1).

Keys, ciphers and MACs are protocol.session. Only Diffie-Hellman (mode 4) is in use; the other
modes are read so that they can be refused by name.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from protocol.doirp.envelope import Version
from protocol.errors import ParseError
from protocol.wire import Reader, Writer

FROM_2_4: Version = (2, 4)
TAIL = b"\x00\x00"
"""Deployed software counts the two octets of the mode as four, so two zeros follow the last field
of a set-up and of its reply. Written always, accepted when absent."""
DEFAULT_TIMEOUT_S = 86_400
ANONYMOUS_INDEX = 0xFFFFFFFF


class KeyExchange(IntEnum):
    """Key exchange modes."""

    CLIENT_KEY = 1
    SERVER_KEY = 2
    KEY_IN_HANDLE = 3
    DIFFIE_HELLMAN = 4


@dataclass(frozen=True, slots=True)
class SessionSetup:
    """Request body of 400.

    identity_handle empty and identity_index 0xFFFFFFFF: anonymous. public_key: encoded key of the
    client, modes 1 and 4. key_handle, key_index: mode 3.
    """

    mode: int
    timeout_s: int = DEFAULT_TIMEOUT_S
    identity_handle: bytes = b""
    identity_index: int = ANONYMOUS_INDEX
    public_key: bytes = b""
    key_handle: bytes = b""
    key_index: int = 0


@dataclass(frozen=True, slots=True)
class SessionSetupReply:
    """Success body of 400. data: by mode; in mode 4 from 2.4 a cipher code and a public key."""

    mode: int
    data: bytes


@dataclass(frozen=True, slots=True)
class KeyExchangeRequest:
    """Request body of 402: the session key, RSA-encrypted."""

    encrypted_key: bytes


def decode_session_setup(body: bytes | memoryview) -> SessionSetup:
    """u2 mode; u4 timeout; ref identity; by mode; two zeros. ParseError on an unknown mode."""
    reader = Reader(body)
    mode = reader.u2()
    timeout_s = reader.u4()
    identity_handle, identity_index = reader.octets(), reader.u4()
    public_key = key_handle = b""
    key_index = 0
    if mode in (KeyExchange.CLIENT_KEY, KeyExchange.DIFFIE_HELLMAN):
        public_key = reader.octets()
    elif mode == KeyExchange.KEY_IN_HANDLE:
        key_handle, key_index = reader.octets(), reader.u4()
    elif mode != KeyExchange.SERVER_KEY:
        raise ParseError(f"key exchange mode {mode} is unknown; 1 to 4 are defined")
    _finish(reader)
    return SessionSetup(
        mode, timeout_s, identity_handle, identity_index, public_key, key_handle, key_index
    )


def encode_session_setup(setup: SessionSetup) -> bytes:
    """The body of a set-up. Raises ParseError on an unknown mode."""
    out = Writer().u2(setup.mode).u4(setup.timeout_s)
    out.octets(setup.identity_handle).u4(setup.identity_index)
    if setup.mode in (KeyExchange.CLIENT_KEY, KeyExchange.DIFFIE_HELLMAN):
        out.octets(setup.public_key)
    elif setup.mode == KeyExchange.KEY_IN_HANDLE:
        out.octets(setup.key_handle).u4(setup.key_index)
    elif setup.mode != KeyExchange.SERVER_KEY:
        raise ParseError(f"key exchange mode {setup.mode} is unknown; 1 to 4 are defined")
    return out.raw(TAIL).finish()


def decode_session_setup_reply(body: bytes | memoryview) -> SessionSetupReply:
    """u2 mode; bytes data; two zeros. body: without the request digest."""
    reader = Reader(body)
    reply = SessionSetupReply(reader.u2(), reader.octets())
    _finish(reader)
    return reply


def encode_session_setup_reply(reply: SessionSetupReply) -> bytes:
    """The body after the request digest."""
    return Writer().u2(reply.mode).octets(reply.data).raw(TAIL).finish()


def split_server_key(data: bytes, version: Version) -> tuple[int | None, bytes]:
    """Data of a mode 4 reply: cipher code (None below 2.4) and the server's encoded public key."""
    if version < FROM_2_4:
        return None, data
    reader = Reader(data)
    code = reader.u4()
    return code, bytes(reader.take(reader.left))


def join_server_key(cipher_code: int, public_key: bytes, version: Version) -> bytes:
    """The inverse of split_server_key()."""
    return public_key if version < FROM_2_4 else Writer().u4(cipher_code).raw(public_key).finish()


def decode_key_exchange(body: bytes | memoryview) -> KeyExchangeRequest:
    """Bytes encrypted session key."""
    reader = Reader(body)
    request = KeyExchangeRequest(reader.octets())
    reader.finish()
    return request


def encode_key_exchange(request: KeyExchangeRequest) -> bytes:
    """Bytes."""
    return Writer().octets(request.encrypted_key).finish()


def _finish(reader: Reader) -> None:
    if reader.left == len(TAIL) and reader.take(len(TAIL)) != TAIL:
        raise ParseError("what follows the last field of a session set-up is not two zeros")
    reader.finish()
