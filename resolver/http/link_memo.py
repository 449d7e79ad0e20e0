"""Redirects of Digital Links given lately, for the fast way (resolver.http.fastpath).

A redirect made from this store alone stays right until the log grows: its place in the log is
read with each use, one look-up, and anything registered since lets it be made anew. What depends
on chance, on the caller's address, on the clock or on other nodes is not kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple
from weakref import WeakKeyDictionary

from aiohttp import web

from registry.log import SEQUENCE_KEY
from registry.store import Store, Table

_MOST: Final = 4_096
_MOST_BYTES: Final = 8_192
"""A longer answer, or a longer key, is not kept."""

Key = tuple[str, bytes, bytes, bytes, bytes]
"""Face, target without its first slash, Host, Accept, Accept-Language."""


class Kept(NamedTuple):
    """An answer in two halves; the date goes between them."""

    mark: bytes | None
    before: bytes
    after: bytes


class LinkMemo:
    """The memory of one reader."""

    def __init__(self, store: Store) -> None:
        self._meta = store.getter(Table.META)
        self._kept: dict[Key, Kept] = {}

    def mark(self) -> bytes | None:
        """The place of the log; ask before what is kept under it is looked up."""
        return self._meta(SEQUENCE_KEY)

    def get(self, key: Key) -> Kept | None:
        """What is kept, if nothing was registered since."""
        kept = self._kept.get(key)
        if kept is None or kept.mark == self._meta(SEQUENCE_KEY):
            return kept
        self._kept.clear()  # all of it is as old
        return None

    def keep(self, key: Key, mark: bytes | None, response: web.Response) -> None:
        """Keep a redirect as the octets that aiohttp would send for it."""
        body = response.body
        if not isinstance(body, bytes) or len(body) + sum(map(len, key)) > _MOST_BYTES:
            return
        head = _head(response.headers)
        if head is None:
            return
        if len(self._kept) >= _MOST:
            self._kept.clear()
        status = b"HTTP/1.1 %d %b\r\n" % (response.status, str(response.reason).encode())
        before = b"%b%bContent-Length: %d\r\nDate: " % (status, head, len(body))
        after = b"\r\nServer: Biaoshi\r\nX-Content-Type-Options: nosniff\r\n\r\n"
        self._kept[key] = Kept(mark, before, after + body)


def _head(headers: Mapping[str, str]) -> bytes | None:
    text = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return text.encode() if text.isascii() else None


_memos: WeakKeyDictionary[Store, LinkMemo] = WeakKeyDictionary()


def memo_of(store: Store) -> LinkMemo:
    """The one memory beside a store, for whoever fills it and whoever reads it."""
    memo = _memos.get(store)
    if memo is None:
        memo = _memos[store] = LinkMemo(store)
    return memo
