"""The parent's side of escrow: deposits of its children, verified and durable, in DIR/escrow/P.

000…first-000…last.rows   the octets deposited
000…first-000…last.receipt   what the parent signed for them
tree.json                 where the tree over the leaves stands, so that the next can be verified
"""

from __future__ import annotations

import fcntl
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from protocol import merkle
from protocol.errors import (
    HandleNotFound,
    ParseError,
    ServerBusy,
    SignatureInvalid,
    StoreError,
    StoreFull,
    VersionConflict,
)
from registry.replay import Logged, Replay, epoch_of_origin, read_checkpoint
from registry.store.place import sync_folder
from registry.tree import log_name
from resolver.escrow.notes import Deposit, digest
from resolver.trust.source import unpack_rows

FOLDER: Final = "escrow"
_TREE: Final = "tree.json"
_NAME: Final = re.compile(r"\d{20}-\d{20}")


def name_of(first: int, last: int) -> str:
    """The name of a deposit."""
    return f"{first:020d}-{last:020d}"


class Vault:
    """What lies here of one child. Synchronous; one at a time writes."""

    def __init__(self, folder: Path, prefix: str, *, most_bytes: int) -> None:
        """folder: of the node. prefix: of the child, folded. most_bytes: its quota."""
        self.folder = folder / FOLDER / prefix.replace("/", "_")
        self._prefix = prefix
        self._most_bytes = most_bytes

    def take(
        self, deposit: Deposit, data: bytes, log_key: Ed25519PublicKey, receipt: bytes
    ) -> bytes:
        """Verify a deposit and make it durable; gives the receipt that lies beside it.

        receipt: for it, made already. A repeated deposit gives its first receipt. Raises VersionConflict (another first change is due), StoreFull (the quota), ServerBusy,
        SignatureInvalid or ParseError.
        """
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self._alone():
            replay = self._replay()
            if deposit.last <= replay.size:
                return self._known(deposit)
            if deposit.first != replay.size + 1:
                raise VersionConflict(
                    f"change {replay.size + 1} of {self._prefix} is next here, not {deposit.first}"
                )
            self._require_room(len(data))
            _verify(deposit, data, replay, log_key, log_name(self._prefix))
            name = name_of(deposit.first, deposit.last)
            self._write(f"{name}.rows", data)
            self._write(f"{name}.receipt", receipt)
            self._write(_TREE, _pack_tree(replay))  # the last: from now on it counts
            return receipt

    def listing(self) -> dict[str, Any]:
        """What lies here, in the order of the log."""
        last = self._replay().size
        found = [
            {"name": path.stem, "receipt": path.read_text("ascii")}
            for path in sorted(self.folder.glob("*.receipt"))
            if int(path.stem.partition("-")[2]) <= last
        ]
        return {
            "deposits": found,
            "last": last,
            "used": self._used(),
            "quota": self._most_bytes,
        }

    def read(self, name: str) -> bytes:
        """The octets of a deposit. Raises HandleNotFound."""
        path = self.folder / f"{name}.rows"
        if _NAME.fullmatch(name) is None or not path.is_file():
            raise HandleNotFound(f"no deposit {name[:60]!r} of {self._prefix} lies here")
        return path.read_bytes()

    # --- parts

    @contextmanager
    def _alone(self) -> Iterator[None]:
        with (self.folder / "lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ServerBusy(f"another deposit of {self._prefix} is under way") from None
            yield

    def _replay(self) -> Replay:
        try:
            shape = json.loads((self.folder / _TREE).read_bytes())
            hashes = [bytes.fromhex(text) for text in shape["hashes"]]
            return Replay(merkle.Frontier(int(shape["size"]), hashes))
        except FileNotFoundError:
            return Replay()
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise StoreError(f"{self.folder / _TREE} cannot be read: {error}") from None

    def _known(self, deposit: Deposit) -> bytes:
        name = name_of(deposit.first, deposit.last)
        path = self.folder / f"{name}.rows"
        if not path.is_file() or digest(path.read_bytes()) != deposit.sha256:
            raise VersionConflict(
                f"changes {deposit.first} to {deposit.last} of {self._prefix} lie here already, "
                "in another form; ask for the list and go on after its last"
            )
        return (self.folder / f"{name}.receipt").read_bytes()

    def _used(self) -> int:
        return sum(path.stat().st_size for path in self.folder.glob("*.rows"))

    def _require_room(self, size: int) -> None:
        used = self._used()
        if used + size > self._most_bytes:
            raise StoreFull(
                f"the escrow of {self._prefix} has {used >> 20} of {self._most_bytes >> 20} MiB; "
                "ask the parent's operator for more (escrow.child_mib)"
            )

    def _write(self, name: str, data: bytes) -> None:
        aside = self.folder / f".{name}.new"
        with aside.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(self.folder / name)
        sync_folder(self.folder)


def _verify(
    deposit: Deposit, data: bytes, replay: Replay, log_key: Ed25519PublicKey, name: str
) -> None:
    """Digest, checkpoint, every leaf in its place, the root; bodies where they can be read."""
    if len(data) != deposit.size or digest(data) != deposit.sha256:
        raise SignatureInvalid("the octets that came are not those of the note")
    said = read_checkpoint(deposit.checkpoint.encode(), log_key.public_bytes_raw())
    epoch_of_origin(said.origin, name)
    if (said.size, said.root) != (deposit.last, deposit.root):
        raise SignatureInvalid("the checkpoint is not over what the note says")
    for row in unpack_rows(data):
        if row.sequence > deposit.last:
            raise ParseError(f"change {row.sequence} is beyond what the note says")
        replay.take(Logged(row.sequence, row.leaf, None if deposit.encrypted else row.body))
    if replay.size != deposit.last or replay.frontier.root() != deposit.root:
        raise SignatureInvalid(
            f"the changes that came do not make the log of {deposit.last} with the signed root"
        )


def _pack_tree(replay: Replay) -> bytes:
    hashes = [one.hex() for one in replay.frontier.hashes]
    return json.dumps({"size": replay.size, "hashes": hashes}).encode()
