"""The vector form `malformed`: bytes that must be refused with ParseError and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from protocol.errors import ParseError
from protocol.jsonfields import Fields
from protocol.vectorform.form import Form, Shape, VectorMismatch, claims_of, hex_of
from protocol.vectorform.messages import message_shape

_MESSAGE = "message"
"""`parse_as` of rows that may be a request or a response; others name a kind."""


def malformed_form(kinds: Mapping[str, Form]) -> Form:
    """The form of malformed rows; kinds: what the bytes may be parsed as."""
    parsers = {name: form.decode for name, form in kinds.items()} | {_MESSAGE: message_shape}

    def check(vector: Mapping[str, Any]) -> None:
        data = hex_of(vector)
        fields = Fields(claims_of(vector))
        name = fields.text("parse_as").decode()
        if name not in parsers:
            raise VectorMismatch(f"decoded.parse_as is {name!r:.60}, no kind that can be parsed")
        if fields.any("must") != "reject":
            raise VectorMismatch(f"decoded.must is {fields.any('must')!r:.60}, not 'reject'")
        # What deployed software does with the bytes is told, not tested: it may be laxer.
        if "library_rejects" in fields:
            fields.flag("library_rejects")
        try:
            parsers[name](data)
        except ParseError:
            return
        raise VectorMismatch(f"the bytes parse as {name}; they must be refused")

    return Form(_decode, _encode, check)


def _decode(_: bytes) -> Shape:
    raise ParseError("a malformed vector has nothing to decode; give the kind it is parsed as")


def _encode(_: Shape) -> bytes | None:
    return None
