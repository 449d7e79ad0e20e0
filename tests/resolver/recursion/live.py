"""Scripted sites on real sockets of 127.0.0.1, in a loop and thread of their own."""

from __future__ import annotations

import asyncio
import json
import ssl
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

from aiohttp import web

from protocol.doirp.envelope import decode_envelope
from protocol.doirp.message import decode_message, decode_message_part, encode_message
from protocol.doirp.message import encode_message_part as message_part
from protocol.doirp.stream import NEED_DATA, MessageStream
from protocol.doirp.tunnel import CONTENT_TYPE
from protocol.doirp.udp import Reassembler, split
from protocol.keys import decode_public_key
from protocol.keys.jwk import format_jwk
from protocol.values.site_json import site_to_json
from tests.scenarios.world import FakeSite

Answer = Callable[[bytes, str], "bytes | list[bytes] | None"]


class UdpFace(asyncio.DatagramProtocol):
    """Answers datagrams; the packets of a reply in reverse order."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self._parts = Reassembler()

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        whole = self._parts.add(addr, data, 0.0)
        if whole is None:
            return
        reply = self._answer(encode_message(decode_message_part(*whole)), "udp")
        for each in reply if isinstance(reply, list) else [reply]:
            if each is not None:
                packets = split(message_part(decode_message(each)), decode_envelope(each))
                for packet in reversed(packets):
                    self._transport.sendto(packet, addr)


async def tcp_face(answer: Answer, reader: Any, writer: Any) -> None:
    """One request, its replies, and the end."""
    stream = MessageStream()
    while data := await reader.read(65536):
        stream.feed(data)
        taken = stream.next()
        if taken is not NEED_DATA:
            reply = answer(encode_message(decode_message_part(*taken)), "tcp")
            for each in reply if isinstance(reply, list) else [reply]:
                writer.write(each or b"")
            await writer.drain()
            break
    writer.close()


class Live:
    """Runs a loop in a thread."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()
        self._open: list[Any] = []

    def do(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(20)

    def serve(self, answer: Answer) -> int:
        """UDP and TCP on one free port."""
        return self.do(self._serve(answer))

    async def _serve(self, answer: Answer) -> int:
        server = await asyncio.start_server(
            lambda reader, writer: tcp_face(answer, reader, writer), "127.0.0.1", 0
        )
        port = server.sockets[0].getsockname()[1]
        transport, _ = await self.loop.create_datagram_endpoint(
            lambda: UdpFace(answer), local_addr=("127.0.0.1", port)
        )
        self._open += [server, transport]
        return port

    def serve_http(
        self, answer: Answer, tls: ssl.SSLContext | None = None, site: FakeSite | None = None
    ) -> int:
        """The tunnel, and /api/site, on a free port."""

        async def post(request: web.Request) -> web.Response:
            reply = answer(await request.read(), "http")
            body = b"".join(reply) if isinstance(reply, list) else reply
            if body is None:
                return web.Response(status=503)
            return web.Response(body=body, content_type=CONTENT_TYPE)

        async def site_info(_: web.Request) -> web.Response:
            shape = site_to_json(
                site.site("127.0.0.1"), lambda key: format_jwk(decode_public_key(key))
            )
            return web.Response(
                text=json.dumps({"responseCode": 1, "site": shape}),
                content_type="application/json",
            )

        async def start() -> int:
            app = web.Application()
            app.router.add_get("/api/site", site_info)
            app.router.add_post("/{tail:.*}", post)
            runner = web.AppRunner(app)
            await runner.setup()
            face = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
            await face.start()
            self._open.append(runner)
            return runner.addresses[0][1]

        return self.do(start())

    def close(self) -> None:
        async def end() -> None:
            for each in self._open:
                if isinstance(each, web.AppRunner):
                    await each.cleanup()
                else:
                    each.close()

        self.do(end())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(5)
        self.loop.close()


@contextmanager
def live() -> Iterator[Live]:
    made = Live()
    try:
        yield made
    finally:
        made.close()


def real_now() -> float:
    """So that expirations of scripted sites lie in the future of the real clock too."""
    return max(0.0, time.time() - 1_800_000_000)
