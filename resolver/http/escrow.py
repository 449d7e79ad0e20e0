"""/api/escrow: children deposit their logs here (resolver.escrow).

POST /api/escrow/{prefix}          a deposit; its note in the header Escrow-Note; gives the receipt
GET  /api/escrow/{prefix}          what lies here, for the child alone
GET  /api/escrow/{prefix}/{name}   the octets of one deposit, for the child alone

The child proves itself by its site key, which this node published. Over TLS only.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from aiohttp import web
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from protocol.errors import (
    AuthenticationNeeded,
    NotAuthorized,
    NotServedHere,
    ParseError,
    SignatureInvalid,
)
from protocol.keys import decode_public_key
from protocol.name import prefix_record
from registry.prefix_record import KEY, LOG_KEY
from registry.prefixes import DELEGATED
from registry.records import read_record
from resolver.enrol import check_prefix, fingerprint
from resolver.escrow.notes import (
    HEADER,
    MAX_DEPOSIT,
    MEDIA_TYPE,
    check_request,
    read_deposit,
    sign_receipt,
)
from resolver.escrow.vault import Vault
from resolver.http.asked import Senders, read_body
from resolver.http.problem import method_not_allowed

if TYPE_CHECKING:
    from resolver.node import Node

BODY_S: Final = 120.0
"""A deposit is long; its sender may be on a slow line."""
LIST: Final = "list"


def setup(app: web.Application, node: Node, senders: Senders) -> None:
    """Mount the routes."""
    face = Escrow(node, senders)
    app.router.add_route("*", "/api/escrow/{prefix}", face.child)
    app.router.add_route("*", "/api/escrow/{prefix}/{name}", face.deposit)


class Escrow:
    """The parent's side, in one reader."""

    def __init__(self, node: Node, senders: Senders) -> None:
        self._node = node
        self._senders = senders
        self._own = fingerprint(node.keys.site_public)
        self._busy = asyncio.Semaphore(1)

    async def child(self, request: web.Request) -> web.Response:
        """POST: take a deposit. GET: what lies here."""
        if request.method == "POST":
            return await self._take(request)
        if request.method not in {"GET", "HEAD"}:
            return method_not_allowed("GET, POST")
        vault = self._entitled(request, LIST)
        shape = await asyncio.to_thread(vault.listing)
        return web.json_response(shape, headers={"Cache-Control": "private, no-store"})

    async def deposit(self, request: web.Request) -> web.Response:
        """GET: the octets of one deposit."""
        if request.method not in {"GET", "HEAD"}:
            return method_not_allowed("GET")
        name = request.match_info["name"]
        vault = self._entitled(request, name)
        data = await asyncio.to_thread(vault.read, name)
        headers = {"Cache-Control": "private, no-store", "Content-Type": MEDIA_TYPE}
        return web.Response(body=data, headers=headers)

    async def _take(self, request: web.Request) -> web.Response:
        prefix, note = self._asked(request)
        site_key, log_key = self._keys(prefix)
        now = self._node.now()
        deposit = read_deposit(note, site_key, audience=self._own, now=now)
        if deposit.prefix != prefix.decode():
            raise SignatureInvalid(f"the deposit is of {deposit.prefix}, not of {prefix.decode()}")
        async with self._busy:  # each holds a deposit in memory
            data = await read_body(request, MAX_DEPOSIT, BODY_S)
            receipt = sign_receipt(
                deposit, self._node.keys.site_private, self._node.prefix.decode(), int(now)
            )
            kept = await asyncio.to_thread(
                self._vault(prefix).take, deposit, data, log_key, receipt
            )
        return web.json_response({"receipt": kept.decode()}, status=201)

    def _entitled(self, request: web.Request, part: str) -> Vault:
        """The child's vault, once the child proved that it asks. Raises SignatureInvalid."""
        prefix, note = self._asked(request)
        site_key, _ = self._keys(prefix)
        now = self._node.now()
        check_request(note, site_key, prefix.decode(), part, audience=self._own, now=now)
        return self._vault(prefix)

    def _asked(self, request: web.Request) -> tuple[bytes, bytes]:
        """Prefix and note of a request."""
        if not self._node.settings.escrow.accept:
            raise NotAuthorized("this node takes no escrow deposits (escrow.accept)")
        if not self._senders.secure(request):
            raise AuthenticationNeeded("escrow goes over TLS only; use the HTTPS face")
        note = request.headers.get(HEADER, "")
        if not note.isascii() or not note:
            raise ParseError(f"the header {HEADER} carries what the child signed")
        return check_prefix(request.match_info["prefix"]), note.encode()

    def _keys(self, prefix: bytes) -> tuple[RSAPublicKey, Ed25519PublicKey]:
        """The keys that this node published for a child."""
        row = self._node.prefixes.get(prefix)
        record = read_record(self._node.store, prefix_record(prefix))
        if row is None or row.state != DELEGATED or record is None:
            raise NotServedHere(f"{prefix.decode()} is no prefix that was delegated here")
        held = {value.index: value.data for value in record.values}
        try:
            site, log = decode_public_key(held[KEY]), decode_public_key(held[LOG_KEY])
        except (KeyError, ParseError):
            raise NotServedHere(f"the record of {prefix.decode()} has no keys") from None
        if not isinstance(site, RSAPublicKey) or not isinstance(log, Ed25519PublicKey):
            raise NotServedHere(f"the record of {prefix.decode()} has no keys of these kinds")
        return site, log

    def _vault(self, prefix: bytes) -> Vault:
        settings = self._node.settings.escrow
        return Vault(self._node.dir, prefix.decode(), most_bytes=settings.child_mib << 20)
