"""Labels in files: columns, members and options."""

from __future__ import annotations

import io
import json

import pytest

from protocol.errors import InvalidValue, SettingsError
from protocol.labels import labels_in, open_values, parse_label_text
from registry.imports import Format, Options, read_items

CSV = b"identifier,URL,BOM#production:2,COST@7#management:3:audit\n20.5/a,https://e.org,bom,9\n"


def read(data, format_=Format.CSV, **options):
    return list(read_items(io.BytesIO(data), format_, Options(add_admin=False, **options)))


def test_a_column_has_a_label():
    """`TYPE#CLASS:LEVEL[:PURPOSE]` labels the values of a column."""
    (item,) = read(CSV)
    labels = labels_in(item.change.values)
    assert labels.named == {
        2: {"class": "production", "level": 2},
        7: {"class": "management", "level": 3, "purpose": "audit"},
    }
    assert [value.type for value in open_values(item.change.values)] == [b"URL"]


def test_an_empty_cell_has_no_label():
    """A label is of a value that is there."""
    (item,) = read(CSV.replace(b",bom,9", b",bom,"))
    assert set(labels_in(item.change.values).named) == {2}


@pytest.mark.parametrize("mark", ["BOM#production:4", "BOM#x:2", "BOM#", "BOM#production"])
def test_a_wrong_column_label_stops_the_file(mark):
    """A header that cannot be read publishes nothing."""
    with pytest.raises(SettingsError):
        read(b"identifier,URL,%b\n20.5/a,u,b\n" % mark.encode())


def test_json_rows_have_labels():
    """By index, type or `*`, as an object or a text; an index wins over a type."""
    values = [{"index": i, "type": "BOM", "data": "x"} for i in (1, 2)]
    labels = {"BOM": "production:2", "2": {"class": "management", "level": 3}, "*": "1"}
    row = {"handle": "20.5/a", "values": values, "labels": labels}
    (item,) = read(json.dumps(row).encode(), Format.JSON_LINES)
    found = labels_in(item.change.values)
    assert (found.of(1)["level"], found.of(2)["level"], found.of(3)["level"]) == (2, 3, 1)


def test_options_label_rows_that_bring_none():
    """--label holds for other rows; a row that lacks the type is refused."""
    plain = b"identifier,URL,BOM\n20.5/a,u,b\n20.5/b,u,\n"
    good, bad = read(plain, labels={"BOM": "production:2"})
    assert set(labels_in(good.change.values).named) == {2}
    assert bad.change is None
    assert "BOM" in bad.error
    (own,) = read(CSV, labels={"*": "operation:3"})
    assert labels_in(own.change.values).every is None


@pytest.mark.parametrize("text", ["", "2:production", "production:9", "production", "x:1:y:z"])
def test_what_is_no_label(text):
    """Texts that are no label are refused."""
    with pytest.raises(InvalidValue):
        parse_label_text(text)
