"""One lookup, whatever face it came through: LOOKUP_STEPS in order, the first answer counts.

The semantics are those of resolution in the Handle protocol (RFC 3652 §3.2; do-irp 7.1, 17.2):
which values are chosen, which are withheld and how that is said. Faces turn an Answer into their
own form. The datagram and connection loops of DO-IRP have a shorter way for the plainest
questions (resolver.doirp.fast); a differential test holds it to what this page says.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from inspect import isawaitable, iscoroutine
from typing import TYPE_CHECKING, Any, Protocol

from protocol.errors import NotAuthorized, ResponseCode
from protocol.identifier import key_of
from protocol.labels import unlabelled
from protocol.name import described_prefix, prefix_record, whole_name
from protocol.record import (
    ADMIN_READ,
    PUBLIC_READ,
    HandleValue,
    Record,
    Reference,
    decode_value,
    encode_value,
    select,
)
from protocol.template import TemplateRefused
from protocol.value_slices import EMPTY, ValueSlice, chosen, join, slices
from registry.grants import Grants
from registry.prefixes import Prefixes, ancestors
from registry.reads import ReadLog
from registry.store import Store, Table
from registry.store.row import (
    Row,
    checked,
    decode_row,
    decode_values_of,
    has_labelled,
    has_private,
    is_named,
    is_unseen,
    public_body,
    row_version,
    store_key,
)
from resolver.derived import Elsewhere, derived_values, may_derive
from resolver.namespaces import Namespaces
from resolver.seeing import note_reads, seen

if TYPE_CHECKING:
    from registry.access import Access

SITE_TYPES = (b"HS_SITE", b"HS_SITE.6", b"HS_SERV")
"""Where a prefix is served (do-irp 12.3, 12.4)."""
DERIVED_SITE_TYPES = (b"HS_SITE.PREFIX", b"HS_SERV.PREFIX", b"HS_NA_DELEGATE")
"""Where the records of prefixes derived from a prefix are served."""


@dataclass(frozen=True, slots=True)
class Query:
    """One question. handle: as asked, its case kept; without a slash it is a prefix.

    identity: who asks, proved; None for anybody. memberships: lists at other nodes that name the
    identity. hops: servers passed already.
    """

    handle: bytes
    indexes: tuple[int, ...] = ()
    types: tuple[bytes, ...] = ()
    public_only: bool = True
    authoritative: bool = False
    recursive: bool = True
    do_not_refer: bool = False
    identity: Reference | None = None
    memberships: tuple[Reference, ...] = ()
    hops: int = 0


@dataclass(frozen=True, slots=True)
class Answer:
    """What a lookup found.

    values: list<value> in wire form (u4 count, values); empty unless code is SUCCESS or a
    referral. source: store, cache or referral. steps: the hops of a resolution elsewhere.
    referral: the handle of a referral; normally empty, the values then say where to go.
    message: one line for people where code is an error.
    private: some of the values are not publicly readable.
    ttl_s: seconds a cached answer still holds, None for the source's own word. age_s: since it was
    fetched. stale: its TTL is past and its owner silent. verification: what was verified of it,
    for people.
    """

    code: ResponseCode
    handle: bytes
    values: bytes = EMPTY
    authoritative: bool = False
    version: int = 0
    source: str = "store"
    steps: tuple[Mapping[str, Any], ...] = ()
    referral: bytes | None = None
    message: str = ""
    private: bool = False
    ttl_s: float | None = None
    age_s: float | None = None
    stale: bool = False
    verification: str = ""


class Recursion(Protocol):
    """Resolution at other nodes, as a lookup uses it."""

    def cached(self, query: Query) -> Answer | None:
        """An answer at hand, or None; never waits."""

    async def resolve(self, query: Query) -> Answer:
        """Ask the nodes that know, within every limit. Errors come as an Answer."""


class Lookup:
    """Answers queries from one reader process.

    answer_now() never waits: it gives an Answer, or None where one must wait for another node.
    """

    def __init__(
        self,
        store: Store,
        prefixes: Prefixes,
        access: Access,
        *,
        recursion: Recursion | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        """now: seconds since 1970, for grants that end."""
        self.now = now
        self.prefixes = prefixes
        self.access = access
        self.recursion = recursion
        self.get: Callable[[bytes], bytes | None] = store.getter(Table.RECORDS)
        self.namespaces = Namespaces(prefixes, self.get)
        self.grants = Grants(self.get)
        self.reads = ReadLog()

    def answer_now(self, query: Query) -> Answer | None:
        """The answer, if no other node has to be asked for it."""
        for step in LOOKUP_STEPS:
            if step in WAITING_STEPS:
                if self.recursion is not None and query.recursive:
                    return None
                continue
            answer = step(self, query)
            if iscoroutine(answer):
                answer.close()
                return None
            if answer is not None:
                assert isinstance(answer, Answer)  # noqa: S101 - steps await by coroutines
                return answer
        return not_here(self, query)

    async def answer(self, query: Query) -> Answer:
        """The answer, waiting for other nodes where that is wanted and allowed."""
        for step in LOOKUP_STEPS:
            answer = step(self, query)
            if isawaitable(answer):
                answer = await answer
            if answer is not None:
                return answer
        return not_here(self, query)

    def row(self, name: bytes) -> bytes | None:
        """The stored row of a name, its checksum verified; None when there is none.

        Raises StoreError when the row is damaged.
        """
        folded = key_of(name)
        key = store_key(folded)
        raw = self.get(key)
        if raw is None:
            return None
        checked(raw)
        return raw if is_named(raw, key, folded) else None

    def is_labelled(self, name: bytes) -> bool:
        """Whether labels hide values of a record here."""
        whole = whole_name(name)
        raw = self.row(whole) if self.prefixes.responsible(whole) else None
        return raw is not None and has_labelled(raw)

    def public_values(self, name: bytes, types: tuple[bytes, ...]) -> list[ValueSlice]:
        """The public values of some types at a record held here; none when it is not held."""
        raw = self.row(name)
        if raw is None:
            return []
        return [value for value in slices(public_body(raw), 4) if value.type.upper() in types]


def from_store(lookup: Lookup, query: Query) -> Answer | None:
    """Records of prefixes that are homed here: a memory-mapped read, never cached again."""
    name = whole_name(query.handle)
    if not lookup.prefixes.responsible(name):
        return None
    raw = lookup.row(name)
    if raw is None:
        return _absent(lookup, query, name)
    if has_labelled(raw):
        return _labelled_answer(lookup, query, name, raw)
    if query.public_only or not has_private(raw):
        return _public_answer(query, raw)
    return _full_answer(lookup, query, decode_row(raw))


def from_template(lookup: Lookup, query: Query) -> Answer | Awaitable[Answer] | None:
    """Names of homed prefixes that have no record, but a namespace with a template.

    Waits only where the template cites a value of another node.
    """
    name = whole_name(query.handle)
    if not may_derive(lookup, name):
        return None
    try:
        return _derived(lookup, query, name, {})
    except Elsewhere as where:
        return _derived_after(lookup, query, name, where)


def from_cache(lookup: Lookup, query: Query) -> Answer | None:
    """Other nodes' answers, until their TTL."""
    if lookup.recursion is None or not query.recursive:
        return None
    return lookup.recursion.cached(query)


