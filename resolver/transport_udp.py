"""One question to one server over UDP (do-irp 3.1): send, send again, put the packets together.

What is no reply to this question (another request id, another digest, broken) is ignored: the true
reply may still come. One that is the reply and is wrongly signed ends the attempt: only the asked
server, or somebody on the way to it, can have sent it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from protocol.doirp.message import Message, decode_message_part, encode_message_part
from protocol.doirp.udp import Reassembler, split
from protocol.errors import ParseError, ServerBusy, Silent
from resolver.channels import Datagrams
from resolver.network import Network
from resolver.peers import Endpoint

T = TypeVar("T")

RETRY_S = (0.5, 1.0, 1.5)
"""How long each sending waits for the reply (do-irp 3.1)."""


async def ask_udp(
    network: Network,
    endpoint: Endpoint,
    request: Message,
    accept: Callable[[Message], T],
    *,
    sending: Callable[[], None],
    waits_s: Sequence[float] = RETRY_S,
) -> T:
    """What `accept` makes of the reply.

    accept: raises ParseError for what is no reply to this request. sending: called before each
    sending; may raise to stop. Raises UpstreamError when nobody answers, SignatureInvalid when the
    reply is wrongly signed.
    """
    packets = split(encode_message_part(request), request.envelope)
    ear: _Ear[T] = _Ear(request, accept)
    async with network.udp(endpoint.address, endpoint.port) as channel:
        for wait_s in waits_s:
            sending()
            for packet in packets:
                channel.send(packet)
            try:
                async with asyncio.timeout(wait_s):
                    return await ear.listen(channel)
            except TimeoutError:
                continue
    raise ear.verdict(endpoint, sum(waits_s))


class _Ear(Generic[T]):
    """Takes datagrams until one completes an acceptable reply."""

    def __init__(self, request: Message, accept: Callable[[Message], T]) -> None:
        self._id = request.envelope.request_id
        self._accept = accept
        self._parts = Reassembler(max_pending=4, max_pending_per_peer=4, max_octets=1_048_576)
        self._ignored = 0

    async def listen(self, channel: Datagrams) -> T:
        loop = asyncio.get_running_loop()
        while True:
            data = await channel.receive()
            try:
                whole = self._parts.add(None, data, loop.time())
                if whole is None:
                    continue
                if whole[0].request_id != self._id:
                    self._ignored += 1
                    continue
                return self._accept(decode_message_part(*whole))
            except (ParseError, ServerBusy):
                self._ignored += 1

    def verdict(self, endpoint: Endpoint, waited_s: float) -> Silent:
        """What to say after the last wait."""
        others = f"; {self._ignored} datagrams were no reply to it" if self._ignored else ""
        return Silent(f"{endpoint} did not answer by UDP in {waited_s:g} s{others}")
