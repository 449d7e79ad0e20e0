"""What a DO-IRP answer counts as in the metrics: one table from response code to outcome."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from protocol.errors import ResponseCode
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


def count(metrics: Metrics, face: str, code: int, *, changed: bool = False) -> None:
    """One reply of a face. changed: it reports a write that was accepted."""
    outcome = "changed" if changed else OUTCOME_OF.get(code, "failed")
    metrics.requests[face, outcome].inc()