def from_referral(lookup: Lookup, query: Query) -> Awaitable[Answer] | None:
    """Ask the node that owns the prefix; the only step that waits."""
    if lookup.recursion is None or not query.recursive:
        return None
    return lookup.recursion.resolve(query)


Step = Callable[[Lookup, Query], Answer | Awaitable[Answer] | None]

LOOKUP_STEPS: tuple[Step, ...] = (from_store, from_template, from_cache, from_referral)
# A step returns an Answer, or None for "not mine". It never knows what ran before it.
WAITING_STEPS = frozenset({from_referral})


def not_here(lookup: Lookup, query: Query) -> Answer:
    """No step answered: refer to the node the prefix was given to, or say that it is not ours."""
    name = whole_name(query.handle)
    if not query.do_not_refer:
        referral = _referral(lookup, query, name)
        if referral is not None:
            return referral
    return Answer(
        ResponseCode.SERVER_NOT_RESPONSIBLE,
        query.handle,
        authoritative=True,
        message="the prefix of this identifier is not homed at this server",
    )


def absent(handle: bytes) -> Answer:
    """The answer for a name that is ours and has no record."""
    return Answer(ResponseCode.HANDLE_NOT_FOUND, handle, authoritative=True)


def _absent(lookup: Lookup, query: Query, name: bytes) -> Answer | None:
    """No row under a name of ours: a delegated prefix record, or nothing at all."""
    if not _is_text(name):
        return Answer(
            ResponseCode.INVALID_HANDLE,
            query.handle,
            authoritative=True,
            message="the identifier is not UTF-8",
        )
    if may_derive(lookup, name):
        return None  # the next step says what the template makes of it
    if described_prefix(name) is None or query.do_not_refer:
        return absent(query.handle)
    referral = _referral(lookup, query, name)
    if referral is None:
        return absent(query.handle)
    if lookup.recursion is not None and query.recursive:
        return None  # the steps after this one follow the delegation themselves
    return referral


