"""PYHANDLE, unchanged, against the server under test: password, certificate, unauthenticated."""

from __future__ import annotations

import secrets

import pytest

from tests.blackbox.target import HANDLE_NET
from tests.resolver.http.test_tls import make_certificate

pyhandle = pytest.importorskip("pyhandle")

from pyhandle.handleexceptions import (  # noqa: E402 - only where the client is installed
    HandleAlreadyExistsException,
    HandleAuthenticationError,
    HandleNotFoundException,
)

pytestmark = pytest.mark.filterwarnings("ignore")
LOC = '<locations><location id="0" href="http://a.example.org/" weight="1"/></locations>'


def by_password(target, password=None):
    return pyhandle.handleclient.PyHandleClient("rest").instantiate_with_username_and_password(
        f"https://{target.host}:{target.https}",
        f"301:0.NA/{target.prefix}",
        password or target.secret.decode(),
        HTTPS_verify=False,
    )


def by_certificate(target, certificate, key):
    credentials = pyhandle.clientcredentials.PIDClientCredentials(
        client="rest",
        handle_server_url=f"https://{target.host}:{target.https}",
        certificate_only=str(certificate),
        private_key=str(key),
    )
    return pyhandle.handleclient.PyHandleClient("rest").instantiate_with_credentials(
        credentials, HTTPS_verify=False
    )


def whole_life(target, client):
    """Register, read, modify, 10320/loc, delete."""
    handle = f"{target.prefix}/py-{secrets.token_hex(4)}"
    assert client.register_handle(handle, "http://example.org/1", checksum="abc") == handle
    with pytest.raises(HandleAlreadyExistsException):
        client.register_handle(handle, "http://example.org/2")
    client.modify_handle_value(handle, URL="http://example.org/3", ttl=120, NAME="grün")
    client.add_handle_value(handle, **{"10320/LOC": LOC})
    record = client.retrieve_handle_record(handle)
    assert record["URL"] == "http://example.org/3"
    assert record["NAME"] == "grün"
    assert record["10320/LOC"] == LOC
    client.delete_handle_value(handle, ["NAME"])
    assert set(client.retrieve_handle_record(handle)) == {
        "HS_ADMIN",
        "URL",
        "CHECKSUM",
        "10320/LOC",
    }
    client.delete_handle(handle)
    assert client.retrieve_handle_record_json(handle) is None


def test_everything_else(target):
    """Entries by kind, JSON registration, generated names, administrators, single values, lists."""
    client = by_password(target)
    name = f"{target.prefix}/py-{secrets.token_hex(4)}"
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
    whole_life(target, by_password(target))


def test_by_certificate(target, tmp_path):
    """As 300 with a self-signed certificate."""
    if target.kind == HANDLE_NET:
        pytest.skip("Handle.Net asks for a certificate by renegotiation, which this client refuses")
    files = make_certificate(tmp_path, "client", target.key, uid=f"300:0.NA/{target.prefix}")
    whole_life(target, by_certificate(target, *files))


def test_a_wrong_password(target, fresh):
    """An authentication error, and nothing is registered."""
    name = fresh("py").decode()
    client = by_password(target, "not the password")
    with pytest.raises(HandleAuthenticationError):
        client.register_handle(name, "http://example.org/")
    assert client.retrieve_handle_record_json(name) is None


def test_unauthenticated_over_http(target):
    """Reading needs neither TLS nor a password; deleting does."""
    client = pyhandle.handleclient.PyHandleClient("rest").instantiate_for_read_access(
        handle_server_url=f"http://{target.host}:{target.http}"
    )
    record = client.retrieve_handle_record_json(f"0.NA/{target.prefix}")
    assert record["responseCode"] == 1
    with pytest.raises(HandleAuthenticationError):
        client.delete_handle(f"0.NA/{target.prefix}")
