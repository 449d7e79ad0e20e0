"""The table of countries that an operator may give."""

from __future__ import annotations

import pytest

from protocol.errors import SettingsError
from resolver.config import HttpSettings
from resolver.countries import Table, check_table


@pytest.fixture
def table(tmp_path):
    file = tmp_path / "countries.csv"
    file.write_text(
        "# NETWORK,CC\n"
        "192.0.2.0/24, cn\n"
        "192.0.2.128/25,GB # the longer one counts\n"
        "\n"
        "0.0.0.0/0,ZZ\n"
        "2001:db8::/32,FR\n"
        "203.0.113.7,DE\n"
    )
    return Table.read(file)


@pytest.mark.parametrize(
    ("host", "country"),
    [
        ("192.0.2.1", "CN"),
        ("192.0.2.200", "GB"),
        ("203.0.113.7", "DE"),
        ("203.0.113.8", "ZZ"),
        ("2001:db8:1::1", "FR"),
        ("2001:db9::1", None),
        ("nothing", None),
        ("", None),
    ],
)
def test_the_longest_network_counts(table, host, country):
    """Each address has the country of the longest network that holds it."""
    assert table.country(host) == country


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("192.0.2.1/24,CN\n", "line 1: "),
        ("# one\nx,CN\n", "line 2: "),
        ("192.0.2.0/24,China\n", "'China'"),
        ("192.0.2.0/24\n", "NETWORK,CC"),
    ],
)
def test_a_wrong_line_is_named(tmp_path, text, named):
    """A table that cannot be used refuses the start, by its file and line."""
    (tmp_path / "table").write_text(text)
    with pytest.raises(SettingsError) as caught:
        check_table(HttpSettings(country_table="table"), tmp_path)
    assert named in str(caught.value)
    assert str(tmp_path / "table") in str(caught.value)


def test_no_table(tmp_path):
    """None is needed; one that is named and missing is said."""
    check_table(HttpSettings(), tmp_path)
    with pytest.raises(SettingsError, match="cannot be read"):
        check_table(HttpSettings(country_table="none"), tmp_path)
