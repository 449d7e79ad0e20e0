"""The child's side of escrow: portions of its log to the parent, receipts kept beside the log.

DIR/keys/escrow_key      32 octets in hexadecimal (0600): bodies are encrypted with it
DIR/escrow-receipts.txt  the parent's receipts, a JWS a line
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from protocol import note
from protocol.change import pack
from protocol.errors import ParseError, SettingsError, SignatureInvalid, UpstreamError
from registry import tree
from registry.keys import NodeKeys
from registry.log import sequence_key
from registry.replay import Logged
from registry.store import Store
from resolver.enrol import fingerprint
from resolver.escrow.notes import (
    HEADER,
    MAX_DEPOSIT,
    MEDIA_TYPE,
    Deposit,
    digest,
    read_receipt,
    require_receipt,
    sign_request,
)
from resolver.parent import Pinned
from resolver.registering.connection import Answer, Connection, error_of
from resolver.trust.source import stored_rows

KEY_FILE: Final = Path("keys/escrow_key")
RECEIPTS: Final = "escrow-receipts.txt"
PORTION: Final = 20_000
"""Changes in one deposit at most."""
_NONCE: Final = 12


@dataclass(frozen=True, slots=True)
class Parent:
    """The parent's escrow, as a child with its site key reaches it."""

    pinned: Pinned
    prefix: str
    key: RSAPrivateKey
    connection: Connection

    @classmethod
    def reached(cls, pinned: Pinned, prefix: str, keys: NodeKeys) -> Parent:
        """Over TLS, its certificate of the key that was pinned."""
        connection = Connection(pinned.url, trusted=pinned.key, tries=3)
        return cls(pinned, prefix, keys.site_private, connection)

    @property
    def audience(self) -> str:
        return fingerprint(self.pinned.key)

    def listing(self) -> dict[str, Any]:
        """What lies there."""
        shape = self._asked("list", "").json()
        if not isinstance(shape, dict) or type(shape.get("last")) is not int:
            raise UpstreamError("the parent gave no list of deposits")
        return shape

    def fetch(self, name: str) -> bytes:
        """The octets of a deposit."""
        return self._asked(name, f"/{name}").body

    def deposit(self, deposit: Deposit, data: bytes) -> bytes:
        """Hand a deposit over; the receipt, verified."""
        headers = {HEADER: deposit.sign(self.key).decode(), "Content-Type": MEDIA_TYPE}
        answer = self.connection.request("POST", f"/api/escrow/{self.prefix}", data, headers)
        shape = _good(answer, 201).json()
        receipt = str(shape.get("receipt", "")).encode()
        require_receipt(receipt, self.pinned.key, deposit)
        return receipt

    def _asked(self, part: str, path: str) -> Answer:
        signed = sign_request(self.key, self.prefix, part, self.audience, int(time.time()))
        answer = self.connection.request(
            "GET", f"/api/escrow/{self.prefix}{path}", None, {HEADER: signed.decode()}
        )
        return _good(answer, 200)


def _good(answer: Answer, status: int) -> Answer:
    if answer.status != status:
        raise error_of(answer, None)
    return answer


def deposits(
    store: Store, prefix: str, first: int, *, audience: str, secret: bytes | None
) -> Iterator[tuple[Deposit, bytes]]:
    """The log from a change on, in deposits that each end at a checkpoint.

    secret: encrypts the bodies; None leaves them as they are.
    """
    while True:
        with store.snapshot() as state:
            size = tree.tree_size(state)
            if first > size:
                return
            latest = tree.latest_checkpoint(state)
            raw = tree.checkpoint_at(state, min(first + PORTION - 1, size)) or latest
            if raw is None:
                raise SettingsError("the log has no checkpoint yet; start the node once")
            said = note.parse_checkpoint(note.decode(raw).text)
        data = b"".join(
            pack([row.sequence, row.leaf, _sealed(row, secret)])
            for row in stored_rows(store, first, said.size)
        )
        if len(data) > MAX_DEPOSIT:
            raise SettingsError(
                f"changes {first} to {said.size} have {len(data)} octets, above {MAX_DEPOSIT}; "
                "send a backup instead"
            )
        yield (
            Deposit(
                prefix=prefix,
                first=first,
                last=said.size,
                root=said.root,
                checkpoint=raw.decode(),
                sha256=digest(data),
                size=len(data),
                encrypted=secret is not None,
                audience=audience,
                issued=int(time.time()),
            ),
            data,
        )
        first = said.size + 1


def _sealed(row: Logged, secret: bytes | None) -> bytes | None:
    if secret is None or row.body is None:
        return row.body
    nonce = os.urandom(_NONCE)
    return nonce + AESGCM(secret).encrypt(nonce, row.body, sequence_key(row.sequence))


def opened(row: Logged, secret: bytes | None) -> Logged:
    """A row as it was before _sealed(). Raises SignatureInvalid: another key, or altered."""
    if secret is None or row.body is None:
        return row
    try:
        body = AESGCM(secret).decrypt(
            row.body[:_NONCE], row.body[_NONCE:], sequence_key(row.sequence)
        )
    except InvalidTag:
        raise SignatureInvalid(
            f"the content of change {row.sequence} does not open; is it the escrow key of then?"
        ) from None
    return Logged(row.sequence, row.leaf, body)


def load_secret(folder: Path, *, make: bool = False) -> bytes:
    """The escrow key of a folder. make: a new one where there is none. Raises SettingsError."""
    path = folder / KEY_FILE
    if make and not path.exists():
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(handle, "w") as file:
            file.write(os.urandom(32).hex() + "\n")
            file.flush()
            os.fsync(handle)
    try:
        secret = bytes.fromhex(path.read_text("ascii").strip())
    except (OSError, ValueError):
        raise SettingsError(f"{path} holds no escrow key; bring the one that was used") from None
    if len(secret) != 32:
        raise SettingsError(f"{path} holds {len(secret)} octets, an escrow key has 32")
    return secret


def keep_receipt(folder: Path, receipt: bytes) -> None:
    """Append a receipt to those of the folder, durably."""
    with (folder / RECEIPTS).open("ab") as file:
        file.write(receipt + b"\n")
        file.flush()
        os.fsync(file.fileno())


def verified_receipts(folder: Path, pinned: Pinned) -> list[tuple[Deposit, int]]:
    """The receipts of a folder, each verified by the parent's key. Raises SignatureInvalid."""
    try:
        lines = (folder / RECEIPTS).read_bytes().split()
    except FileNotFoundError:
        return []
    return [read_receipt(line, pinned.key) for line in lines]


def compare_receipt(store: Store, deposit: Deposit) -> None:
    """Raise SignatureInvalid where a receipt contradicts the log as it is now."""
    with store.snapshot() as state:
        size = tree.tree_size(state)
        if size < deposit.last:
            raise SignatureInvalid(
                f"the parent holds {deposit.last} changes and this log has {size}: it is an old copy"
            )
        if tree.root_at(state, deposit.last) != deposit.root:
            raise SignatureInvalid(
                f"the first {deposit.last} changes are not those that were deposited: this "
                "log's history was altered"
            )


def named(name: str) -> tuple[int, int]:
    """First and last change of a deposit's name. Raises ParseError."""
    first, mark, last = name.partition("-")
    if not mark or not (first.isdigit() and last.isdigit()):
        raise ParseError(f"{name[:60]!r} names no deposit")
    return int(first), int(last)
