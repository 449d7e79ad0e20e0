"""One HTTP connection to a node, for the command line: kept open, retried, its key checked.

A node's certificate is self-made. It is trusted when it is the one that was handed over
(--cert), when its key is the one that we authenticate with (a node's own administrator), when the
system's authorities vouch for it, or on loopback. Anything else is refused by name.
"""

from __future__ import annotations

import json
import socket
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import quote

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.x509 import load_der_x509_certificate, load_pem_x509_certificate

from protocol.errors import (
    AuthenticationFailed,
    BiaoshiError,
    NotAuthorized,
    ServerBusy,
    SettingsError,
    UpstreamError,
)
from protocol.handle_json import parse_values
from protocol.keys import encode_public_key
from protocol.record import Reference
from resolver.guard import parse_url
from resolver.registering.auth import UNNAMED, Credentials

TIMEOUT_S = 120.0
MAX_ANSWER_BYTES = 64 << 20
SECRET_ADMIN = 301
"""The index where a prefix's secret key lies."""
_NAME_IT = "say whose it is: --auth INDEX:HANDLE=FILE"
TRIES = 8
WAIT_MOST_S = 30.0


@dataclass(frozen=True, slots=True)
class Answer:
    """Status and body of an answer."""

    status: int
    body: bytes
    retry_after_s: float | None = None
    location: str | None = None

    def json(self) -> Any:
        """The body as JSON. Raises UpstreamError."""
        try:
            return json.loads(self.body)
        except ValueError:
            raise UpstreamError(
                f"the server answered {self.status} and no JSON: {self.body[:80]!r}; "
                "is this the address of a node?"
            ) from None

    def problem(self) -> str:
        """What the error body says."""
        try:
            fields = json.loads(self.body)
        except ValueError:
            return self.body[:200].decode("utf-8", "replace").strip()
        if not isinstance(fields, dict):
            return ""
        return str(fields.get("detail") or fields.get("message") or fields.get("title") or "")


