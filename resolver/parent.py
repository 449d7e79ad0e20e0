"""The parent as a child knows it: its address, its pinned key, and questions to it over HTTP.

DIR/parent.json keeps what was agreed at the time of the request, DIR/parents/Q.json the same for
a further prefix Q: whoever answers later must show the same key.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import aiohttp
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from protocol.errors import (
    BadIdentifier,
    BiaoshiError,
    HandleExists,
    NotServedHere,
    ParseError,
    ServerBusy,
    SettingsError,
    SignatureInvalid,
    UpstreamError,
)
from protocol.jws import parse_jws
from protocol.keys import encode_public_key
from protocol.keys.jwk import format_jwk, parse_jwk
from protocol.name import prefix_record
from protocol.record import HandleValue, Reference
from protocol.signature import parse_signature, same_identity, verify_record
from registry.keys import NodeKeys
from resolver.enrol import Answer, parse_answer
from resolver.guard import Guard
from resolver.transport_http import tls_context

FILE: Final = "parent.json"
FURTHER: Final = "parents"
_MAX_REPLY: Final = 524_288
_TIMEOUT: Final = aiohttp.ClientTimeout(total=15)
_SITE_TYPES: Final = (b"HS_SITE", b"HS_SITE.6")


@dataclass(frozen=True, slots=True)
class Pinned:
    """Whom we applied to. url: its HTTP face, without a final slash. key: its site key."""

    url: str
    prefix: bytes
    key: RSAPublicKey


def _file(folder: Path, further: bytes) -> Path:
    return folder / FURTHER / f"{further.decode()}.json" if further else folder / FILE


def asked_further(folder: Path) -> list[bytes]:
    """The further prefixes that a parent was asked for."""
    return [path.name.removesuffix(".json").encode() for path in (folder / FURTHER).glob("*.json")]


def load_pinned(folder: Path, further: bytes = b"") -> Pinned | None:
    """Whom we applied to; None when no request was made yet. Raises SettingsError.

    further: a folded prefix beside the node's own.
    """
    path = _file(folder, further)
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        key = parse_jwk(data["key"])
        if not isinstance(key, RSAPublicKey):
            raise ParseError("the parent's key is no RSA key")
        return Pinned(str(data["url"]), str(data["prefix"]).encode(), key)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, ParseError) as error:
        raise SettingsError(
            f"{path} cannot be read ({error}); remove it and run `biaoshi prefix request` again"
        ) from None


def save_pinned(folder: Path, pinned: Pinned, further: bytes = b"") -> None:
    """Write the file as a whole."""
    path = _file(folder, further)
    path.parent.mkdir(mode=0o700, exist_ok=True)
    shape = {
        "url": pinned.url,
        "prefix": pinned.prefix.decode(),
        "key": format_jwk(pinned.key),
    }
    aside = path.with_name(f".{path.name}.new")
    aside.write_text(json.dumps(shape, indent=2) + "\n", encoding="utf-8")
    os.replace(aside, path)  # noqa: PTH105 - the word for what is meant


class ParentLink:
    """Questions to a parent node. Every answer is verified against the pin, if there is one."""

    def __init__(self, guard: Guard, url: str, pin: RSAPublicKey | None) -> None:
        self._url = url.rstrip("/")
        self._pin = pin
        self._session = guard.http_session(timeout=_TIMEOUT)

    async def state(self, prefix: bytes) -> Answer:
        """What the parent says about a prefix."""
        path = f"/api/delegations/{quote(prefix.decode(), safe='')}"
        return await self._ask("GET", path, None)

    async def apply(self, application: bytes) -> Answer:
        """Send a signed application."""
        return await self._ask("POST", "/api/delegations", application)

    async def close(self) -> None:
        """Close the connections."""
        await self._session.close()

    async def _ask(self, method: str, path: str, body: bytes | None) -> Answer:
        url = f"{self._url}{path}"
        try:
            # TLS only hides what is said: whom we talk to is proved by the answer's signature.
            async with self._session.request(
                method,
                url,
                data=body,
                headers={"Content-Type": "application/jose"} if body else {},
                allow_redirects=False,
                ssl=tls_context(),
            ) as reply:
                data = await _read(reply)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            # aiohttp's own text names the TLS context by its address in memory.
            why = getattr(error, "strerror", None) or str(error) or "time-out"
            raise UpstreamError(
                f"the parent at {self._url} does not answer ({why}); "
                "is it running, and is node.parent right?"
            ) from None
        if reply.status >= 300:
            raise _refusal(self._url, reply.status, data)
        try:
            shape = json.loads(data)
            return parse_answer(str(shape["answer"]).encode(), self._pin, time.time())
        except (ValueError, KeyError, TypeError, ParseError) as error:
            raise UpstreamError(
                f"{url} gives no answer about delegations ({error}); is it a Biaoshi node's address?"
            ) from None


async def _read(reply: aiohttp.ClientResponse) -> bytes:
    data = bytearray()
    async for chunk in reply.content.iter_chunked(65_536):
        data += chunk
        if len(data) > _MAX_REPLY:
            raise UpstreamError(f"{reply.url} sent more than {_MAX_REPLY} octets")
    return bytes(data)


def _refusal(url: str, status: int, data: bytes) -> BiaoshiError:
    """The parent's refusal in its own words."""
    detail = _detail(data) or f"status {status}"
    told = f"the parent at {url} says: {detail}"
    if status == 409:
        return HandleExists(told)
    if status in {401, 403, 422}:
        return SignatureInvalid(told)
    if status in {404, 421}:
        return NotServedHere(told)
    if status in {429, 503}:
        return ServerBusy(told)
    if status == 400:
        return BadIdentifier("refused", told)
    return UpstreamError(told)


