"""One lookup: the steps, the referrals, and what each kind of question is answered."""

from __future__ import annotations

from dataclasses import replace

import pytest

from protocol.errors import ResponseCode, StoreError
from protocol.record import HandleValue, Record, Reference, decode_values
from protocol.values.hs_site import decode_site, encode_site
from registry.prefixes import DELEGATED, HOMED, PrefixRow
from registry.store import Table, Write
from resolver.lookup import LOOKUP_STEPS, Answer, Query
from tests.resolver.doirp.world import NOW, PREFIX, World, product, site

OWN = b"0.NA/" + PREFIX
CHILD = OWN + b".5"


def types(answer: Answer) -> list[bytes]:
    return [value.type for value in decode_values(answer.values)]


def now(world: World, handle: bytes, **more: object) -> Answer:
    answer = world.node.lookup.answer_now(Query(handle, **more))  # type: ignore[arg-type]
    assert answer is not None
    return answer


def delegate(world: World, *values: HandleValue) -> None:
    """The record of the child 88.118.8.5, which is delegated."""
    world.put(Record(CHILD, values))


def site_value(index: int = 1, type_: bytes = b"HS_SITE", serial: int = 9) -> HandleValue:
    return HandleValue(index, type_, encode_site(site(serial=serial)), timestamp=NOW)


def test_the_steps_stand_in_their_order() -> None:
    """Store, templates, cache, other nodes."""
    names = ["from_store", "from_template", "from_cache", "from_referral"]
    assert [step.__name__ for step in LOOKUP_STEPS] == names


def test_a_name_without_slash_is_its_prefix_record(world: World) -> None:
    """`88.118.8` stands for `0.NA/88.118.8` (do-irp 15.1); the handle is answered as asked."""
    world.put_prefix_record()
    answer = now(world, PREFIX)
    assert (answer.code, answer.handle) == (ResponseCode.SUCCESS, PREFIX)
    assert b"HS_SITE" in types(answer)


def test_a_name_of_a_delegated_prefix_is_referred(world: World) -> None:
    """302 with the sites of the prefix's record; with DNR, or without such a record, 301."""
    name = PREFIX + b".5/x"
    assert now(world, name).code == ResponseCode.SERVER_NOT_RESPONSIBLE
    delegate(world, site_value(), HandleValue(2, b"DESC", b"child"))
    answer = now(world, name)
    assert (answer.code, answer.source, answer.referral) == (302, "referral", b"")
    assert types(answer) == [b"HS_SITE"]
    assert now(world, name, do_not_refer=True).code == ResponseCode.SERVER_NOT_RESPONSIBLE


def test_records_below_a_delegated_prefix_are_referred(world: World) -> None:
    """303 with the derived-prefix sites, or the prefix's own sites as such; with DNR 100 or 301."""
    name = CHILD + b".7"
    delegate(world, site_value(), site_value(2, b"HS_SITE.6"))
    answer = now(world, name)
    assert answer.code == ResponseCode.PREFIX_REFERRAL
    assert types(answer) == [b"HS_SITE.PREFIX", b"HS_SITE.PREFIX"]
    assert decode_site(decode_values(answer.values)[0].data).serial == 9
    delegate(world, site_value(), site_value(3, b"HS_NA_DELEGATE", serial=4))
    assert types(now(world, name)) == [b"HS_NA_DELEGATE"]
    assert now(world, name, do_not_refer=True).code == ResponseCode.HANDLE_NOT_FOUND


def test_the_record_of_a_delegated_prefix_is_answered_here(world: World) -> None:
    """The parent holds the record of a prefix it gave away."""
    delegate(world, site_value())
    assert types(now(world, CHILD)) == [b"HS_SITE"]


def test_a_node_does_not_refer_to_itself(world: World) -> None:
    """Own sites published for derived prefixes make no referral; another's do."""
    world.put_prefix_record(site_value(3, b"HS_SITE.PREFIX", serial=3))
    assert now(world, OWN + b".9").code == ResponseCode.HANDLE_NOT_FOUND
    world.put_prefix_record(site_value(3, b"HS_SITE.PREFIX", serial=77))
    assert now(world, OWN + b".9").code == ResponseCode.PREFIX_REFERRAL


