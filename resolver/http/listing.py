"""GET /api/handles?prefix=P and GET /api/prefixes: what lies here, for those who may list it.

Rows are read in portions, each in a snapshot of its own, and the event loop turns in between: a
prefix of a million handles holds nobody up. A list without `pageSize` is one body all the same,
as clients of this interface expect it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Final

from protocol.errors import BadIdentifier, NotAuthorized, NotServedHere, ParseError
from protocol.handle_json import json_text
from protocol.identifier import key_of
from protocol.name import PREFIX_RECORDS, fold, prefix_record
from protocol.record import Reference
from protocol.values.hs_admin import Permission
from registry.store import Store, Table
from registry.store.row import LONG_KEY, is_shortened, is_unseen, row_name
from resolver.groups import memberships
from resolver.http.face import NOT_SERVED, Asked, HandleFace, MethodNotAllowed, NeedsIdentity
from resolver.http.reply import Answer

PORTION: Final = 500
_MAX_PAGE: Final = 2**31 - 1


class Listing:
    """GET /api/handles."""

    def __init__(self, face: HandleFace) -> None:
        self._face = face
        self._node = face.node

    async def __call__(self, asked: Asked) -> Answer:
        """The handles under a prefix, sorted by name, in ASCII upper case as they are kept."""
        _check_method(asked)
        parameters = asked.parameters
        given = parameters.first("prefix")
        if not given:
            raise BadIdentifier("empty", "Empty handle invalid")
        text = given.encode("utf-8", "replace")
        prefix = fold(text).removeprefix(PREFIX_RECORDS)
        asked.handle = text
        page, size = _page(asked)
        identity = await self._who(asked)
        if b"/" in prefix or not self._node.prefixes.responsible(prefix + b"/"):
            raise NotServedHere(NOT_SERVED)
        if identity is not None:
            await self._require(identity, prefix_record(prefix))
        everything = identity is not None and self._node.access.allows(
            identity, prefix_record(prefix), int(Permission.READ_VALUE)
        )
        first = (page or 0) * size if size is not None else 0
        stop = first + size if size is not None else None
        chosen: list[bytes] = []
        total = 0
        async for names in handles_under(self._node.store, prefix, everything=everything):
            low, high = max(first - total, 0), None if stop is None else max(stop - total, 0)
            chosen += [json_text(name) for name in names[low:high]]
            total += len(names)
        body = b'{"responseCode":1,"prefix":%b,"totalCount":"%d"%b%b,"handles":[%b]}' % (
            json_text(text),
            total,
            b"" if page is None else b',"page":%d' % page,
            b"" if size is None else b',"pageSize":%d' % size,
            b",".join(chosen),
        )
        return Answer(body, private=True)

    async def _who(self, asked: Asked) -> Reference | None:
        """Who lists; None: anybody may here."""
        if self._node.settings.admin.public_listing:
            return None
        caller = await self._face.identify(asked)
        if caller.identity is None:
            raise NeedsIdentity(asked.handle, caller)
        return caller.identity

    async def _require(self, identity: Reference, record: bytes) -> None:
        """Raises NotAuthorized where somebody may not list what is under a prefix."""
        access = self._node.access
        access.forget()
        try:
            access.require_list(identity, record)
        except NotAuthorized:
            groups = await memberships(self._node, identity, record)
            if not groups:
                raise
            with access.knowing(groups):
                access.require_list(identity, record)


class PrefixList:
    """GET /api/prefixes."""

    def __init__(self, face: HandleFace) -> None:
        self._face = face
        self._node = face.node

    async def __call__(self, asked: Asked) -> Answer:
        """The prefixes that this node is home to, for administrators of the server."""
        _check_method(asked)
        caller = await self._face.identify(asked)
        if caller.identity is None:
            raise NeedsIdentity(None, caller)
        self._node.access.require_server_admin(caller.identity, "list prefixes")
        page, size = _page(asked)
        names = sorted(prefix_record(prefix) for prefix in self._node.prefixes.homed())
        first = (page or 0) * size if size is not None else 0
        chosen = names[first : None if size is None else first + size]
        body = b'{"responseCode":1,"totalCount":"%d"%b%b,"prefixes":[%b]}' % (
            len(names),
            b"" if page is None else b',"page":%d' % page,
            b"" if size is None else b',"pageSize":%d' % size,
            b",".join(map(json_text, chosen)),
        )
        return Answer(body, private=True)


async def handles_under(
    store: Store, prefix: bytes, *, everything: bool = False
) -> AsyncIterator[list[bytes]]:
    """The folded names under a folded prefix in their order, in portions.

    everything: with the records that labels hide.

    Names too long for a key lie elsewhere in the table and come last.
    """
    for start in (prefix + b"/", LONG_KEY + prefix + b"/"):
        stop = start[:-1] + b"0"  # the octet after the slash
        at = start
        while True:
            with store.snapshot() as state:
                rows = list(state.scan(Table.RECORDS, at, stop, PORTION))
            if rows:
                yield [
                    key_of(row_name(raw)) if is_shortened(key) else key
                    for key, raw in rows
                    if everything or not is_unseen(raw)
                ]
            if len(rows) < PORTION:
                break
            at = rows[-1][0] + b"\0"
            await asyncio.sleep(0)


def _page(asked: Asked) -> tuple[int | None, int | None]:
    """`page` and `pageSize`, where given. Raises ParseError."""
    page, size = asked.parameters.integer("page"), asked.parameters.integer("pageSize")
    for name, value in (("page", page), ("pageSize", size)):
        if value is not None and not 0 <= value <= _MAX_PAGE:
            raise ParseError(f"`{name}` must be 0 … {_MAX_PAGE}, not {value}")
    return page, size


def _check_method(asked: Asked) -> None:
    if asked.request.method not in {"GET", "HEAD"}:
        raise MethodNotAllowed(asked.request.method, "GET, HEAD, OPTIONS")
