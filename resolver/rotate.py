"""Replacing a node's own keys: `biaoshi key rotate` and `biaoshi key revoke`.

New files are made aside in DIR/keys/rotating; the prefix record says the new keys, here or at the
parent; then the files take their places and the running node reloads. Interrupted, it is done to
its end by the next call: nothing is lost, since old files are kept until new ones stand.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key

from protocol.change import Change, Kind
from protocol.errors import (
    BiaoshiError,
    ServerBusy,
    SettingsError,
    SignatureInvalid,
    StoreError,
    UpstreamError,
)
from protocol.handover import hand_over, parse_handover
from protocol.keys import (
    PrivateKey,
    PublicKey,
    encode_pem,
    encode_private_key,
    encode_public_key,
)
from protocol.keys.files import KeyFile, Method, encode_key_file
from protocol.name import prefix_record
from protocol.record import HandleValue
from protocol.signature import Revocation
from protocol.values.hs_site import Site, decode_site
from registry.keys import (
    ADMIN_BIN,
    ADMIN_PEM,
    FORMER_LOG_KEY,
    FORMER_SITE_KEY,
    LOG_KEY,
    RSA_BITS,
    SITE_KEY,
    TLS_CERT,
    NodeKeys,
    load_keys,
    self_signed,
    write_private,
)
from registry.prefix_record import KEY, LOG_CERT, SITE, SITE6, own_issuer
from registry.prefix_record import LOG_KEY as LOG_INDEX
from registry.prefixes import DELEGATED, HOMED, WAITING, Prefixes
from registry.records import read_record
from registry.rotation import ROTATION, FormerKey, RevokedKey, Rotation, rotation_text
from registry.signing import SKEW_S
from registry.store import Store
from registry.store.place import sync_folder, sync_tree
from registry.tree import log_name, tree_size
from resolver.config import Settings
from resolver.config_file import load_settings
from resolver.delegate import delegation
from resolver.enrol import application_of, fingerprint, format_application
from resolver.founding import ROOT_KEY
from resolver.further import further_prefixes, is_ours
from resolver.homing import homing_change, own_application
from resolver.outbound import make_guard
from resolver.parent import ParentLink, load_pinned, published_values
from resolver.pem import format_public_pem
from resolver.running import is_served, running_state
from resolver.site import next_serial, write_site_info
from resolver.site_update import remade
from resolver.trust.source import FolderSource
from resolver.writer_link import SOCKET, open_writer

ASIDE: Final = Path("keys/rotating")
DAY_S: Final = 86_400
_MOST_FORMER: Final = 8
_PORTION: Final = 500
_WAIT_S: Final = 20.0
_LOOK_S: Final = 0.3


@dataclass(frozen=True, slots=True)
class Rotated:
    """What was done. keys: (index, new fingerprint). until: end of the overlap; None without.

    unpublished: further prefixes whose parent did not publish the keys, and why.
    """

    prefix: str
    keys: tuple[tuple[int, str], ...]
    until: int | None
    revoked: tuple[RevokedKey, ...]
    unpublished: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class _Held:
    """A node as it was found. position: the number of its log's next change."""

    folder: Path
    settings: Settings
    prefix: bytes
    keys: NodeKeys
    values: tuple[HandleValue, ...]
    position: int


def rotate(
    folder: Path,
    *,
    indexes: Sequence[int],
    overlap_s: int,
    revoke: str | None = None,
    now: Callable[[], float] = time.time,
) -> Rotated:
    """Replace the site key (300), the log key (302) or both.

    overlap_s: how long the old ones stay valid. revoke: a reason instead: the old ones count no
    more at once. Raises SettingsError, StoreError, UpstreamError.
    """
    held, now_s = _read(folder), int(now())
    until = now_s + overlap_s
    fresh = _fresh(held, indexes)
    rotation, handovers = _told(held, fresh, indexes, until, now_s, revoke)
    keys = replace(fresh, rotation=rotation)
    sites = _sites(held, keys)
    _prepare(held, keys, indexes, now_s, keep_former=revoke is None)
    values = _published(held, keys, sites, handovers, now_s)
    _install(folder)
    _adopt(held, values, sites)
    if KEY in indexes:
        _sign_delegations(held, keys)
    unpublished = _publish_further(held, keys, sites, handovers, now_s)
    reload_node(folder)
    replaced = tuple((index, fingerprint(_public(keys, index))) for index in indexes)
    revoked = rotation.revoked[-len(indexes) :] if revoke is not None else ()
    ends = until if revoke is None else None
    return Rotated(held.prefix.decode(), replaced, ends, revoked, unpublished)


