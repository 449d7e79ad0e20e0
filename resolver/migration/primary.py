"""A Handle.Net primary as a source of records: operations 1001 and 1002 (do-irp 10).

Plain sockets, one connection a request, as a command-line tool does it. From version 2.8 on the
stream turns into TLS, whose certificate must be on the server's key; older ones are signed block by
block. What the records mean is resolver.migration.changes.
"""

from __future__ import annotations

import secrets
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from hmac import compare_digest
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.dsa import DSAPublicKey
from cryptography.x509 import load_der_x509_certificate

from protocol.challenge import SALT_BYTES, answer_with_key, answer_with_secret
from protocol.doirp.administration import NO_NAME, NameRequest, decode_names_reply, encode_name
from protocol.doirp.authentication import (
    ChallengeResponse,
    decode_challenge,
    encode_challenge_response,
)
from protocol.doirp.envelope import ENVELOPE_SIZE, decode_envelope
from protocol.doirp.header import EXPIRATION_S, Flag, OpCode
from protocol.doirp.message import (
    DIGEST_SHA256,
    Message,
    decode_message_part,
    digest_of,
    encode_message,
    request,
    split_request_digest,
)
from protocol.doirp.referral import decode_error
from protocol.doirp.replication import (
    DumpRequest,
    RetrieveTransactions,
    Slice,
    encode_dump_request,
    encode_retrieve,
)
from protocol.doirp.stream import NEED_DATA
from protocol.doirp.stream_records import (
    TLS,
    UNSIGNED,
    DumpItem,
    DumpReader,
    TransactionReader,
    TxnItem,
    check_blocks,
)
from protocol.errors import (
    AuthenticationFailed,
    NotAuthorized,
    ParseError,
    ResponseCode,
    SignatureInvalid,
    Unreachable,
    UpstreamError,
)
from protocol.keys import PublicKey, decode_public_key, encode_spki
from protocol.keys.policy import Policy, Weak
from protocol.values.hs_site import Site, decode_site
from resolver.registering.auth import Credentials

FLOOR: Final = (2, 7)
"""Nothing is proved below this version (do-irp 21)."""
TIMEOUT_S: Final = 60.0
_WHOLE_SITE: Final = Slice(hash_type=2, servers=1, number=0)
_CHUNK: Final = 262_144
_DENIED: Final = frozenset((ResponseCode.INVALID_ADMIN, ResponseCode.INSUFFICIENT_PERMISSIONS))
_UNPROVED: Final = frozenset(
    (
        ResponseCode.AUTHENTICATION_NEEDED,
        ResponseCode.AUTHENTICATION_FAILED,
        ResponseCode.INVALID_CREDENTIAL,
        ResponseCode.AUTHENTICATION_TIMEOUT,
        ResponseCode.AUTHENTICATION_ERROR,
    )
)


@dataclass(frozen=True, slots=True)
class Position:
    """Where a follower of a server's log stands: its last transaction and the time of asking."""

    txn_id: int
    date_ms: int


class _Line:
    """One connection: a message out, messages and then stream octets in."""

    def __init__(self, address: tuple[str, int], timeout_s: float) -> None:
        self.name = f"{address[0]}:{address[1]}"
        self._held = bytearray()
        try:
            self.sock: socket.socket = socket.create_connection(address, timeout_s)
        except OSError as error:
            raise Unreachable(
                f"no connection to {self.name}: {error.strerror or error}; is the server running "
                "there, and is this its TCP port?"
            ) from None

    def send(self, message: Message) -> None:
        try:
            self.sock.sendall(encode_message(message))
        except OSError as error:
            raise Unreachable(f"{self.name} went away: {error.strerror or error}") from None

    def receive(self) -> bytes:
        """The next octets, empty at the end. Raises Unreachable."""
        try:
            return self.sock.recv(_CHUNK)
        except TimeoutError:
            raise Unreachable(f"{self.name} sent nothing for a while; try again") from None
        except (OSError, ssl.SSLError) as error:
            raise Unreachable(f"{self.name} broke the connection: {error}") from None

    def take(self, size: int) -> bytes:
        """Exactly so many octets, nothing read beyond them."""
        while len(self._held) < size:
            try:
                data = self.sock.recv(min(_CHUNK, size - len(self._held)))
            except OSError as error:
                raise Unreachable(f"{self.name} broke the connection: {error}") from None
            if not data:
                raise Unreachable(f"{self.name} closed the connection early")
            self._held += data
        data = bytes(self._held[:size])
        del self._held[:size]
        return data

    def message(self) -> Message:
        """The next message. Raises ParseError or Unreachable."""
        envelope = decode_envelope(self.take(ENVELOPE_SIZE))
        return decode_message_part(envelope, self.take(envelope.length))

    def close(self) -> None:
        self.sock.close()


