"""protocol.epcis.event, moment and vocabulary."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.epcis import event as read
from protocol.epcis.event import Mention, Role
from protocol.epcis.moment import format_time_us, hash_time, parse_time_us
from protocol.epcis.vocabulary import BIZ_STEP, MEASUREMENT, expand, family_of, word
from protocol.errors import BiaoshiError, ParseError
from tests.protocol.epcis.shared_epcis import MINIMAL

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["id", "epcClass", "type", "source", "quantity"]), inner, max_size=3
        )
    ),
    max_leaves=8,
)


def test_mentions_name_every_object_in_its_role() -> None:
    """Each list gives its role, quantities their amount and unit, and a repeated object one mention."""
    event = {
        "parentID": "urn:epc:id:sscc:4012345.1111111112",
        "childEPCs": ["urn:epc:id:sgtin:4012345.011122.25", "https://x/01/04012345111224/21/25"],
        "inputQuantityList": [
            {
                "epcClass": "https://id.gs1.org/01/04012345111224/10/L",
                "quantity": Decimal("1.50"),
                "uom": "KGM",
            },
            {"epcClass": "88.1/abc"},
        ],
        "outputEPCList": ["88.118.8/x"],
    }
    assert read.mentions(event) == (
        Mention(Role.PARENT, "https://id.gs1.org/00/140123451111111124"),
        Mention(Role.CHILD, "https://id.gs1.org/01/04012345111224/21/25"),
        Mention(Role.OUTPUT, "88.118.8/x"),
        Mention(
            Role.INPUT_QUANTITY, "https://id.gs1.org/01/04012345111224/10/L", Decimal("1.5"), "KGM"
        ),
        Mention(Role.INPUT_QUANTITY, "88.1/abc"),
    )


def test_the_small_readings() -> None:
    """Places and parties come canonical, words as written."""
    event = MINIMAL | {
        "sourceList": [{"type": "owning_party", "source": "urn:epc:id:pgln:4012345.00225"}],
        "bizTransactionList": [{"bizTransaction": "urn:x:1"}],
        "errorDeclaration": {
            "declarationTime": "2026-03-01T10:00:00Z",
            "correctiveEventIDs": ["urn:x:2"],
        },
    }
    assert read.read_point(event) == "https://id.gs1.org/414/9521321000018"
    assert read.biz_location(event) is None
    assert read.sources(event) == (("owning_party", "https://id.gs1.org/417/4012345002256"),)
    assert read.documents(event) == ((None, "urn:x:1"),)
    assert read.is_declared_error(event)
    assert read.corrected_by(event) == ("urn:x:2",)
    assert read.time_us(event) == 1_772_359_200_000_000
    assert read.family(event) == "logistics"


@settings(max_examples=200)
@given(
    st.dictionaries(
        st.sampled_from(
            [*MINIMAL, *read.INSTANCE_FIELDS, *read.QUANTITY_FIELDS, "parentID", "sourceList"]
        ),
        JSON,
    )
)
def test_readings_take_any_json(event: dict[str, object]) -> None:
    """No reading fails on an event of the wrong shape, but the time, which raises a plain error."""
    read.mentions(event)
    for reading in (
        read.kind,
        read.action,
        read.event_id,
        read.read_point,
        read.sources,
        read.documents,
        read.family,
        read.corrected_by,
    ):
        reading(event)
    with contextlib.suppress(BiaoshiError):
        read.time_us(event)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("2026-03-01T10:00:00Z", "2026-03-01T10:00:00.000Z"),
        ("2026-03-01T10:00:00.1234+01:00", "2026-03-01T09:00:00.123Z"),
        ("2026-03-01T10:00:00.1235Z", "2026-03-01T10:00:00.124Z"),
        ("2026-12-31T23:59:59.9996-01:00", "2027-01-01T01:00:00.000Z"),
        ("2026-03-01T10:00:00.99949999Z", "2026-03-01T10:00:00.999Z"),
        ("2024-02-29T00:30:00+01:00", "2024-02-28T23:30:00.000Z"),
        ("2016-12-31T23:59:60Z", "2017-01-01T00:00:00.000Z"),
    ],
)
def test_times_of_the_hash_are_rounded_half_up_at_the_fourth_decimal(
    text: str, wanted: str
) -> None:
    """UTC, three decimals, with carrying over."""
    assert hash_time(text) == wanted


@pytest.mark.parametrize(
    "text",
    [
        "2026-03-01",
        "2026-03-01T10:00:00",
        "2026-02-30T10:00:00Z",
        "10:00",
        "2026-03-01T24:00:00Z",
        "0000-01-01T00:00:00Z",
        "9999-12-31T23:59:59.9996-10:00",
        "",
    ],
)
def test_what_is_no_moment_has_no_spelling(text: str) -> None:
    """Text that is no date and time with zone is left to the caller."""
    assert hash_time(text) is None


@settings(max_examples=200)
@given(
    st.datetimes(min_value=datetime(1, 1, 2), max_value=datetime(9999, 12, 30)),
    st.integers(-839, 839),
)
def test_times_agree_with_the_calendar_of_python(moment: datetime, zone_min: int) -> None:
    """Any moment in any zone gives the microseconds that datetime gives, and writes back."""
    sign, minutes = ("-", -zone_min) if zone_min < 0 else ("+", zone_min)
    text = (
        f"{moment.isoformat(timespec='microseconds')}{sign}{minutes // 60:02d}:{minutes % 60:02d}"
    )
    utc = moment.replace(tzinfo=UTC) - timedelta(minutes=zone_min)
    wanted = (utc - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    assert parse_time_us(text) == wanted
    assert parse_time_us(format_time_us(wanted)) == wanted


def test_a_fraction_may_have_any_digits() -> None:
    """Digits beyond the microsecond are cut; text without zone is refused."""
    assert parse_time_us("1970-01-01T00:00:00.1234567890123Z") == 123_456
    with pytest.raises(ParseError, match="zone"):
        parse_time_us("1970-01-01T00:00:00")


def test_words_uris_and_urns_are_one() -> None:
    """A word, its web URI and its URN are the same step; other texts stay."""
    uri = "https://ref.gs1.org/cbv/BizStep-shipping"
    for text in ("shipping", uri, "urn:epcglobal:cbv:bizstep:shipping"):
        assert expand(BIZ_STEP, text) == uri
        assert word(BIZ_STEP, text) == "shipping"
    assert expand(BIZ_STEP, "https://example.com/step") == "https://example.com/step"
    assert (
        word(BIZ_STEP, "https://ref.gs1.org/cbv/BizStep-unheard")
        == "https://ref.gs1.org/cbv/BizStep-unheard"
    )
    assert word(MEASUREMENT, "https://gs1.org/voc/Temperature") == "Temperature"


def test_families_follow_step_and_state() -> None:
    """Steps of two families go by the disposition."""
    assert family_of("installing", None) == "production"
    assert family_of("installing", "active") == "service"
    assert family_of("unpacking", "disposed") == "end-of-life"
    assert family_of("unpacking", "in_progress") == "logistics"
    assert family_of(None, None, transformation=True) == "production"
    assert family_of("https://example.com/step", None) == "other"
