"""`biaoshi prefix request`: the child's operator applies, and may wait for the approval."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from protocol.change import Change, Kind
from protocol.errors import BiaoshiError, SettingsError, StoreError, UpstreamError
from protocol.name import prefix_record
from protocol.record import HandleValue, Record
from protocol.values.hs_site import decode_site
from registry.keys import NodeKeys, load_keys
from registry.prefix_record import SITE, SITE6
from registry.prefixes import HOMED, REFUSED, WAITING, Prefixes, PrefixRow
from registry.records import read_record
from registry.store.lmdb_store import LmdbStore
from resolver.config import Settings
from resolver.config_file import load_settings
from resolver.enrol import Answer, fingerprint, format_application
from resolver.homing import WAKE, homing_change, own_application
from resolver.keyfiles import read_public_keys
from resolver.local import connect_now, pack_frame, receive
from resolver.node import socket_name
from resolver.outbound import make_guard
from resolver.parent import ParentLink, Pinned, load_pinned, published_values, save_pinned
from resolver.writer_link import open_writer

_LOOK_S: Final = 0.2
_ASK_S: Final = 1.0


class DelegationRefused(BiaoshiError):
    """The parent's operator said no."""


@dataclass(frozen=True, slots=True)
class Applicant:
    """A node's folder, read for an application."""

    folder: Path
    settings: Settings
    keys: NodeKeys
    record: Record
    row: PrefixRow
    values: tuple[HandleValue, ...]
    further: bytes = b""
    """Another prefix than the node's own; values: of its record here. record: the node's own."""

    @property
    def prefix(self) -> bytes:
        return self.further or self.settings.node.prefix.encode().upper()

    @property
    def is_home(self) -> bool:
        """Whether the node is home to the prefix by what a parent published."""
        return self.row.state == HOMED and "parent" in self.row.attributes


@dataclass(frozen=True, slots=True)
class Applied:
    """What came of an application."""

    prefix: str
    state: str
    parent: str
    url: str
    fingerprint: str
    reason: str = ""


def read_applicant(folder: Path, further: bytes = b"") -> Applicant:
    """The node of a folder, running or not. Raises SettingsError or StoreError."""
    settings = load_settings(folder)
    keys = load_keys(folder)
    own = settings.node.prefix.encode().upper()
    if not own:
        raise SettingsError(f"{folder} has no prefix of its own, so there is nothing to apply for")
    store = LmdbStore.open(folder / "store", readonly=True)
    try:
        row = Prefixes(store).get(further or own)
        record = read_record(store, prefix_record(own))
        held = read_record(store, prefix_record(further)) if further else record
    finally:
        store.close()
    if record is None or (row is None and not further):
        raise StoreError(f"{folder} holds no record of its own prefix; make it with `biaoshi init`")
    values = held.values if held is not None else ()
    known = row or PrefixRow(further, REFUSED)
    return Applicant(folder, settings, keys, record, known, values, further)


async def apply(
    folder: Path, *, parent: str | None, parent_key: Path | None, further: bytes = b""
) -> Applied:
    """Apply to the parent. parent: its URL instead of the setting's. Raises BiaoshiError.

    further: for this prefix instead of the node's own.
    """
    child = read_applicant(folder, further)
    url = (parent or _parent_of(child)).rstrip("/")
    if not url:
        raise SettingsError(
            f"{folder} has no parent: it stands alone; set node.parent in its biaoshi.toml "
            "or give --parent URL"
        )
    pin = _pin(child, url, parent_key)
    link = ParentLink(make_guard(child.settings, url), url, pin)
    try:
        known = await link.state(child.prefix)
    finally:
        await link.close()
    # From here on only the key that was seen (or given) is believed.
    pinned = Pinned(url, known.node, known.key)
    link = ParentLink(make_guard(child.settings, url), url, known.key)
    try:
        answer = await link.apply(_application(child, known.key))
    finally:
        await link.close()
    if further and child.row.state not in {HOMED, WAITING}:
        _wait_for(child)
    save_pinned(folder, pinned, further)
    _wake(folder)
    return _applied(pinned, answer)


def _parent_of(child: Applicant) -> str:
    """Whom this prefix was asked of before, else the node's parent."""
    before = load_pinned(child.folder, child.further)
    return before.url if child.further and before is not None else child.settings.node.parent