class Primary:
    """A Handle.Net primary, asked as an administrator."""

    def __init__(
        self,
        host: str,
        port: int,
        credentials: Credentials,
        *,
        key: PublicKey | None = None,
        allow_dsa: bool = False,
        timeout_s: float = TIMEOUT_S,
        now: Callable[[], float] = time.time,
        random: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        """key: the server's, when it is known; else it is taken from its site record as shown.

        allow_dsa: verify streams signed with DSA and SHA-1. Raises UpstreamError.
        """
        self._address = (host, port)
        self._credentials = credentials
        self._now = now
        self._random = random
        self._timeout_s = timeout_s
        weak = {Weak.RSA_SHA1} | ({Weak.DSA_SHA1, Weak.DSA_SHA2} if allow_dsa else set())
        self._policy = Policy(weak=frozenset(weak))
        self.site = self._site_info()
        self.key = self._server_key(key)

    # --- what is asked

    def homed(self) -> list[bytes]:
        """The prefix records that are homed there, folded. Raises NotAuthorized."""
        body = encode_name(NameRequest(NO_NAME))
        line, reply, content = self._administer(OpCode.LIST_HOMED_PREFIXES, body)
        try:
            names = list(decode_names_reply(content).handles)
            while reply.header.has(Flag.CN):
                reply = line.message()
                names += decode_names_reply(split_request_digest(reply)[1]).handles
        finally:
            line.close()
        return [name.upper() for name in names]

    def dump(self) -> Iterator[DumpItem]:
        """Every record, streamed. Raises UpstreamError, SignatureInvalid, ParseError."""
        line, _, _ = self._administer(
            OpCode.DUMP_HANDLES, encode_dump_request(DumpRequest(_WHOLE_SITE))
        )
        yield from self._stream(line, DumpReader)

    def transactions(self, since: Position) -> Iterator[TxnItem]:
        """What was done after a position. Raises as dump()."""
        version = min(self.site.version, (2, 10))
        asked = RetrieveTransactions(_WHOLE_SITE, since.txn_id, since.date_ms)
        line, _, _ = self._administer(OpCode.RETRIEVE_TXN, encode_retrieve(asked, version))
        yield from self._stream(line, TransactionReader)

    # --- how

    def _site_info(self) -> Site:
        line = _Line(self._address, self._timeout_s)
        try:
            message = self._request(OpCode.GET_SITE_INFO, encode_name(NameRequest(NO_NAME)), None)
            line.send(message)
            content = self._content(line.message(), message)
        finally:
            line.close()
        return decode_site(content)

    def _server_key(self, wanted: PublicKey | None) -> PublicKey:
        shown = [each.public_key for each in self.site.servers if each.public_key]
        if not shown:
            raise UpstreamError(f"{self._address[0]} shows no key in its site record")
        keys = [decode_public_key(each) for each in shown]
        if wanted is None:
            return keys[0]
        for key in keys:
            if compare_digest(encode_spki(key), encode_spki(wanted)):
                return key
        raise SignatureInvalid(
            f"the server at {self._address[0]} has another key than the one given with "
            "--server-key; compare it with the siteinfo.json of its operator"
        )

    def _request(
        self, opcode: int, body: bytes, version: tuple[int, int] | None, session: int = 0
    ) -> Message:
        return request(
            opcode,
            body,
            request_id=(int.from_bytes(self._random(4)) & 0x7FFFFFFF) or 1,
            expiration=int(self._now()) + EXPIRATION_S,
            site_version=version,
            own=(2, 10),  # what the bodies of replication are known for
            flags=int(Flag.AT | Flag.RD),
            session_id=session,
        )

    def _administer(self, opcode: int, body: bytes) -> tuple[_Line, Message, bytes]:
        """The connection after the success reply, for what follows it; its body.

        Raises AuthenticationFailed, NotAuthorized or UpstreamError.
        """
        version = min(self.site.version, (2, 10))
        asked = self._request(opcode, body, version)
        line = _Line(self._address, self._timeout_s)
        try:
            line.send(asked)
            reply = line.message()
            if reply.header.response_code == ResponseCode.AUTHENTICATION_NEEDED:
                line.close()
                answer = self._answer(reply, asked)
                line = _Line(self._address, self._timeout_s)
                line.send(answer)
                reply = line.message()
                asked = replace(
                    asked,
                    envelope=replace(asked.envelope, request_id=answer.envelope.request_id),
                )
            return line, reply, self._content(reply, asked)
        except BaseException:
            line.close()
            raise

    def _answer(self, reply: Message, asked: Message) -> Message:
        """The answer to a challenge that is about our own request."""
        digest, body = split_request_digest(reply)
        version = reply.envelope.version
        if digest is None or digest.algorithm != DIGEST_SHA256 or version < FLOOR:
            raise AuthenticationFailed(
                f"{self._address[0]} challenges in version {version[0]}.{version[1]}; nothing is "
                "proved below 2.7, where the proof could be used for another request"
            )
        if not compare_digest(digest.digest, digest_of(asked.covered(), digest.algorithm)):
            raise AuthenticationFailed(
                f"{self._address[0]} challenges for another request than ours was; "
                "somebody is in between"
            )
        nonce = decode_challenge(body, version).nonce
        who = self._credentials
        if who.key is not None:
            kind = b"HS_PUBKEY"
            proof = answer_with_key(who.key, nonce, digest.digest, version)
        else:
            kind = b"HS_SECKEY"
            salt = self._random(SALT_BYTES)
            proof = answer_with_secret(who.secret, nonce, digest.digest, version, salt=salt)
        said = ChallengeResponse(kind, who.identity.handle, who.identity.index, proof)
        return self._request(
            OpCode.CHALLENGE_RESPONSE,
            encode_challenge_response(said),
            version,
            reply.envelope.session_id,
        )

    def _content(self, reply: Message, asked: Message) -> bytes:
        """The body of a success reply to our request. Raises what a refusal means."""
        name, code = f"{self._address[0]}:{self._address[1]}", reply.header.response_code
        if code == ResponseCode.SUCCESS:
            if reply.envelope.request_id != asked.envelope.request_id:
                raise UpstreamError(f"{name} answers another request")
            return split_request_digest(reply)[1]
        try:
            said = (decode_error(split_request_digest(reply)[1]).message or b"").decode(
                "utf-8", "replace"
            )
        except ParseError:
            said = ""
        who = self._credentials.identity.text()
        if code in _DENIED:
            raise NotAuthorized(
                f"{name}: {who} may not replicate ({code}{said and ', '}{said}); add it to "
                "`replication_admins` (and `server_admins`, to list prefixes) in its config.dct"
            )
        if code in _UNPROVED:
            raise AuthenticationFailed(
                f"{name} did not accept {who} ({code}{said and ', '}{said}); is it the key or "
                "the secret of that value?"
            )
        raise UpstreamError(f"{name} answered {code}{said and ', '}{said}")

    def _stream(
        self, line: _Line, reader_of: type[DumpReader | TransactionReader]
    ) -> Iterator[Any]:
        """The records of a stream, its connection closed at the end."""
        try:
            head = line.take(4)
            secure = int.from_bytes(head) == TLS
            if secure:
                self._start_tls(line)
                head = UNSIGNED.to_bytes(4)
            reader = reader_of(check_blocks(self.key, self._policy), allow_unsigned=secure)
            reader.feed(head)
            while not reader.finished:
                item = reader.next()
                if item is NEED_DATA:
                    data = line.receive()
                    if not data:
                        raise Unreachable(f"{line.name} ended the stream early")
                    reader.feed(data)
                    continue
                yield item
        finally:
            line.close()

    def _start_tls(self, line: _Line) -> None:
        """Turn the connection into TLS; the certificate must be on the server's key."""
        if isinstance(self.key, DSAPublicKey):
            raise SignatureInvalid(
                f"{line.name} has a DSA key, which no TLS certificate here can be checked by; give "
                "the old server an RSA key (hdl-keygen -alg RSA) for the migration"
            )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE  # self-made: its key is compared below
        try:
            wrapped = context.wrap_socket(line.sock)
        except (OSError, ssl.SSLError) as error:
            raise Unreachable(f"{line.name}: no TLS on the stream: {error}") from None
        line.sock = wrapped
        raw = wrapped.getpeercert(binary_form=True)
        shown = load_der_x509_certificate(raw).public_key() if raw else None
        if shown is None or not compare_digest(
            encode_spki(shown),  # type: ignore[arg-type]
            encode_spki(self.key),
        ):
            raise SignatureInvalid(f"{line.name} streams under another key than its site record's")
