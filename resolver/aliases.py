"""One record under several identifiers: HS_ALIAS, and 0.ALIAS declared by both owners (plan §10).

HS_ALIAS keeps its Handle meaning: whoever owns a name says what it stands for. 0.ALIAS joins names
of different owners and schemes, and nobody can claim another's: the record with the content lists
its other identifiers, the record of such an identifier holds a 0.ALIAS back and no content of its
own. Servers answer DO-IRP questions with the record as it is, since signatures name it; faces for
people and command lines follow.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace

from protocol.errors import BadIdentifier, RecursionTooDeep, ResponseCode
from protocol.identifier import parse
from protocol.name import fold, whole_name
from protocol.record import HandleValue, decode_values
from resolver.lookup import Answer, Query
from resolver.steps import text

HS_ALIAS = b"HS_ALIAS"
MUTUAL = b"0.ALIAS"
MOST = 8
"""Aliases followed one after the other."""
MOST_DECLARED = 64
"""0.ALIAS values of one record that are looked at."""
_NO_CONTENT = frozenset(
    {MUTUAL, b"HS_ADMIN", b"HS_VLIST", b"HS_PUBKEY", b"HS_SECKEY", b"HS_SIGNATURE", b"HS_CERT"}
)

Ask = Callable[[Query], Awaitable[Answer]]


@dataclass(frozen=True, slots=True)
class Alias:
    """What a record stands for. mutual: only where that record declares this one back."""

    name: bytes
    mutual: bool


def alias_in(values: Sequence[HandleValue]) -> Alias | None:
    """Where a record leads, or None when it is the record itself."""
    for value in values:
        if value.type.upper() == HS_ALIAS and value.data:
            return Alias(value.data, mutual=False)
    if any(value.type.upper() not in _NO_CONTENT for value in values):
        return None
    for value in values:
        if value.type.upper() == MUTUAL:
            name = name_in(value.data)
            if name is not None:
                return Alias(name, mutual=True)
    return None


def declares(values: Sequence[HandleValue], name: bytes) -> bool:
    """Whether a record lists another name as one of its identifiers, in whatever spelling."""
    wanted = _key(name)
    declared = [value.data for value in values if value.type.upper() == MUTUAL]
    found = (name_in(data) for data in declared[:MOST_DECLARED])
    return any(other is not None and _key(other) == wanted for other in found)


def name_in(data: bytes) -> bytes | None:
    """The name that a 0.ALIAS value spells, as it travels; None when it is no identifier."""
    try:
        return parse(data.decode("utf-8")).handle
    except UnicodeDecodeError:
        return None
    except BadIdentifier:
        return data if b"/" in data else None  # a handle that keeps no scheme's rules


def _key(name: bytes) -> bytes:
    """Names as the store compares them, one without a slash as the prefix record it travels as."""
    return fold(whole_name(name_in(name) or name))


@dataclass(frozen=True, slots=True)
class Followed:
    """An answer and the names passed on the way to it, the asked one first. note: for people."""

    answer: Answer
    passed: tuple[bytes, ...] = ()
    note: str = ""


async def follow(ask: Ask, query: Query, *, mutual_only: bool = False) -> Followed:
    """Ask for a record and for what it stands for. query: for whole records.

    mutual_only: leave HS_ALIAS to the caller. Raises RecursionTooDeep for circles and chains of
    more than MOST.
    """
    passed: list[bytes] = []
    answer = await ask(query)
    while answer.code == ResponseCode.SUCCESS:
        alias = alias_in(decode_values(answer.values))
        if alias is None or (mutual_only and not alias.mutual):
            break
        here = query.handle
        if _key(alias.name) in map(_key, (*passed, here)):
            raise RecursionTooDeep(f"{text(here)} is, by its aliases, itself")
        if len(passed) == MOST:
            raise RecursionTooDeep(f"more than {MOST} aliases, the last: {text(here)}")
        query = replace(query, handle=alias.name)
        target = await ask(query)
        if alias.mutual and not _declared_back(target, here):
            return Followed(answer, tuple(passed), not_declared(alias.name, here))
        passed.append(here)
        answer = replace(target, steps=(*answer.steps, *target.steps))
    return Followed(answer, tuple(passed))


def not_declared(name: bytes, here: bytes) -> str:
    """What is said of a 0.ALIAS that nobody declares back."""
    return f"{text(here)} calls itself {text(whole_name(name))}, which does not declare it back"


def _declared_back(target: Answer, here: bytes) -> bool:
    found = target.code == ResponseCode.SUCCESS
    return found and declares(decode_values(target.values), here)
