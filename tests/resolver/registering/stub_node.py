"""A stand-in for a node's HTTP face: sessions, registrations, REST, over TLS on loopback."""

from __future__ import annotations

import json
import ssl
from base64 import b64decode, b64encode
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

from protocol.errors import SignatureInvalid
from protocol.handle_json import format_values
from protocol.keys import encode_public_key
from protocol.keys.signing import verify_octets
from protocol.record import HandleValue


class StubNode:
    """Remembers what was asked; `fail` holds statuses to answer first."""

    def __init__(self, public_key) -> None:
        self.public_key = public_key
        self.prefix: str | None = "88.118.8"
        self.nonce = b"n" * 16
        self.rows: list[dict] = []
        self.requests: list[tuple[str, str]] = []
        self.keys: list[str] = []
        self.fail: list[int] = []
        self.authenticated = False
        self.basic: str | None = None
        self.tls_port = 0
        self.refuse: set[str] = set()

    def answer(self, method: str, path: str, headers, body: bytes) -> tuple[int, bytes]:
        self.requests.append((method, path))
        if path == "/api/site":
            interface = {"protocol": "HTTPS", "port": self.tls_port}
            return 200, json.dumps({"site": {"servers": [{"interfaces": [interface]}]}}).encode()
        if path == "/api/node":
            return 200, json.dumps({"prefix": self.prefix, "role": "enterprise"}).encode()
        if path == f"/api/handles/0.NA/{self.prefix}?type=HS_PUBKEY":
            key = HandleValue(303, b"HS_PUBKEY", encode_public_key(self.public_key))
            return 200, b'{"values":%b}' % format_values((key,))
        if path == "/api/sessions":
            shape = {"sessionId": "s1", "nonce": b64encode(self.nonce).decode()}
            return 201, json.dumps(shape).encode()
        if path == "/api/sessions/this":
            return self._prove(json.loads(body))
        given = headers.get("Authorization")
        if self.fail:
            return self.fail.pop(0), b'{"title":"not now"}'
        if given is None or (given != self.basic and not self.authenticated):
            return 401, b'{"detail":"who are you"}'
        if path == "/api/registrations":
            self.keys.append(headers["Idempotency-Key"])
            return 200, b"".join(map(self._register, body.splitlines()))
        return 200, b'{"responseCode":1}'

    def _prove(self, fields) -> tuple[int, bytes]:
        try:
            data = self.nonce + b64decode(fields["cnonce"])
            signature = b64decode(fields["signature"])
            verify_octets(self.public_key, signature, data, fields["alg"].encode())
        except SignatureInvalid:
            return 401, b'{"error":"Identity not verified"}'
        self.authenticated = True
        return 200, json.dumps({"authenticated": True, "id": fields["id"]}).encode()

    def _register(self, line: bytes) -> bytes:
        row = json.loads(line)
        self.rows.append(row)
        if row["handle"] in self.refuse:
            shape = {"line": row["line"], "status": "refused", "error": "no"}
        else:
            shape = {"line": row["line"], "status": "created", "version": 7, "sequence": 7}
        return json.dumps(shape | {"handle": row["handle"]}).encode() + b"\n"


@contextmanager
def serving(node: StubNode, context: ssl.SSLContext | None):
    """The port that the stand-in listens on."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _do(self) -> None:
            size = int(self.headers.get("Content-Length", "0"))
            body = self.rfile.read(size)
            status, answer = node.answer(self.command, self.path, self.headers, body)
            self.send_response(status)
            self.send_header("Content-Length", str(len(answer)))
            if status == 503:
                self.send_header("Retry-After", "3")
            self.end_headers()
            self.wfile.write(answer)

        do_GET = do_POST = do_PUT = do_DELETE = _do

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
