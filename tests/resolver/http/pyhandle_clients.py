"""PYHANDLE, unchanged: its clients of a server, and what each of them does with a handle.

Skips the tests of whoever imports it where the client is not installed.
"""

from __future__ import annotations

import pytest

pyhandle = pytest.importorskip("pyhandle")

from pyhandle.handleexceptions import HandleAlreadyExistsException  # noqa: E402 - see above

LOC = '<locations><location id="0" href="http://a.example/" weight="1"/></locations>'


def client():
    return pyhandle.handleclient.PyHandleClient("rest")


def by_password(url, username, password):
    return client().instantiate_with_username_and_password(
        url, username, password, HTTPS_verify=False
    )


def by_certificate(url, files):
    """files: certificate and key."""
    certificate, key = files
    credentials = pyhandle.clientcredentials.PIDClientCredentials(
        client="rest",
        handle_server_url=url,
        certificate_only=str(certificate),
        private_key=str(key),
    )
    return client().instantiate_with_credentials(credentials, HTTPS_verify=False)


def for_reading(url):
    return client().instantiate_for_read_access(handle_server_url=url)


def whole_life(client, handle):
    """Register, read, modify, 10320/loc, delete."""
    assert client.register_handle(handle, "http://example.org/1", checksum="abc") == handle
    with pytest.raises(HandleAlreadyExistsException):
        client.register_handle(handle, "http://example.org/2")
    assert client.get_value_from_handle(handle, "URL") == "http://example.org/1"
    assert set(client.retrieve_handle_record(handle)) == {"HS_ADMIN", "URL", "CHECKSUM"}
    client.modify_handle_value(handle, URL="http://example.org/3", ttl=120, NAME="grün")
    client.add_handle_value(handle, **{"10320/LOC": LOC})
    record = client.retrieve_handle_record(handle)
    assert record["URL"] == "http://example.org/3"
    assert record["NAME"] == "grün"
    assert record["10320/LOC"] == LOC
    client.delete_handle_value(handle, ["NAME"])
    left = {"HS_ADMIN", "URL", "CHECKSUM", "10320/LOC"}
    assert set(client.retrieve_handle_record(handle)) == left
    client.delete_handle(handle)
    assert client.retrieve_handle_record_json(handle) is None
