"""Rights: which HS_ADMIN value lets whom do what, and that nobody gains more than they hold."""

from __future__ import annotations

import pytest

from protocol.change import Change, Kind
from protocol.errors import NotAuthorized, ResponseCode
from protocol.record import HandleValue, Record, Reference
from protocol.values.hs_admin import Permission as P
from registry.access import Access, AccessSettings, matches
from tests.registry.conftest import ADMIN, SECRET, STRANGER, admin, url, vlist

PREFIX = b"0.NA/88.118.8"
H = b"88.118.8/pump-7"
ALICE = Reference(b"88.118.8/Alice", 300)
BOB = Reference(b"88.118.8/Bob", 300)
ALICE_AT = (ALICE.handle, ALICE.index)
ALL = 0xFFF


@pytest.fixture
def works(desk):
    """A prefix record in which Alice may create, and a record that Bob administers."""
    desk.create(
        PREFIX,
        admin(ALL, PREFIX, 200),
        admin(P.ADD_HANDLE | P.ADD_DERIVED_PREFIX, *(ALICE.handle, ALICE.index), at=101),
        vlist(ADMIN, SECRET),
        HandleValue(300, b"HS_PUBKEY", b"site key"),
        HandleValue(301, b"HS_SECKEY", b"secret", permissions=0b1100),
    )
    desk.create(H, url(), url(b"open", 2, permissions=0b1111), admin(ALL, BOB.handle, 300))
    return desk


def allowed(outcome) -> bool:
    if outcome.status == "refused":
        assert outcome.code is ResponseCode.INVALID_ADMIN, outcome
        return False
    return True


def holding(works, mask: int) -> None:
    """Give Alice one HS_ADMIN value in the record."""
    works.do(Kind.MERGE, H, admin(mask, ALICE.handle, 300, at=101))


def test_identities_match_by_the_prefix_rule():
    """The handle's prefix folds, its suffix does not; index 0 in the reference means any."""
    assert matches(Reference(b"88.A/x", 3), Reference(b"88.a/x", 3))
    assert not matches(Reference(b"88.a/X", 3), Reference(b"88.a/x", 3))
    assert matches(Reference(b"0.NA/88.a", 3), Reference(b"0.NA/88.A", 0))
    assert not matches(Reference(b"88.a/x", 0), Reference(b"88.a/x", 3))


@pytest.mark.parametrize("actor", [None, ADMIN, SECRET])
def test_operator_and_server_admins_may_do_everything(works, actor):
    """The node's operator and its configured administrators need no HS_ADMIN value."""
    assert allowed(works.create(b"88.118.8/new", url(), actor=actor))
    assert allowed(works.do(Kind.MODIFY, H, url(b"n"), actor=actor))
    assert allowed(works.do(Kind.DELETE, H, actor=actor))
    assert allowed(works.do(Kind.HOME, b"88.77", actor=actor))


def test_a_stranger_may_do_nothing(works):
    """Without a right every kind of change is refused, and nothing changes."""
    before = works.row(H)
    for change in (
        Change(Kind.CREATE, b"88.118.8/new", (url(),)),
        Change(Kind.CREATE, H, (url(b"n"),), overwrite=True),
        Change(Kind.MERGE, H, (url(b"n"),)),
        Change(Kind.ADD, H, (url(b"n", 9),)),
        Change(Kind.MODIFY, H, (url(b"n"),)),
        Change(Kind.MODIFY, H, (url(b"n", 77),)),
        Change(Kind.REMOVE, H, indexes=(1,)),
        Change(Kind.DELETE, H),
        Change(Kind.HOME, b"88.77"),
        Change(Kind.UNHOME, PREFIX),
        Change(Kind.CREATE, b"0.NA/88.118.8.1", (url(),)),
        Change(Kind.DELEGATE, b"0.NA/88.118.8.1", (url(),)),
    ):
        for actor in (STRANGER, BOB if change.kind in {Kind.HOME, Kind.UNHOME} else STRANGER):
            done = works.writer.commit(
                [Change(**{f: getattr(change, f) for f in change.__slots__} | {"actor": actor})]
            )[0]
            assert not allowed(done), change
    assert works.row(H) == before


