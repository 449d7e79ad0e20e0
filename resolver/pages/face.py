"""GET /page/{identifier}: what people see, made of a record and of the public events about it.

`?view=life` and `?view=recall-all` join what other companies' nodes tell anybody; `?view=recall`,
`?view=certificate`, `?lang=zh|en`; `/page/{identifier}/qr.svg` is the code alone.
Pages are for everybody: whoever asks gets what is public, and no credentials are looked at.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from aiohttp import web

from protocol.epcis.identity import canonical_id
from protocol.errors import BiaoshiError, ResponseCode, ServerBusy
from protocol.record import HandleValue, Reference, decode_values
from registry.events.index import StoredEvent
from registry.store import Snapshot
from registry.tree import epoch_of
from resolver.http.asked import Parameters, Senders, raw_path
from resolver.http.naming import Root
from resolver.http.problem import method_not_allowed
from resolver.http.resolve import Resolve
from resolver.lookup import Query
from resolver.pages import qr
from resolver.pages.checks import (
    Logged,
    Seal,
    log_keys,
    place_of_record,
    seal_of,
    seal_of_foreign,
)
from resolver.pages.life import Life, read_life
from resolver.pages.names import Names, path_of
from resolver.pages.product import read_product
from resolver.pages.render import VIEWS, WHOLE, Renderer, Shown
from resolver.pages.style import HEADERS, SCRIPT, SCRIPT_PATH
from resolver.pages.whole import Whole, Wholes
from resolver.pages.words import Words, choose
from resolver.trace.evidence import signer_of
from resolver.trace.foreign import FIRST, NOTHING
from resolver.trace.keybook import KeyBook, Keys

if TYPE_CHECKING:
    from resolver.node import Node

QR: Final = "/qr.svg"
"""At the end of a page's path, as it was sent: the QR code."""
AT_ONCE: Final = 2
"""Pages read at a time by one reader process: they take a thread and some milliseconds each."""
MOST_WAITING: Final = 64
_MOST_SEALS: Final = 8_192


