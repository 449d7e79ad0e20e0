"""A log whose operator may alter it afterwards, and signs whatever is there."""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from protocol import merkle
from protocol.record import HandleValue
from registry.log import Body, entry
from registry.replay import Logged
from registry.tree import LogSigner

KEY = Ed25519PrivateKey.from_private_bytes(b"L" * 32)
SIGNER = LogSigner("biaoshi/86.999", KEY)


def logged(sequence: int, text: bytes, time_s: int = 1_700_000_000) -> Logged:
    """A registration as it is logged."""
    handle = b"86.999/%d" % sequence
    body = Body("create", handle, None, (HandleValue(1, b"URL", text),))
    made = entry(sequence, time_s, handle, body, bytes(32))
    return Logged(sequence, made.leaf, made.body)


class CheatingLog:
    """A LogSource over a list that tests change; checkpoints are signed over what is in it."""

    def __init__(self, count: int, *, bodies: bool = True) -> None:
        self.entries = [logged(n, b"http://example.org/%d" % n) for n in range(1, count + 1)]
        self.bodies = bodies
        self.claims: bytes | None = None

    def roots(self) -> list[bytes]:
        tree = merkle.Frontier()
        found = [merkle.EMPTY_ROOT]
        for one in self.entries:
            tree.append(merkle.leaf_hash(one.leaf))
            found.append(tree.root())
        return found

    def checkpoint(self) -> bytes:
        return self.claims or SIGNER.checkpoint(len(self.entries), self.roots()[-1], 0)

    def consistency(self, old: int, new: int) -> list[bytes]:
        hashes = [merkle.leaf_hash(one.leaf) for one in self.entries]

        def node(level: int, index: int) -> bytes:
            if level == 0:
                return hashes[index]
            return merkle.node_hash(node(level - 1, 2 * index), node(level - 1, 2 * index + 1))

        return merkle.consistency_proof(old, new, node)

    def rows(self, first: int, last: int):
        for one in self.entries[first - 1 : last]:
            yield one if self.bodies else Logged(one.sequence, one.leaf, None)

    def log_key(self) -> bytes:
        return KEY.public_key().public_bytes_raw()

    def handovers(self):
        return ()

    def close(self) -> None:
        pass
