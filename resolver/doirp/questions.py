"""The operations anybody may ask for: resolution (1) and site info (2)."""

from __future__ import annotations

from dataclasses import replace

from protocol.doirp.header import Flag
from protocol.doirp.resolution import decode_resolution_request
from protocol.errors import AuthenticationNeeded, RecursionTooDeep, ResponseCode
from protocol.values.hs_site import encode_site
from protocol.wire import Writer
from resolver.doirp.desk import Desk
from resolver.doirp.exchange import Exchange, Reply, error_reply
from resolver.doirp.fast import MAX_HOPS
from resolver.groups import memberships_for
from resolver.lookup import Answer, Query


def query_of(exchange: Exchange) -> Query:
    """The question a resolution request asks. Raises ParseError or RecursionTooDeep."""
    message = exchange.message
    hops = message.header.recursion_count
    if hops > MAX_HOPS:
        raise RecursionTooDeep(
            f"the request passed {hops} servers already, at most {MAX_HOPS} are taken; "
            "ask the node that is home to the prefix"
        )
    asked = decode_resolution_request(message.body)
    return Query(
        handle=asked.handle,
        indexes=asked.indexes,
        types=asked.types,
        public_only=exchange.has(Flag.PO),
        authoritative=exchange.has(Flag.AT),
        recursive=exchange.has(Flag.REC),
        do_not_refer=exchange.has(Flag.DNR),
        identity=exchange.identity,
        hops=hops,
    )


def resolve_now(desk: Desk, exchange: Exchange) -> Reply | None:
    """The reply to a resolution request, or None where another node must be asked."""
    answer = desk.node.lookup.answer_now(query_of(exchange))
    if answer is None or _may_be_in_a_group(desk, exchange, answer):
        return None
    return reply_of(answer)


async def resolve(desk: Desk, exchange: Exchange) -> Reply:
    """The reply to a resolution request, waiting for other nodes where it must."""
    query = query_of(exchange)
    answer = await desk.node.lookup.answer(query)
    if _may_be_in_a_group(desk, exchange, answer) and query.identity is not None:
        groups = await memberships_for(desk.node, query.identity, query.handle)
        if groups:
            answer = await desk.node.lookup.answer(replace(query, memberships=groups))
    return reply_of(answer)


def _may_be_in_a_group(desk: Desk, exchange: Exchange, answer: Answer) -> bool:
    """Whether lists at other nodes could still entitle a proved identity that was refused."""
    if exchange.identity is None or desk.node.asking is None:
        return False
    if answer.code == ResponseCode.INVALID_ADMIN:
        return True
    return desk.node.lookup.is_labelled(answer.handle)


def reply_of(answer: Answer) -> Reply:
    """An answer in the protocol's form. Raises AuthenticationNeeded where an identity is needed."""
    if answer.code == ResponseCode.AUTHENTICATION_NEEDED:
        raise AuthenticationNeeded(answer.message)
    if answer.code == ResponseCode.SUCCESS:
        body = Writer().octets(answer.handle).raw(answer.values).finish()
    elif answer.code in (ResponseCode.SERVICE_REFERRAL, ResponseCode.PREFIX_REFERRAL):
        body = Writer().octets(answer.referral or b"").raw(answer.values).finish()
    else:
        return error_reply(answer.code, answer.message, authoritative=answer.authoritative)
    return Reply(
        answer.code,
        body,
        authoritative=answer.authoritative,
        private=answer.private,
        stale=answer.stale,
    )


async def site_info(desk: Desk, _exchange: Exchange) -> Reply:
    """This node's own site record, whatever name the request bears."""
    return Reply(body=encode_site(desk.node.site))
