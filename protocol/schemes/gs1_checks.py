"""The checks that the AI table names: check digits, dates, code lists and the like.

Each takes one component of a value, whose length and characters already fit, and raises
BadIdentifier. Rules: GS1 General Specifications §7; traceability §4.3.
"""

from __future__ import annotations

import re
from calendar import monthrange
from collections.abc import Callable, Mapping

from protocol.errors import BadIdentifier
from protocol.schemes.base import check_escapes
from protocol.schemes.gs1_codes import (
    COUNTRY_LETTERS,
    COUNTRY_NUMBERS,
    CURRENCY_NUMBERS,
    PACKAGE_TYPES,
)

SET_82 = "!\"%&'()*+,-./0123456789:;<=>?ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz"
"""Character set 82 in the order of its values."""

CHARACTERS: Mapping[str, re.Pattern[str]] = {
    "N": re.compile(r"[0-9]*"),
    "X": re.compile(r"[!\"%-?A-Z_a-z]*"),
    "Y": re.compile(r"[#\-/0-9A-Z]*"),
    "Z": re.compile(r"[0-9A-Za-z_\-]*={0,2}"),
}
"""What each kind of component may hold."""

CHARACTER_NAMES: Mapping[str, str] = {
    "N": "digits 0 to 9",
    "X": "GS1 character set 82",
    "Y": "GS1 character set 39",
    "Z": "base64url",
}

SET_32 = "23456789ABCDEFGHJKLMNPQRSTUVWXYZ"
_PRIMES = (
    2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71,
    73, 79, 83, 89, 97, 101, 103, 107, 109, 113,
)  # fmt: skip
_COMPANY_DIGITS = re.compile(r"[0-9]{4}")
_POSITION = re.compile(r"([1-9])/([1-9])")


def check_digit(digits: str) -> str:
    """The digit that follows: weights 3, 1, 3 … from the right, modulo 10."""
    total = sum(int(digit) * (3, 1)[at % 2] for at, digit in enumerate(reversed(digits)))
    return str(-total % 10)


def check_pair(text: str) -> str:
    """The two characters that follow a GMN or MUDI: prime weights from the right, modulo 1021."""
    total = sum(
        SET_82.index(char) * prime
        for char, prime in zip(reversed(text), _PRIMES[: len(text)], strict=True)
    )
    high, low = divmod(total % 1021, 32)
    return SET_32[high] + SET_32[low]


def _check(text: str) -> None:
    expected = check_digit(text[:-1])
    if text[-1] != expected:
        raise BadIdentifier(
            "check-digit", f"check digit {text[-1]} of {text}; it should be {expected}"
        )


def _check_pair(text: str) -> None:
    # Below three characters nothing is left to check once the pair is taken off.
    expected = check_pair(text[:-2]) if len(text) >= 2 else ""
    if len(text) < 2 or text[-2:] != expected:
        raise BadIdentifier(
            "check-digit", f"check characters {text[-2:]!r} of {text}; they should be {expected!r}"
        )


def _company(text: str) -> None:
    if not _COMPANY_DIGITS.match(text):
        raise BadIdentifier(
            "company-prefix", f"{text!r} does not begin with four digits of a GS1 company prefix"
        )


def _company2(text: str) -> None:
    _company(text[1:])


def _day(year: int, month: str, day: str, *, whole_month: bool) -> None:
    if not 1 <= int(month) <= 12:
        raise BadIdentifier("date", f"month {month}; write 01 to 12")
    last = monthrange(year, int(month))[1]
    if not (0 if whole_month else 1) <= int(day) <= last:
        raise BadIdentifier("date", f"day {day} of month {month}, which has {last} days")


def _date0(text: str) -> None:
    # YYMMDD; day 00 is the last of the month. The century decides no leap year but that of 00,
    # which every window of these years reads as 2000.
    _day(2000 + int(text[:2]), text[2:4], text[4:6], whole_month=True)


def _date(text: str) -> None:
    _day(2000 + int(text[:2]), text[2:4], text[4:6], whole_month=False)


