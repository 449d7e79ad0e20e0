"""Exit codes of the command line and of a node's processes."""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from protocol import errors
from protocol.errors import BiaoshiError


class Exit(IntEnum):
    """What a command ended with."""

    OK = 0
    REFUSED = 1  # something was refused, not found or not valid
    USAGE = 2  # the command, a setting or a file cannot be used as it is
    UNAVAILABLE = 3  # a node, store or port is not available
    DENIED = 4  # the identity was not proved, or lacks the right


_CODES: Final[tuple[tuple[type[BiaoshiError], Exit], ...]] = (
    (errors.SettingsError, Exit.USAGE),
    (errors.ParseError, Exit.USAGE),
    (errors.StoreError, Exit.UNAVAILABLE),
    (errors.UpstreamError, Exit.UNAVAILABLE),
    (errors.ServerBusy, Exit.UNAVAILABLE),
    (errors.ReadOnly, Exit.UNAVAILABLE),
    (errors.NotAuthorized, Exit.DENIED),
    (errors.InsufficientPermissions, Exit.DENIED),
    (errors.AuthenticationNeeded, Exit.DENIED),
    (errors.AuthenticationFailed, Exit.DENIED),
    (errors.AuthenticationTimeout, Exit.DENIED),
    (errors.InvalidCredential, Exit.DENIED),
    (errors.SignatureInvalid, Exit.DENIED),
)


def exit_code(error: BiaoshiError) -> Exit:
    """The exit code of an error that ended a command."""
    return next((code for kind, code in _CODES if isinstance(error, kind)), Exit.REFUSED)
