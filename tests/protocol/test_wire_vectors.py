"""Wire vectors: every row holds, and no row with one field spoilt does."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from protocol.errors import ParseError
from protocol.vectorform import FORMS, VectorMismatch

FOLDER = Path(__file__).parent.parent / "vectors" / "do-irp"
ROWS = [row for path in sorted(FOLDER.glob("*.json")) for row in json.loads(path.read_bytes())]
TOLD_ONLY = {"note", "reason", "rule", "library_rejects", "case"}
"""Fields that speak to people, or about other software; nothing is checked by them."""
STILL_TRUE = {
    ("handle_hash", "server_index_for_n"),
    ("type_filter", "matches"),
    ("udp_packets", "packets"),
    ("handle_equality", "b"),
}
"""Where another value is as true: a table with a row less, no second copy of a packet, a name that
is unequal as well."""
WHOLLY_TOLD = {
    "handle_value",
    "hs_admin",
    "hs_vlist",
    "hs_site",
    "global_values",
    "envelope",
    "request",
    "response",
    "udp_packets",
}
INPUTS = {
    "handle",
    "nonce_hex",
    "other_records",
    "permission",
    "permission_handle",
    "public_key_hex",
    "record_values_hex",
    "secret_hex",
    "session_key_hex",
}
"""What a check is made with. Where it fails, it fails with other inputs too."""
ROWS_PER_KIND = 6
"""Rows of each kind whose fields are spoilt."""


def holds(row: dict[str, Any]) -> bool:
    try:
        FORMS[row["kind"]].check(row)
    except (VectorMismatch, ParseError):
        return False
    return True


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Paths of all fields: leaves, and lists and objects themselves."""
    if path:
        yield path
    if isinstance(value, dict):
        for name, part in value.items():
            if path or name not in TOLD_ONLY:
                yield from leaves(part, (*path, name))
    elif isinstance(value, list):
        for at, part in enumerate(value):
            yield from leaves(part, (*path, at))


def spoilt(value: Any) -> Any:
    """Another value of the same kind."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    if isinstance(value, str):
        if value and all(char in "0123456789abcdef" for char in value):
            return value[:-1] + ("0" if value[-1] != "0" else "1")
        return value + "x"
    if value is None:
        return "x"
    if isinstance(value, list):
        return value[:-1] if value else [0]
    return dict(list(value.items())[:-1]) if value else {"x": 1}


def spoilings(row: dict[str, Any]) -> Iterator[tuple[tuple[Any, ...], dict[str, Any]]]:
    for path in leaves(row["decoded"]):
        if still_true(row, path):
            continue
        worse = copy.deepcopy(row)
        place = worse["decoded"]
        for step in path[:-1]:
            place = place[step]
        place[path[-1]] = spoilt(place[path[-1]])
        yield path, worse


def still_true(row: dict[str, Any], path: tuple[Any, ...]) -> bool:
    """Whether another value at this path makes the row no less true."""
    decoded = row["decoded"]
    if (row["kind"], *path) in STILL_TRUE or path == ("now",):
        return True
    if row["kind"] == "encrypted_message" and path == ("session_key_hex",):
        return True  # only its first octets are the cipher key
    if decoded.get("permission") == "everything" and path == ("permission_handle",):
        return True
    failed = decoded.get("valid") is False or decoded.get("authorized") is False
    # A note marks layouts that cannot be verified, such as those of version 2.6.
    return path[0] in INPUTS and (failed or "note" in decoded)


def told_by_bytes(row: dict[str, Any]) -> dict[str, Any]:
    """What decoding gives; nothing for rows whose claim is that their bytes cannot be read."""
    try:
        return FORMS[row["kind"]].decode(bytes.fromhex(row["hex"]))
    except ParseError:
        assert row["kind"] == "malformed" or row["decoded"]["valid"] is False
        return {}


def some_rows() -> list[dict[str, Any]]:
    taken: dict[str, list[dict[str, Any]]] = {}
    for row in ROWS:
        taken.setdefault(row["kind"], []).append(row)
    return [row for rows in taken.values() for row in rows[:: max(1, len(rows) // ROWS_PER_KIND)]]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["name"])
def test_every_vector_holds(row: dict[str, Any]) -> None:
    """Everything that a row of the reference vectors claims is so."""
    FORMS[row["kind"]].check(row)


@pytest.mark.parametrize("row", some_rows(), ids=lambda row: row["name"])
def test_no_spoilt_vector_holds(row: dict[str, Any]) -> None:
    """A row with any one field changed does not hold."""
    survivors = [path for path, worse in spoilings(row) if holds(worse)]
    assert not survivors


def test_names_that_are_equal_are_told_from_others() -> None:
    """A row that calls two equal names equal does not hold with another name."""
    equal = [row for row in ROWS if row["decoded"].get("equal_case_insensitive")]
    for row in equal:
        worse = copy.deepcopy(row)
        worse["decoded"]["b"] += "x"
        assert not holds(worse)


@pytest.mark.parametrize("row", some_rows(), ids=lambda row: row["name"])
def test_no_octet_may_be_another(row: dict[str, Any]) -> None:
    """A row whose `decoded` tells the whole message does not hold when an octet is changed.

    Rows of other kinds hold or do not; nothing else happens.
    """
    octets = bytearray.fromhex(row["hex"])
    for at in range(0, len(octets), max(1, len(octets) // 40)):
        for other in (octets[at] ^ 0x11, 0):
            worse = octets.copy()
            worse[at] = other
            held = holds({**row, "hex": worse.hex()})
            assert worse == octets or not held or row["kind"] not in WHOLLY_TOLD, at


@pytest.mark.parametrize("row", some_rows(), ids=lambda row: row["name"])
def test_no_field_may_be_missing(row: dict[str, Any]) -> None:
    """A row without one of the fields that follow from its bytes does not hold."""
    for name in told_by_bytes(row):
        worse = copy.deepcopy(row)
        # `weak` marks advice; rows of the reference leave it out where they like.
        if name != "weak" and worse["decoded"].pop(name, None) is not None:
            assert not holds(worse), name


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["name"])
def test_decoding_says_what_the_row_says(row: dict[str, Any]) -> None:
    """Decoding gives no field that the row does not have, nor another value for it."""
    decoded = told_by_bytes(row)
    told = {name: row["decoded"].get(name) for name in decoded if name in row["decoded"]}
    if row["kind"] == "handle_hash" and "/" not in row["decoded"]["handle"]:
        # The row's name is as it was asked; its bytes were folded by the software that made it.
        told["handle"] = told["handle"].upper()
    assert told == {name: decoded[name] for name in told}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["name"])
def test_encoding_gives_the_bytes_back(row: dict[str, Any]) -> None:
    """Where the bytes follow from `decoded`, encoding it gives them."""
    told = told_by_bytes(row)
    if not told or not told.keys() <= row["decoded"].keys():
        return  # rows that tell an outcome only, not what the bytes hold
    data = FORMS[row["kind"]].encode(row["decoded"])
    assert data is None or data.hex() == row["hex"]


def test_every_kind_is_known() -> None:
    """There is a form for each kind of the reference vectors."""
    assert {row["kind"] for row in ROWS} <= FORMS.keys()
