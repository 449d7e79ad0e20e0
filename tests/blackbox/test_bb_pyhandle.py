"""PYHANDLE, unchanged, against the server under test: password, certificate, unauthenticated."""

from __future__ import annotations

import secrets

import pytest

from tests.blackbox.target import HANDLE_NET
from tests.resolver.http import pyhandle_clients as clients
from tests.resolver.http.test_tls import make_certificate

from pyhandle.handleexceptions import (  # isort: skip - only where the client is installed
    HandleAuthenticationError,
    HandleNotFoundException,
)

pytestmark = pytest.mark.filterwarnings("ignore")


def by_password(target, password=None):
    return clients.by_password(
        f"https://{target.host}:{target.https}",
        f"301:0.NA/{target.prefix}",
        password or target.secret.decode(),
    )


def new_name(target):
    return f"{target.prefix}/py-{secrets.token_hex(4)}"


def test_everything_else(target):
    """Entries by kind, JSON registration, generated names, administrators, single values, lists."""
    client = by_password(target)
    name = new_name(target)
    rest = client
    made = client.generate_and_register_handle(target.prefix, "http://example.org/g")
    assert made.startswith(f"{target.prefix}/")
    assert client.get_value_from_handle(made, "URL") == "http://example.org/g"
    assert client.get_value_from_handle(made, "NOTHING") is None
    client.modify_handle_value(made, URL="http://example.org/h", add_if_not_exist=False)
    client.delete_handle_value(made, "URL")
    assert "URL" not in client.retrieve_handle_record(made)
    client.delete_handle(made)
    entries = [
        {"index": 1, "type": "URL", "data": {"format": "string", "value": "http://example.org/"}},
        {"index": 7, "type": "NAME", "data": "bare"},
    ]
    rest.register_handle_json(name, entries)
    assert client.get_value_from_handle(name, "NAME") == "bare"
    rest.register_handle_json(
        name, [*entries, {"index": 8, "type": "X", "data": "y"}], overwrite=True
    )
    record = client.retrieve_handle_record_json(name)
    assert {each["index"] for each in record["values"]} >= {1, 7, 8}
    client.delete_handle(name)
    with pytest.raises(HandleNotFoundException):
        client.delete_handle(name)
    with pytest.raises(HandleNotFoundException):
        client.modify_handle_value(name, URL="x")


def test_by_password(target):
    """As 301 over HTTPS."""
    clients.whole_life(by_password(target), new_name(target))


def test_by_certificate(target, tmp_path):
    """As 300 with a self-signed certificate."""
    if target.kind == HANDLE_NET:
        pytest.skip("Handle.Net asks for a certificate by renegotiation, which this client refuses")
    files = make_certificate(tmp_path, "client", target.key, uid=f"300:0.NA/{target.prefix}")
    client = clients.by_certificate(f"https://{target.host}:{target.https}", files)
    clients.whole_life(client, new_name(target))


def test_a_wrong_password(target, fresh):
    """An authentication error, and nothing is registered."""
    name = fresh("py").decode()
    client = by_password(target, "not the password")
    with pytest.raises(HandleAuthenticationError):
        client.register_handle(name, "http://example.org/")
    assert client.retrieve_handle_record_json(name) is None


def test_unauthenticated_over_http(target):
    """Reading needs neither TLS nor a password; deleting does."""
    client = clients.for_reading(f"http://{target.host}:{target.http}")
    record = client.retrieve_handle_record_json(f"0.NA/{target.prefix}")
    assert record["responseCode"] == 1
    with pytest.raises(HandleAuthenticationError):
        client.delete_handle(f"0.NA/{target.prefix}")
