"""Off-path forgery of replies (threats N2): datagrams that know everything but what is random.

    python -m tests.scenarios.forgery 1000000

Forged replies to real questions, each signed by nobody, with the right name, operation and values
and a guessed request id: counted is how many a client accepts. The source port, which the kernel
draws for each question, comes on top and is not counted here: every forgery is let through to the
socket.
"""

from __future__ import annotations

import asyncio
import random
import sys
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

from protocol.doirp.header import OpCode
from protocol.doirp.message import (
    decode_message,
    decode_message_part,
    encode_message,
    encode_message_part,
)
from protocol.doirp.resolution import ResolutionRequest, encode_resolution_request
from protocol.doirp.udp import Reassembler, split
from protocol.record import HandleValue
from protocol.values.hs_site import Transport
from resolver.client import Ask, Client
from resolver.peers import plain_peer
from tests.scenarios.world import WALL, FakeSite

NAME = b"88.1/pump"
ADDRESS = "192.0.2.1"
PER_QUESTION = 1_000
GOOD, EVIL = b"https://example.org/", b"https://evil.example/"


@dataclass
class Flooded:
    """A network on which each question brings forged replies before the true one."""

    random: random.Random
    sent: int = 0

    @asynccontextmanager
    async def udp(self, address, port):
        yield _Channel(self)

    def packets(self, message):
        """What arrives after a question: replies whose ids were guessed, then the true one."""
        forged = decode_message(_site(EVIL).answer(message, "udp"))
        for _ in range(PER_QUESTION):
            self.sent += 1
            guess = replace(forged.envelope, request_id=self.random.getrandbits(31))
            yield from split(encode_message_part(replace(forged, envelope=guess)), guess)
        true = decode_message(_site(GOOD).answer(message, "udp"))
        yield from split(encode_message_part(true), true.envelope)


def _site(url):
    site = FakeSite("E", b"88.1", (ADDRESS,), lambda: time.time() - WALL)
    site.records[NAME.upper()] = [HandleValue(1, b"URL", url)]
    return site


class _Channel:
    def __init__(self, net):
        self._net = net
        self._parts = Reassembler()
        self._inbox = asyncio.Queue()

    def send(self, data):
        whole = self._parts.add(None, data, 0.0)
        if whole is not None:
            message = encode_message(decode_message_part(*whole))
            for packet in self._net.packets(message):
                self._inbox.put_nowait(packet)

    async def receive(self):
        return await self._inbox.get()


async def flood(total, *, seed=7):
    """(forgeries sent, accepted, true replies accepted) of so many forged replies in all."""
    net = Flooded(random.Random(seed))
    client = Client(net, wall=time.time)
    peer = plain_peer((ADDRESS,), 2641, (Transport.UDP,))
    ask = Ask(OpCode.RESOLUTION, encode_resolution_request(ResolutionRequest(NAME)), NAME)
    accepted = answered = 0
    while net.sent < total:
        reply = await client.send(peer, ask)
        accepted += EVIL in reply.body
        answered += GOOD in reply.body
    return net.sent, accepted, answered


def main():
    """Print how many were accepted; it is the exit code too."""
    total = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    began = time.monotonic()
    sent, accepted, answered = asyncio.run(flood(total))
    took = time.monotonic() - began
    print(
        f"{sent:,} forged replies in {took:.0f} s: {accepted} accepted; {answered} true ones were"
    )
    return accepted


if __name__ == "__main__":
    sys.exit(main())