@pytest.mark.parametrize(
    ("mask", "change", "may"),
    [
        (P.ADD_VALUE, Change(Kind.ADD, H, (url(b"n", 9),)), True),
        (P.MODIFY_VALUE, Change(Kind.ADD, H, (url(b"n", 9),)), False),
        (P.ADD_VALUE, Change(Kind.ADD, H, (url(b"n"),), overwrite=True), False),
        (P.MODIFY_VALUE, Change(Kind.ADD, H, (url(b"n"),), overwrite=True), True),
        (P.MODIFY_VALUE, Change(Kind.MODIFY, H, (url(b"n"),)), True),
        (P.ADD_VALUE, Change(Kind.MODIFY, H, (url(b"n"),)), False),
        (0, Change(Kind.MODIFY, H, (url(b"n", 2),)), True),  # public write
        (P.REMOVE_VALUE, Change(Kind.REMOVE, H, indexes=(1,)), True),
        (P.REMOVE_VALUE, Change(Kind.REMOVE, H, indexes=(1, 100)), False),
        (P.REMOVE_ADMIN, Change(Kind.REMOVE, H, indexes=(100,)), True),
        (P.DELETE_HANDLE, Change(Kind.DELETE, H), True),
        (ALL & ~P.DELETE_HANDLE, Change(Kind.DELETE, H), False),
        (P.ADD_VALUE, Change(Kind.ADD, H, (admin(0, b"x", 1, at=7),)), False),
        (P.ADD_ADMIN, Change(Kind.ADD, H, (admin(P.ADD_ADMIN, b"x", 1, at=7),)), True),
        (P.MODIFY_VALUE, Change(Kind.MODIFY, H, (admin(0, b"x", 1, at=1),)), False),
        (
            P.MODIFY_VALUE | P.ADD_ADMIN,
            Change(Kind.MODIFY, H, (admin(0, b"x", 1, at=1),)),
            True,
        ),
        (P.MODIFY_ADMIN, Change(Kind.MODIFY, H, (url(b"n", 100),)), False),
        (P.REMOVE_ADMIN | P.MODIFY_VALUE, Change(Kind.MODIFY, H, (url(b"n", 100),)), True),
        (
            P.MODIFY_VALUE | P.ADD_VALUE | P.REMOVE_VALUE,
            Change(Kind.CREATE, H, (url(b"n"),), overwrite=True),
            False,
        ),
        (P.ADD_ADMIN, Change(Kind.CREATE, H, (url(b"n"),), overwrite=True), True),
        (P.DELETE_HANDLE, Change(Kind.CREATE, H, (url(b"n"),), overwrite=True), True),
    ],
)
def test_each_operation_needs_its_right(works, mask, change, may):
    """do-irp 17.3 line by line: with the right it is done, without it refused."""
    holding(works, mask)
    done = works.writer.commit(
        [Change(**{f: getattr(change, f) for f in change.__slots__} | {"actor": ALICE})]
    )[0]
    assert allowed(done) is may


def test_all_rights_must_be_in_one_value(works):
    """Two HS_ADMIN values that hold half of the rights each do not add up."""
    works.do(Kind.MERGE, H, admin(P.ADD_VALUE, ALICE.handle, 300, at=101))
    works.do(Kind.MERGE, H, admin(P.MODIFY_VALUE, ALICE.handle, 300, at=102))
    both = (url(b"n"), url(b"n", 9))
    assert not allowed(works.do(Kind.MERGE, H, *both, actor=ALICE))
    works.do(Kind.MERGE, H, admin(P.ADD_VALUE | P.MODIFY_VALUE, ALICE.handle, 300, at=103))
    assert allowed(works.do(Kind.MERGE, H, *both, actor=ALICE))


def test_creation_asks_the_prefix_record(works):
    """Handles need add handle there; derived prefixes add derived prefix."""
    assert allowed(works.create(b"88.118.8/new", url(), actor=ALICE))
    assert allowed(works.create(b"0.NA/88.118.8.1", url(), actor=ALICE))
    works.do(Kind.MERGE, PREFIX, admin(P.ADD_DERIVED_PREFIX, ALICE.handle, 300, at=101))
    assert not allowed(works.create(b"88.118.8/new2", url(), actor=ALICE))
    assert allowed(works.create(b"0.NA/88.118.8.2", url(), actor=ALICE))


