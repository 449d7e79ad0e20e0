"""`biaoshi prefix request`: the child's operator applies, and may wait for the approval."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from protocol.errors import BiaoshiError, SettingsError, StoreError, UpstreamError
from protocol.name import prefix_record
from protocol.record import Record
from protocol.values.hs_site import decode_site
from registry.keys import NodeKeys, load_keys
from registry.prefix_record import SITE, SITE6
from registry.prefixes import HOMED, Prefixes
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
    state: str

    @property
    def prefix(self) -> bytes:
        return self.settings.node.prefix.encode().upper()


@dataclass(frozen=True, slots=True)
class Applied:
    """What came of an application."""

    prefix: str
    state: str
    parent: str
    url: str
    fingerprint: str
    reason: str = ""


def read_applicant(folder: Path) -> Applicant:
    """The node of a folder, running or not. Raises SettingsError or StoreError."""
    settings = load_settings(folder)
    keys = load_keys(folder)
    prefix = settings.node.prefix.encode().upper()
    if not prefix:
        raise SettingsError(f"{folder} has no prefix of its own, so there is nothing to apply for")
    store = LmdbStore.open(folder / "store", readonly=True)
    try:
        row = Prefixes(store).get(prefix)
        record = read_record(store, prefix_record(prefix))
    finally:
        store.close()
    if row is None or record is None:
        raise StoreError(f"{folder} holds no record of its own prefix; make it with `biaoshi init`")
    return Applicant(folder, settings, keys, record, row.state)


async def apply(folder: Path, *, parent: str | None, parent_key: Path | None) -> Applied:
    """Apply to the parent. parent: its URL instead of the setting's. Raises BiaoshiError."""
    child = read_applicant(folder)
    url = (parent or child.settings.node.parent).rstrip("/")
    if not url:
        raise SettingsError(
            f"{folder} has no parent: it stands alone; set node.parent in its biaoshi.toml "
            "or give --parent URL"
        )
    pin = _pin(folder, url, parent_key)
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
    save_pinned(folder, pinned)
    _wake(folder)
    return _applied(pinned, answer)


def _pin(folder: Path, url: str, parent_key: Path | None) -> RSAPublicKey | None:
    """The key the parent must show: the one given, else the one it showed before."""
    if parent_key is not None:
        keys = [key for key in read_public_keys(parent_key) if isinstance(key, RSAPublicKey)]
        if not keys:
            raise SettingsError(f"{parent_key} holds no RSA key; a node's site key is one")
        return keys[0]
    before = load_pinned(folder)
    return before.key if before is not None and before.url == url else None


def _application(child: Applicant, parent_key: RSAPublicKey) -> bytes:
    values = child.record.values
    application = own_application(
        child.settings,
        [decode_site(value.data) for value in values if value.index in {SITE, SITE6}],
        child.keys,
        values,
        issued=int(time.time()),
        audience=fingerprint(parent_key),
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
    folder: Path, *, timeout_s: float, told: Callable[[str], None]
) -> Applied:
    """Wait until the node is home to its prefix.

    The running node homes itself; where none runs, this does it. told: called with the parent's
    state whenever it changes. Raises DelegationRefused when refused, UpstreamError after timeout_s.
    """
    child = read_applicant(folder)
    pinned = load_pinned(folder)
    if pinned is None:
        raise SettingsError(f"{folder} has applied to no parent yet; leave --wait until it has")
    until = time.monotonic() + timeout_s
    link = ParentLink(make_guard(child.settings, pinned.url), pinned.url, pinned.key)
    seen, pause = "", _LOOK_S
    try:
        while (child := read_applicant(folder)).state != HOMED:
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
    change = homing_change(record, values, child.record.values, pinned, now)
    with open_writer(child.folder) as writer:
        (outcome,) = writer.submit([change])
    if outcome.status == "refused":
        raise StoreError(f"the delegation cannot be taken over: {outcome.error}")
