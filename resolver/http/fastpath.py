"""The hot GETs answered with stored octets, inside aiohttp's protocol and before its parser.

Taken here: a whole GET or HEAD of /api/handles/{plain handle} with usual headers and nothing
behind it, of an identifier whose prefix is homed here. Everything else gives None and goes to
aiohttp untouched, which must answer these with the same octets apart from Date;
tests/resolver/http/test_fastpath.py holds both to it. Figures: spec/performance.md §1 and
`python -m bench.saturate` (about 4x fewer µs than the ordinary way).

The header block of a client is the same in each of its requests, so it is judged once and
remembered; a body, an upgrade or a second request behind it make another block, which is not
taken.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from email.utils import formatdate
from struct import Struct
from typing import TYPE_CHECKING, Final, NamedTuple

from xxhash import xxh3_64_intdigest as xxh3

from protocol.errors import StoreError
from registry.prefixes import ROOT
from registry.store import Table
from registry.store.row import JSON_HEAD_SIZE

if TYPE_CHECKING:
    from resolver.node import Node

FastAnswer = Callable[[bytes], bytes | None]

_MAX_HEAD: Final = 4_096
_MAX_NAME: Final = 500
"""Longer names have shortened store keys: the ordinary way."""
_MEMO: Final = 1_024
_ROW: Final = Struct(">QxxHQ")  # checksum, length of a shortened key's name, version
_NO_VALUES: Final = JSON_HEAD_SIZE + len(b"[]")

_plain: Final = re.compile(
    rb"[A-Za-z0-9._~!$&'()*+,;=:@-]+/[A-Za-z0-9._~!$&'()*+,;=:@/-]+"
).fullmatch
"""What stands in a path and in JSON as it is."""
_line: Final = re.compile(
    rb"([A-Za-z-]+):[ \t]*([\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?)?"
).fullmatch
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
_ABSENT: Final = b"HTTP/1.1 404 Not Found\r\nVary: Accept-Encoding, Origin\r\n" + _HEADERS
_SAME: Final = (
    b'HTTP/1.1 304 Not Modified\r\nVary: Accept-Encoding, Origin\r\nETag: "%d"\r\n'
    b"Date: %b\r\nServer: Biaoshi\r\nX-Content-Type-Options: nosniff\r\n\r\n"
)
_FOUND_BODY: Final = b'{"responseCode":1,"handle":"%b","values":%b}'
_FOUND_WHOLE: Final = _FOUND + _FOUND_BODY
_BODY_REST: Final = len(_FOUND_BODY % (b"", b"")) - JSON_HEAD_SIZE
"""Octets of a body besides the name and the row."""
_ABSENT_BODY: Final = b'{"responseCode":100,"handle":"%b"}'


class Head(NamedTuple):
    """What a header block means. tag: of If-None-Match, with its quotes; b"" without one."""

    tag: bytes


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
    if len(rest) > _MAX_HEAD or not rest.startswith(b" HTTP/1.1\r\n"):
        return None
    if not rest.endswith(b"\r\n\r\n"):
        return None
    seen: dict[bytes, bytes] = {}
    for line in rest[11:-4].split(b"\r\n"):
        found = _line(line)
        if found is None:
            return None
        name = found[1].lower()
        if name in seen:
            return None
        seen[name] = found[2] or b""
    return _judged(seen)


def _judged(seen: Mapping[bytes, bytes]) -> Head | None:
    tag = b""
    if not _host(seen.get(b"host", b"")):
        return None
    for name, value in seen.items():
        if name in _IGNORED or name == b"host":
            continue
        if name == b"connection" and value.lower() == b"keep-alive":
            continue
        if name == b"accept-encoding" and value.lower() == b"identity":
            continue
        if name == b"if-none-match" and _tag(value):
            tag = value
            continue
        return None
    return Head(tag)


def fast_answers(node: Node, tally: Tally) -> FastAnswer:
    """The fast way of one reader: a chunk of octets to a whole response, or None."""
    get = node.store.getter(Table.JSON)
    homed = node.prefixes.homed
    log = node.query_log if node.settings.log.query_sample else None
    heads: dict[bytes, Head | None] = {}
    row_at, now, plain = _ROW.unpack_from, time.time, _plain
    second, date = 0, b""

    def answer(data: bytes) -> bytes | None:
        nonlocal second, date
        if data.startswith(b"GET /api/handles/"):
            start, with_body = 17, True
        elif data.startswith(b"HEAD /api/handles/"):
            start, with_body = 18, False
        else:
            return None
        end = data.find(b" ", start)
        rest = data[end:]
        try:
            head = heads[rest]
        except KeyError:
            if len(heads) >= _MEMO:
                heads.clear()
            head = heads[rest] = read_head(rest)
        if head is None:
            return None
        name = data[start:end]
        if not plain(name) or len(name) > _MAX_NAME:
            return None
        key = name.upper()
        prefix = key[: key.index(b"/")]
        if prefix not in homed() or prefix == ROOT:
            return None
        at = int(now())
        if at != second:
            second, date = at, formatdate(at, usegmt=True).encode()
        try:
            raw = get(key)
        except StoreError:
            return None  # said the ordinary way
        if raw is None:
            body = _ABSENT_BODY % name
            reply = _ABSENT % (len(body), date)
            tally.absent += 1
            return counted(data, reply + body if with_body else reply)
        checksum, long_name, version = row_at(raw)
        if xxh3(memoryview(raw)[8:]) != checksum or long_name or len(raw) <= _NO_VALUES:
            return None
        tally.found += 1
        if log is not None and log.due():
            log.write("http", name, 1, 0, "store")
        if head.tag and head.tag in (b'"%d"' % version, b'"%d-gzip"' % version):
            return counted(data, _SAME % (version, date))
        size = len(name) + len(raw) + _BODY_REST
        if with_body:
            return counted(data, _FOUND_WHOLE % (version, size, date, name, raw[JSON_HEAD_SIZE:]))
        return counted(data, _FOUND % (version, size, date))

    def counted(data: bytes, reply: bytes) -> bytes:
        tally.received += len(data)
        tally.sent += len(reply)
        return reply

    return answer
