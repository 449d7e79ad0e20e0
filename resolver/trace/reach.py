"""Other nodes as a trace asks them: over HTTP, through the guard, with an identity where it is safe.

Nobody's credentials are passed on. For an administrator of this node it asks as itself, by a
session that its site key proves (300:0.NA/P), over TLS on the key of the site record; for anybody
else it asks as anybody. Answers are kept until the other log moves (ETag), failures for a while.
"""

from __future__ import annotations

import asyncio
import os
from base64 import b64decode, b64encode
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

import aiohttp
import orjson

from protocol.errors import BiaoshiError, SignatureInvalid
from protocol.keys.signing import SHA_256, sign_octets
from protocol.values.hs_site import Transport
from registry.signing import SITE_KEY_INDEX
from resolver.guard import Guard, parse_url
from resolver.outbound import make_guard
from resolver.peers import Endpoint
from resolver.transport_http import check_certificate, tls_context

if TYPE_CHECKING:
    from resolver.node import Node

MOST_BYTES: Final = 32 << 20
_KEPT: Final = 256
_KEPT_BYTES: Final = 32 << 20
_DENIED_S: Final = 10.0
_SESSION_S: Final = 300.0
_TIMEOUT: Final = aiohttp.ClientTimeout(total=30, connect=5)


class Failed(Exception):
    """A question without an answer: what the gap will say."""

    def __init__(self, step: str, reason: str, *, retriable: bool = False) -> None:
        super().__init__(reason)
        self.step, self.reason, self.retriable = step, reason, retriable


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """A node to ask. url: without a final slash. key: encoded site key; empty: not known."""

    name: str
    url: str
    key: bytes = b""

    @property
    def secure(self) -> bool:
        """Whether an identity may be shown there."""
        return self.url.startswith("https://") and bool(self.key)


@dataclass(slots=True)
class _Kept:
    tag: str
    body: bytes


