"""`country` of 10320/loc: where a browser is, by a trusted proxy's header or by the table."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from multidict import CIMultiDict

from resolver.config import HttpSettings, Settings
from resolver.http.asked import Senders
from resolver.http.countries import Countries


def request(peer, **headers):
    transport = SimpleNamespace(get_extra_info=lambda name: (peer, 4000))
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return SimpleNamespace(transport=transport, headers=CIMultiDict(named))


@pytest.fixture
def countries(tmp_path):
    (tmp_path / "table").write_text("192.0.2.0/24,CN\n198.51.100.0/24,GB\n")
    settings = HttpSettings(
        trusted_proxies=("10.0.0.0/8",), country_header="X-Country", country_table="table"
    )
    senders = Senders(Settings(http=settings))
    return Countries(settings, tmp_path, senders)


@pytest.mark.parametrize(
    ("peer", "headers", "country"),
    [
        ("192.0.2.9", {}, "CN"),
        ("192.0.2.9", {"X_Country": "GB"}, "CN"),
        ("10.0.0.1", {"X_Country": " fr "}, "FR"),
        ("10.0.0.1", {"X_Country": "XX", "X_Forwarded_For": "198.51.100.4"}, "GB"),
        ("10.0.0.1", {"X_Country": "<b>", "X_Forwarded_For": "198.51.100.4"}, "GB"),
        ("10.0.0.1", {"X_Forwarded_For": "203.0.113.1"}, None),
        ("203.0.113.1", {"X_Country": "FR", "X_Forwarded_For": "192.0.2.9"}, None),
    ],
)
def test_where_a_client_is(countries, peer, headers, country):
    """The header counts from a trusted proxy alone; else the table says it, or nobody."""
    assert countries.of(request(peer, **headers)) == country


def test_without_settings(tmp_path):
    """Nobody says it."""
    plain = Countries(HttpSettings(), tmp_path, Senders(Settings()))
    assert plain.of(request("192.0.2.9", X_Country="CN")) is None