class Pages:
    """The pages of one reader."""

    def __init__(self, node: Node, root: Root, senders: Senders) -> None:
        self._node = node
        self._senders = senders
        self._resolve = Resolve(node, lambda: node.asking)
        self._keys = KeyBook(node, lambda: node.asking)
        self.wholes = Wholes(node, self._keys)
        self.root = root
        self._turn = asyncio.Semaphore(AT_ONCE)
        self._waiting = 0
        self._seals: dict[bytes, Seal] = {}

    def setup(self, app: web.Application) -> None:
        """Mount the script; close at the end what asked other nodes."""
        app.router.add_route("*", SCRIPT_PATH, self.script)
        app.on_shutdown.append(self._end)

    async def _end(self, _app: web.Application) -> None:
        await self.wholes.close()

    async def script(self, request: web.Request) -> web.Response:
        """The one script, which never changes under its name."""
        if request.method not in {"GET", "HEAD"}:
            return method_not_allowed("GET, HEAD")
        headers = {
            "Content-Type": "text/javascript; charset=utf-8",
            "Cache-Control": "public, max-age=31536000, immutable",
        }
        return web.Response(body=SCRIPT.encode(), headers=headers)

    async def record(
        self,
        request: web.BaseRequest,
        shown: str,
        handle: bytes,
        values: Sequence[HandleValue],
        *,
        note: str = "",
        headers: Mapping[str, str] | None = None,
    ) -> web.Response:
        """The page of a record. shown: the identifier as it was asked for; handle: of the record.

        Raises ServerBusy.
        """
        if raw_path(request).endswith(QR):
            return self._code(request, shown)
        response = await self._page(request, shown, handle, values, note=note, known=True)
        assert response is not None  # noqa: S101 - a record always has a page
        response.headers.update(headers or {})
        return response

    async def without_record(self, request: web.BaseRequest, shown: str) -> web.Response | None:
        """The page of what only events know; None where no public event does."""
        if not self._node.prefix or raw_path(request).endswith(QR):
            return None
        return await self._page(request, shown, shown.encode(), (), note="", known=False)

    async def _page(
        self,
        request: web.BaseRequest,
        shown: str,
        handle: bytes,
        values: Sequence[HandleValue],
        *,
        note: str,
        known: bool,
    ) -> web.Response | None:
        parameters = Parameters.of(request)
        asked = parameters.first("lang")
        words = Words(choose(asked, ", ".join(request.headers.getall("Accept-Language", []))))
        view = parameters.first("view") or ""
        view = view if view in VIEWS else ""
        recall = view in {"recall", "recall-all"}
        async with self._slot():
            ids = _event_ids(shown, handle)
            life = await asyncio.to_thread(self._life, ids, recall=recall)
            if not known and life.empty:
                return None
            if view not in WHOLE:
                verification, seals, logged = await self._verify(life, handle, values, known)
        whole: Whole | None = None
        if view in WHOLE:
            # What takes time is waited for without a slot: other pages are as quick as ever.
            if request.method == "GET":
                whole = await self.wholes.of(life.id, WHOLE[view], self._senders.host(request))
            async with self._slot():
                life = await asyncio.to_thread(self._life_of, life.id, whole, recall=recall)
                verification, seals, logged = await self._verify(life, handle, values, known)
        text = handle.decode("utf-8", "replace")
        path = path_of(shown) or "/" + quote(shown, safe="/:").lstrip("/")
        tail = f"?lang={words.language}" if asked else ""
        far = {} if whole is None else whole.names
        names = Names(self._node.lookup, words.language, tail, far)
        product = read_product(values, shown, words)
        names.called(life.id, product.name)
        made = Shown(
            life.id,
            text if known else "",
            self.root.of(request) + path,
            f"/page{path}",
            tail,
            self._node.prefix.decode("utf-8", "replace") or self._node.settings.node.description,
            self._node.now(),
            values,
            product,
            life,
            seals,
            verification,
            logged,
            note,
            known,
            whole,
            self.wholes.open,
        )
        html = await asyncio.to_thread(lambda: Renderer(made, words, names).page(view))
        headers = {**HEADERS, "Cache-Control": "no-cache", "Content-Language": words.tag}
        return web.Response(body=html.encode("utf-8", "replace"), headers=headers)

    @asynccontextmanager
    async def _slot(self) -> AsyncIterator[None]:
        """One of the few pages that are read at a time. Raises ServerBusy."""
        if self._waiting >= MOST_WAITING:
            raise ServerBusy(f"{self._waiting} pages wait already; ask again", 2.0)
        self._waiting += 1
        try:
            async with self._turn:
                yield
        finally:
            self._waiting -= 1

    async def _verify(
        self, life: Life, handle: bytes, values: Sequence[HandleValue], known: bool
    ) -> tuple[Mapping[str, Any], dict[str, Seal], Logged | None]:
        """What holds of the record and of the events of a life."""
        verification = await self._verified(handle, values) if known else _UNKNOWN
        own = [view.stored for view in life.views if view.stored.sequence < FIRST]
        signers = {one for stored in own if (one := signer_of(stored)) is not None}
        keys = {one: await self._keys.find(one) for one in signers}
        seals, logged = await asyncio.to_thread(self._checked, life, keys, handle, known)
        return verification, seals, logged

    def _code(self, request: web.BaseRequest, shown: str) -> web.Response:
        path = path_of(shown) or "/" + quote(shown, safe="/:").lstrip("/")
        body = qr.svg_file(self.root.of(request) + path)
        headers = {
            "Content-Type": "image/svg+xml",
            "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
            "Cache-Control": "no-cache",
        }
        return web.Response(body=body, headers=headers)

    def _life(self, ids: Sequence[str], *, recall: bool) -> Life:
        """The life under the first name that events know; empty for none."""
        with self._node.store.snapshot() as state:
            life = read_life(state, ids[0], recall=recall)
            for other in ids[1:]:
                if not life.empty:
                    break
                life = read_life(state, other, recall=recall)
        return life

    def _life_of(self, id_: str, whole: Whole | None, *, recall: bool) -> Life:
        with self._node.store.snapshot() as state:
            foreign = NOTHING if whole is None else whole.foreign
            return read_life(state, id_, recall=recall, whole=foreign)

    def _checked(
        self,
        life: Life,
        keys: Mapping[Reference, Keys],
        handle: bytes,
        known: bool,
    ) -> tuple[dict[str, Seal], Logged | None]:
        with self._node.store.snapshot() as state:
            own = log_keys(self._node, epoch_of(state))
            seals = {
                view.stored.event_id: seal_of_foreign(life.foreign.evidence(view.stored.sequence))
                if view.stored.sequence >= FIRST
                else self._seal(state, view.stored, keys, own)
                for view in life.views
            }
            logged = place_of_record(self._node, state, handle, own) if known else None
        return seals, logged

    def _seal(
        self,
        state: Snapshot,
        stored: StoredEvent,
        keys: Mapping[Reference, Keys],
        own: Sequence[bytes],
    ) -> Seal:
        """Checked once: neither the octets of an event nor what precedes it in the log change."""
        parts = (stored.signature, stored.raw, stored.issuer.encode(), b"%d" % stored.sequence)
        mark = sha256(b"\0".join(parts)).digest()
        seal = self._seals.get(mark)
        if seal is None:
            seal = seal_of(state, stored, keys, own)
            if seal.state == "ok" and seal.size:
                if len(self._seals) >= _MOST_SEALS:
                    self._seals.clear()
                self._seals[mark] = seal
        return seal

    async def _verified(self, handle: bytes, values: Sequence[HandleValue]) -> Mapping[str, Any]:
        """What holds of the record's signatures; it is read anew, for a page may show a part."""
        query = Query(handle)
        lookup = self._node.lookup
        try:
            answer = lookup.answer_now(query) or await lookup.answer(query)
        except BiaoshiError as error:
            return {"status": "not verified", "reason": str(error)}
        if answer.code != ResponseCode.SUCCESS:
            return _UNKNOWN
        return await self._resolve.verification(
            answer.handle, decode_values(answer.values) or values, answer
        )


_UNKNOWN: Final[Mapping[str, Any]] = {"status": "not verified", "reason": "no record"}


def _event_ids(shown: str, handle: bytes) -> tuple[str, ...]:
    """The names events may know it by, canonical."""
    text = handle.decode("utf-8", "replace")
    return tuple(dict.fromkeys(canonical_id(one) for one in (shown, text) if one))
