"""Where this node and Handle.Net 9.0.0 answer differently on purpose; docs/compatibility.md says why.

Each row: what is asked, what Handle.Net answers, what this node answers. A test takes the expected
answer with `expected(target, name)`, so the suite passes against both servers.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from tests.blackbox.target import HANDLE_NET, Target


class Difference(NamedTuple):
    """handle_net, ours: codes or other facts, as the test compares them."""

    handle_net: Any
    ours: Any
    reason: str


DIFFERENCES: dict[str, Difference] = {
    "mixed-with-unreadable": Difference(
        402, 401, "a value that nobody may read refuses the whole answer, whoever asks"
    ),
    "not-utf-8": Difference(100, 102, "a name that is not UTF-8 is no handle"),
    "old-proof-2.5": Difference(
        402, 406, "below 2.7 a proof is SHA-1 and may be used for another request"
    ),
    "public-secret": Difference(1, 202, "a public HS_SECKEY gives the secret to everybody"),
    "broken-admin": Difference(1, 202, "an HS_ADMIN that cannot be read protects nothing"),
    "empty-type": Difference(1, 202, "a value without a type cannot be asked for"),
    "huge-value": Difference(1, 202, "the record must fit in one message with its signature"),
    "control-character": Difference(1, 102, "names with control characters deceive readers"),
    "remove-nothing": Difference(1, 202, "a request that does nothing is a mistake"),
    "modify-twice": Difference(1, 201, "one index twice in a request: which one is meant?"),
    "remove-last-admin": Difference(1, 202, "who has no other right there would be shut out"),
    "delete-elsewhere": Difference(100, 301, "the prefix is not served here: ask its server"),
    "derived-list": Difference(2, 1, "operation 106 of RFC 3652 is served"),
    "early-error-operation": Difference(0, 999, "early errors name the operation they answer"),
    "replication": Difference(1, 5, "replication of deployed servers is read, not offered"),
    "trailing-octets": Difference(100, 2, "octets after the last field are refused"),
    "no-session-key-exchange": Difference(500, 501, "only Diffie-Hellman is offered"),
    "weak-iterations": Difference(1, 403, "`auth.min_pbkdf2_iterations`"),
    "unreadable-in-session": Difference(1, 401, "values readable by nobody stay here, always"),
    "counter-zero": Difference(1, 505, "counter 0 would skip the replay check"),
    "ed25519": Difference(403, 1, "Ed25519 keys are ours"),
    "index-nought": Difference(400, 1, "index 0 proves the key that fits, and has its rights"),
    "after-the-end": Difference(1, 500, "a session that was ended is gone"),
    "no-such-key": Difference(400, 403, "which keys an identity has is not told to strangers"),
    "nonce-after-failure": Difference(
        True, False, "a nonce that was answered wrongly is not used again"
    ),
    "dangerous-redirect": Difference(302, 200, "no redirect to javascript:, data: and the like"),
    "grant-more": Difference(1, 400, "nobody hands out rights that are not their own"),
    "challenge-again": Difference(1, 405, "a challenge is answered once"),
    "small-group": Difference(1, 501, "a group below `auth.min_dh_bits`"),
}


def expected(target: Target, name: str) -> Any:
    """What the server under test should answer."""
    difference = DIFFERENCES[name]
    return difference.handle_net if target.kind == HANDLE_NET else difference.ours
