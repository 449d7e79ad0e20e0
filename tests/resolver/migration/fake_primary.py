"""A Handle.Net primary as far as a migration sees it, on a socket of 127.0.0.1, in a thread."""

from __future__ import annotations

import os
import socketserver
import threading

from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key

from protocol.doirp.administration import NamesReply, encode_names_reply
from protocol.doirp.authentication import Challenge, decode_challenge_response, encode_challenge
from protocol.doirp.envelope import ENVELOPE_SIZE, decode_envelope
from protocol.doirp.header import OpCode
from protocol.doirp.message import decode_message_part, encode_message, response
from protocol.doirp.replication import decode_retrieve
from protocol.doirp.stream_records import StreamWriter
from protocol.keys import encode_public_key
from protocol.values.hs_site import Interface, Server, Site, address_octets, encode_site

KEY = generate_private_key(65537, 2048)


class FakePrimary:
    """dumps: the items of each dump asked for, the last one again and again. log: a function of
    the last id that gives transaction items.

    accept: whether the proof of a client is taken. signer: another key than the site's lies.
    """

    def __init__(self, dumps, log, *, accept=True, homed=(b"0.NA/86.998",), signer=KEY):
        self.dumps, self.log, self.accept, self.homed = list(dumps), log, accept, homed
        self.signer = signer
        self.asked = []
        self.waiting = {}
        outer = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self):
                outer.serve(self.rfile, self.wfile)

        self.server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()

    @property
    def site(self):
        server = Server(
            1,
            address_octets("127.0.0.1"),
            encode_public_key(KEY.public_key()),
            (Interface(3, 1, self.port),),
        )
        return Site((server,), serial=1, major=2, minor=10)

    def serve(self, source, sink):
        head = source.read(ENVELOPE_SIZE)
        envelope = decode_envelope(head)
        message = decode_message_part(envelope, source.read(envelope.length))
        opcode = message.header.opcode
        self.asked.append(opcode)
        if opcode == OpCode.GET_SITE_INFO:
            sink.write(self.reply(message, 1, encode_site(self.site)))
        elif opcode == OpCode.CHALLENGE_RESPONSE:
            original = self.waiting.pop(envelope.session_id)
            self.proof = decode_challenge_response(message.body)
            if self.accept:
                self.carry_out(message, original, sink)
            else:
                sink.write(self.reply(message, 403, b""))
        else:
            number = int.from_bytes(os.urandom(3)) + 1
            self.waiting[number] = message
            nonce = encode_challenge(Challenge(b"n" * 16))
            sink.write(self.reply(message, 402, nonce, session_id=number))

    def carry_out(self, to, original, sink):
        opcode = original.header.opcode
        if opcode == OpCode.LIST_HOMED_PREFIXES:
            sink.write(self.reply(to, 1, encode_names_reply(NamesReply(self.homed)), opcode=opcode))
            return
        if opcode == OpCode.DUMP_HANDLES:
            body, items = b"", self.dumps.pop(0) if self.dumps[1:] else self.dumps[0]
        else:
            asked = decode_retrieve(original.body, (2, 10))
            body, items = b"\0", self.log(asked.last_id)
        sink.write(self.reply(to, 1, body, opcode=opcode))
        writer = StreamWriter(self.signer)
        for item in items:
            sink.write(writer.write(item))

    def reply(self, to, code, body, **more):
        made = response(
            to, code, body, site_serial=1, expiration=4_000_000_000, own=(2, 10), **more
        )
        return encode_message(made)