def _detail(data: bytes) -> str:
    try:
        shape: Any = json.loads(data)
        return str(shape.get("detail") or shape.get("title") or "")[:500]
    except (ValueError, AttributeError):
        return ""


def published_values(
    answer: Answer, pinned: Pinned, keys: NodeKeys, prefix: bytes, now: float
) -> tuple[HandleValue, ...]:
    """The published record of our own prefix, once it is what we may rely on.

    It carries our keys and a site, and key 300 of the parent we applied to signed all of it.
    Raises SignatureInvalid naming what does not hold.
    """
    if answer.prefix != prefix or answer.state != "delegated":
        raise SignatureInvalid(f"the parent's answer is not the delegation of {prefix.decode()}")
    record = prefix_record(prefix)
    held = {value.index: value for value in answer.values}
    for index, key in ((300, keys.site_public), (302, keys.log_public)):
        value = held.get(index)
        if value is None or value.type != b"HS_PUBKEY" or value.data != encode_public_key(key):
            raise SignatureInvalid(
                f"the record that the parent published for {prefix.decode()} does not carry our "
                f"key {index}; ask its operator to refuse it, then apply again"
            )
    if not any(value.type in _SITE_TYPES for value in answer.values):
        raise SignatureInvalid(f"the published record of {prefix.decode()} names no site")
    signer = Reference(prefix_record(pinned.prefix), 300)
    for value in answer.values:
        if value.type == b"HS_SIGNATURE" and same_identity(_issuer(value), signer):
            report = verify_record(record, answer.values, value.data, pinned.key, int(now))
            if not report.signature_verifies:  # the parent replaced its key since it was pinned
                report = verify_record(record, answer.values, value.data, answer.key, int(now))
            report.require()
            return answer.values
    raise SignatureInvalid(
        f"the published record of {prefix.decode()} is not signed by {signer.text()}, "
        "the parent that we applied to"
    )


def _issuer(value: HandleValue) -> Reference:
    return parse_signature(parse_jws(value.data)).claims.issuer
