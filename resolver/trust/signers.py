"""Who signs the checkpoints of a node's log."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from protocol import note
from protocol.errors import ParseError
from protocol.keys import PublicKey, decode_public_key
from protocol.name import prefix_record
from protocol.signature import REVOKED, parse_certificate
from registry import tree
from registry.keys import NodeKeys
from registry.prefix_record import FORMER, LOG_KEY
from registry.records import read_record
from registry.store import Store
from resolver.config import Settings
from resolver.trust.kept import read_kept


def log_signer(settings: Settings, keys: NodeKeys) -> tree.LogSigner | None:
    """Who signs the log's checkpoints; nobody at a node without a prefix, whose log is empty."""
    prefix = settings.node.prefix
    if not prefix:
        return None
    told = [one.key for one in keys.rotation.former] + [one.key for one in keys.rotation.revoked]
    past = tuple(key for key in told if isinstance(key, Ed25519PublicKey))
    name = tree.log_name(prefix)
    return tree.LogSigner(name, keys.log_private, keys.former_log, keys.national, past)


def former_verifiers(signer: tree.LogSigner, epoch: int) -> list[note.Key]:
    """The keys that sign beside the one in use: the one before, and the national one."""
    origin = tree.origin_of(signer.name, epoch)
    found = []
    if signer.former is not None:
        found.append(note.Key(origin, signer.former.public_key().public_bytes_raw()))
    if signer.national is not None:
        found.append(note.Key(origin, signer.national.public_key().point, note.SM2))
    return found


@dataclass(frozen=True, slots=True)
class Signers:
    """Everybody who may have signed the checkpoints in a store. keys: octets of log keys."""

    name: str
    keys: tuple[bytes, ...]

    def verifiers(self, epoch: int) -> Sequence[note.Key]:
        """Their keys under the name of an epoch."""
        origin = tree.origin_of(self.name, epoch)
        return [note.Key.of_log(origin, key) for key in self.keys]


def signers_of(
    folder: Path, settings: Settings, keys: NodeKeys, store: Store, primary: Path
) -> Signers | None:
    """Who may have signed what lies in a folder's log; None at a node without a prefix.

    Its own keys, now and before; at a mirror, promoted or not, the primary's as kept in `primary`,
    and those in the record of the prefix, replaced and revoked ones too.
    """
    own = log_signer(settings, keys)
    if own is None:
        return None
    found = [key.public for key in own.verifiers(0)]
    kept = read_kept(folder / primary)
    if kept is not None:
        record = read_record(store, prefix_record(settings.node.prefix.encode().upper()))
        values = record.values if record is not None else ()
        found += [kept.log_key, *_log_keys((v.index, v.type.upper(), v.data) for v in values)]
    return Signers(own.name, tuple(dict.fromkeys(found)))


def _log_keys(values: Iterable[tuple[int, bytes, bytes]]) -> Iterable[bytes]:
    for index, type_, data in values:
        try:
            key: PublicKey | None = None
            if type_ == REVOKED:
                key = parse_certificate(data).public_key
            elif index in {LOG_KEY, LOG_KEY + FORMER}:
                key = decode_public_key(data)
        except ParseError:
            continue
        if isinstance(key, Ed25519PublicKey):
            yield key.public_bytes_raw()
