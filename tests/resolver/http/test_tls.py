from __future__ import annotations

import asyncio
import datetime as dt
import socket
import ssl

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from protocol.errors import SettingsError
from resolver.http import tls


def make_certificate(folder, name, key=None, **names):
    """A self-signed certificate and its key as PEM files."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    attributes = [x509.NameAttribute(NameOID.COMMON_NAME, names.get("cn", "anonymous"))]
    if "uid" in names:
        attributes.append(x509.NameAttribute(NameOID.USER_ID, names["uid"]))
    subject = x509.Name(attributes)
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    cert_file, key_file = folder / f"{name}.pem", folder / f"{name}.key"
    cert_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return cert_file, key_file


@pytest.fixture
def server_files(tmp_path):
    return make_certificate(tmp_path, "server", rsa.generate_private_key(65537, 2048))


class Echo(asyncio.Protocol):
    """Sends back what comes, after saying whose certificate it saw."""

    def connection_made(self, transport):
        self.transport = transport
        der = transport.get_extra_info("ssl_object").getpeercert(True)
        subject = x509.load_der_x509_certificate(der).subject.rfc4514_string() if der else "-"
        transport.write(subject.encode() + b"\n")

    def data_received(self, data):
        self.transport.write(data)


def client_context(version=None, files=None):
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if version:
        context.minimum_version = context.maximum_version = version
    if files:
        context.load_cert_chain(*files)
    return context


async def serve(server_files):
    loop = asyncio.get_running_loop()
    listening = socket.create_server(("127.0.0.1", 0))
    context = tls.ServerContext(*server_files)
    server = await loop.create_server(Echo, sock=listening, ssl=context)
    return server, listening.getsockname()[1], context


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("with_certificate", [False, True])
async def test_any_client_certificate(tmp_path, server_files, version, with_certificate):
    """A self-signed client certificate is accepted and handed over; without one it works too."""
    server, port, _ = await serve(server_files)
    files = make_certificate(tmp_path, "client", cn="300:0.NA/86.999") if with_certificate else None
    async with server:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", port, ssl=client_context(version, files)
        )
        name = await reader.readline()
        assert name == (b"CN=300:0.NA/86.999\n" if with_certificate else b"-\n")
        sent = bytes(range(256)) * 4096
        writer.write(sent)
        assert await reader.readexactly(len(sent)) == sent
        writer.close()
        await writer.wait_closed()


async def test_old_versions_are_refused(server_files):
    """TLS 1.1 is not spoken."""
    server, port, _ = await serve(server_files)
    context = client_context()
    with pytest.warns(DeprecationWarning):
        context.minimum_version = ssl.TLSVersion.TLSv1_1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    async with server:
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await asyncio.open_connection("127.0.0.1", port, ssl=context)


async def test_session_is_resumed_with_its_certificate(tmp_path, server_files):
    """A resumed TLS 1.2 session still names the client's certificate."""
    server, port, _ = await serve(server_files)
    context = client_context(
        ssl.TLSVersion.TLSv1_2, make_certificate(tmp_path, "client", cn="301:a/b")
    )

    def twice():
        session, seen = None, []
        for _ in range(2):
            with socket.create_connection(("127.0.0.1", port)) as plain:
                with context.wrap_socket(plain, session=session) as secure:
                    line = secure.recv(100)
                    seen.append((line, secure.session_reused))
                    session = secure.session
        return seen

    async with server:
        seen = await asyncio.to_thread(twice)
    assert seen == [(b"CN=301:a/b\n", False), (b"CN=301:a/b\n", True)]


async def test_garbage_ends_the_connection(server_files):
    """Octets that are no TLS end the connection and free the count of handshakes."""
    server, port, context = await serve(server_files)
    async with server:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.1\r\n\r\n" * 10)
        answer = await reader.read()
        assert b"HTTP" not in answer
        writer.close()
        await asyncio.sleep(0)
        assert context.handshakes == 0


async def test_too_many_handshakes(server_files, monkeypatch):
    """Above the limit of unfinished handshakes new connections are closed, not queued."""
    monkeypatch.setattr(tls, "MAX_HANDSHAKES", 1)
    server, port, context = await serve(server_files)
    async with server:
        _, waiting = await asyncio.open_connection("127.0.0.1", port)
        while not context.handshakes:
            await asyncio.sleep(0)
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await asyncio.open_connection("127.0.0.1", port, ssl=client_context())
        monkeypatch.setattr(tls, "HANDSHAKE_S", 0.0)
        _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=client_context())
        writer.close()
        waiting.close()


async def test_reload_changes_the_certificate(tmp_path, server_files):
    """After reload() new connections see the new certificate; a bad pair leaves the old one."""
    server, port, context = await serve(server_files)
    old = await asyncio.to_thread(ssl.get_server_certificate, ("127.0.0.1", port))
    make_certificate(tmp_path, "server", rsa.generate_private_key(65537, 2048))
    context.reload()
    new = await asyncio.to_thread(ssl.get_server_certificate, ("127.0.0.1", port))
    assert new != old
    server_files[1].write_text("nonsense")
    with pytest.raises(SettingsError, match="cannot be used together"):
        context.reload()
    again = await asyncio.to_thread(ssl.get_server_certificate, ("127.0.0.1", port))
    assert again == new
    server.close()
    await server.wait_closed()


def test_uvloop_speaks_it_too(tmp_path, server_files):
    """The same context works under uvloop."""
    uvloop = pytest.importorskip("uvloop")

    async def main():
        server, port, _ = await serve(server_files)
        files = make_certificate(tmp_path, "client", cn="x")
        async with server:
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", port, ssl=client_context(files=files)
            )
            assert await reader.readline() == b"CN=x\n"
            writer.write(b"a" * 300_000)
            assert await reader.readexactly(300_000) == b"a" * 300_000
            writer.close()

    uvloop.run(main())
