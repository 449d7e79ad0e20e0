"""protocol.epcis.units: exact factors, and queries that ask in another unit than was captured."""

from __future__ import annotations

import re
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.epcis.query import parse_query
from protocol.epcis.query_tests import COMPARISONS
from protocol.epcis.units import QUANTITIES, UNITS, convert

KNOWN = [
    ("0", "CEL", "273.15", "KEL"),
    ("-40", "CEL", "-40", "FAH"),
    ("21.5", "CEL", "70.7", "FAH"),
    ("491.67", "A48", "32", "FAH"),
    ("1", "INH", "25.4", "MMT"),
    ("1", "SMI", "5280", "FOT"),
    ("1", "NMI", "1.852", "KMT"),
    ("1", "LBR", "16", "ONZ"),
    ("1", "STN", "2000", "LBR"),
    ("1", "LTN", "2240", "LBR"),
    ("1", "LBR", "7000", "GRN"),
    ("1", "APZ", "480", "GRN"),
    ("1", "TNE", "1000", "KGM"),
    ("1", "GLL", "231", "INQ"),
    ("1", "GLL", "128", "OZA"),
    ("1", "GLI", "160", "OZI"),
    ("1", "BLL", "42", "GLL"),
    ("1", "YDQ", "27", "FTQ"),
    ("1", "LTR", "1", "DMQ"),
    ("1", "ATM", "760", "UA"),
    ("1", "BAR", "100", "KPA"),
    ("1013.25", "A97", "1", "ATM"),
    ("1", "WEE", "168", "HUR"),
    ("36", "KMH", "10", "MTS"),
    ("1", "KNT", "1.852", "KMH"),
    ("88", "FS", "60", "HM"),
    ("1", "KWH", "3.6", "3B"),
    ("1", "E14", "1000", "D70"),
    ("1", "AMH", "1000", "E09"),
    ("60", "RPM", "1", "RPS"),
    ("1", "P1", "10000", "59"),
    ("1", "CUR", "37", "GBQ"),
    ("1", "MQH", "1000", "E32"),
    ("1", "89", "100", "C7"),
    ("1", "MIK", "3097600", "YDK"),
    ("1", "C38", "1000", "M33"),
]


@pytest.mark.parametrize(("one", "code", "other", "to"), KNOWN)
def test_known_equalities(one: str, code: str, other: str, to: str) -> None:
    """What the definitions of the units say, both ways, without rounding."""
    assert convert(Decimal(one), code, to) == Decimal(other)
    assert convert(Decimal(other), to, code) == Decimal(one)


def test_pound_per_square_inch() -> None:
    """A pound-force is the weight of a pound in standard gravity."""
    psi = Fraction("0.45359237") * Fraction("9.80665") / Fraction("0.0254") ** 2
    assert UNITS["PS"].scale == psi


def test_table() -> None:
    """Codes are those a query may name, scales keep the order, and no code is in two quantities."""
    assert all(re.fullmatch(r"[A-Z0-9]{2,3}", code) for code in UNITS)
    assert all(unit.scale > 0 for unit in UNITS.values())
    listed = [code for codes in QUANTITIES.values() for code in codes.split(";")]
    assert len(listed) == len(UNITS)


@pytest.mark.parametrize(
    ("code", "to"), [("NU", "JOU"), ("LTR", "KGM"), ("CEL", "P1"), ("XYZ", "CEL"), ("EA", "KGM")]
)
def test_different_quantities(code: str, to: str) -> None:
    """Torque is no energy, a volume no mass; unknown codes compare with themselves alone."""
    assert convert(Decimal(1), code, to) is None
    assert convert(Decimal(1), to, code) is None
    assert convert(Decimal(1), code, code) == 1


codes = st.sampled_from(sorted(UNITS))
numbers = st.decimals(allow_nan=False, allow_infinity=False, places=6, min_value=-(10**9))


@given(numbers, numbers, codes, st.booleans(), st.data())
def test_round_trip(one: Decimal, other: Decimal, code: str, interval: bool, data: Any) -> None:
    """There and back, by a third unit too, gives the number again; the order stays."""
    kin = sorted(c for c, unit in UNITS.items() if unit.quantity == UNITS[code].quantity)
    to, by = data.draw(st.sampled_from(kin)), data.draw(st.sampled_from(kin))
    first = convert(one, code, to, interval=interval)
    second = convert(other, code, to, interval=interval)
    assert first is not None
    assert second is not None
    assert (first < second) == (one < other)
    third = _convert(_convert(Fraction(one), code, by, interval), by, to, interval)
    assert third == first
    assert _convert(first, to, code, interval) == one