def _is_text(name: bytes) -> bool:
    try:
        name.decode()
    except UnicodeDecodeError:
        return False
    return True


def _public_answer(query: Query, raw: bytes) -> Answer:
    """The chosen public values of a row."""
    body = public_body(raw)
    if query.indexes or query.types:
        body = join([v for v in slices(body, 4) if chosen(v, query.indexes, query.types)])
    if body[:4] == EMPTY:
        return _none_chosen(query)
    return _success(query, body, row_version(raw))


def _labelled_answer(lookup: Lookup, query: Query, name: bytes, raw: bytes) -> Answer | None:
    """Of a record in which labels hide values; what who asks may not know of is not there."""
    if query.identity is None or query.public_only:
        if is_unseen(raw):
            return _absent(lookup, query, name)
        return _public_answer(query, raw) if query.public_only else _open_answer(lookup, query, raw)
    row = decode_row(raw)
    values = decode_values_of(row)
    found = seen(lookup, query, row.name, values)
    if not found:
        return _absent(lookup, query, name)
    told = select(found, query.indexes, query.types)
    answer = _readable(lookup, query, _slices(told), row.record, row.version)
    if answer.code == ResponseCode.SUCCESS:
        note_reads(lookup, query, row.name, values, told)
        if len(found) != len(unlabelled(values)):
            return replace(answer, private=True)
    return answer


def _open_answer(lookup: Lookup, query: Query, raw: bytes) -> Answer:
    """The public values and those that permissions withhold, but none that labels hide."""
    if not has_private(raw):
        return _public_answer(query, raw)
    row = decode_row(raw)
    told = select(unlabelled(decode_values_of(row)), query.indexes, query.types)
    return _readable(lookup, query, _slices(told), row.record, row.version)


def _slices(values: Sequence[HandleValue]) -> list[ValueSlice]:
    found = list(slices(b"".join(map(encode_value, values))))
    found.sort(key=_by_index)
    return found


def _full_answer(lookup: Lookup, query: Query, row: Row) -> Answer:
    """Public and other values, for whoever may read them (do-irp 7.1, 17.3)."""
    values = [
        value
        for part, at in ((row.public, 4), (row.private, 0))
        for value in slices(bytes(part), at)
        if chosen(value, query.indexes, query.types)
    ]
    values.sort(key=_by_index)
    return _readable(lookup, query, values, row.record, row.version)


def _readable(
    lookup: Lookup,
    query: Query,
    values: list[ValueSlice],
    record: Callable[[], Record],
    version: int,
) -> Answer:
    """The chosen values, if the asker may read each of them. record: the whole one.

    A chosen value that nobody may read refuses the whole answer, whoever asks.
    """
    if not values:
        return _none_chosen(query)
    withheld = [v for v in values if not v.permissions & PUBLIC_READ]
    if any(not v.permissions & ADMIN_READ for v in withheld):
        return Answer(
            ResponseCode.INSUFFICIENT_PERMISSIONS,
            query.handle,
            authoritative=True,
            message="a value asked for is readable by nobody; ask for public values only",
        )
    if withheld:
        if query.identity is None:
            return Answer(
                ResponseCode.AUTHENTICATION_NEEDED,
                query.handle,
                authoritative=True,
                message="a value asked for is readable by administrators only",
            )
        try:
            with lookup.access.knowing(query.memberships):
                lookup.access.require_read(query.identity, record())
        except NotAuthorized as error:
            return Answer(error.code, query.handle, authoritative=True, message=str(error))
    return _success(query, join(values), version, private=bool(withheld))