def revoke_former(
    folder: Path, index: int, reason: str, *, now: Callable[[], float] = time.time
) -> Rotated:
    """Revoke the key that had the place of 300 or 302 before the last rotation.

    Raises SettingsError where there is none.
    """
    held, now_s = _read(folder), int(now())
    former = [one for one in held.keys.rotation.former if one.index == index]
    if not former:
        raise SettingsError(
            f"no key was at {index} before the one that is in use; to revoke that one, leave "
            "--former out"
        )
    one = RevokedKey(index, former[-1].key, _revocation(held, now_s, reason))
    rotation = _without(held.keys.rotation.with_revoked(one), (one.key,))
    keys = replace(held.keys, rotation=rotation, former_log=None)
    sites = _sites(held, keys)
    _prepare(held, keys, (), now_s, keep_former=True)
    values = _published(held, keys, sites, rotation.handovers, now_s)
    _install(folder)
    _adopt(held, values, sites)
    unpublished = _publish_further(held, keys, sites, rotation.handovers, now_s)
    reload_node(folder)
    return Rotated(held.prefix.decode(), (), None, (one,), unpublished)


def _read(folder: Path) -> _Held:
    if (folder / ASIDE / "ready").exists():
        _install(folder)  # a rotation was interrupted after the record had been changed
    shutil.rmtree(folder / ASIDE, ignore_errors=True)
    settings, keys = load_settings(folder), load_keys(folder)
    prefix = settings.node.prefix.encode().upper()
    if not prefix or settings.node.role == "mirror":
        raise SettingsError(f"{folder} has no prefix and no log of its own: nothing to replace")
    source = FolderSource(folder)
    try:
        record = read_record(source.store, prefix_record(prefix))
        row = Prefixes(source.store).get(prefix)
        with source.store.snapshot() as state:
            position = tree_size(state) + 1
    finally:
        source.close()
    if record is None or row is None or row.state not in {HOMED, WAITING}:
        raise StoreError(f"{folder} holds no record of its own prefix {prefix.decode()}")
    if settings.node.parent and row.state != HOMED:
        raise SettingsError(
            f"{prefix.decode()} waits for its parent still; finish `biaoshi prefix request` first"
        )
    return _Held(folder, settings, prefix, keys, record.values, position)


def _fresh(held: _Held, indexes: Sequence[int]) -> NodeKeys:
    keys = held.keys
    if KEY in indexes:
        keys = replace(keys, site_private=generate_private_key(65537, RSA_BITS))
    if LOG_INDEX in indexes:
        keys = replace(keys, log_private=Ed25519PrivateKey.generate())
    return keys


def _told(
    held: _Held,
    fresh: NodeKeys,
    indexes: Sequence[int],
    until: int,
    now_s: int,
    revoke: str | None,
) -> tuple[Rotation, tuple[bytes, ...]]:
    """What is told of the old keys from now on, and the handovers for the parent."""
    rotation = held.keys.rotation
    made, old_keys = [], []
    for index in indexes:
        old, subject = _private(held.keys, index), f"{index}:{prefix_record(held.prefix).decode()}"
        new = _public(fresh, index)
        made.append(hand_over(old, new, subject, begins=now_s - SKEW_S, ends=until + SKEW_S))
        old_keys.append(old.public_key())
        if revoke is None:
            former = FormerKey(index, old.public_key(), until)
            rotation = replace(rotation, former=(*rotation.former, former)[-_MOST_FORMER:])
        else:
            one = RevokedKey(index, old.public_key(), _revocation(held, now_s, revoke))
            rotation = rotation.with_revoked(one)
    live = tuple(text for text in rotation.handovers if parse_handover(text).ends > now_s)
    if revoke is None:
        handovers = (*live, *made)
        return replace(rotation, handovers=handovers), handovers
    return _without(replace(rotation, handovers=live), old_keys), (*live, *made)


def _without(rotation: Rotation, revoked: Sequence[PublicKey]) -> Rotation:
    """No handover by a revoked key is given out."""
    gone = set(map(encode_public_key, revoked))
    kept = tuple(
        text
        for text in rotation.handovers
        if encode_public_key(parse_handover(text).old) not in gone
    )
    return replace(rotation, handovers=kept)


def _revocation(held: _Held, now_s: int, reason: str) -> Revocation:
    return Revocation(log_name(held.prefix.decode()), held.position, now_s, reason)


def _private(keys: NodeKeys, index: int) -> PrivateKey:
    return keys.site_private if index == KEY else keys.log_private


