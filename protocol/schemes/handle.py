"""Handle: prefix, slash, suffix (RFC 3651 §2; industrial-identifiers §3.1, §11.6).

Also takes a name out of the spellings that handles, DOIs and idis identifiers share. What the
prefixes 10., 86. and 88. ask beyond this stands in doi.py and idis.py.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

from protocol.errors import BadIdentifier
from protocol.name import fold
from protocol.schemes.base import (
    MAX_HANDLE_BYTES,
    Identifier,
    bounded,
    check_ascii_digits,
    check_characters,
    percent_decode,
    shown,
    split_url,
)

PROXY_HOSTS = frozenset(
    ("hdl.handle.net", "doi.org", "dx.doi.org", "www.doi.org", "handle.itu.int")
)
"""Web hosts whose path is a handle."""

_API_PATHS = ("api/handles/",)
_VALUE_REFERENCE = re.compile(r"([0-9]+):(.*)", re.DOTALL)
_SPELLED = re.compile(r"(hdl|doi|info:hdl|info:doi)([:/])(.*)", re.IGNORECASE | re.DOTALL)
_SEPARATORS = {"hdl": ":", "doi": ":", "info:hdl": "/", "info:doi": "/"}
_VAA_CODE = re.compile(r"(?:15N)?VAA[0-9]{14}")
MAX_INDEX = 0xFFFF_FFFF


@dataclass(frozen=True, slots=True)
class Spelling:
    """A name as it stood inside another spelling.

    form: `plain`, `value-ref`, `url`, `hdl` or `doi`. index: of a value reference.
    """

    name: str
    form: str = "plain"
    index: int | None = None


def unspell(text: str) -> Spelling:
    """Take the name out of `hdl:`, `doi:`, `info:`, a proxy URL or a value reference.

    Percent-encoding is undone for URLs and info URIs alone, and once.
    """
    url = split_url(bounded(text))
    if url is not None:
        if url.host not in PROXY_HOSTS:
            raise BadIdentifier(
                "structure",
                f"{url.host} is no handle proxy ({', '.join(sorted(PROXY_HOSTS))}); "
                "give the identifier itself",
            )
        path = url.path[1:]
        for api in _API_PATHS:
            path = path.removeprefix(api)
        return Spelling(percent_decode(path), "url")
    spelled = _SPELLED.fullmatch(text)
    if spelled and _SEPARATORS[spelled[1].lower()] == spelled[2]:
        form, name = spelled[1].lower(), spelled[3]
        if form.startswith("info:"):
            return Spelling(percent_decode(name), form[5:])
        return Spelling(name, form)
    reference = _VALUE_REFERENCE.fullmatch(text)
    if reference:
        digits = reference[1].lstrip("0") or "0"
        if len(digits) > 10 or int(digits) > MAX_INDEX:
            raise BadIdentifier("index", f"value index {shown(digits)} is above {MAX_INDEX}")
        return Spelling(reference[2], "value-ref", int(digits))
    return Spelling(text)


def split_name(name: str) -> tuple[str, str]:
    """Prefix and suffix at the first slash, both checked for characters, neither empty."""
    prefix, slash, suffix = name.partition("/")
    if not name:
        raise BadIdentifier("empty", "nothing was given; write prefix/suffix")
    if not slash:
        raise BadIdentifier(
            "missing-separator",
            f"{shown(name)} has no slash; write prefix/suffix, such as 20.500.12345/pump-7",
        )
    if not prefix:
        raise BadIdentifier("empty-prefix", f"nothing before the slash of {shown(name)}")
    check_ascii_digits(prefix, "prefix")
    check_characters(prefix, "prefix")
    return prefix, suffix


def check_suffix(name: str, suffix: str) -> None:
    """Not empty, printable, in form C; the whole name within MAX_HANDLE_BYTES."""
    if not suffix:
        raise BadIdentifier("empty-suffix", f"nothing after the slash of {shown(name)}")
    check_characters(suffix, "suffix")
    octets = len(name.encode())
    if octets > MAX_HANDLE_BYTES:
        raise BadIdentifier(
            "too-long", f"{octets} octets; a handle has at most {MAX_HANDLE_BYTES}: {shown(name)}"
        )


def check_segments(prefix: str) -> None:
    """Segments between dots: none empty, letters and digits and `-_~`.

    RFC 3651 takes more, but a colon or a bracket there would look like a URI, a value reference
    or an element string, and so would a prefix that is the head of a VAA code.
    """
    if _VAA_CODE.match(prefix):
        raise BadIdentifier(
            "bad-prefix-segment", f"{shown(prefix)} before a slash reads as a VAA code, no handle"
        )
    for segment in prefix.split("."):
        if not segment:
            raise BadIdentifier(
                "bad-prefix-segment", f"empty segment in prefix {shown(prefix)}; remove the dot"
            )
        bad = next((char for char in segment if not _prefix_character(char)), None)
        if bad is not None:
            raise BadIdentifier(
                "bad-prefix-segment",
                f"{bad!r} may not stand in a prefix: {shown(prefix)}; use letters and digits",
            )


def _prefix_character(char: str) -> bool:
    if char.isascii():
        return char.isalnum() or char in "-_~"
    return unicodedata.category(char)[0] in "LM"


def fold_ascii(text: str) -> str:
    """ASCII letters upper-cased, nothing else touched."""
    return text.encode().upper().decode()


def parse(text: str) -> Identifier:
    """A handle in any spelling. The prefix is folded to upper case, the suffix is kept.

    extra: `index` where a value reference was given. Raises BadIdentifier.
    """
    spelling = unspell(text)
    prefix, suffix = split_name(spelling.name)
    check_segments(prefix)
    check_suffix(spelling.name, suffix)
    prefix = fold_ascii(prefix)
    normalized = f"{prefix}/{suffix}"
    extra = {} if spelling.index is None else {"index": spelling.index}
    return Identifier("handle", prefix, suffix, normalized, fold(normalized.encode()), extra)
