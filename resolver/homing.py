"""The child's side of enrolment: wait until the parent published the prefix, then be home to it.

One task in the node's first reader, for its own prefix and for further ones that it applied for.
Until the delegation is seen and verified, the prefix stays `waiting` and every face answers that
it is not served here (301). Afterwards the task looks in now and then, so that renewed
certificates arrive, and tells the parent about a changed site or key.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import structlog

from protocol.change import Change, Kind
from protocol.errors import BiaoshiError, StoreError
from protocol.keys import encode_public_key
from protocol.name import prefix_record
from protocol.record import HandleValue
from protocol.values.hs_site import Site, decode_site
from registry.keys import NodeKeys
from registry.prefix_record import SITES, adopted_values, is_nodes_own, secret_of
from registry.prefixes import HOMED, WAITING, PrefixRow
from registry.records import read_record
from resolver.config import Settings
from resolver.enrol import Answer, Application, fingerprint, format_application
from resolver.enrol_keys import MoreKeys
from resolver.node import Node
from resolver.outbound import make_guard
from resolver.parent import (
    ParentLink,
    Pinned,
    asked_further,
    load_pinned,
    published_values,
    save_pinned,
)
from resolver.site import make_sites, same_but_serial
from resolver.trust.mirrors import mirror_sites

log = structlog.get_logger()

FIRST_PAUSE_S: Final = 0.5
MOST_PAUSE_S: Final = 30.0
UNASKED_PAUSE_S: Final = 60.0
"""Nothing was asked of a parent yet; `biaoshi prefix request` wakes the task when it is."""
RENEW_S: Final = 3600.0
WAKE: Final = "enrol"
"""The local request that says: look now."""


class Homing:
    """One task of the first reader of a node that has a prefix of its own."""

    def __init__(self, node: Node) -> None:
        """Begin to watch; needs a running event loop."""
        self._node = node
        self._wake = asyncio.Event()
        self._errands = {b"": _Errand(node)}
        node.siblings.answer(WAKE, self._woken)
        self._task = asyncio.ensure_future(self._watch())

    async def close(self, grace_s: float) -> None:
        """Stop watching."""
        del grace_s
        self._task.cancel()
        await asyncio.wait([self._task])
        for errand in self._errands.values():
            await errand.close()

    async def _woken(self, _body: object) -> bool:
        for errand in self._errands.values():
            errand.hurry()
        self._wake.set()
        return True

    async def _watch(self) -> None:
        while True:
            for further in asked_further(self._node.dir):
                if further not in self._errands:
                    self._errands[further] = _Errand(self._node, further)
            pause = min([await errand.look() for errand in self._errands.values()])
            self._wake.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._wake.wait()


class _Errand:
    """One prefix at its parent. further: b"" for the node's own."""

    def __init__(self, node: Node, further: bytes = b"") -> None:
        self._node = node
        self._further = further
        self._prefix = further or node.prefix
        self._record = prefix_record(self._prefix)
        self._pause = FIRST_PAUSE_S
        self._link: tuple[Pinned, ParentLink] | None = None
        self._told = ""

    async def close(self) -> None:
        """Close the connection."""
        if self._link is not None:
            await self._link[1].close()

    def hurry(self) -> None:
        """Something was asked just now."""
        self._pause = FIRST_PAUSE_S

    async def look(self) -> float:
        """One look at the parent; seconds until the next one."""
        try:
            return await self._look()
        except BiaoshiError as error:
            self._tell("enrolment_waits", str(error))
            return self._longer()
        except Exception:
            # A fault of ours must not end the watch: the node would wait for ever.
            log.exception("enrolment_failed")
            return MOST_PAUSE_S

    def _longer(self) -> float:
        pause = self._pause
        self._pause = min(self._pause * 1.5, MOST_PAUSE_S)
        return pause

    def _tell(self, event: str, why: str) -> None:
        """One log line per change of the situation, not one per look."""
        if why != self._told:
            self._told = why
            log.info(event, prefix=self._prefix, why=why)

    async def _look(self) -> float:
        node = self._node
        pinned = load_pinned(node.dir, self._further)
        row = node.prefixes.get(self._prefix)
        if pinned is None or row is None or row.state not in {WAITING, HOMED}:
            return UNASKED_PAUSE_S
        link = await self._linked(pinned)
        answer = await link.state(self._prefix)
        if encode_public_key(answer.key) != encode_public_key(pinned.key):
            # The key pinned handed over to this one, or the answer would not have been taken.
            pinned = Pinned(pinned.url, pinned.prefix, answer.key)
            save_pinned(node.dir, pinned, self._further)
            log.warning("parent_key_replaced", parent=pinned.prefix, key=fingerprint(answer.key))
        if answer.state == "delegated":
            return await self._published(row, link, pinned, answer)
        if row.state == HOMED and "parent" in row.attributes:
            self._tell("delegation_missing", f"the parent says {answer.state} {answer.reason}")
            return RENEW_S
        self._tell("enrolment_waits", f"the parent says {answer.state} {answer.reason}".strip())
        return MOST_PAUSE_S if answer.state == "refused" else self._longer()

    async def _published(
        self, row: PrefixRow, link: ParentLink, pinned: Pinned, answer: Answer
    ) -> float:
        node = self._node
        if names_former_key(answer.values, node.keys):
            await self._move(link, pinned)
            return self._longer()
        values = published_values(answer, pinned, node.keys, self._prefix, node.now())
        await self._adopt(row, pinned, values)
        if not self._is_ours(values):
            await self._move(link, pinned)
            return FIRST_PAUSE_S
        return RENEW_S

    async def _linked(self, pinned: Pinned) -> ParentLink:
        if self._link is None or self._link[0] != pinned:
            await self.close()
            guard = make_guard(self._node.settings, pinned.url)
            self._link = (pinned, ParentLink(guard, pinned.url, pinned.key))
        return self._link[1]

    async def _adopt(self, row: PrefixRow, pinned: Pinned, values: tuple[HandleValue, ...]) -> None:
        """Take the published record over and be home to the prefix."""
        node = self._node
        record = read_record(node.store, self._record)
        held = record.values if record is not None else ()
        change = homing_change(
            self._record, values, held, pinned, node.now(), further=bool(self._further)
        )
        if row.state == HOMED and row.attributes.get("parent") and _same(held, change.values):
            return
        (outcome,) = await node.writer.submit([change])
        if outcome.status == "refused":
            raise StoreError(f"the delegation cannot be taken over: {outcome.error}")
        log.info("homed", prefix=self._prefix, parent=pinned.prefix)
        self._told = ""

    def _is_ours(self, values: Sequence[HandleValue]) -> bool:
        """Whether the published sites are those that are in use now."""
        node = self._node
        sites = [decode_site(value.data) for value in values if value.index in SITES]
        own = make_sites(node.settings, node.ports, node.keys, 0)
        return same_but_serial(sites, [*own, *mirror_sites(node.dir)])

    async def _move(self, link: ParentLink, pinned: Pinned) -> None:
        """Ask the parent to publish our new site or keys; a key that it published vouches."""
        node = self._node
        record = read_record(node.store, self._record)
        application = own_application(
            node.settings,
            [
                *make_sites(node.settings, node.ports, node.keys, node.site.serial),
                *mirror_sites(node.dir),
            ],
            node.keys,
            record.values if record is not None else (),
            issued=int(node.now()),
            audience=fingerprint(pinned.key),
            further=self._further,
        )
        await link.apply(format_application(application, node.keys.site_private))
        log.info("site_sent", prefix=self._prefix, parent=pinned.prefix)