class Connection:
    """Requests to one node, one after the other."""

    def __init__(
        self,
        url: str,
        credentials: Credentials | None = None,
        *,
        certificate: Path | None = None,
        insecure: bool = False,
        sleep: Callable[[float], None] = time.sleep,
        timeout_s: float = TIMEOUT_S,
        tries: int = TRIES,
        dead_after_s: float | None = None,
        trusted: RSAPublicKey | None = None,
    ) -> None:
        """url: `https://HOST:PORT`; for `http` with credentials the node's HTTPS face is used.

        certificate: PEM of the node's own. insecure: trust any. dead_after_s: give a connection up
        when nothing at all comes through for about so long. trusted: the key that its certificate
        must have; its HTTPS face is used then. Raises SettingsError.
        """
        parts = parse_url(url)
        self._host, self._port, self._tls = parts.host, parts.port, parts.scheme == "https"
        self._credentials = credentials
        self._pinned = _pinned(certificate) if certificate is not None else trusted
        self._insecure = insecure
        self._sleep = sleep
        self._timeout_s = timeout_s
        self._tries = tries
        self._dead_after_s = dead_after_s
        self._open: HTTPConnection | None = None
        self._authorization: str | None = None
        if credentials is not None or trusted is not None:
            self._require_tls()
        if credentials is not None:
            self._authenticate(credentials)

    def request(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """One request, tried again while the node is busy or the connection breaks.

        So it must be one that may be repeated. Raises ServerBusy, UpstreamError, or the error of
        a refused identity.
        """
        wait_s = 0.2
        for attempt in range(1, self._tries + 1):
            try:
                answer = self._once(method, path, body, headers or {})
            except (OSError, HTTPException) as error:
                self.close()
                if isinstance(error, ssl.SSLError) or attempt == self._tries:
                    raise UpstreamError(
                        f"{self._host} port {self._port} cannot be used: {_plain(error)}; "
                        "is the node running, and is this its address?"
                    ) from None
                self._sleep(wait_s)
            else:
                if answer.status not in {429, 503}:
                    return answer
                self._sleep(min(WAIT_MOST_S, answer.retry_after_s or wait_s))
            wait_s = min(WAIT_MOST_S, wait_s * 2)
        raise ServerBusy(f"the node stayed busy over {self._tries} tries; run this again later")

    def _once(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]
    ) -> Answer:
        connection = self._open or self._connect()
        sent = {"Accept": "application/json, application/x-ndjson", **headers}
        if self._authorization is not None:
            sent["Authorization"] = self._authorization
        connection.request(method, path, body, sent)
        response = connection.getresponse()
        data = response.read(MAX_ANSWER_BYTES + 1)
        if len(data) > MAX_ANSWER_BYTES:
            raise UpstreamError(f"the answer is above {MAX_ANSWER_BYTES} octets")
        after = response.getheader("Retry-After", "")
        return Answer(
            response.status,
            data,
            float(after) if after.isdigit() else None,
            response.getheader("Location"),
        )

    def _connect(self) -> HTTPConnection:
        connect_s = self._dead_after_s or self._timeout_s
        if not self._tls:
            self._open = HTTPConnection(self._host, self._port, timeout=connect_s)
            self._watch(self._open)
            return self._open
        try:
            made = HTTPSConnection(self._host, self._port, timeout=connect_s)
            if self._pinned is not None or self._insecure or self._is_loopback():
                raise ssl.SSLCertVerificationError("not asked")
            made.connect()
        except ssl.SSLCertVerificationError:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE  # the key is compared below
            made = HTTPSConnection(self._host, self._port, timeout=connect_s, context=context)
            made.connect()
            self._check_key(made)
        self._watch(made)
        self._open = made
        return made

    def _watch(self, made: HTTPConnection) -> None:
        """Let the kernel notice a silent way: a slow node still acknowledges, a dead one does not."""
        if self._dead_after_s is None:
            return
        if made.sock is None:
            made.connect()
        made.sock.settimeout(self._timeout_s)
        seconds = max(1, round(self._dead_after_s / 2))
        for option, value in (
            ("TCP_KEEPIDLE", seconds),
            ("TCP_KEEPINTVL", seconds),
            ("TCP_KEEPCNT", 1),
            ("TCP_USER_TIMEOUT", int(self._dead_after_s * 1000)),
        ):
            if hasattr(socket, option):
                made.sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
        made.sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)

    def _check_key(self, connection: HTTPSConnection) -> None:
        raw = connection.sock.getpeercert(True) if connection.sock is not None else None
        key = load_der_x509_certificate(raw).public_key() if raw else None
        if self._pinned is not None:
            trusted = key == self._pinned
        else:
            own = self._credentials.key if self._credentials is not None else None
            same = own is not None and not isinstance(own, Ed25519PrivateKey)
            trusted = self._insecure or self._is_loopback() or (same and key == own.public_key())  # type: ignore[union-attr]
        if not trusted:
            connection.close()
            raise SettingsError(
                f"the certificate of {self._host} is self-made and not known here; get the node's "
                "tls/cert.pem from its operator and give it with --cert FILE"
            )

    def _is_loopback(self) -> bool:
        try:
            return ip_address(self._host).is_loopback
        except ValueError:
            return self._host == "localhost"

    # --- identity

    def _require_tls(self) -> None:
        """Identities are proved over TLS only: find the node's HTTPS face."""
        if self._tls:
            return
        site = self.request("GET", "/api/site").json().get("site", {})
        ports = [
            interface.get("port")
            for server in site.get("servers", [])
            for interface in server.get("interfaces", [])
            if interface.get("protocol") == "HTTPS"
        ]
        self.close()
        if not ports or type(ports[0]) is not int:
            raise SettingsError(
                "identities are proved over TLS only, and this node has no HTTPS face; "
                "give an https address, or register with --node DIR"
            )
        self._port, self._tls = ports[0], True

    def _named(self, credentials: Credentials) -> Credentials:
        """Which administrator of the node's prefix a file alone is of."""
        about = self.request("GET", "/api/node").json()
        prefix = about.get("prefix") if isinstance(about, dict) else None
        if not prefix:
            raise SettingsError(f"{self._host} does not say its prefix; {_NAME_IT}")
        record = f"0.NA/{prefix}"
        if credentials.key is None:
            return replace(credentials, identity=Reference(record.encode(), SECRET_ADMIN))
        path = f"/api/handles/{quote(record, safe='/')}?type=HS_PUBKEY"
        found = self.request("GET", path).json()
        own = encode_public_key(credentials.key.public_key())
        for value in parse_values(found.get("values", [])):
            if value.data == own:
                return replace(credentials, identity=Reference(record.encode(), value.index))
        raise SettingsError(f"the key is none of {record} at {self._host}; {_NAME_IT}")

    def _authenticate(self, credentials: Credentials) -> None:
        if credentials.identity == UNNAMED:
            credentials = self._credentials = self._named(credentials)
        if credentials.key is None:
            self._authorization = credentials.basic()
            return
        session = self.request("POST", "/api/sessions").json()
        if not isinstance(session, dict) or "nonce" not in session:
            raise UpstreamError("the node opened no session; is this the address of a node?")
        self._authorization = f'Handle sessionId="{session["sessionId"]}"'
        proof = json.dumps(credentials.answer(str(session["nonce"]))).encode()
        answer = self.request(
            "PUT", "/api/sessions/this", proof, {"Content-Type": "application/json"}
        )
        if answer.status != 200 or not answer.json().get("authenticated"):
            raise AuthenticationFailed(
                f"the node did not accept {credentials.identity.text()}: "
                f"{answer.problem() or 'identity not verified'}; is it the key of that record?"
            )

    @property
    def credentials(self) -> Credentials | None:
        """Who registers."""
        return self._credentials

    def renew(self) -> None:
        """Prove the identity again: the session ended."""
        if self._credentials is not None:
            self._authorization = None
            self._authenticate(self._credentials)

    def close(self) -> None:
        if self._open is not None:
            self._open.close()
            self._open = None


def error_of(answer: Answer, credentials: Credentials | None) -> BiaoshiError:
    """The error that an answer stands for. credentials: what was shown."""
    said = answer.problem() or "no reason given"
    if answer.status == 401 and credentials is not None:
        return AuthenticationFailed(
            f"the node did not accept {credentials.identity.text()}: {said}; "
            "is it the key or the secret of that record?"
        )
    if answer.status == 401:
        return AuthenticationFailed(f"the node wants to know who registers: {said}; give --auth")
    if answer.status == 403:
        return NotAuthorized(f"the node refused: {said}")
    return UpstreamError(f"the node answered {answer.status}: {said}")


def _pinned(path: Path) -> Any:
    try:
        return load_pem_x509_certificate(path.read_bytes()).public_key()
    except (OSError, ValueError) as error:
        raise SettingsError(f"{path} is no readable PEM certificate: {error}") from None


def _plain(error: Exception) -> str:
    """What the system says of a connection, without its number."""
    said = error.strerror if isinstance(error, OSError) else str(error)
    return said or type(error).__name__
