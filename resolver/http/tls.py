"""TLS for the HTTP face: any client certificate is taken and handed over, none is demanded.

Handle clients bring self-signed certificates; whether the key is an administrator's is decided by
resolver.http.auth, against the identity's HS_PUBKEY. Python's ssl module cannot do this (its
CERT_OPTIONAL fails on an unknown issuer), so the handshake is made by pyOpenSSL over memory
buffers behind the interface that asyncio and uvloop expect (docs/adr/0010-client-certificates.md).
"""

from __future__ import annotations

import ssl
from itertools import count
from pathlib import Path
from socket import MSG_PEEK
from time import monotonic
from typing import Any, Self

from OpenSSL import SSL

from protocol.errors import SettingsError

MAX_HANDSHAKES = 1000
"""Handshakes under way at once in one process; above it new connections are closed."""
HANDSHAKE_S = 10.0
"""After this the event loop gives a handshake up (ssl_handshake_timeout), and it counts no more."""
SHUTDOWN_S = 5.0
"""How long a peer may take to say goodbye."""

_CHUNK = 65_536
_CIPHERS = b"ECDHE+AESGCM:ECDHE+CHACHA20:!aNULL:!eNULL:!MD5:!DSS"


class ServerContext(ssl.SSLContext):
    """A server context that asks for a client certificate and accepts whichever comes.

    certificate, key: PEM files. reload() reads them anew for connections made from then on.
    """

    _files: tuple[Path, Path]
    _context: SSL.Context
    _handshakes: dict[int, float]
    _numbers: count[int]

    def __new__(cls, certificate: Path, key: Path) -> Self:
        del certificate, key
        return super().__new__(cls, ssl.PROTOCOL_TLS_SERVER)

    def __init__(self, certificate: Path, key: Path) -> None:
        self._files = (certificate, key)
        self._handshakes = {}
        self._numbers = count()
        self.reload()

    def reload(self) -> None:
        """Read certificate and key again. Raises SettingsError; the old pair then stays in use."""
        self._context = _load(*self._files)

    def changed_at(self) -> tuple[int, ...]:
        """When the files were last written; a file that is gone counts as never."""
        return tuple(path.stat().st_mtime_ns if path.exists() else 0 for path in self._files)

    def wrap_bio(  # type: ignore[override]
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> Channel:
        """What asyncio calls for each connection."""
        del server_side, server_hostname, session
        if self.handshakes >= MAX_HANDSHAKES:
            raise ssl.SSLError(f"more than {MAX_HANDSHAKES} handshakes under way")
        number = next(self._numbers)
        self._handshakes[number] = monotonic()
        return Channel(self, SSL.Connection(self._context, None), incoming, outgoing, number)

    @property
    def handshakes(self) -> int:
        """How many are under way."""
        oldest = monotonic() - HANDSHAKE_S
        while self._handshakes:
            first = next(iter(self._handshakes))
            if self._handshakes[first] > oldest:
                break
            del self._handshakes[first]
        return len(self._handshakes)

    def end_handshake(self, number: int) -> None:
        """A handshake succeeded or failed."""
        self._handshakes.pop(number, None)


def _load(certificate: Path, key: Path) -> SSL.Context:
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.set_min_proto_version(SSL.TLS1_2_VERSION)
    context.set_options(SSL.OP_NO_COMPRESSION | SSL.OP_NO_RENEGOTIATION)
    context.set_cipher_list(_CIPHERS)
    try:
        context.use_certificate_chain_file(str(certificate))
        context.use_privatekey_file(str(key))
        context.check_privatekey()
    except (SSL.Error, OSError) as error:
        for path in (certificate, key):
            if not path.exists():
                raise SettingsError(
                    f"{path} is missing; restore it from the backup of the node's folder"
                ) from None
        raise SettingsError(
            f"the certificate {certificate} and the key {key} cannot be used together: "
            f"{_reason(error)}; restore the pair, or give the certificate of this key"
        ) from None
    # VERIFY_PEER asks for a certificate; without FAIL_IF_NO_PEER_CERT none need come. That the
    # client holds the certificate's private key is still proved by the handshake.
    context.set_verify(SSL.VERIFY_PEER, _accept_any)
    # Resumed connections must not be refused for want of a context name (SSL_CTX_set_verify(3)).
    context.set_session_id(b"biaoshi")
    context.set_alpn_select_callback(_choose_protocol)
    return context


def _accept_any(*_: object) -> bool:
    return True


def _choose_protocol(_: SSL.Connection, offered: list[bytes]) -> Any:
    return b"http/1.1" if b"http/1.1" in offered else SSL.NO_OVERLAPPING_PROTOCOLS


class Channel:
    """One TLS connection: the part of ssl.SSLObject that asyncio and uvloop use."""

    server_side = True

    def __init__(
        self,
        context: ServerContext,
        connection: SSL.Connection,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        number: int,
    ) -> None:
        self.context = context
        self._connection = connection
        self._incoming = incoming
        self._outgoing = outgoing
        self._number = number
        connection.set_accept_state()

    def do_handshake(self) -> None:
        try:
            self._run(self._connection.do_handshake)
        except ssl.SSLWantReadError:
            raise
        except ssl.SSLError:
            self.context.end_handshake(self._number)
            raise
        self.context.end_handshake(self._number)

    def read(self, size: int = 1024, buffer: Any = None) -> Any:
        """Up to `size` octets, or their number when a buffer is given; empty at the clean end."""
        if buffer is not None:
            return self._run(self._connection.recv_into, buffer, size) or 0
        return self._run(self._connection.recv, size) or b""

    def write(self, data: bytes | bytearray | memoryview) -> int:
        """How many octets were taken."""
        return int(self._run(self._connection.send, data))

    def unwrap(self) -> None:
        """Say and hear goodbye. Raises SSLWantReadError until the other side has answered."""
        if not self._run(self._connection.shutdown):
            raise ssl.SSLWantReadError("the peer has not closed yet")

    def pending(self) -> int:
        """More than 0 while another read() would give octets; uvloop reads on only then.

        Whole records wait inside the connection, where the count of decrypted octets alone does
        not see them: a peek opens the next one.
        """
        try:
            return self._connection.pending() or len(self._connection.recv(1, MSG_PEEK))
        except SSL.Error:
            return 0

    def getpeercert(self, binary_form: bool = False) -> bytes | dict[str, Any] | None:
        """The client's certificate as DER. Unverified, so never as a dictionary."""
        if not binary_form:
            return {}
        certificate = self._connection.get_peer_certificate(as_cryptography=True)
        if certificate is None:
            return None
        from cryptography.hazmat.primitives.serialization import Encoding

        return certificate.public_bytes(Encoding.DER)

    def selected_alpn_protocol(self) -> str | None:
        return self._connection.get_alpn_proto_negotiated().decode() or None

    def cipher(self) -> tuple[str, str, int] | None:
        name = self._connection.get_cipher_name()
        bits = self._connection.get_cipher_bits()
        return (name, self.version(), bits or 0) if name else None

    def version(self) -> str:
        return self._connection.get_protocol_version_name()

    def compression(self) -> None:
        """Never on."""

    def _run(self, step: Any, *arguments: Any) -> Any:
        """One step of the connection between what came in and what must go out."""
        try:
            while data := self._incoming.read(_CHUNK):
                self._connection.bio_write(data)
            return step(*arguments)
        except SSL.WantReadError:
            raise ssl.SSLWantReadError("more octets are needed") from None
        except SSL.ZeroReturnError:
            return None
        except SSL.SysCallError:
            raise ssl.SSLEOFError("the connection ended inside TLS") from None
        except SSL.Error as error:
            raise ssl.SSLError(_reason(error)) from None
        finally:
            self._drain()

    def _drain(self) -> None:
        while True:
            try:
                self._outgoing.write(self._connection.bio_read(_CHUNK))
            except SSL.Error:  # WantReadError: nothing is left to send
                return


def _reason(error: BaseException) -> str:
    """The last words of an OpenSSL error, or of any other."""
    stack = error.args[0] if error.args else None
    if isinstance(stack, list) and stack:
        return str(stack[-1][-1])
    return str(error) or type(error).__name__
