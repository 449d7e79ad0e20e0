"""The hot GETs answered with stored octets, inside aiohttp's protocol and before its parser.

Taken here: a whole GET or HEAD of /api/handles/{plain handle}, or of /{plain handle} where a URL
value is redirected to, or a GET of a Digital Link that was redirected lately, with usual headers
and nothing behind it, of an identifier whose prefix is homed here. Everything else gives None and
goes to aiohttp untouched, which must answer these with the same octets apart from Date;
tests/resolver/http/test_fastpath.py holds both to it. Figures: docs/benchmark.md, by
`python -m bench compare` (about 4x fewer µs than the ordinary way).

The header block of a client is the same in each of its requests, so it is judged once and
remembered; a body, an upgrade or a second request behind it make another block, which is not
taken.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from email.utils import formatdate
from functools import lru_cache
from html import escape
from string import ascii_lowercase, ascii_uppercase
from struct import Struct
from typing import TYPE_CHECKING, Final, NamedTuple

import orjson
from xxhash import xxh3_64_intdigest as xxh3

from protocol.errors import StoreError
from registry.prefixes import ROOT
from registry.store import Table
from registry.store.row import FLAGS_AT, JSON_HEAD_SIZE, UNSEEN
from resolver.http.address import safe_address
from resolver.http.link_memo import memo_of
from resolver.http.mounts import RESERVED
from resolver.http.page import PUBLIC_HEADERS, REDIRECT_BODY, SECURITY_HEADERS
from resolver.http.reply import gzipped, wants_gzip
from resolver.namespaces import NO_CHAIN

if TYPE_CHECKING:
    from resolver.node import Node

FastAnswer = Callable[[bytes], bytes | None]

_MAX_HEAD: Final = 4_096
_MAX_NAME: Final = 500
"""Longer names have shortened store keys: the ordinary way."""
_MEMO: Final = 1_024
_ROW: Final = Struct(">QxxHQ")  # checksum, length of a shortened key's name, version
_NO_VALUES: Final = JSON_HEAD_SIZE + len(b"[]")

_PLAIN: Final = b"%b%b0123456789._~!$&'()*+,;=:@/-" % (
    ascii_uppercase.encode(),
    ascii_lowercase.encode(),
)
"""What stands in a path and in JSON as it is."""
_line: Final = re.compile(
    rb"([A-Za-z-]+):[ \t]*([\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?)?"
).fullmatch
_NOT_HERE: Final = frozenset((ROOT, *(word.upper().encode() for word in RESERVED)))
"""Prefixes that are left to the ordinary way, whoever is home to them."""
_host: Final = re.compile(
    rb"[A-Za-z0-9.-]+(?::[0-9]{1,5})?|\[[0-9A-Fa-f:.]+\](?::[0-9]{1,5})?"
).fullmatch
_not_alone: Final = re.compile(
    rb"\n(?:content-length|transfer-encoding|upgrade|connection|expect)[ \t]*:", re.IGNORECASE
).search
"""Headers that may make the parser wait for more, or stop."""
_tag: Final = re.compile(rb'"[0-9]{1,19}(?:-gzip)?"').fullmatch

_IGNORED: Final = frozenset(
    (
        b"accept",
        b"accept-language",
        b"cache-control",
        b"dnt",
        b"pragma",
        b"priority",
        b"referer",
        b"sec-ch-ua",
        b"sec-ch-ua-mobile",
        b"sec-ch-ua-platform",
        b"sec-fetch-dest",
        b"sec-fetch-mode",
        b"sec-fetch-site",
        b"sec-fetch-user",
        b"traceparent",
        b"upgrade-insecure-requests",
        b"user-agent",
        b"x-request-id",
    )
)
"""Headers that change nothing of the answer. One that is not known here may: the ordinary way."""

_HEADERS: Final = (
    b"Content-Type: application/json;charset=UTF-8\r\n"
    b"Content-Length: %d\r\n"
    b"Date: %b\r\n"
    b"Server: Biaoshi\r\n"
    b"X-Content-Type-Options: nosniff\r\n\r\n"
)
_FOUND: Final = b'HTTP/1.1 200 OK\r\nVary: Accept-Encoding, Origin\r\nETag: "%d"\r\n' + _HEADERS
_FOUND_ZIPPED: Final = (
    b'HTTP/1.1 200 OK\r\nVary: Accept-Encoding, Origin\r\nETag: "%d-gzip"\r\n'
    b"Content-Encoding: gzip\r\n" + _HEADERS
)
_REDIRECT: Final = (
    b"HTTP/1.1 302 Found\r\n"
    + b"".join(
        b"%b: %b\r\n" % (k.encode(), v.encode())
        for k, v in (SECURITY_HEADERS | PUBLIC_HEADERS).items()
    )
    + b"Expires: %b\r\nLocation: %b\r\nContent-Length: %d\r\nDate: %b\r\n"
    b"Server: Biaoshi\r\nX-Content-Type-Options: nosniff\r\n\r\n"
)
_REDIRECT_BODY: Final = REDIRECT_BODY.encode()
_may_choose: Final = re.compile(
    rb'"type":"(?:10320/loc|hs_alias|0\.(?:link|linkset|retired))"', re.IGNORECASE
).search
_LAST_SECOND: Final = 2**32
_ABSENT: Final = b"HTTP/1.1 404 Not Found\r\nVary: Accept-Encoding, Origin\r\n" + _HEADERS
_SAME: Final = (
    b'HTTP/1.1 304 Not Modified\r\nVary: Accept-Encoding, Origin\r\nETag: "%d%b"\r\n'
    b"Date: %b\r\nServer: Biaoshi\r\nX-Content-Type-Options: nosniff\r\n\r\n"
)
_FOUND_BODY: Final = b'{"responseCode":1,"handle":"%b","values":%b}'
_FOUND_WHOLE: Final = _FOUND + _FOUND_BODY
_BODY_REST: Final = len(_FOUND_BODY % (b"", b"")) - JSON_HEAD_SIZE
"""Octets of a body besides the name and the row."""
_NONE: Final = b"HTTP/1.1 200 OK\r\nVary: Accept-Encoding, Origin\r\n" + _HEADERS
_NONE_BODY: Final = b'{"responseCode":200,"values":[],"handle":"%b"}'
_ABSENT_BODY: Final = b'{"responseCode":100,"handle":"%b"}'


class Head(NamedTuple):
    """What a header block means.

    tag: of If-None-Match, with its quotes; b"" without one. gzip: the client takes it.
    """

    tag: bytes
    gzip: bool


USUAL: Final = Head(b"", gzip=False)


class Caller(NamedTuple):
    """What of a header block chooses among links."""

    host: bytes
    accept: bytes
    language: bytes


def read_caller(rest: bytes) -> Caller:
    """The same headers of a block that was judged already."""
    lines = (line.partition(b":") for line in rest.split(b"\r\n"))
    seen = {name.lower(): value.strip(b" \t") for name, colon, value in lines if colon}
    return Caller(*(seen.get(name, b"") for name in (b"host", b"accept", b"accept-language")))


class Tally:
    """Answers given here, as plain numbers; the gate hands them to the metrics once a second."""

    __slots__ = ("absent", "found", "received", "sent")

    def __init__(self) -> None:
        self.found = self.absent = self.received = self.sent = 0

    def take(self) -> tuple[int, int, int, int]:
        """Found, absent, octets received and sent since the last time."""
        counted = (self.found, self.absent, self.received, self.sent)
        self.found = self.absent = self.received = self.sent = 0
        return counted


def is_whole(data: bytes) -> bool:
    """Whether octets given to a parser that held nothing leave it holding nothing again.

    True only for what is certainly one request without a body.
    """
    if not data.endswith(b"\r\n\r\n") or data.find(b"\r\n\r\n") != len(data) - 4:
        return False
    return not _not_alone(data)


def read_head(rest: bytes) -> Head | None:
    """Judge what follows the path: version and headers up to the empty line, nothing after it.

    None: not taken here.
    """
    if len(rest) > _MAX_HEAD or not rest.startswith(b"HTTP/1.1\r\n"):
        return None
    if not rest.endswith(b"\r\n\r\n"):
        return None
    seen: dict[bytes, bytes] = {}
    for line in rest[10:-4].split(b"\r\n"):
        found = _line(line)
        if found is None:
            return None
        name = found[1].lower()
        if name in seen:
            return None
        seen[name] = found[2] or b""
    return _judged(seen)


def _judged(seen: Mapping[bytes, bytes]) -> Head | None:
    tag, zipped = b"", False
    if not _host(seen.get(b"host", b"")):
        return None
    for name, value in seen.items():
        if name == b"accept" and b"linkset" in value.lower():
            return None
        if name in _IGNORED or name == b"host":
            continue
        if name == b"connection" and value.lower() == b"keep-alive":
            continue
        if name == b"accept-encoding":
            zipped = wants_gzip(value.decode())
            continue
        if name == b"if-none-match" and _tag(value):
            tag = value
            continue
        return None
    return Head(tag, zipped) if tag or zipped else USUAL


def fast_answers(  # noqa: PLR0915 - flat for speed
    node: Node,
    tally: Tally,
    face: str = "http",
    soon: Callable[[Callable[[], None]], object] | None = None,
) -> FastAnswer:
    """The fast way of one reader and face: a chunk of octets to a whole response, or None.

    One function with everything at hand: each call that is saved is 2 % of an answer.
    soon: `call_soon` of the loop, so that the answers of a turn share a read transaction.
    """
    store = node.store
    get = store.getter(Table.JSON) if soon is None else store.getter_by_turn(Table.JSON, soon)
    prefixes, namespaces = node.prefixes, node.lookup.namespaces
    mark, seen, homed = prefixes.mark, -1, frozenset[bytes]()
    log = node.query_log if node.settings.log.query_sample else None
    schemes = frozenset(scheme.lower() for scheme in node.settings.http.redirect_schemes)
    heads: dict[bytes, Head | None] = {}
    row_at, now = _ROW.unpack_from, node.now
    second, date = -1, b""
    links, callers = memo_of(node.store), dict[bytes, Caller]()

    def link(name: bytes, rest: bytes, octets: int) -> bytes | None:
        """A Digital Link that was redirected lately."""
        nonlocal second, date
        try:
            caller = callers[rest]
        except KeyError:
            if len(callers) >= _MEMO:
                callers.clear()
            caller = callers[rest] = read_caller(rest)
        try:
            kept = links.get((face, name, *caller))
        except StoreError:
            return None  # said the ordinary way
        if kept is None:
            return None
        if second != (at := int(now())):
            second, date = at, formatdate(at, usegmt=True).encode()
        reply = b"".join((kept.before, date, kept.after))
        tally.found += 1
        tally.received += octets
        tally.sent += len(reply)
        if log is not None and log.due():
            log.write("http", name, 1, 0, "store")
        return reply

    def answer(data: bytes) -> bytes | None:  # noqa: PLR0915 - as above
        nonlocal second, date, seen, homed
        with_body = json = True
        # Slices and partition(): what takes several arguments costs twice as much to call.
        if data[:17] == b"GET /api/handles/":
            name, _, rest = data[17:].partition(b" ")
        else:
            with_body = data.startswith(b"GET /")
            if not with_body and not data.startswith(b"HEAD /"):
                return None
            start = 5 if with_body else 6
            json = data.startswith(b"api/handles/", start)
            name, _, rest = data[start + 12 * json :].partition(b" ")
        try:
            head = heads[rest]
        except KeyError:
            if len(heads) >= _MEMO:
                heads.clear()
            head = heads[rest] = read_head(rest)
        if head is None:
            return None
        if name.translate(None, _PLAIN) or len(name) > _MAX_NAME:
            return None if json or not with_body else link(name, rest, len(data))
        if seen != (count := mark[0]):
            seen, homed = count, prefixes.homed() - _NOT_HERE
        key = name.upper()
        slash = key.find(b"/")
        prefix = key[:slash]
        if prefix not in homed or slash < 0 or slash + 1 == len(key):
            return None if json or not with_body else link(name, rest, len(data))
        try:
            raw = get(key)
        except StoreError:
            return None  # said the ordinary way
        if second != (at := int(now())):
            second, date = at, formatdate(at, usegmt=True).encode()
        if raw is None:
            if not json:
                return None  # a page
            delimiter = namespaces.delimiter(prefix)
            if delimiter and name.find(delimiter, len(prefix)) >= 0:
                return None  # a template may make it
            reply = absent(name, date, with_body)
            tally.absent += 1
        else:
            if (octets := len(raw)) < _NO_VALUES:
                return None  # set aside: said the ordinary way
            checksum, long_name, version = row_at(raw)
            if xxh3(raw[8:]) != checksum or long_name:
                return None
            if octets == _NO_VALUES:
                if not json or raw[FLAGS_AT] & UNSEEN:
                    return None
                reply = none_public(name, date, with_body)
            elif not json:
                chain = namespaces.of(prefix)
                if chain is not NO_CHAIN and chain.for_browsers:
                    return None
                found = redirect(raw, second, date, schemes, with_body)
                if found is None:
                    return None
                reply = found
            elif with_body and head is USUAL:
                size = len(name) + octets + _BODY_REST
                reply = _FOUND_WHOLE % (version, size, date, name, raw[JSON_HEAD_SIZE:])
            else:
                reply = record(name, raw, version, head, date, with_body)
            tally.found += 1
        tally.received += len(data)
        tally.sent += len(reply)
        if log is not None and log.due():
            log.write("http", name, 1 if raw is not None else 100, 0, "store")
        return reply

    return answer


def absent(name: bytes, date: bytes, with_body: bool) -> bytes:
    """404 in the words of the Handle interface."""
    body = _ABSENT_BODY % name
    reply = _ABSENT % (len(body), date)
    return reply + body if with_body else reply


def none_public(name: bytes, date: bytes, with_body: bool) -> bytes:
    """A record of which nobody is told anything without a proof of who they are."""
    body = _NONE_BODY % name
    reply = _NONE % (len(body), date)
    return reply + body if with_body else reply


def record(
    name: bytes, raw: bytes, version: int, head: Head, date: bytes, with_body: bool
) -> bytes:
    """The stored values as the Handle interface gives them, or 304."""
    if head.tag and head.tag in (b'"%d"' % version, b'"%d-gzip"' % version):
        return _SAME % (version, b"-gzip" if head.gzip else b"", date)
    body = _FOUND_BODY % (name, raw[JSON_HEAD_SIZE:])
    if head.gzip:
        body = gzipped(body)
        reply = _FOUND_ZIPPED % (version, len(body), date)
    else:
        reply = _FOUND % (version, len(body), date)
    return reply + body if with_body else reply


def redirect(
    raw: bytes, second: int, date: bytes, schemes: frozenset[str], with_body: bool
) -> bytes | None:
    """302 to the first URL value; None where the ordinary way must choose or show a page."""
    if _may_choose(raw):  # an alias, a 10320/loc value or a link comes before any URL
        return None
    values = orjson.loads(raw[JSON_HEAD_SIZE:])
    value = next((one for one in values if one["type"].upper() == "URL"), None)
    if value is None:
        return None
    data, ttl = value["data"], value["ttl"]
    if data["format"] != "string" or not isinstance(ttl, int):
        return None
    target = _address(data["value"], schemes)
    if target is None:
        return None
    body = _REDIRECT_BODY % (target.shown, target.shown)
    until = min(second + ttl, _LAST_SECOND)
    reply = _REDIRECT % (_expires(until), target.location, len(body), date)
    return reply + body if with_body else reply


class Target(NamedTuple):
    """An address that is redirected to, for the header and for the page."""

    location: bytes
    shown: bytes


@lru_cache(maxsize=4096)
def _address(text: str, schemes: frozenset[str]) -> Target | None:
    address = safe_address(text, "", schemes)
    return None if address is None else Target(address.encode(), escape(address).encode())


@lru_cache(maxsize=1024)
def _expires(second: int) -> bytes:
    return formatdate(second, usegmt=True).encode()