def _wait_for(child: Applicant) -> None:
    """A row for a further prefix that is not home here yet."""
    change = Change(Kind.HOME, prefix_record(child.prefix), attributes={"state": WAITING})
    _submit(child.folder, change)


def _submit(folder: Path, change: Change) -> None:
    with open_writer(folder) as writer:
        (outcome,) = writer.submit([change])
    if outcome.status == "refused":
        raise StoreError(f"the delegation cannot be taken over: {outcome.error}")


def _pin(child: Applicant, url: str, parent_key: Path | None) -> RSAPublicKey | None:
    """The key the parent must show: the one given, else the one it showed before."""
    if parent_key is not None:
        keys = [key for key in read_public_keys(parent_key) if isinstance(key, RSAPublicKey)]
        if not keys:
            raise SettingsError(f"{parent_key} holds no RSA key; a node's site key is one")
        return keys[0]
    before = [load_pinned(child.folder, child.further), load_pinned(child.folder)]
    return next((one.key for one in before if one is not None and one.url == url), None)


def _application(child: Applicant, parent_key: RSAPublicKey) -> bytes:
    own = child.record.values
    application = own_application(
        child.settings,
        [decode_site(value.data) for value in own if value.index in {SITE, SITE6}],
        child.keys,
        child.values,
        issued=int(time.time()),
        audience=fingerprint(parent_key),
        further=child.further,
    )
    return format_application(application, child.keys.site_private)


def _applied(pinned: Pinned, answer: Answer) -> Applied:
    return Applied(
        answer.prefix.decode(),
        answer.state,
        pinned.prefix.decode(),
        pinned.url,
        fingerprint(pinned.key),
        answer.reason,
    )


def _wake(folder: Path) -> bool:
    """Tell the running node to look at its parent now; False when none runs."""
    sock = connect_now(folder / "run" / socket_name(0), _ASK_S)
    if sock is None:
        return False
    with sock:
        try:
            sock.sendall(pack_frame([1, WAKE, None]))
            receive(sock)
        except (OSError, StoreError):
            return False
    return True


async def wait_until_home(
    folder: Path, *, timeout_s: float, told: Callable[[str], None], further: bytes = b""
) -> Applied:
    """Wait until the node is home to its prefix.

    The running node homes itself; where none runs, this does it. told: called with the parent's
    state whenever it changes. Raises DelegationRefused when refused, UpstreamError after timeout_s.
    """
    child = read_applicant(folder, further)
    pinned = load_pinned(folder, further)
    if pinned is None:
        raise SettingsError(f"{folder} has applied to no parent yet; leave --wait until it has")
    until = time.monotonic() + timeout_s
    link = ParentLink(make_guard(child.settings, pinned.url), pinned.url, pinned.key)
    seen, pause = "", _LOOK_S
    try:
        while not (child := read_applicant(folder, further)).is_home:
            answer = await link.state(child.prefix)
            if answer.state != seen:
                seen = answer.state
                told(seen)
            if answer.state == "refused":
                raise DelegationRefused(
                    f"the parent refused {answer.prefix.decode()}: "
                    f"{answer.reason or 'no reason given'}"
                )
            if answer.state == "delegated" and not _wake(folder):
                _home(child, pinned, answer)
            if time.monotonic() > until:
                raise UpstreamError(
                    f"{child.prefix.decode()} is not home yet after {timeout_s:g} s; the parent's "
                    f"operator approves with `biaoshi prefix approve {child.prefix.decode()}`"
                )
            await asyncio.sleep(pause)
            pause = min(pause * 1.2, 2.0)
    finally:
        await link.close()
    return Applied(
        child.prefix.decode(),
        HOMED,
        pinned.prefix.decode(),
        pinned.url,
        fingerprint(pinned.key),
    )


def _home(child: Applicant, pinned: Pinned, answer: Answer) -> None:
    """Take the delegation over ourselves: no node runs that would."""
    now = time.time()
    values = published_values(answer, pinned, child.keys, child.prefix, now)
    record = prefix_record(child.prefix)
    further = bool(child.further)
    _submit(child.folder, homing_change(record, values, child.values, pinned, now, further=further))