class Reach:
    """The way to other nodes, for one reader."""

    def __init__(self, node: Node, *, most_bytes: int = MOST_BYTES) -> None:
        """most_bytes: of one answer."""
        self._node = node
        self._most_bytes = most_bytes
        self._session: aiohttp.ClientSession | None = None
        self._answers: OrderedDict[tuple[Any, ...], _Kept] = OrderedDict()
        self._bytes = 0
        self._denied: dict[tuple[Any, ...], tuple[float, Failed]] = {}
        self._silent: dict[Place, float] = {}
        self._pins: dict[Place, tuple[float, aiohttp.Fingerprint]] = {}
        self._sessions: dict[Place, tuple[float, str]] = {}

    async def get(self, place: Place, path: str, *, identified: bool) -> bytes:
        """The body of a GET, perhaps a kept one. Raises Failed."""
        if self._silent.get(place, 0.0) > self._node.now():
            raise Failed("connect", "timeout", retriable=True)
        key = (place, path, identified)
        denied = self._denied.get(key)
        if denied is not None and denied[0] > self._node.now():
            raise denied[1]
        kept = self._answers.get(key)
        headers = {} if kept is None else {"If-None-Match": kept.tag}
        try:
            status, body, tag = await self._send(
                place, "GET", path, None, headers, identified=identified
            )
        except Failed as failed:
            self._refused(key, failed)
            raise
        if status == 304 and kept is not None:
            self._answers.move_to_end(key)
            return kept.body
        if tag:
            self._keep(key, _Kept(tag, body))
        return body

    def silent(self, place: Place) -> None:
        """Ask a node nothing for a while: it kept us waiting for longer than we had time."""
        if len(self._silent) >= _KEPT:
            self._silent.clear()
        self._silent[place] = self._node.now() + _DENIED_S

    async def post(self, place: Place, path: str, shape: Any, *, identified: bool) -> bytes:
        """The body of the answer to an order. Raises Failed."""
        data = orjson.dumps(shape)
        _, body, _ = await self._send(place, "POST", path, data, {}, identified=identified)
        return body

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()

    # --- requests

    async def _send(
        self,
        place: Place,
        method: str,
        path: str,
        data: bytes | None,
        headers: Mapping[str, str],
        *,
        identified: bool,
    ) -> tuple[int, bytes, str]:
        sent = {"Accept": "application/json", **headers}
        if data is not None:
            sent["Content-Type"] = "application/json"
        proof = await self._prove(place) if identified and place.secure else ""
        if proof:
            sent["Authorization"] = proof
        status, body, tag = await self._request(place, method, path, data, sent)
        if status == 401 and proof:  # the session is over there: another one, once
            self._sessions.pop(place, None)
            sent.pop("Authorization")
            if again := await self._prove(place):
                sent["Authorization"] = again
            status, body, tag = await self._request(place, method, path, data, sent)
        if status in {401, 403, 404, 410, 421}:
            raise Failed("query", "not_found")
        if status in {429, 503}:
            raise Failed("query", "busy", retriable=True)
        if status in {409, 508}:  # 409 of orders, 508 of answers
            raise Failed("query", "loop")
        if status not in {200, 304}:
            raise Failed("query", "refused", retriable=status >= 500)
        return status, body, tag

    async def _request(
        self,
        place: Place,
        method: str,
        path: str,
        data: bytes | None,
        headers: Mapping[str, str],
    ) -> tuple[int, bytes, str]:
        session = self._opened()
        try:
            tls = await self._pinned(place)
            async with session.request(
                method,
                place.url + path,
                data=data,
                headers=dict(headers),
                allow_redirects=False,
                ssl=tls,
            ) as reply:
                body = await _read(reply, self._most_bytes)
                return reply.status, body, reply.headers.get("ETag", "")
        except TimeoutError:
            raise Failed("connect", "timeout", retriable=True) from None
        except SignatureInvalid:
            raise Failed("verify", "invalid_signature") from None
        except aiohttp.ServerFingerprintMismatch:
            self._pins.pop(place, None)
            raise Failed("verify", "invalid_signature") from None
        except (aiohttp.ClientError, OSError, BiaoshiError, ValueError):
            raise Failed("connect", "unreachable", retriable=True) from None

    async def _pinned(self, place: Place) -> aiohttp.Fingerprint | bool:
        """What a connection must show: the certificate whose key is that of the site record.

        Where no key is known, one that the system's authorities vouch for.
        """
        if not place.secure:
            return True
        kept = self._pins.get(place)
        if kept is not None and kept[0] > self._node.now():
            return kept[1]
        url = parse_url(place.url)
        guard = self._guarded()
        async with guard.tcp(url.host, url.port, scheme="https", tls=tls_context()) as channel:
            certificate = channel.certificate()
        check_certificate(certificate, place.key, Endpoint(Transport.HTTPS, url.host, url.port))
        pin = aiohttp.Fingerprint(sha256(certificate or b"").digest())
        self._pins[place] = (self._node.now() + _SESSION_S, pin)
        return pin

    def _guarded(self) -> Guard:
        asking = self._node.asking
        return make_guard(self._node.settings) if asking is None else asking.guard

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = self._guarded().http_session(timeout=_TIMEOUT)
        return self._session

    async def _prove(self, place: Place) -> str:
        """The Authorization of a session there; empty where none could be had."""
        known = self._sessions.get(place)
        if known is not None and known[0] > self._node.now():
            return known[1]
        header = ""
        try:
            status, body, _ = await self._request(place, "POST", "/api/sessions", b"{}", _JSON)
            opened = orjson.loads(body)
            session, nonce = str(opened["sessionId"]), b64decode(str(opened["nonce"]))
            proof = f'Handle sessionId="{session}"'
            answer = orjson.dumps(self._answer(nonce))
            status, body, _ = await self._request(
                place, "PUT", "/api/sessions/this", answer, {**_JSON, "Authorization": proof}
            )
            if status == 200 and orjson.loads(body).get("authenticated"):
                header = proof
        except (Failed, ValueError, KeyError, TypeError, AttributeError):
            header = ""  # asked as anybody then
        if len(self._sessions) >= _KEPT:
            self._sessions.clear()
        lasts_s = _SESSION_S if header else _DENIED_S
        self._sessions[place] = (self._node.now() + lasts_s, header)
        return header

    def _answer(self, nonce: bytes) -> dict[str, str]:
        own = os.urandom(16)
        signature = sign_octets(self._node.keys.site_private, nonce + own, SHA_256)
        return {
            "id": f"{SITE_KEY_INDEX}:{self._node.record_name.decode()}",
            "type": "HS_PUBKEY",
            "cnonce": b64encode(own).decode(),
            "alg": SHA_256.decode(),
            "signature": b64encode(signature).decode(),
        }

    # --- what is kept

    def _keep(self, key: tuple[Any, ...], kept: _Kept) -> None:
        old = self._answers.pop(key, None)
        self._bytes += len(kept.body) - (len(old.body) if old is not None else 0)
        self._answers[key] = kept
        while self._bytes > _KEPT_BYTES or len(self._answers) > _KEPT:
            _, gone = self._answers.popitem(last=False)
            self._bytes -= len(gone.body)

    def _refused(self, key: tuple[Any, ...], failed: Failed) -> None:
        if len(self._denied) >= _KEPT:
            self._denied.clear()
        self._denied[key] = (self._node.now() + _DENIED_S, failed)


_JSON: Final = {"Accept": "application/json", "Content-Type": "application/json"}


async def _read(reply: aiohttp.ClientResponse, most: int) -> bytes:
    data = bytearray()
    async for chunk in reply.content.iter_chunked(65_536):
        data += chunk
        if len(data) > most:
            raise Failed("query", "limit")
    return bytes(data)


async def gathered(tasks: list[Any]) -> list[Any]:
    """All results in order; failures among them as Failed."""
    found = await asyncio.gather(*tasks, return_exceptions=True)
    for one in found:
        if isinstance(one, BaseException) and not isinstance(one, Failed):
            raise one
    return found
