"""Is this answer made with a secret that lies at another node? Its server is asked (do-irp 8.2).

That is the primary that answers for the record with the secret, found as for any question. The
record of a prefix lies at two: with its keys at the node above, with its secrets as well at the
node that is home to the prefix, which is asked first. What a server says counts only when it is
signed by the key that its parent published: whoever stands between must not be able to say yes.
Nothing is kept of it.
"""

from __future__ import annotations

from protocol.doirp.authentication import (
    VerifyRequest,
    decode_verify_reply,
    encode_verify_request,
)
from protocol.doirp.header import OpCode
from protocol.errors import BiaoshiError, NotServedHere, ParseError, ResponseCode, UpstreamError
from protocol.name import described_prefix, whole_name
from protocol.values.hs_site import Transport
from resolver.client import Ask, Meter, error_text
from resolver.outcomes import Wish
from resolver.peers import Peer
from resolver.recursion import Recursion
from resolver.replies import can_certify
from resolver.steps import Question

_STEADY = (Transport.TCP, Transport.HTTPS, Transport.HTTP)
_WISH = Wish(primary=True)


async def ask_verified(recursion: Recursion, asked: VerifyRequest) -> bool:
    """Whether a server that holds the secret says that the answer was made with it.

    Raises UpstreamError, SignatureInvalid, NotServedHere or RecursionTooDeep.
    """
    name = whole_name(asked.user_handle)
    question = recursion.question(name)
    prefix = described_prefix(name)
    if prefix is not None:
        try:
            if await _asked_at(recursion, prefix + b"/", asked, question):
                return True
        except BiaoshiError:
            pass  # nobody is home to it: the node above decides alone
    return await _asked_at(recursion, name, asked, question)


async def _asked_at(
    recursion: Recursion, name: bytes, asked: VerifyRequest, question: Question
) -> bool:
    """What the server says that answers for a name."""
    peer = await _holder(recursion, name, question)
    ask = Ask(OpCode.VERIFY_RESPONSE, encode_verify_request(asked), asked.user_handle, _WISH.flags)
    meter = Meter(spend=question.spend)
    reply = await recursion.fetcher.client.send(peer, ask, certify=True, meter=meter)
    if reply.code != ResponseCode.SUCCESS:
        raise UpstreamError(f"{peer} does not verify: {error_text(reply)}")
    if reply.signature != "signed":
        raise UpstreamError(f"{peer} does not sign what it says; it is too old to be believed")
    try:
        return decode_verify_reply(reply.body).valid
    except ParseError as error:
        raise UpstreamError(f"{peer} sent a broken reply: {error}") from None


async def _holder(recursion: Recursion, name: bytes, question: Question) -> Peer:
    """The server of the primary site that answers for a name, by TCP or HTTP."""
    outcome, _ = await recursion.fetcher.directly(name, question, _WISH)
    sites = [site for site in outcome.service.sites if site.primary]
    if not sites:
        raise NotServedHere(f"{outcome.service.label} names no primary site")
    try:
        peer = sites[0].peer(name).only(_STEADY)
    except ParseError as error:
        raise UpstreamError(f"{outcome.service.label}: {error}") from None
    if not can_certify(peer.public_key):
        raise UpstreamError(f"{peer} has no key that its word could be checked by")
    return peer
