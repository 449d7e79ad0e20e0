"""Identifier: any spelling of any scheme -> scheme, prefix, suffix, normalized form, store key.

The schemes stand in protocol.schemes, one file each; here is only which there are and how a text
without a named scheme is recognised (industrial-identifiers §11.7).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import NamedTuple

from protocol.errors import BadIdentifier
from protocol.name import fold
from protocol.schemes import did, doi, ecode, epc, gs1, handle, idis, ma, oid, urn, vaa
from protocol.schemes.base import Identifier, bounded, shown

__all__ = ["RECOGNIZED", "SCHEMES", "Identifier", "key_of", "parse"]

Parser = Callable[[str], Identifier]


def _by_prefix(text: str) -> Identifier:
    """A handle in any spelling: its prefix tells DOI and idis from the rest."""
    name = handle.unspell(text).name
    if name.startswith("10."):
        return doi.parse(text)
    if name.startswith(("86.", "88.", "86/", "88/")):
        return idis.parse(text)
    return handle.parse(text)


SCHEMES: Mapping[str, Parser] = {
    "handle": handle.parse,
    "idis": idis.parse,
    "doi": doi.parse,
    "oid": oid.parse,
    "gs1": gs1.parse,
    "epc": epc.parse,
    "vaa": vaa.parse,
    "ma": ma.parse,
    "ecode": ecode.parse,
    "did": did.parse,
    "urn": urn.parse,
}
"""Every scheme by name."""


class Shape(NamedTuple):
    """How one spelling begins. sure: nothing further down may be tried when it does not parse."""

    begins: re.Pattern[str]
    parse: Parser
    sure: bool = True


def _shape(begins: str, parse: Parser, *, sure: bool = True) -> Shape:
    return Shape(re.compile(begins, re.IGNORECASE | re.DOTALL), parse, sure)


_OTHER_SCHEME = re.compile(rb":|^VAA|^MA\.")
"""Before the slash of a name that may be no handle."""

_PROXY = "|".join(re.escape(host) for host in sorted(handle.PROXY_HOSTS))

RECOGNIZED = (
    _shape(rf"https?://(?:{_PROXY})(?::[0-9]*)?(?:[/?#]|$)", _by_prefix),
    _shape(r"https?://", gs1.parse),
    _shape(r"urn:oid:|oid:", oid.parse),
    _shape(r"urn:epc:", epc.parse),
    _shape(r"urn:", urn.parse),
    _shape(r"did:", did.parse),
    _shape(r"(?-i:ecode:)", ecode.parse),
    _shape(r"hdl:|info:hdl/", _by_prefix),
    _shape(r"doi:|info:doi/", doi.parse),
    _shape(r"(?-i:MA)\.[0-9]{3}\.", ma.parse, sure=False),
    _shape(r"(?-i:(?:15N)?VAA)[0-9]", vaa.parse, sure=False),
    _shape(r"\{|/", oid.parse),
    # Before the slash: a value of an element string may hold one.
    _shape(r"\([0-9]{2,4}\)", gs1.parse),
    _shape(r"\^|\][a-z][0-9]|[^\x1d]*\x1d", gs1.parse),
    _shape(r"[^/]*/", _by_prefix),
    _shape(r"\.?[012]\.", oid.parse),
    _shape(r"[0-9]+\.", _by_prefix),
    _shape(r"[0-9]{2}", gs1.parse, sure=False),
)
"""Tried from the top; the first that begins like the text and parses is it."""


def parse(text: str, scheme: str | None = None) -> Identifier:
    """Read an identifier, of the named scheme or of the one it looks like.

    Raises BadIdentifier, and for a scheme that does not exist too (reason `unknown-scheme`).
    """
    if scheme is not None:
        parser = SCHEMES.get(scheme)
        if parser is None:
            raise BadIdentifier(
                "unknown-scheme", f"no scheme {shown(scheme)}; there are {', '.join(SCHEMES)}"
            )
        return parser(text)
    bounded(text)
    failed: BadIdentifier | None = None
    for shape in RECOGNIZED:
        if not shape.begins.match(text):
            continue
        try:
            return shape.parse(text)
        except BadIdentifier as error:
            if shape.sure:
                raise
            failed = failed or error
    raise failed or BadIdentifier(
        "unknown-scheme",
        f"{shown(text)} looks like no identifier; write prefix/suffix, an OID, a GTIN or a URL, "
        "or name its scheme",
    )


@lru_cache(maxsize=8192)  # a registration asks for the key of its name eight times
def key_of(name: bytes) -> bytes:
    """The store key of a name as DO-IRP carries it (ARCHITECTURE §10).

    A name of another scheme, carried as its normalized text, gives that scheme's key; any other
    name is a handle and folds. The key of a key is itself.
    """
    prefix, slash, _ = name.partition(b"/")
    if slash and prefix and not _OTHER_SCHEME.search(prefix):
        return fold(name)
    try:
        if not prefix and _GS1_KEY.match(name):
            return gs1.parse("https://id.gs1.org" + name.decode()).key
        return parse(name.decode()).key
    except (UnicodeDecodeError, BadIdentifier):
        return fold(name)


_GS1_KEY = re.compile(rb"/(?:0[01]|253|255|401|402|414|417|80(?:03|04|06|10|13|17|18))/")
