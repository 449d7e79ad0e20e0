"""Who signs the checkpoints of a node's log."""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from protocol import note
from registry import tree
from registry.keys import NodeKeys
from resolver.config import Settings


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
