"""One signature for many records: what a node signs in bulk (plan §7; ADR 0035).

Each record still has an HS_SIGNATURE value of its own, with its digests, its signer and chain; it
proves that its text is under a signed Merkle root (protocol.batch_signature).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from protocol.batch_signature import sign_batch
from protocol.jws import sign_jws
from protocol.record import HandleValue
from registry.signing import RecordSigner, parts_of

Values = tuple[HandleValue, ...]


@dataclass(frozen=True, slots=True)
class BatchSigner:
    """Signs records with one key, so many at once. most: under one signature; 1 signs each."""

    signer: RecordSigner
    most: int

    def texts(self, payloads: Sequence[bytes]) -> list[bytes]:
        """The data of an HS_SIGNATURE value for each payload, in order."""
        key = self.signer.key
        if self.most < 2 or not isinstance(key, Ed25519PrivateKey):
            return [sign_jws(payload, key) for payload in payloads]
        made: list[bytes] = []
        for start in range(0, len(payloads), self.most):
            part = payloads[start : start + self.most]
            made += sign_batch(part, key) if len(part) > 1 else [sign_jws(part[0], key)]
        return made

    def sign(self, records: Sequence[tuple[bytes, Values]], now_s: int) -> list[Values]:
        """The values of each record with a signature over them. Raises ParseError: a bad name."""
        kept = [self.signer.unsigned(values) for _, values in records]
        pairs = zip(records, kept, strict=True)
        parts = [(name, parts_of(own)) for (name, _), own in pairs]
        texts = iter(
            self.texts(
                [self.signer.payload(name, one, now_s) for name, own in parts for one in own]
            )
        )
        return [
            self.signer.attached(values, list(islice(texts, len(own))), now_s)
            for (_, values), (_, own) in zip(records, parts, strict=True)
        ]
