"""Founding a node: its whole folder, built aside and renamed, so that there is no half of one.

DIR/biaoshi.toml    settings, each explained          DIR/keys/   private keys (0600)
DIR/siteinfo.json   site record for Handle clients    DIR/tls/    self-made certificate
DIR/store/          records and log                   DIR/run/    local sockets of the running node
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from glob import escape
from ipaddress import ip_address
from pathlib import Path
from typing import Final

from protocol.change import Change, Kind
from protocol.errors import InvalidValue, SettingsError, StoreError
from protocol.keys import PublicKey
from protocol.name import prefix_record
from registry.keys import NodeKeys, create_keys
from registry.prefix_record import MAX_SECRET_BYTES, own_issuer, own_prefix_values
from registry.prefixes import HOMED, WAITING
from registry.store.lmdb_store import LmdbStore, create
from registry.store.place import sync_folder, sync_tree
from registry.tree import LogSigner, log_name
from registry.writer import Writer
from resolver.config import FILE_NAME, Settings
from resolver.config_file import format_settings, parse_settings
from resolver.enrol import check_prefix
from resolver.keyfiles import read_public_keys
from resolver.pem import format_public_pem
from resolver.site import make_sites, write_site_info
from resolver.sockets import Ports
from resolver.trust.following import PRIMARY, fence_mirror
from resolver.trust.kept import Kept, write_kept

ROOT_KEY: Final = Path("keys/root_pub.pem")
"""The public key of a node that stands alone, for those who trust it as their root."""
TRUSTED: Final = Path("trust/root.pem")
"""The root key that a node was given."""


@dataclass(frozen=True, slots=True)
class Founded:
    """What was made. fingerprint: of the site key."""

    folder: Path
    settings: Settings
    keys: NodeKeys
    state: str


def read_secret(path: Path) -> bytes:
    """The secret of administrator 301: the file's octets less one final newline.

    Raises SettingsError, which never shows the secret.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise SettingsError(f"the secret file {path} cannot be read: {error.strerror}") from None
    secret = data.removesuffix(b"\n")
    if not 0 < len(secret) <= MAX_SECRET_BYTES:
        raise SettingsError(
            f"{path} holds a secret of {len(secret)} octets; "
            f"1 to {MAX_SECRET_BYTES} are taken, better 16 or more random ones"
        )
    return secret