def _date8(text: str) -> None:
    # Year 0000 has no calendar in Python; its leap years are those of 2000.
    _day(int(text[:4]) or 2000, text[4:6], text[6:8], whole_month=False)


def _hour(text: str) -> None:
    if int(text) > 23:
        raise BadIdentifier("date", f"hour {text}; write 00 to 23")


def _minute(text: str) -> None:
    if int(text) > 59:
        raise BadIdentifier("date", f"{text} minutes or seconds; write 00 to 59")


def _time(text: str) -> None:
    _hour(text[:2])
    _minute(text[2:])


def _piece(text: str) -> None:
    piece, total = int(text[: len(text) // 2]), int(text[len(text) // 2 :])
    if not 1 <= piece <= total:
        raise BadIdentifier(
            "content", f"piece {piece} of {total}; write a piece from 1 to the total"
        )


def _iban(text: str) -> None:
    letters = text.isascii() and text.isalnum() and text == text.upper()
    if not (10 < len(text) <= 34 and letters and text[:2] in COUNTRY_LETTERS):
        raise BadIdentifier(
            "content", f"{text!r} is no IBAN; it begins with a country's two letters"
        )
    number = "".join(str(int(char, 36)) for char in text[4:] + text[:4])
    if int(number) % 97 != 1:
        raise BadIdentifier("check-digit", f"check digits {text[2:4]} of IBAN {text} do not fit")


def _position(text: str) -> None:
    match = _POSITION.fullmatch(text)
    if match is None or match[1] > match[2]:
        raise BadIdentifier("content", f"{text!r} is no position such as 1/2")


def _must(test: Callable[[str], bool], what: str) -> Callable[[str], None]:
    def check(text: str) -> None:
        if not test(text):
            raise BadIdentifier("content", f"{text!r} is not {what}")

    return check


_MEDIA = frozenset(f"{code:02}" for code in (*range(1, 11), *range(80, 100)))

CHECKS: Mapping[str, Callable[[str], None]] = {
    "check": _check,
    "check_pair": _check_pair,
    "company": _company,
    "company2": _company2,
    "country": _must(COUNTRY_NUMBERS.__contains__, "an ISO 3166 country number"),
    "country999": _must(
        lambda text: text == "999" or text in COUNTRY_NUMBERS, "an ISO 3166 country number or 999"
    ),
    "country_letters": _must(COUNTRY_LETTERS.__contains__, "an ISO 3166 country of two letters"),
    "currency": _must(CURRENCY_NUMBERS.__contains__, "an ISO 4217 currency number"),
    "date": _date,
    "date0": _date0,
    "date8": _date8,
    "escapes": check_escapes,
    "hour": _hour,
    "hyphen": _must(lambda text: set(text) == {"-"}, "a hyphen"),
    "iban": _iban,
    "importer": _must(
        lambda text: text in "-_" or text.isalnum(), "a letter, a digit, a hyphen or an underscore"
    ),
    "latitude": _must(lambda text: int(text) <= 1_800_000_000, "a latitude up to 1800000000"),
    "letter": _must(lambda text: not text.isdigit(), "a value with a character besides digits"),
    "longitude": _must(lambda text: int(text) <= 3_600_000_000, "a longitude up to 3600000000"),
    "media": _must(_MEDIA.__contains__, "a media type 01 to 10 or 80 to 99"),
    "minute": _minute,
    "no_leading_zero": _must(lambda text: text[0] != "0", "a number without leading zero"),
    "nonzero": _must(lambda text: bool(text.strip("0")), "above zero"),
    "package": _must(PACKAGE_TYPES.__contains__, "a package type"),
    "piece": _piece,
    "position": _position,
    "second": _minute,
    "sex": _must(("0", "1", "2", "9").__contains__, "0, 1, 2 or 9"),
    "time": _time,
    "winding": _must(("0", "1", "9").__contains__, "0, 1 or 9"),
    "yes_no": _must(("0", "1").__contains__, "0 or 1"),
    "zero": _must(lambda text: not text.strip("0"), "zero"),
}
"""Every check by the name the table gives it."""