def test_bad_utf8_is_an_invalid_handle(world: World) -> None:
    """102 (do-irp 17.1)."""
    assert now(world, PREFIX + b"/\xff").code == ResponseCode.INVALID_HANDLE


def test_an_unhomed_prefix_is_not_answered(world: World) -> None:
    """Records stay where they are; without the prefix they are nobody's business."""
    world.put(product(PREFIX + b"/p"))
    assert now(world, PREFIX + b"/p").code == ResponseCode.SUCCESS
    world.store.apply([PrefixRow(PREFIX, DELEGATED).write()])
    assert now(world, PREFIX + b"/p").code == ResponseCode.SERVER_NOT_RESPONSIBLE
    world.store.apply([PrefixRow(PREFIX, HOMED).write()])
    assert now(world, PREFIX + b"/p").code == ResponseCode.SUCCESS


def test_the_version_of_an_answer_is_the_rows(world: World) -> None:
    """So that a write can be bound to what was read."""
    world.put(product(PREFIX + b"/p"), product(PREFIX + b"/q"))
    assert now(world, PREFIX + b"/q").version == now(world, PREFIX + b"/p").version + 1


def test_long_names_are_found_by_their_whole(world: World) -> None:
    """A name above the key's length is told from another with the same beginning."""
    name = PREFIX + b"/" + b"l" * 900
    world.put(product(name))
    assert now(world, name.upper()).code == ResponseCode.SUCCESS
    assert now(world, name[:-1] + b"x").code == ResponseCode.HANDLE_NOT_FOUND


def test_a_damaged_row_is_never_answered(world: World) -> None:
    """A row whose checksum does not hold raises and is no answer (threats S5)."""
    world.put(product(PREFIX + b"/p"))
    raw = bytearray(world.raw(PREFIX + b"/p") or b"")
    raw[60] ^= 1
    world.store.apply([Write(Table.RECORDS, PREFIX + b"/P", bytes(raw))])
    with pytest.raises(StoreError):
        now(world, PREFIX + b"/p")


def test_public_and_private_values_come_by_index(world: World) -> None:
    """An administrator's answer has all values in the order of their indexes."""
    hidden = HandleValue(5, b"SECRET", b"s", permissions=0b1100, timestamp=NOW)
    world.put_keys()
    world.put(product(PREFIX + b"/p", hidden))
    identity = Reference(OWN, 300)
    answer = now(world, PREFIX + b"/p", public_only=False, identity=identity)
    assert [value.index for value in decode_values(answer.values)] == [1, 2, 5, 100]
    assert answer.private
    stranger = replace(identity, handle=b"1/1")
    refused = now(world, PREFIX + b"/p", public_only=False, identity=stranger)
    assert refused.code == ResponseCode.INVALID_ADMIN


class Cached:
    """A recursion that knows one name and would have to ask for every other."""

    def __init__(self, known: bytes) -> None:
        self.known = known

    def cached(self, query: Query) -> Answer | None:
        if query.handle == self.known:
            return Answer(ResponseCode.SUCCESS, query.handle, source="cache")
        return None

    async def resolve(self, query: Query) -> Answer:
        return Answer(ResponseCode.SUCCESS, query.handle, source="referral")


async def test_other_nodes_are_asked_last(world: World) -> None:
    """Cache before asking; asking is waiting, and not done where it is not wanted."""
    delegate(world, site_value())
    lookup = world.node.lookup
    lookup.recursion = Cached(b"99.1/known")
    assert now(world, b"99.1/known").source == "cache"
    assert lookup.answer_now(Query(b"99.1/new")) is None
    assert (await lookup.answer(Query(b"99.1/new"))).source == "referral"
    assert now(world, b"99.1/new", recursive=False).code == ResponseCode.SERVER_NOT_RESPONSIBLE
    assert lookup.answer_now(Query(CHILD + b".7")) is None
    assert now(world, CHILD + b".7", recursive=False).code == ResponseCode.PREFIX_REFERRAL
    assert now(world, PREFIX + b"/none").code == ResponseCode.HANDLE_NOT_FOUND
