"""A witness: cosigns a checkpoint only if it extends the last one that it cosigned.

What it keeps is made durable before the cosignature leaves: a witness that forgets could be shown
two histories (C2SP tlog-witness, tlog-cosignature).
"""

from __future__ import annotations

from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from protocol import merkle, note
from protocol.errors import SignatureInvalid
from registry.replay import read_checkpoint
from resolver.trust.kept import (
    Kept,
    follow_key,
    log_of,
    only_one,
    read_kept,
    state_file,
    write_kept,
)
from resolver.trust.source import LogSource


def cosign(
    source: LogSource,
    log_key: bytes | None,
    name: str,
    key: Ed25519PrivateKey,
    state: Path,
    now_s: int,
) -> bytes:
    """The log's newest checkpoint with the witness's cosignature on it.

    state: a file, or a folder for the files of several logs. log_key: pinned; else the kept one, else the one the log names at the first contact.
    Raises SignatureInvalid or ParseError, and nothing is signed.
    """
    raw = source.checkpoint()
    path = state_file(state, log_of(note.parse_checkpoint(note.decode(raw).text).origin))
    with only_one(path):
        kept = read_kept(path)
        pinned = log_key or (kept.log_key if kept is not None else source.log_key())
        pinned = follow_key(pinned, raw, source.handovers, now_s)
        newest = read_checkpoint(raw, pinned)
        earlier = kept.checkpoint if kept is not None else None
        if earlier is not None:
            _require_extension(source, earlier, newest)
        write_kept(path, Kept(pinned, raw))
    signed = note.decode(raw)
    mine = note.cosign(signed.text, name, key, now_s)
    return note.Note(signed.text, (*signed.signatures, mine)).encode()


def _require_extension(
    source: LogSource, earlier: note.Checkpoint, newest: note.Checkpoint
) -> None:
    """Raise SignatureInvalid unless the newest tree begins with the earlier one.

    A new epoch goes on in the same tree, so it is held to the same.
    """
    if newest.size < earlier.size:
        raise SignatureInvalid(
            f"the log says it has {newest.size} changes; {earlier.size} were cosigned already"
        )
    between = earlier.size not in {0, newest.size}
    proof = source.consistency(earlier.size, newest.size) if between else []
    merkle.verify_consistency(earlier.size, earlier.root, newest.size, newest.root, proof)
