"""Response codes of the Handle protocol and the one tree of errors.

Codes: RFC 3652 §2.2.2.2, as the deployed software numbers them. Each error class knows its
wire code; a server translates an error in one place. The message names what was wrong,
shows the value and then says the next step.
"""

from __future__ import annotations

from enum import IntEnum
from typing import ClassVar


class ResponseCode(IntEnum):
    """Handle protocol response codes; 0 marks a request."""

    REQUEST = 0
    SUCCESS = 1
    ERROR = 2
    SERVER_BUSY = 3
    PROTOCOL_ERROR = 4
    OPERATION_NOT_SUPPORTED = 5
    RECURSION_COUNT_TOO_HIGH = 6
    SERVER_BACKUP = 7
    HANDLE_NOT_FOUND = 100
    HANDLE_ALREADY_EXISTS = 101
    INVALID_HANDLE = 102
    VALUES_NOT_FOUND = 200
    VALUE_ALREADY_EXISTS = 201
    INVALID_VALUE = 202
    OUT_OF_DATE_SITE_INFO = 300
    SERVER_NOT_RESPONSIBLE = 301
    SERVICE_REFERRAL = 302
    PREFIX_REFERRAL = 303
    INVALID_ADMIN = 400
    INSUFFICIENT_PERMISSIONS = 401
    AUTHENTICATION_NEEDED = 402
    AUTHENTICATION_FAILED = 403
    INVALID_CREDENTIAL = 404
    AUTHENTICATION_TIMEOUT = 405
    AUTHENTICATION_ERROR = 406
    SESSION_TIMEOUT = 500
    SESSION_FAILED = 501
    INVALID_SESSION_KEY = 502
    NEED_RSA_KEY_FOR_EXCHANGE = 503
    INVALID_SESSION_SETUP = 504
    SESSION_MESSAGE_REJECTED = 505


class BiaoshiError(Exception):
    """Root of the tree: something went wrong that the caller can be told about."""

    code: ClassVar[ResponseCode] = ResponseCode.ERROR


class ParseError(BiaoshiError):
    """Bytes or text that are not what they should be: the one parse error."""

    code = ResponseCode.PROTOCOL_ERROR


class Truncated(ParseError):
    """The bytes end before the value does."""


class BadIdentifier(ParseError):
    """Text that is no identifier of the scheme.

    reason: a stable word such as `empty-suffix` or `check-digit`, for programs.
    """

    code = ResponseCode.INVALID_HANDLE

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class ServerBusy(BiaoshiError):
    """Try again later. retry_after_s: when."""

    code = ResponseCode.SERVER_BUSY

    def __init__(self, message: str, retry_after_s: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class NotSupported(BiaoshiError):
    """A known operation that this node does not offer."""

    code = ResponseCode.OPERATION_NOT_SUPPORTED


class RecursionTooDeep(BiaoshiError):
    """A request or a referral chain passed too many servers."""

    code = ResponseCode.RECURSION_COUNT_TOO_HIGH


class ReadOnly(BiaoshiError):
    """The store takes no writes now: a disk error, a full disk, or a mirror."""

    code = ResponseCode.SERVER_BACKUP


class TakesNoChanges(ReadOnly):
    """Changes are another node's business for good: this one is a mirror, or recursive."""


class StoreFull(ReadOnly):
    """No room on the disk. Reads go on; writes do again once there is room."""


class HandleNotFound(BiaoshiError):
    """No record under this name."""

    code = ResponseCode.HANDLE_NOT_FOUND


class HandleExists(BiaoshiError):
    """A record is there already."""

    code = ResponseCode.HANDLE_ALREADY_EXISTS


class ValuesNotFound(BiaoshiError):
    """The record exists; none (or, for a removal, not all) of the asked values does."""

    code = ResponseCode.VALUES_NOT_FOUND


class ValueExists(BiaoshiError):
    """An index is taken, or named twice."""

    code = ResponseCode.VALUE_ALREADY_EXISTS


class InvalidValue(BiaoshiError):
    """A value breaks a rule: index, size, permissions or the shape of its data."""

    code = ResponseCode.INVALID_VALUE


class AtOdds(InvalidValue):
    """Values in order by themselves that this record does not take, for what is in it or for what
    it is: labels that would be loosened, another record than one of grants.
    """


class NotServedHere(BiaoshiError):
    """The prefix is not homed at this node."""

    code = ResponseCode.SERVER_NOT_RESPONSIBLE


class NotAuthorized(BiaoshiError):
    """The authenticated identity is no administrator with that right here."""

    code = ResponseCode.INVALID_ADMIN


class InsufficientPermissions(BiaoshiError):
    """The value's own permissions forbid it to everybody."""

    code = ResponseCode.INSUFFICIENT_PERMISSIONS


class AuthenticationNeeded(BiaoshiError):
    """The request needs an identity."""

    code = ResponseCode.AUTHENTICATION_NEEDED


class AuthenticationFailed(BiaoshiError):
    """The identity was not proved."""

    code = ResponseCode.AUTHENTICATION_FAILED


class AuthenticationError(BiaoshiError):
    """The identity could not be looked at: its record is not to be had."""

    code = ResponseCode.AUTHENTICATION_ERROR


class InvalidCredential(BiaoshiError):
    """A credential of a kind that is not accepted, or none where one must be."""

    code = ResponseCode.INVALID_CREDENTIAL


class AuthenticationTimeout(BiaoshiError):
    """The challenge is unknown, used or too old."""

    code = ResponseCode.AUTHENTICATION_TIMEOUT


class SignatureInvalid(BiaoshiError):
    """A signature, digest, certificate or chain does not hold."""

    code = ResponseCode.INVALID_CREDENTIAL


class SessionTimeout(BiaoshiError):
    """Unknown session id."""

    code = ResponseCode.SESSION_TIMEOUT


class SessionFailed(BiaoshiError):
    """The session could not be set up, or a message did not decrypt."""

    code = ResponseCode.SESSION_FAILED


class InvalidSessionKey(BiaoshiError):
    """The MAC of a message in a session does not hold."""

    code = ResponseCode.INVALID_SESSION_KEY


class SessionMessageRejected(BiaoshiError):
    """A session counter that was used before, or is too old: the message may be a replay."""

    code = ResponseCode.SESSION_MESSAGE_REJECTED


class VersionConflict(BiaoshiError):
    """The record is not at the version the caller expected."""

    code = ResponseCode.ERROR


class IdempotencyConflict(BiaoshiError):
    """The idempotency key was used for another request."""

    code = ResponseCode.ERROR


class StoreError(BiaoshiError):
    """The store cannot do it; our fault, not the caller's."""


class SettingsError(BiaoshiError):
    """A setting or a file of the node's folder is wrong; says which and what to do."""


class UpstreamError(BiaoshiError):
    """Another node did not answer, or answered wrongly."""


class Silent(UpstreamError):
    """It was asked and did not answer in time."""


class Unreachable(UpstreamError):
    """No connection to it, or the connection broke."""


class OutboundRefused(UpstreamError):
    """The guard of outbound connections does not let this address, port or scheme through."""