def _public(keys: NodeKeys, index: int) -> PublicKey:
    return keys.site_public if index == KEY else keys.log_public


def _sites(held: _Held, keys: NodeKeys) -> list[Site]:
    """The sites of the record with the key in use from now on."""
    key = encode_public_key(keys.site_public)
    found = [decode_site(value.data) for value in held.values if value.index in {SITE, SITE6}]
    return [
        replace(
            site,
            serial=next_serial(site.serial),
            servers=tuple(replace(server, public_key=key) for server in site.servers),
        )
        for site in found
    ]


# --- files


def _prepare(
    held: _Held,
    keys: NodeKeys,
    indexes: Sequence[int],
    now_s: int,
    *,
    keep_former: bool,
) -> None:
    """Every file that changes, aside. Their names say where they go."""
    aside = held.folder / ASIDE
    aside.mkdir(mode=0o700)
    made: dict[Path, bytes] = {ROTATION: rotation_text(keys.rotation)}
    if KEY in indexes:
        pem = encode_pem(keys.site_private)
        admin = KeyFile(Method.PLAIN, encode_private_key(keys.site_private))
        moment = datetime.fromtimestamp(now_s, UTC)
        made |= {SITE_KEY: pem, ADMIN_PEM: pem, ADMIN_BIN: encode_key_file(admin)}
        made[TLS_CERT] = self_signed(keys.site_private, _names(held.settings), moment)
        if (held.folder / ROOT_KEY).exists():
            made[ROOT_KEY] = format_public_pem(keys.site_public)
        if keep_former:
            made[FORMER_SITE_KEY] = encode_pem(held.keys.site_private)
    if LOG_INDEX in indexes:
        made[LOG_KEY] = encode_pem(keys.log_private)
        if keep_former:
            made[FORMER_LOG_KEY] = encode_pem(held.keys.log_private)
    for path, data in made.items():
        write_private(aside / "=".join(path.parts), data)
    sync_tree(aside)
    sync_folder(aside.parent)


def _names(settings: Settings) -> list[str]:
    """Addresses and names for the TLS certificate."""
    node = settings.node
    names = [host for host in node.hosts if not ip_address(host).is_unspecified]
    return [*names, *(host for host in node.announce if host not in names)] or ["localhost"]


def _install(folder: Path) -> None:
    """Put the files aside into their places; repeated, it goes on where it ended."""
    aside = folder / ASIDE
    (aside / "ready").touch()
    sync_folder(aside)
    for path in sorted(aside.iterdir()):
        if "=" in path.name:
            target = folder.joinpath(*path.name.split("="))
            if target.name == ROOT_KEY.name:
                path.chmod(0o644)
            path.replace(target)
            sync_folder(target.parent)
    (aside / "ready").unlink()
    aside.rmdir()


# --- the record


def _published(
    held: _Held,
    keys: NodeKeys,
    sites: Sequence[Site],
    handovers: tuple[bytes, ...],
    now_s: int,
) -> tuple[HandleValue, ...]:
    """The new prefix record: made here, or by the parent."""
    if not held.settings.node.parent:
        days = held.settings.signing.certificate_days
        issuer = own_issuer(keys, held.prefix)
        return remade(held.prefix, held.values, sites, keys, issuer=issuer, days=days)
    return asyncio.run(_from_parent(held, keys, sites, handovers, now_s)).values


async def _from_parent(
    held: _Held,
    keys: NodeKeys,
    sites: Sequence[Site],
    handovers: tuple[bytes, ...],
    now_s: int,
    further: bytes = b"",
) -> Change:
    """What makes the new keys ours, once the parent has published them. further: a prefix."""
    pinned = load_pinned(held.folder, further)
    if pinned is None:
        raise SettingsError(f"{held.folder} has applied to no parent; `biaoshi prefix request`")
    prefix = further or held.prefix
    before = _values(held.folder, further) if further else held.values
    link = ParentLink(make_guard(held.settings, pinned.url), pinned.url, pinned.key)
    try:
        parent = (await link.state(prefix)).key
        application = own_application(
            held.settings,
            sites,
            keys,
            before,
            issued=now_s,
            audience=fingerprint(parent),
            further=further,
        )
        more = replace(application.more, handovers=handovers)
        text = format_application(replace(application, more=more), keys.site_private)
        until = time.monotonic() + _WAIT_S
        while True:
            with contextlib.suppress(SignatureInvalid, ServerBusy):
                answer = await link.apply(text)
                values = published_values(answer, pinned, keys, prefix, now_s)
                break
            if time.monotonic() > until:
                raise UpstreamError("the parent does not publish the new keys; try again")
            await asyncio.sleep(_LOOK_S)
    finally:
        await link.close()
    record = prefix_record(prefix)
    return homing_change(record, values, before, pinned, now_s, further=bool(further))