def _convert(number: Fraction, code: str, to: str, interval: bool) -> Fraction:
    """As convert(), for a number that no decimal writes: in two decimals, for it is linear."""
    zero = convert(Decimal(0), code, to, interval=interval)
    unit = convert(Decimal(1), code, to, interval=interval)
    assert zero is not None
    assert unit is not None
    return zero + number * (unit - zero)


def event(**report: Any) -> dict[str, Any]:
    return {"sensorElementList": [{"sensorReport": [{"type": "x", **report}]}]}


def holds(name: str, value: str, found: dict[str, Any]) -> bool:
    return parse_query({name: [value]}).matches(found)


@pytest.mark.parametrize("member", ["value", "minValue", "maxValue", "meanValue", "percValue"])
def test_readings_in_another_unit(member: str) -> None:
    """21.5 degrees Celsius are found by whoever asks in Fahrenheit or Kelvin."""
    found = event(**{member: 21.5, "uom": "CEL"})
    for uom, at, below in (("FAH", "70.7", "70.6"), ("KEL", "294.65", "294.64")):
        assert holds(f"EQ_{member}_{uom}", at, found)
        assert not holds(f"EQ_{member}_{uom}", below, found)
        assert holds(f"GT_{member}_{uom}", below, found)
        assert not holds(f"GT_{member}_{uom}", at, found)
        assert holds(f"GE_{member}_{uom}", at, found)
        assert holds(f"LE_{member}_{uom}", at, found)
        assert not holds(f"LT_{member}_{uom}", at, found)
        assert not holds(f"LE_{member}_{uom}", below, found)


def test_deviation_is_an_interval() -> None:
    """A deviation of 1 K is one of 1.8 degrees Fahrenheit, not of -457.87."""
    found = event(sDev=1, uom="KEL")
    assert holds("EQ_sDev_FAH", "1.8", found)
    assert holds("EQ_sDev_CEL", "1", found)
    assert not holds("LT_sDev_CEL", "0", found)


def test_quantities_in_another_unit() -> None:
    """Quantities of classes too; without a unit they are pieces and nothing else."""
    found = {"quantityList": [{"epcClass": "urn:x:c", "quantity": 2.5, "uom": "TNE"}]}
    assert holds("EQ_quantity_KGM", "2500", found)
    assert holds("GT_quantity_LBR", "5511", found)
    assert not holds("EQ_quantity_KGM", "2.5", found)
    assert not holds("EQ_quantity_LTR", "2500", found)
    assert not holds("GE_quantity_KGM", "0", {"quantityList": [{"quantity": 1}]})


def test_each_reading_keeps_its_own_unit() -> None:
    """Reports of one event may tell in different units; a bound in one is not that of another."""
    reports = [{"type": "x", "value": 1, "uom": "BAR"}, {"type": "x", "value": 50, "uom": "CEL"}]
    found = {"sensorElementList": [{"sensorReport": reports}]}
    assert holds("EQ_value_KPA", "7|100", found)
    assert not holds("GT_value_KPA", "100", found)
    assert holds("LT_value_FAH", "122.1", found)
    assert not holds("EQ_value_KEL", "50", found)


@given(numbers, numbers, codes, st.sampled_from(sorted(COMPARISONS)), st.data())
def test_any_unit_asks_the_same(
    captured: Decimal, asked: Decimal, code: str, compare: str, data: Any
) -> None:
    """Whatever unit the capture is written in, the answer is that of the unit asked in."""
    kin = sorted(c for c, unit in UNITS.items() if unit.quantity == UNITS[code].quantity)
    uom = data.draw(st.sampled_from(kin))
    there = convert(captured, uom, code)
    assert there is not None
    found = event(value=captured, uom=uom)
    expected = COMPARISONS[compare](there, Fraction(asked))
    assert holds(f"{compare}_value_{code}", str(asked), found) == expected


@pytest.mark.parametrize("value", [Decimal("1E+999999"), Decimal("-1E-999999"), 1e308, True, "1"])
def test_odd_numbers(value: Any) -> None:
    """Numbers of any size are compared at once; what is none is passed over."""
    found = event(value=value, uom="KMT")
    numeric = not isinstance(value, bool | str)
    assert holds("GT_value_MMT", "0", found) == (numeric and value > 0)
    assert holds("LT_value_MMT", "1e-300", found) == (numeric and value < 0)
    assert not holds("EQ_value_MMT", "1e300", found)