def test_lists_are_followed(works):
    """Membership goes through lists of lists, ends at cycles, and not through index 0."""
    group, inner = b"88.118.8/group", b"88.118.8/inner"
    works.create(group, vlist(Reference(inner, 200), Reference(group, 200)))
    works.create(inner, vlist(Reference(group, 200), ALICE))
    works.create(H, url(), admin(ALL, group, 200), overwrite=True)
    assert allowed(works.do(Kind.MODIFY, H, url(b"n"), actor=ALICE))
    assert not allowed(works.do(Kind.MODIFY, H, url(b"m"), actor=BOB))
    works.create(H, url(), admin(ALL, group, 0), overwrite=True)
    assert not allowed(works.do(Kind.MODIFY, H, url(b"n"), actor=ALICE))


def test_a_list_changed_in_the_batch_counts_at_once(works):
    """The later change of a batch sees the membership that the earlier one gave or took."""
    group = b"88.118.8/group"
    works.create(group, vlist(BOB))
    works.create(H, url(), admin(ALL, group, 200), overwrite=True)
    done = works.writer.commit(
        [
            Change(Kind.MODIFY, H, (url(b"1"),), actor=ALICE),
            Change(Kind.MODIFY, group, (vlist(ALICE),)),
            Change(Kind.MODIFY, H, (url(b"2"),), actor=ALICE),
            Change(Kind.MODIFY, H, (url(b"3"),), actor=BOB),
        ]
    )
    assert [allowed(one) for one in done] == [False, True, True, False]


def test_foreign_lists_come_from_the_fetch(works):
    """A list of another node counts only when it was handed in."""
    far = Reference(b"99/group", 200)
    values = (admin(ALL, far.handle, far.index),)
    blind = Access(works.store, AccessSettings())
    assert blind.masks(ALICE, values) == []
    seeing = Access(works.store, AccessSettings(), fetch={b"99/group": (vlist(ALICE),)}.get)
    assert seeing.masks(ALICE, values) == [ALL]


def test_nobody_grants_more_than_they_hold(works):
    """Adding or widening an HS_ADMIN value beyond one's own rights is refused."""
    mine = P.ADD_ADMIN | P.MODIFY_ADMIN | P.ADD_VALUE | P.MODIFY_VALUE
    holding(works, mine)
    wider = admin(mine | P.DELETE_HANDLE, ALICE.handle, 300, at=101)
    assert not allowed(works.do(Kind.MODIFY, H, wider, actor=ALICE))
    assert not allowed(works.do(Kind.ADD, H, admin(ALL, b"x", 1, at=103), actor=ALICE))
    assert not allowed(works.create(H, wider, actor=ALICE, overwrite=True))
    assert allowed(works.do(Kind.ADD, H, admin(mine, b"x", 1, at=103), actor=ALICE))


def test_rights_that_are_there_already_are_no_grant(works):
    """Naming the server's own administrators, one by one or by their list, adds nothing to theirs."""
    holding(works, P.ADD_ADMIN | P.MODIFY_ADMIN)
    for at, name in ((110, ADMIN), (111, SECRET), (112, Reference(PREFIX, 200))):
        assert allowed(works.do(Kind.ADD, H, admin(ALL, name.handle, name.index, at), actor=ALICE))
        narrower = admin(P.READ_VALUE, name.handle, name.index, at)
        assert allowed(works.do(Kind.MODIFY, H, narrower, actor=ALICE))
    assert allowed(works.do(Kind.ADD, H, admin(P.READ_VALUE, BOB.handle, 300, 113), actor=ALICE))
    works.do(Kind.MERGE, PREFIX, vlist(ADMIN, SECRET, STRANGER))
    more = admin(ALL, PREFIX, 200, 114)
    assert not allowed(works.do(Kind.ADD, H, more, actor=ALICE))


