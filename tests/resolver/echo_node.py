"""A node with a face that answers datagrams and connections with its pid: for supervisor tests.

Run as a program: `python echo_node.py READERS`. Prints {"ready": port, "pids": {...}}; a line on
stdin asks for the pids again. The octets `hang` stop a reader's loop, `hold` are answered only
once the process is told to stop.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import threading
import time

from resolver import logs
from resolver.board import Board
from resolver.child import run_child
from resolver.config import FaceSettings, ProcessSettings
from resolver.sockets import open_sockets
from resolver.supervisor import StartFailed, Stopped, Supervisor

SETTINGS = ProcessSettings(watchdog_s=1.0, writer_watchdog_s=5.0, drain_s=5.0)


class Echo:
    """Datagrams and connections are answered with the pid."""

    def __init__(self, sockets):
        self.sockets = sockets
        self.held = []
        self.answering = set()
        self.server = None

    async def start(self):
        loop = asyncio.get_running_loop()
        for sock in self.sockets.udp:
            loop.add_reader(sock.fileno(), self.datagram, sock)
        self.server = await asyncio.start_server(self.connection, sock=self.sockets.tcp[0])

    def datagram(self, sock):
        data, peer = sock.recvfrom(100)
        if data == b"hang":
            time.sleep(3600)
        sock.sendto(b"%d" % os.getpid(), peer)

    async def connection(self, reader, writer):
        self.answering.add(asyncio.current_task())
        if await reader.read(100) == b"hold":
            writer.write(b"held ")
            stopping = asyncio.Event()
            self.held.append(stopping)
            await stopping.wait()
        writer.write(b"%d" % os.getpid())
        writer.close()
        await writer.wait_closed()

    async def close(self, grace_s):
        for sock in self.sockets.udp:
            asyncio.get_running_loop().remove_reader(sock.fileno())
        self.server.close()
        for stopping in self.held:
            stopping.set()
        for _ in range(10):  # what was accepted already gets its task
            await asyncio.sleep(0)
        await asyncio.wait([asyncio.create_task(asyncio.sleep(0)), *self.answering])


class Idle:
    async def close(self, grace_s):
        pass


async def started(running):
    if hasattr(running, "start"):
        await running.start()
    return running


def main():
    readers = int(sys.argv[1])
    logs.configure("info", "supervisor")
    ports, sockets = open_sockets(
        FaceSettings(irp=0, http=None, https=None, dns=None), ["127.0.0.1"], readers
    )
    board = Board(readers)

    def child(slot, generation, channel):
        running = Idle() if slot == readers else Echo(sockets[slot])
        return run_child(channel, lambda: started(running), grace_s=5.0, uvloop=False)

    supervisor = Supervisor(
        board,
        SETTINGS,
        child,
        reread=lambda: SETTINGS,
        on_stop=lambda: [one.close() for one in sockets],
    )
    try:
        supervisor.start()
    except Stopped:
        return 0
    except StartFailed as error:
        print(error, file=sys.stderr)
        return error.code

    def tell():
        facts = {"port": ports.irp, "pids": board.pids(), "reloads": board.reloads}
        print(json.dumps(facts), flush=True)

    def listen():
        for _ in sys.stdin:
            tell()

    tell()
    # A thread would not be forked along; this one starts after the first forks and only prints.
    threading.Thread(target=listen, daemon=True).start()
    return supervisor.run()


if __name__ == "__main__":
    sys.exit(main())