def _derived(
    lookup: Lookup, query: Query, name: bytes, fetched: Mapping[Reference, Answer]
) -> Answer:
    """What a template makes of a name. Raises Elsewhere where another node must be asked.

    It has no version: it may change with the base, the namespace or what is cited.
    """
    try:
        made = derived_values(lookup, query, name, fetched)
    except TemplateRefused as error:
        return Answer(error.code, query.handle, authoritative=True, message=str(error))
    if made is None:
        return absent(query.handle)
    values = [
        value
        for value in slices(b"".join(map(encode_value, made)))
        if chosen(value, query.indexes, query.types)
        and (value.permissions & PUBLIC_READ or not query.public_only)
    ]
    return _readable(lookup, query, values, lambda: Record(name, made), 0)


async def _derived_after(lookup: Lookup, query: Query, name: bytes, where: Elsewhere) -> Answer:
    """The same, asking for what the template cites; it cites a few values at most."""
    fetched: dict[Reference, Answer] = {}
    while lookup.recursion is not None:
        fetched[where.reference] = await lookup.recursion.resolve(where.question)
        try:
            return _derived(lookup, query, name, fetched)
        except Elsewhere as further:
            where = further
    return absent(query.handle)


def _by_index(value: ValueSlice) -> int:
    return value.index


def _success(query: Query, values: bytes, version: int, *, private: bool = False) -> Answer:
    return Answer(
        ResponseCode.SUCCESS,
        query.handle,
        values,
        authoritative=True,
        version=version,
        private=private,
    )


def _none_chosen(query: Query) -> Answer:
    return Answer(ResponseCode.VALUES_NOT_FOUND, query.handle, authoritative=True)


def _referral(lookup: Lookup, query: Query, name: bytes) -> Answer | None:
    """Where a name went that was given to another node (do-irp 7.4, 17.2).

    A prefix record `0.NA/x.y` is referred to the derived-prefix sites of its nearest ancestor that
    has some; any other identifier to the sites of the prefix it was delegated to.
    """
    described = described_prefix(name)
    if described is not None:
        code, values = ResponseCode.PREFIX_REFERRAL, _derived_sites(lookup, described)
    else:
        code = ResponseCode.SERVICE_REFERRAL
        record = lookup.prefixes.delegation_for(name)
        values = lookup.public_values(record, SITE_TYPES) if record is not None else []
    if not values:
        return None
    return Answer(code, query.handle, join(values), source="referral", referral=b"")


def _derived_sites(lookup: Lookup, prefix: bytes) -> list[ValueSlice]:
    """Who serves the records of prefixes derived from an ancestor of this one.

    A node that is home to the nearest ancestor serves them itself: its own sites are no referral.
    A delegated prefix whose record names only sites of its own serves what is derived from it.
    """
    homed, delegated = lookup.prefixes.homed(), lookup.prefixes.delegated()
    for above in ancestors(prefix):
        record = prefix_record(above)
        values = lookup.public_values(record, DERIVED_SITE_TYPES)
        if above in homed:
            own = {value.data for value in _decoded(lookup.public_values(record, SITE_TYPES))}
            return [value for value in values if decode_value(value.octets).data not in own]
        if not values and above in delegated:
            values = [_as_derived(value) for value in lookup.public_values(record, SITE_TYPES)]
        if values:
            return values
    return []


def _decoded(values: list[ValueSlice]) -> list[HandleValue]:
    return [decode_value(value.octets) for value in values]


def _as_derived(value: ValueSlice) -> ValueSlice:
    """A site value as its derived-prefix type: HS_SITE and HS_SITE.6 -> HS_SITE.PREFIX."""
    service = value.type.upper() == b"HS_SERV"
    type_ = b"HS_SERV.PREFIX" if service else b"HS_SITE.PREFIX"
    octets = encode_value(replace(decode_value(value.octets), type=type_))
    return replace(value, octets=octets, type=type_)
