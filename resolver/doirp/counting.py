"""What DO-IRP answers count as: one table from response code to outcome, and sums kept by turn."""

from __future__ import annotations

from collections.abc import Mapping
from time import perf_counter
from typing import Final

from protocol.errors import ResponseCode
from resolver.logs import QueryLog
from resolver.metrics import Metrics

OUTCOME_OF: Final[Mapping[int, str]] = {
    ResponseCode.SUCCESS: "found",
    ResponseCode.SERVER_BUSY: "busy",
    ResponseCode.PROTOCOL_ERROR: "malformed",
    ResponseCode.HANDLE_NOT_FOUND: "absent",
    ResponseCode.INVALID_HANDLE: "malformed",
    ResponseCode.VALUES_NOT_FOUND: "no_values",
    ResponseCode.SERVER_NOT_RESPONSIBLE: "not_here",
    ResponseCode.SERVICE_REFERRAL: "referral",
    ResponseCode.PREFIX_REFERRAL: "referral",
    **{code: "denied" for code in ResponseCode if 400 <= code <= 406 or 500 <= code <= 505},
}
"""A code not named here counts as failed."""

_PLAIN: Final = (
    (ResponseCode.SUCCESS, "found"),
    (ResponseCode.HANDLE_NOT_FOUND, "absent"),
    (ResponseCode.VALUES_NOT_FOUND, "no_values"),
)
_TIMED: Final = 64
"""One turn of so many is timed."""


def count(metrics: Metrics, face: str, code: int, *, changed: bool = False) -> None:
    """One reply of a face. changed: it reports a write that was accepted."""
    outcome = "changed" if changed else OUTCOME_OF.get(code, "failed")
    metrics.requests[face, outcome].inc()


class Tally:
    """Plain answers of a face, added up in plain numbers and handed to the metrics once a turn."""

    __slots__ = (
        "_face",
        "_in",
        "_out",
        "_sums",
        "_time",
        "_turns",
        "codes",
        "log",
        "received",
        "sent",
    )

    def __init__(self, metrics: Metrics, log: QueryLog | None, face: str) -> None:
        """log: None when no lookup is to be logged."""
        lookups = metrics.lookups["store"]
        self._sums = [(code, metrics.requests[face, name], lookups) for code, name in _PLAIN]
        self._in = metrics.octets[face, "in"]
        self._out = metrics.octets[face, "out"]
        self._time = metrics.request_time[face]
        self.log = log
        self._face = face
        self._turns = 0
        self.codes = [0] * 256
        self.received = 0
        self.sent = 0

    def plain(self, request: bytes, reply: bytes) -> None:
        """A plain question and its answer, whole messages."""
        self.codes[reply[27]] += 1
        self.received += len(request)
        self.sent += len(reply)
        if self.log is not None:
            self.sample(request, reply)

    def sample(self, request: bytes, reply: bytes) -> None:
        """Log a plain answer if its turn has come."""
        if self.log is not None and self.log.due():
            self.write(request, reply)

    def write(self, request: bytes, reply: bytes) -> None:
        """Log a plain answer."""
        if self.log is not None:
            size = int.from_bytes(request[44:48], "big")
            self.log.write(self._face, request[48 : 48 + size], reply[27], 0, "store")

    def other(self, received: int, sent: int) -> None:
        """Octets of anything else."""
        self._in.inc(received)
        self._out.inc(sent)

    def turn(self, started: float) -> None:
        """Hand the sums over. started: when the turn began, by perf_counter()."""
        total = 0
        codes = self.codes
        for code, requests, lookups in self._sums:
            number = codes[code]
            if number:
                codes[code] = 0
                requests.inc(number)
                lookups.inc(number)
                total += number
        self._in.inc(self.received)
        self._out.inc(self.sent)
        self.received = self.sent = 0
        if not total:
            return
        self._turns += 1
        if self._turns % _TIMED == 1:
            self._time.observe((perf_counter() - started) / total)
