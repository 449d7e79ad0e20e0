"""Names without a record that a template makes (Handle manual 11): the values behind one step.

Only names of prefixes homed here, only where the prefix's HS_NAMESPACE gives a delimiter. What a
template cites lies here, or is asked for where this node recurses.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from protocol.errors import ResponseCode
from protocol.labels import unlabelled
from protocol.name import described_prefix, is_arcwise, whole_name
from protocol.record import HandleValue, Reference, decode_value
from protocol.template import divide, expand
from protocol.value_slices import slices
from registry.store.row import decode_row, public_body
from resolver.namespaces import namespace_in

if TYPE_CHECKING:
    from resolver.lookup import Answer, Lookup, Query


class Elsewhere(Exception):  # a turn of the way, not an error
    """A template cites a value of another node that is not at hand."""

    def __init__(self, reference: Reference, question: Query) -> None:
        super().__init__(reference)
        self.reference = reference
        self.question = question


def may_derive(lookup: Lookup, name: bytes) -> bool:
    """Whether a name that lies here and has no record may come from a template."""
    prefix, slash, _ = name.partition(b"/")
    if not slash or described_prefix(name) is not None or is_arcwise(name):
        return False
    delimiter = lookup.namespaces.delimiter(prefix.upper())
    return bool(delimiter) and name.find(delimiter, len(prefix)) >= 0


def derived_values(
    lookup: Lookup, query: Query, name: bytes, fetched: Mapping[Reference, Answer]
) -> tuple[HandleValue, ...] | None:
    """The values of a name that may_derive; None when it does not exist.

    fetched: other nodes' answers to what the template cites. Raises Elsewhere, TemplateRefused,
    and StoreError when a row is damaged.
    """
    prefix, _, _ = name.partition(b"/")
    chain = lookup.namespaces.of(prefix.upper())
    divided = divide(name.decode(), len(prefix.decode()), chain.delimiter)
    if divided is None:
        return None
    base = _values_of(lookup, divided.base.encode())
    own = namespace_in(base)
    namespaces = chain.namespaces if own is None else (own, *chain.namespaces)

    def cited(reference: Reference) -> bytes | None:
        return _cited(lookup, query, reference, fetched)

    return expand(namespaces, divided, base, cited)


def _values_of(lookup: Lookup, base: bytes) -> tuple[HandleValue, ...]:
    """The values of a base's record but for what labels hide; none without a record."""
    raw = lookup.row(base) if b"/" in base else None
    return unlabelled(decode_row(raw).values()) if raw is not None else ()


def _cited(
    lookup: Lookup, query: Query, reference: Reference, fetched: Mapping[Reference, Answer]
) -> bytes | None:
    """The data of a public value of a stored record: from here, or from the node that holds it.

    Names that templates make here are not cited: a template could cite itself without end.
    """
    name = whole_name(reference.handle)
    if lookup.prefixes.responsible(name):
        raw = lookup.row(name)
        return None if raw is None else _data(public_body(raw), reference.index)
    if lookup.recursion is None:
        return None
    question = _question(query, reference)
    answer = fetched.get(reference) or lookup.recursion.cached(question)
    if answer is None:
        raise Elsewhere(reference, question)
    return _data(answer.values, reference.index) if answer.code == ResponseCode.SUCCESS else None


def _question(query: Query, reference: Reference) -> Query:
    """What is asked of the node that holds a cited value: as anybody, one server further."""
    return replace(
        query,
        handle=reference.handle,
        indexes=(reference.index,),
        types=(),
        public_only=True,
        authoritative=False,
        identity=None,
        memberships=(),
        hops=query.hops + 1,
    )


def _data(values: bytes, index: int) -> bytes | None:
    """The data of the value with an index in list<value>."""
    found = next((one for one in slices(values, 4) if one.index == index), None)
    return None if found is None else decode_value(found.octets).data