def names_former_key(values: Sequence[HandleValue], keys: NodeKeys) -> bool:
    """Whether a published record still has a key in use that this node replaced since."""
    former = {(one.index, encode_public_key(one.key)) for one in keys.rotation.former}
    return any((value.index, value.data) in former for value in values)


def homing_change(
    record: bytes,
    published: tuple[HandleValue, ...],
    held: Sequence[HandleValue],
    pinned: Pinned,
    now: float,
    *,
    further: bool = False,
) -> Change:
    """The change that makes a node home to its prefix.

    held: the values of its record so far; those that only administrators may read stay. Of a
    further prefix, which may have been home here before, all that its operator added.
    """
    values = adopted_values(published, secret_of(held), int(now))
    taken = {value.index for value in values}
    values += tuple(
        value
        for value in held
        if value.index not in taken and (not value.public or (further and not is_nodes_own(value)))
    )
    attributes = {"state": HOMED, "parent": pinned.prefix}
    return Change(Kind.HOME, record, values, attributes=attributes)


def own_application(
    settings: Settings,
    sites: Sequence[Site],
    keys: NodeKeys,
    values: Sequence[HandleValue],
    *,
    issued: int,
    audience: str,
    further: bytes = b"",
) -> Application:
    """What a node asks its parent to publish. values: of the prefix's record here.

    further: another prefix than the node's own.
    """
    own = settings.node.prefix.encode().upper()
    return Application(
        prefix=further or own,
        home=own if further else b"",
        sites=tuple(sites),
        site_key=keys.site_public,
        log_key=keys.log_public,
        has_secret=secret_of(values) is not None,
        issued=issued,
        audience=audience,
        contact=settings.node.contact,
        description=settings.node.description,
        more=MoreKeys(
            keys.national.public_key() if keys.national is not None else None,
            keys.rotation.former,
            keys.rotation.revoked,
            keys.rotation.handovers,
        ),
    )


def _same(held: Sequence[HandleValue], wanted: Sequence[HandleValue]) -> bool:
    """Whether the record here has the public values wanted already; timestamps aside."""
    have = {replace(value, timestamp=0) for value in held if value.public}
    return have == {replace(value, timestamp=0) for value in wanted if value.public}
