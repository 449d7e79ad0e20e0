"""What a request asks: its path decoded once, its parameters, its body within bounds, its sender.

Nothing here is answered; resolver.http.reply does that.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_to_bytes

from aiohttp import web
from aiohttp.web_protocol import RequestPayloadError

from protocol.errors import ParseError
from protocol.strict_json import TOLERANT, parse_json

if TYPE_CHECKING:
    from resolver.config import Settings

MAX_SELECTED = 2048
"""Indexes or types of one request: no record has more values."""

_bad_escape = re.compile(rb"%(?![0-9A-Fa-f]{2})").search
_integer = re.compile(r"[+-]?\d{1,20}").fullmatch


class BodyTooLarge(ParseError):
    """A request body above its limit."""


class BodyTooSlow(ParseError):
    """A request body that did not arrive in time."""


def raw_path(request: web.BaseRequest) -> str:
    """The request target's path as sent: no host, no query, nothing decoded or collapsed."""
    target = request.raw_path
    if not target.startswith("/"):  # absolute form (RFC 9112 §3.2.2)
        _, separator, rest = target.partition("://")
        slash = rest.find("/") if separator else -1
        target = rest[slash:] if slash >= 0 else "/"
    return target.partition("?")[0].partition("#")[0]


def raw_query(request: web.BaseRequest) -> str:
    """The request target's query as sent, without its question mark."""
    return request.raw_path.partition("?")[2].partition("#")[0]


def decoded(text: str) -> bytes:
    """Percent escapes decoded exactly once. Raises ParseError for half an escape.

    The text may hold raw octets of a sloppy client: they stay what they were.
    """
    raw = text.encode("utf-8", "surrogateescape")
    if _bad_escape(raw):
        raise ParseError("a percent sign in the path begins no escape; write it as %25")
    return unquote_to_bytes(raw)


@dataclass(frozen=True, slots=True)
class Parameters:
    """The query, decoded once; names are compared as they are."""

    pairs: tuple[tuple[str, str], ...]

    @classmethod
    def of(cls, request: web.BaseRequest) -> Parameters:
        """The parameters of a request. Raises ParseError for half an escape."""
        return cls(tuple(_pairs(raw_query(request))))

    def all(self, name: str) -> list[str]:
        """Every value of a name, in order."""
        return [value for key, value in self.pairs if key == name]

    def first(self, name: str) -> str | None:
        """The first value of a name, or None."""
        return next((value for key, value in self.pairs if key == name), None)

    def flag(self, name: str, default: bool = False) -> bool:
        """A boolean: absent is the default, present without a value is true, other words false."""
        value = self.first(name)
        return default if value is None else value.lower() in {"", "true", "1", "yes"}

    def has(self, name: str) -> bool:
        """Whether the name is there, with any value or none."""
        return any(key == name for key, _ in self.pairs)

    def integer(self, name: str) -> int | None:
        """An integer, or None when absent. Raises ParseError for other text."""
        value = self.first(name)
        return None if value is None else _number(value, name)

    def indexes(self) -> tuple[int, ...]:
        """Every `index`. Raises ParseError when one is no integer of 32 bits."""
        return tuple(_index(value) for value in _bounded(self.all("index"), "index"))

    def types(self) -> tuple[bytes, ...]:
        """Every `type`, as octets."""
        return tuple(
            value.encode("utf-8", "replace") for value in _bounded(self.all("type"), "type")
        )


def _pairs(query: str) -> Iterator[tuple[str, str]]:
    for part in query.split("&"):
        if part:
            name, _, value = part.partition("=")
            yield _text(name), _text(value)


def _text(part: str) -> str:
    return decoded(part.replace("+", " ")).decode("utf-8", "replace")


def _bounded(values: list[str], name: str) -> list[str]:
    if len(values) > MAX_SELECTED:
        raise ParseError(f"{len(values)} times `{name}`; at most {MAX_SELECTED} are read")
    return values


def _number(value: str, name: str) -> int:
    if not _integer(value):
        raise ParseError(f"`{name}` must be an integer, not {value[:40]!r}")
    return int(value)


def _index(value: str) -> int:
    number = _number(value, "index")
    if not -(2**31) <= number < 2**31:
        raise ParseError(f"`index` must be an integer of 32 bits, not {value[:40]!r}")
    return number


async def read_body(request: web.BaseRequest, limit: int, deadline_s: float) -> bytes:
    """The whole body. Raises BodyTooLarge, BodyTooSlow or ParseError (an encoded body)."""
    encoding = request.headers.get("Content-Encoding", "identity").lower()
    if encoding != "identity":
        raise ParseError(f"a request body with Content-Encoding {encoding!r} is not read")
    if (request.content_length or 0) > limit:
        raise BodyTooLarge(f"a body of {request.content_length} octets is above {limit}")
    parts, size = [], 0
    try:
        async with asyncio.timeout(deadline_s):
            async for part in request.content.iter_any():
                size += len(part)
                if size > limit:
                    raise BodyTooLarge(f"the body is above {limit} octets")
                parts.append(part)
    except TimeoutError:
        raise BodyTooSlow(f"the body did not arrive within {deadline_s:g} s") from None
    except RequestPayloadError:
        raise ParseError("the body ends before it should, or its chunks are broken") from None
    return b"".join(parts)


async def read_json(request: web.BaseRequest, limit: int, deadline_s: float) -> Any:
    """A JSON body. Raises ParseError, also for another media type."""
    kind = request.headers.get("Content-Type")
    if kind is not None and kind.partition(";")[0].strip().lower() != "application/json":
        raise ParseError("Unsupported media type")
    return parse_json(await read_body(request, limit, deadline_s), decoder=TOLERANT)


class Senders:
    """Who sent a request, through trusted reverse proxies or directly."""

    def __init__(self, settings: Settings) -> None:
        self._proxies = tuple(
            ip_network(text, strict=False) for text in settings.http.trusted_proxies
        )

    def host(self, request: web.BaseRequest) -> str:
        """The numeric address of the sender: the last forwarder that is no trusted proxy."""
        host = _peer(request)
        if not self._trusted(host):
            return host
        forwarded = ",".join(request.headers.getall("X-Forwarded-For", [])).split(",")
        for text in reversed(forwarded):
            candidate = text.strip()
            if not candidate or not _is_address(candidate):
                break
            host = candidate
            if not self._trusted(host):
                break
        return host

    def forwarded(self, request: web.BaseRequest) -> bool:
        """Whether the request came through a trusted proxy."""
        return self._trusted(_peer(request))

    def secure(self, request: web.BaseRequest) -> bool:
        """Whether the request came over TLS, here or at a trusted proxy."""
        if request.transport is not None and request.transport.get_extra_info("sslcontext"):
            return True
        proto: str = request.headers.get("X-Forwarded-Proto", "")
        return proto.lower() == "https" and self._trusted(_peer(request))

    def _trusted(self, host: str) -> bool:
        if not self._proxies or not _is_address(host):
            return False
        address = ip_address(host)
        return any(address in network for network in self._proxies)


def _peer(request: web.BaseRequest) -> str:
    name = request.transport.get_extra_info("peername") if request.transport else None
    return str(name[0]) if isinstance(name, tuple) and name else ""


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def in_networks(host: str, networks: tuple[str, ...]) -> bool:
    """Whether a numeric address lies in one of the networks."""
    if not _is_address(host):
        return False
    address = ip_address(host)
    return any(address in ip_network(text, strict=False) for text in networks)