def _adopt(held: _Held, values: tuple[HandleValue, ...], sites: Sequence[Site]) -> None:
    """Write the new record and the site file."""
    name = prefix_record(held.prefix)
    _write(held.folder, Change(Kind.CREATE, name, values, overwrite=True))
    write_site_info(held.folder, sites[0])


def _write(folder: Path, change: Change) -> None:
    with open_writer(folder) as writer:
        (outcome,) = writer.submit([change])
    if outcome.status == "refused":
        name = change.handle.decode("utf-8", "replace")
        raise StoreError(f"the record {name} is not changed: {outcome.error}")


def _publish_further(
    held: _Held,
    keys: NodeKeys,
    sites: Sequence[Site],
    handovers: tuple[bytes, ...],
    now_s: int,
) -> tuple[tuple[str, str], ...]:
    """The keys in the records of further prefixes: by this node, or by whoever certified them.

    Gives those that were not published. One parent that is away must not hold up a revocation.
    """
    missing = []
    for prefix in _certified_further(held):
        try:
            if held.settings.node.parent:
                change = asyncio.run(
                    _from_parent(held, keys, sites, handovers, now_s, further=prefix)
                )
            else:
                change = _own_further(held, keys, sites, prefix)
            _write(held.folder, change)
        except BiaoshiError as error:
            missing.append((prefix.decode(), str(error)))
    return tuple(missing)


def _certified_further(held: _Held) -> list[bytes]:
    """The further prefixes whose records name keys that this node had until now."""
    source = FolderSource(held.folder)
    try:
        homed = further_prefixes(source.store, held.prefix)
        return [prefix for prefix in homed if _is_certified(source.store, held.keys, prefix)]
    finally:
        source.close()


def _is_certified(store: Store, keys: NodeKeys, prefix: bytes) -> bool:
    record = read_record(store, prefix_record(prefix))
    values = record.values if record is not None else ()
    return any(value.index == LOG_CERT for value in values) and is_ours(values, keys)


def _own_further(held: _Held, keys: NodeKeys, sites: Sequence[Site], prefix: bytes) -> Change:
    issuer, days = own_issuer(keys, held.prefix), held.settings.signing.certificate_days
    before = _values(held.folder, prefix)
    values = remade(prefix, before, sites, keys, issuer=issuer, days=days)
    return Change(Kind.CREATE, prefix_record(prefix), values, overwrite=True)


def _values(folder: Path, prefix: bytes) -> tuple[HandleValue, ...]:
    """The record of a prefix, as it lies here."""
    source = FolderSource(folder)
    try:
        record = read_record(source.store, prefix_record(prefix))
    finally:
        source.close()
    return record.values if record is not None else ()


def _sign_delegations(held: _Held, keys: NodeKeys) -> None:
    """The delegations given by this node, signed anew by its site key in use."""
    source, changes = FolderSource(held.folder), []
    days = held.settings.signing.certificate_days
    try:
        for row in Prefixes(source.store).rows():
            if row.state != DELEGATED or "keys" not in row.attributes:
                continue
            application = application_of(row.prefix, row.attributes)
            values = delegation(
                source.store, keys, held.prefix, application, now=time.time(), days=days
            )
            changes.append(Change(Kind.DELEGATE, prefix_record(row.prefix), values))
    finally:
        source.close()
    with open_writer(held.folder) as writer:
        for at in range(0, len(changes), _PORTION):
            for outcome in writer.submit(changes[at : at + _PORTION]):
                if outcome.status == "refused":
                    raise StoreError(f"a delegation is not signed anew: {outcome.error}")


def reload_node(folder: Path) -> bool:
    """Have a running node take its keys anew, and wait until its writer did; False when none runs."""
    if not is_served(folder):
        return False
    state = running_state(folder)
    pid = state.get("pid") if state is not None else None
    if not isinstance(pid, int):
        return False
    before = _writer(folder)
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGHUP)
    until = time.monotonic() + _WAIT_S
    while _writer(folder) in {before, None} and time.monotonic() < until and is_served(folder):
        time.sleep(_LOOK_S / 3)
    return True


def _writer(folder: Path) -> int | None:
    """What tells one writer process from the next: the socket that it made."""
    try:
        return (folder / "run" / SOCKET).stat().st_mtime_ns
    except OSError:
        return None
