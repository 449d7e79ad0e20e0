"""Desk: what the operations of one reader work with, besides the node."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from protocol.errors import ServerBusy
from resolver.doirp.challenges import Challenges
from resolver.doirp.exchange import Peer
from resolver.doirp.limits import Bucket, Buckets, Proven, network_of
from resolver.doirp.session_table import Sessions
from resolver.local import run_folder
from resolver.node import Node

_MINUTE_S = 60.0
_LEAST_FAILURES = 2.0
SOURCE_SHARE = 10
"""Failed proofs that a network may have for each that one of its accounts may have."""
SIGNATURES_PER_S = 400.0
"""Signed replies of one reader: a tenth of a core (0.25 ms each)."""
SIGNATURES_PER_S_SOURCE = 200.0
SETUPS_PER_S_SOURCE = 40.0
"""Session set-ups of one network: 2 to 20 ms each. Java clients without a tracker of their own set
up a session for every request; ten times as many may come at once."""
FRESH_GROUP = 10
"""A group that is not a well-known one counts as so many: its modulus takes 25 ms to test."""


@dataclass
class Desk:
    """One a reader. random: octets nobody can guess."""

    node: Node
    proven: Proven
    challenges: Challenges
    sessions: Sessions
    failures: Buckets
    accounts: Buckets
    signatures: Buckets
    setups: Buckets
    all_signatures: Bucket = field(init=False)
    waiting: Counter[bytes] = field(default_factory=Counter)
    random: Callable[[int], bytes] = os.urandom

    def __post_init__(self) -> None:
        self.all_signatures = Bucket(SIGNATURES_PER_S, SIGNATURES_PER_S * 2, self.node.now())

    def require_patience(self, peer: Peer) -> None:
        """Raise ServerBusy for a network whose proofs failed too often in the last minute."""
        if self.failures.empty(network_of(peer.host)):
            raise ServerBusy(
                "too many failed authentications from your network; wait a minute", _MINUTE_S
            )

    def may_sign(self, peer: Peer) -> bool:
        """Whether another reply may be signed with the site key now."""
        return self.signatures.take(network_of(peer.host)) and self.all_signatures.take(
            self.node.now()
        )


def make_desk(node: Node, *, random: Callable[[int], bytes] = os.urandom) -> Desk:
    """The desk of a node's reader, by its settings."""
    limits, now = node.settings.limits, node.now
    # Readers count for themselves, and connections are spread over them: each has its share.
    failures = max(float(limits.failures_per_min) / max(node.readers, 1), _LEAST_FAILURES)
    return Desk(
        node=node,
        proven=Proven(run_folder(node.dir) / "proven", now=now, counting=lambda: node.board.ready),
        challenges=Challenges(owner=node.number, now=now, random=random, most=limits.challenges),
        sessions=Sessions(
            owner=node.number,
            now=now,
            random=random,
            most=limits.sessions,
            idle_s=limits.session_s,
        ),
        failures=Buckets(failures * SOURCE_SHARE / _MINUTE_S, failures * SOURCE_SHARE, now=now),
        accounts=Buckets(failures / _MINUTE_S, failures, now=now),
        signatures=Buckets(SIGNATURES_PER_S_SOURCE, SIGNATURES_PER_S_SOURCE * 2, now=now),
        setups=Buckets(SETUPS_PER_S_SOURCE, SETUPS_PER_S_SOURCE * 10, now=now),
        random=random,
    )
