"""Question: what one question may cost and what happened on its way (threats N3).

Every message sent anywhere for one question is charged to it, whoever sends it: sub-questions for
prefix records, services, aliases and certificates included.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from protocol.errors import RecursionTooDeep


@dataclass(frozen=True, slots=True)
class Limits:
    """What one question may cost."""

    depth: int = 8
    """Referrals, delegations, aliases and services followed, one below the other."""

    fetches: int = 2
    """Sites asked for one step, and services looked up for one."""

    messages: int = 20
    """Messages sent upstream, repeated ones included."""

    total_s: float = 5.0
    """Time in all."""

    hops: int = 10
    """Recursion count of a request at which this node refuses it (do-irp 18.4)."""


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that was done for a question, for people.

    node: the zone asked, `cache` or `verify`. address: host:port. asked: the name. outcome: a
    response code or what went wrong. referral: where it led. signature: of the reply.
    """

    node: str
    asked: str
    outcome: str
    took_ms: float = 0.0
    address: str = ""
    transport: str = ""
    referral: str = ""
    signature: str = ""

    def as_dict(self) -> Mapping[str, Any]:
        """The step as JSON shows it; empty fields left out."""
        shape: dict[str, Any] = {
            "node": self.node,
            "address": self.address,
            "transport": self.transport,
            "asked": self.asked,
            "outcome": self.outcome,
            "referral": self.referral,
            "signature": self.signature,
        }
        return {k: v for k, v in shape.items() if v} | {"ms": round(self.took_ms, 2)}


@dataclass(slots=True)
class Question:
    """One client's question. deadline: by the event loop's clock."""

    name: bytes
    limits: Limits
    deadline: float
    messages: int = 0
    steps: list[Step] = field(default_factory=list)

    def spend(self) -> None:
        """Count one message. Raises RecursionTooDeep when there is none left."""
        if self.messages >= self.limits.messages:
            raise RecursionTooDeep(
                f"{self.messages} messages were sent for {text(self.name)} and none is left; its "
                "delegations lead too far"
            )
        self.messages += 1


@dataclass(frozen=True, slots=True)
class Path:
    """The way from the question down to what is being asked now.

    depth: referrals and the like followed. names: what is being fetched above; a name that comes
    up again among its own conditions is a circle.
    """

    depth: int = 0
    names: frozenset[bytes] = frozenset()

    def deeper(self, limits: Limits, why: str) -> Path:
        """One referral further. Raises RecursionTooDeep beyond the limit."""
        if self.depth >= limits.depth:
            raise RecursionTooDeep(f"more than {limits.depth} referrals; the last: {why}")
        return Path(self.depth + 1, self.names)

    def within(self, name: bytes) -> Path:
        """The same, below one more name. Raises RecursionTooDeep when it is among those above."""
        if name in self.names:
            raise RecursionTooDeep(f"{text(name)} can only be found by way of itself")
        return Path(self.depth, self.names | {name})


def text(name: bytes) -> str:
    """A name for people: what cannot be shown is replaced."""
    shown = name.decode("utf-8", "replace")
    return "".join(char if char.isprintable() else "�" for char in shown)