def test_a_key_stands_in_for_another_index(works):
    """A key with a reference to an index of its own record proves that identity too."""
    old = HandleValue(
        303, b"HS_PUBKEY", b"old key", references=(Reference(PREFIX.lower(), 300), ALICE)
    )
    works.do(Kind.MERGE, PREFIX, old)
    assert works.access.find_public_keys(ADMIN) == (b"site key", b"old key")
    assert works.access.find_public_keys(Reference(PREFIX, 303)) == (b"old key",)
    assert works.access.find_public_keys(Reference(PREFIX, 304)) == ()
    other = HandleValue(300, b"HS_PUBKEY", b"key of Alice")
    works.create(b"88.118.8/Alice", other)
    assert works.access.find_public_keys(ALICE) == (b"key of Alice",)


def test_who_stands_in_must_be_let(works):
    """Adding such a key asks for the rights of who it stands in for, and for modify value."""
    old = HandleValue(303, b"HS_PUBKEY", b"key of Alice", references=(Reference(PREFIX, 300),))
    works.do(Kind.MERGE, PREFIX, admin(P.ADD_VALUE | P.MODIFY_VALUE, *ALICE_AT, at=101))
    assert not allowed(works.do(Kind.ADD, PREFIX, old, actor=ALICE))
    plain = HandleValue(304, b"HS_PUBKEY", b"key of Alice")
    assert allowed(works.do(Kind.ADD, PREFIX, plain, actor=ALICE))
    elsewhere = HandleValue(300, b"HS_PUBKEY", b"k", references=(Reference(H, 301),))
    holding(works, P.ADD_VALUE)
    assert not allowed(works.do(Kind.ADD, H, elsewhere, actor=ALICE))
    holding(works, P.ADD_VALUE | P.MODIFY_VALUE)
    assert allowed(works.do(Kind.ADD, H, elsewhere, actor=ALICE))


@pytest.mark.parametrize(
    "value",
    [
        HandleValue(300, b"HS_PUBKEY", b"key of Alice"),
        HandleValue(301, b"HS_SECKEY", b"word of Alice", permissions=0b1100),
        vlist(ALICE),
    ],
)
def test_a_trusted_key_is_not_a_plain_value(works, value):
    """Who may modify values cannot become administrator by setting a key or a list."""
    works.do(Kind.MERGE, PREFIX, admin(P.MODIFY_VALUE, ALICE.handle, 300, at=101))
    assert not allowed(works.do(Kind.MODIFY, PREFIX, value, actor=ALICE))
    assert works.values(PREFIX)[300] == b"site key"
    works.do(Kind.MERGE, PREFIX, admin(ALL, ALICE.handle, 300, at=101))
    assert allowed(works.do(Kind.MODIFY, PREFIX, value, actor=ALICE))


def test_reading_and_listing(works):
    """Values that are not public need read value; lists of handles need list handles."""
    holding(works, P.READ_VALUE)
    works.access.require_read(ALICE, works.record(H))
    with pytest.raises(NotAuthorized, match="read value"):
        works.access.require_read(STRANGER, works.record(H))
    with pytest.raises(NotAuthorized, match="list handles"):
        works.access.require_list(ALICE, PREFIX)
    works.access.require_list(ADMIN, PREFIX)
    assert works.access.allows(BOB, H, P.DELETE_HANDLE)
    assert works.access.rights(BOB, b"88.118.8/none") == []
    with pytest.raises(NotAuthorized, match="administrators of this server"):
        works.access.require_server_admin(ALICE, "home a prefix")


def test_keys_and_secrets_are_found_here(works):
    """An identity's key is the value of that type at its index; index 0 means all of them."""
    assert works.access.find_secret(SECRET) == b"secret"
    assert works.access.find_secret(ADMIN) is None
    assert works.access.find_public_keys(ADMIN) == (b"site key",)
    assert works.access.find_public_keys(Reference(PREFIX.lower(), 0)) == (b"site key",)
    assert works.access.find_secrets(Reference(b"99/none", 0)) == ()


def test_server_admins_without_full_access(works):
    """With full access off, server administrators home prefixes and need rights in records."""
    settings = AccessSettings(server_admins=(STRANGER,), full_access=False)
    access = Access(works.store, settings)
    assert access.is_server_admin(STRANGER)
    access.require(Change(Kind.HOME, b"88.5", actor=STRANGER), None, None)
    with pytest.raises(NotAuthorized):
        access.require_read(STRANGER, Record(H, ()))
