"""The PYHANDLE client against our node: unchanged, over TLS, by password and by certificate."""

from __future__ import annotations

import asyncio
import warnings

import pytest

from tests.resolver.http import pyhandle_clients as clients
from tests.resolver.http.node_in_process import ADMIN, SECRET, value
from tests.resolver.http.test_tls import make_certificate

from pyhandle.handleexceptions import (  # isort: skip - only where the client is installed
    GenericHandleError,
    HandleAuthenticationError,
    HandleNotFoundException,
)

PASSWORD = "plain-ASCII:secret"

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture
def world(served):
    """The node with an administrator whose password PYHANDLE can carry."""
    key_value = value(301, "HS_SECKEY", PASSWORD, permissions=0b1100)
    values = [one for one in served.node.access._read(b"0.NA/86.999") if one.index != 301]
    served.register("0.NA/86.999", *values, key_value)
    return served


def client_by_password(world, password=PASSWORD, username=ADMIN):
    return clients.by_password(f"https://127.0.0.1:{world.https}", username, password)


def client_by_certificate(world, files):
    return clients.by_certificate(f"https://127.0.0.1:{world.https}", files)


def full_round(client, name):
    """Its whole life, then overwriting, registering as JSON and under a generated name."""
    handle = f"86.999/{name}"
    clients.whole_life(client, handle)
    client.register_handle(handle, "http://example.org/1", checksum="abc")
    client.delete_handle_value(handle, "CHECKSUM")
    client.register_handle_kv(handle, overwrite=True, URL="http://example.org/4")
    assert set(client.retrieve_handle_record(handle)) == {"HS_ADMIN", "URL"}
    entries = [{"index": 1, "type": "URL", "data": "http://example.org/5"}]
    client.register_handle_json(handle, entries, overwrite=True)
    assert client.get_value_from_handle(handle, "URL") == "http://example.org/5"
    client.delete_handle(handle)
    with pytest.raises(HandleNotFoundException):
        client.delete_handle_value(handle, "URL")
    generated = client.generate_and_register_handle("86.999", "http://example.org/g")
    assert client.get_value_from_handle(generated, "URL") == "http://example.org/g"


async def test_password(world):
    """Everything the client does works with user name and password."""
    await asyncio.to_thread(lambda: full_round(client_by_password(world), "py1"))


async def test_certificate(world, tmp_path):
    """The same with a self-signed certificate, its identity in the UID or in the CN."""
    key = world.node.keys.site_private
    for number, names in enumerate(({"uid": "300:0.NA/86.999"}, {"cn": "300:0.NA/86.999"})):
        files = make_certificate(tmp_path, f"client{number}", key, **names)

        def run(files=files, number=number):
            return full_round(client_by_certificate(world, files), f"py-cert{number}")

        await asyncio.to_thread(run)


async def test_unauthenticated_over_http(world):
    """Reading needs no credentials and no TLS."""
    world.register("86.999/read", value(1, "URL", "http://example.org/"))

    def run():
        client = clients.for_reading(f"http://127.0.0.1:{world.http}")
        assert client.get_value_from_handle("86.999/read", "URL") == "http://example.org/"
        assert client.retrieve_handle_record_json("86.999/none") is None
        with pytest.raises(HandleAuthenticationError):
            client.delete_handle("86.999/read")

    await asyncio.to_thread(run)


async def test_wrong_credentials_change_nothing(world, tmp_path):
    """A wrong password, a foreign key and an unknown user are refused; nothing is written."""
    stranger = make_certificate(tmp_path, "stranger", cn="300:0.NA/86.999")
    nobody = make_certificate(tmp_path, "nobody", world.node.keys.site_private, cn="nobody")

    def run():
        for client in (
            client_by_password(world, "wrong"),
            client_by_certificate(world, stranger),
            client_by_certificate(world, nobody),
        ):
            with pytest.raises(HandleAuthenticationError):
                client.register_handle("86.999/x", "http://example.org/")
        with pytest.raises(HandleNotFoundException):
            client_by_password(world, username="301:86.999/none")

    await asyncio.to_thread(run)
    assert world.row("86.999/x") is None


async def test_without_right(world):
    """An identity without rights gets an error and changes nothing."""
    secret = value(1, "HS_SECKEY", "other", permissions=0b1100)
    world.register("86.999/user", secret, value(2, "DESC", "somebody"))

    def run():
        client = client_by_password(world, "other", "1:86.999/user")
        with pytest.raises((GenericHandleError, HandleAuthenticationError)):
            client.register_handle("86.999/x", "http://example.org/")

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        await asyncio.to_thread(run)
    assert world.row("86.999/x") is None


async def test_secret_of_the_admin_file(served):
    """A secret with spaces, colons and non-ASCII text works as a password over Basic."""
    answer = await served.ask("GET", "/api/prefixes", tls=True, user=(ADMIN, SECRET))
    assert answer.status == 200
