"""How proving an identity fails over HTTP."""

from __future__ import annotations

from typing import Final

from protocol.errors import AuthenticationFailed, BiaoshiError, ResponseCode
from resolver.http.credentials import HandleFields
from resolver.http.sessions import Session

NO_FIELDS: Final = HandleFields()
"""Of a Handle header whose fields do not matter."""
ERROR_TEXT: Final = "Identity not verified"


class TooManyFailures(BiaoshiError):
    """An allowance of failed proofs is used up. retry_after_s: when there is one again."""

    code = ResponseCode.SERVER_BUSY

    def __init__(self, retry_after_s: float) -> None:
        super().__init__("too many failed authentications; wait and try again")
        self.retry_after_s = retry_after_s


class TooManyRequests(BiaoshiError):
    """One sender asks for more than its share. retry_after_s: when there is some again."""

    code = ResponseCode.SERVER_BUSY

    def __init__(self, text: str, retry_after_s: float) -> None:
        super().__init__(text)
        self.retry_after_s = retry_after_s


class NotProved(AuthenticationFailed):
    """Credentials that do not hold: 401 with an empty body."""

    def __init__(self, text: str, fields: HandleFields | None, session: Session | None) -> None:
        super().__init__(text)
        self.fields = fields
        self.session = session


class SessionUnknown(NotProved):
    """A session that is unknown or over: 401 with a fresh one, and nothing was tried."""

    def __init__(self) -> None:
        super().__init__("the session is unknown or over", NO_FIELDS, None)
