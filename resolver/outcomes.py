"""What a site says about a name, as iteration uses it: facts, referrals, and what is no answer."""

from __future__ import annotations

from dataclasses import dataclass

from protocol.doirp.header import REQUEST_FLAGS, Flag
from protocol.doirp.referral import decode_referral
from protocol.errors import NotServedHere, ParseError, ResponseCode, UpstreamError
from protocol.record import HandleValue, decode_values, encode_values
from resolver.client import error_text
from resolver.peers import (
    DERIVED_SERVICE_TYPES,
    DERIVED_TYPES,
    SERVICE_TYPES,
    SITE_TYPES,
    Peer,
    Service,
    ServiceSite,
    services_in,
    sites_in,
)
from resolver.replies import Reply
from resolver.steps import text
from resolver.wire_values import EMPTY

ROOT_SOURCE = b"root"
FINAL = frozenset(
    {ResponseCode.SUCCESS, ResponseCode.HANDLE_NOT_FOUND, ResponseCode.VALUES_NOT_FOUND}
)
DENIED = frozenset(
    {
        ResponseCode.AUTHENTICATION_NEEDED,
        ResponseCode.INSUFFICIENT_PERMISSIONS,
        ResponseCode.INVALID_ADMIN,
    }
)
REFERRALS = frozenset({ResponseCode.SERVICE_REFERRAL, ResponseCode.PREFIX_REFERRAL})


@dataclass(frozen=True, slots=True)
class Wish:
    """How a name is asked for. public: only what everybody may read. primary: no mirror."""

    public: bool = True
    primary: bool = False
    hops: int = 0

    @property
    def flags(self) -> int:
        # REC is never set: a node that is asked here answers for itself or refers.
        flags = REQUEST_FLAGS & ~Flag.REC & ~Flag.CA & ~Flag.PO
        if self.public:
            flags |= Flag.PO
        if self.primary:
            flags |= Flag.AT
        return int(flags)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a site said. values: u4 count and values; empty unless SUCCESS or a referral."""

    code: ResponseCode
    values: bytes
    service: Service
    reply: Reply
    referral: bytes | None = None


class Lame(UpstreamError):
    """A site was named for a zone and says that it is not responsible. reply: its word."""

    def __init__(self, message: str, reply: Reply) -> None:
        super().__init__(message)
        self.reply = reply


def read_outcome(service: Service, peer: Peer, name: bytes, reply: Reply, wish: Wish) -> Outcome:
    """Read a reply. Raises UpstreamError where it is of no use."""
    code = reply.code
    try:
        if code in FINAL:
            values = reply.body if code == ResponseCode.SUCCESS else EMPTY
            return Outcome(code, values, service, reply)
        if code in REFERRALS:
            referral = decode_referral(reply.body)
            values = encode_values(referral.values or ())
            return Outcome(code, values, service, reply, referral.handle or None)
    except ParseError as error:
        raise UpstreamError(f"{peer} sent a broken reply: {error}") from None
    if code in DENIED and not wish.public:
        return Outcome(code, EMPTY, service, reply)
    if code == ResponseCode.SERVER_NOT_RESPONSIBLE:
        if service.source == ROOT_SOURCE:
            raise NotServedHere(f"the root {peer} does not answer for {text(name)}")
        raise Lame(
            f"lame delegation: {text(service.source)} names {peer}, which is not responsible "
            f"for {text(name)}; is the prefix homed there?",
            reply,
        )
    raise UpstreamError(f"{peer} answers {error_text(reply)}")


def where_to(outcome: Outcome) -> str:
    """Where a referral leads, for people."""
    values = decoded(outcome.values)
    sites = sites_in(values, SITE_TYPES | DERIVED_TYPES)
    names = [_first_server(site) for site in sites]
    names += [text(handle) for handle in services_in(values, SERVICE_TYPES | DERIVED_SERVICE_TYPES)]
    if outcome.referral:
        names.append(text(outcome.referral))
    return ", ".join(names[:3])


def _first_server(site: ServiceSite) -> str:
    try:
        return str(site.peer(b""))
    except ParseError:
        return "a site without servers"


def decoded(values: bytes) -> tuple[HandleValue, ...]:
    """Values of a reply. Raises UpstreamError."""
    try:
        return decode_values(values)
    except ParseError as error:
        raise UpstreamError(f"the values are broken: {error}") from None
