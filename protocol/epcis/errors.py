"""The exceptions of the EPCIS binding (traceability §3.6).

Each class knows the name that stands after `epcisException:` in a problem and its HTTP status, so
a face translates an error in one place. They carry the standard's own names.
"""

from __future__ import annotations

from typing import ClassVar

from protocol.errors import BiaoshiError, ResponseCode


class EpcisException(BiaoshiError):
    """Root of what the EPCIS binding can answer with."""

    status: ClassVar[int] = 500

    @property
    def exception(self) -> str:
        """`ValidationException` and the like: the end of the problem's type."""
        return type(self).__name__


class ValidationException(EpcisException):
    """The document or event breaks the schema or a rule of the standard."""

    status = 400
    code = ResponseCode.INVALID_VALUE


class QueryValidationException(EpcisException):
    """The query as a whole cannot be read."""

    status = 400
    code = ResponseCode.PROTOCOL_ERROR


class QueryParameterException(EpcisException):
    """A query parameter that is unknown, or has a value it may not have."""

    status = 400
    code = ResponseCode.PROTOCOL_ERROR


class SubscriptionControlsException(EpcisException):
    """A subscription asks for neither stream nor schedule, or for a schedule that is none."""

    status = 400
    code = ResponseCode.PROTOCOL_ERROR


class SecurityException(EpcisException):
    """The caller may not do this; 401 where nobody was proved."""

    status = 403
    code = ResponseCode.INVALID_ADMIN


class NoSuchNameException(EpcisException):
    """No query or subscription of that name."""

    status = 404
    code = ResponseCode.HANDLE_NOT_FOUND


class NoSuchResourceException(EpcisException):
    """Nothing at that address."""

    status = 404
    code = ResponseCode.HANDLE_NOT_FOUND


class NotAcceptableException(EpcisException):
    """No representation or version that the caller takes."""

    status = 406


class ResourceAlreadyExistsException(EpcisException):
    """The name or event id is taken."""

    status = 409
    code = ResponseCode.HANDLE_ALREADY_EXISTS


class CaptureLimitExceededException(EpcisException):
    """More events or octets than one call may bring."""

    status = 413


class QueryTooLargeException(EpcisException):
    """The answer would be larger than maxEventCount or than this node gives."""

    status = 413


class QueryTooComplexException(EpcisException):
    """The query asks for more work than this node does for one."""

    status = 413


class URITooLongException(EpcisException):
    """The request line is too long; a named query holds more."""

    status = 414


class UnsupportedMediaTypeException(EpcisException):
    """A body of a kind that is not read here."""

    status = 415


class ImplementationException(EpcisException):
    """The node's own fault."""

    status = 500