def found(
    folder: Path,
    settings: Settings,
    *,
    secret: bytes | None = None,
    root_key: Path | None = None,
    primary_log_key: bytes | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> Founded:
    """Make a node's folder. It must not exist, or be empty. Raises SettingsError or StoreError.

    primary_log_key: of the node that a mirror follows; None is learnt at the first contact.
    """
    settings = _completed(settings, root_key, secret=secret is not None)
    if secret is not None and not settings.node.prefix:
        raise SettingsError(
            "--admin-secret is for the administrator of a prefix; give --prefix too"
        )
    _require_vacant(folder)
    roots = read_public_keys(root_key) if root_key is not None else ()
    aside = folder.parent / f".{folder.name}.init-{os.getpid()}"
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(folder)
        aside.mkdir(mode=0o700)
        state, keys = _build(aside, settings, secret, roots, progress)
        if primary_log_key is not None:
            write_kept(aside / PRIMARY, Kept(primary_log_key))
        sync_tree(aside)
        aside.rename(folder)
        sync_folder(folder.parent)
    except OSError as error:
        raise StoreError(
            f"{folder} cannot be made: {error.strerror or error} ({error.filename or aside}); "
            "give a folder on a disk with room that you may write to"
        ) from None
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return Founded(folder, settings, keys, state)


def _remove_abandoned(folder: Path) -> None:
    """What a killed `init` of this folder left beside it: it holds keys that nobody uses."""
    for left in folder.parent.glob(f".{escape(folder.name)}.init-*"):
        owner = left.name.rpartition("-")[2]
        if not (owner.isdecimal() and int(owner) != os.getpid() and _alive(int(owner))):
            shutil.rmtree(left, ignore_errors=True)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        pass
    return True


def _completed(settings: Settings, root_key: Path | None, *, secret: bool) -> Settings:
    """What follows from the role and the names given, checked as a file would be."""
    node = settings.node
    if node.prefix:
        prefix = check_prefix(node.prefix).decode()
        named = [f"{index}:0.NA/{prefix}" for index in ((300, 301) if secret else (300,))]
        admin = replace(settings.admin, administrators=tuple(named))
        settings = replace(settings, admin=admin, node=replace(node, prefix=prefix))
    recursion = settings.recursion
    if node.role == "recursive":
        roots = recursion.roots or ((node.parent,) if node.parent else ())
        recursion = replace(recursion, enabled=True, roots=roots)
    if root_key is not None:
        recursion = replace(recursion, root_keys=(str(TRUSTED),))
    return parse_settings(format_settings(replace(settings, recursion=recursion)), "the options")


def _require_vacant(folder: Path) -> None:
    try:
        if not any(folder.iterdir()):
            return
    except FileNotFoundError:
        return
    except NotADirectoryError:
        raise SettingsError(f"{folder} is a file; name a folder that does not exist yet") from None
    raise SettingsError(
        f"{folder} is not empty and nothing in it is overwritten; name another folder"
    )


def _build(
    folder: Path,
    settings: Settings,
    secret: bytes | None,
    roots: tuple[PublicKey, ...],
    progress: Callable[[str], None],
) -> tuple[str, NodeKeys]:
    """Everything inside the folder; gives the state of the prefix and the keys."""
    now = time.time()
    names = [host for host in settings.node.hosts if not ip_address(host).is_unspecified]
    names += [host for host in settings.node.announce if host not in names]
    progress("keys")
    keys = create_keys(folder, names or ["localhost"], datetime.fromtimestamp(now, UTC))
    _write(folder / FILE_NAME, format_settings(settings).encode(), 0o600)
    (folder / "run").mkdir(mode=0o700)
    if roots:
        (folder / TRUSTED).parent.mkdir(mode=0o700)
        _write(folder / TRUSTED, b"".join(map(format_public_pem, roots)), 0o644)
    stands_alone = bool(settings.node.prefix) and not settings.node.parent
    if stands_alone and settings.node.role != "mirror":
        _write(folder / ROOT_KEY, format_public_pem(keys.site_public), 0o644)
    progress("store")
    create(folder / "store", map_bytes=settings.store.map_size_gib << 30)
    sites = make_sites(settings, _known_ports(settings), keys, serial=1)
    write_site_info(folder, sites[0])
    if not settings.node.prefix:
        return "", keys
    if settings.node.role == "mirror":
        fence_mirror(folder / "store", settings.mirror.of)
        return "mirror", keys
    state = HOMED if stands_alone else WAITING
    prefix = settings.node.prefix.encode()
    values = own_prefix_values(
        keys,
        prefix,
        sites,
        now_s=int(now),
        secret=secret,
        issuer=own_issuer(keys, prefix) if stands_alone else None,
        days=settings.signing.certificate_days,
    )
    change = Change(Kind.HOME, prefix_record(prefix), values, attributes={"state": state})
    store = LmdbStore.open(folder / "store", readonly=False)
    try:
        signer = LogSigner(log_name(settings.node.prefix), keys.log_private)
        (outcome,) = Writer(store, log_signer=signer).commit([change])
    finally:
        store.close()
    if outcome.status == "refused":
        raise InvalidValue(f"prefix {settings.node.prefix} cannot be set up: {outcome.error}")
    return state, keys


def _known_ports(settings: Settings) -> Ports:
    """The ports that are fixed already; the others come into the site record at each start."""
    faces = settings.faces
    return Ports(faces.irp or None, faces.http or None, faces.https or None, faces.dns or None)


def _write(path: Path, data: bytes, mode: int) -> None:
    """A new file with these permissions whatever the umask is."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    with os.fdopen(handle, "wb") as file:
        os.fchmod(handle, mode)
        file.write(data)
        file.flush()
        os.fsync(handle)
