"""Names of handles: folding, prefixes and prefix records (RFC 3651 §2; do-irp 15).

ASCII letters fold, nothing else: bytes.upper() does just that.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

PREFIX_RECORDS = b"0.NA/"
ROOT_RECORD = b"0.NA/0.NA"


def fold(handle: bytes) -> bytes:
    """The whole name upper-cased: the store key of handles, DOIs and idis identifiers."""
    return handle.upper()


def fold_prefix(handle: bytes) -> bytes:
    """Only the prefix upper-cased, unless the name begins with `0.`: how identities compare.

    A name that stands alone has no prefix of its own to fold: case may count in all of it.
    """
    if handle.startswith(b"0."):
        return handle.upper()
    if stands_alone(handle):
        return handle
    prefix, slash, suffix = handle.partition(b"/")
    return prefix.upper() + slash + suffix


_OID = re.compile(rb"[012](?:\.(?:0|[1-9][0-9]*))+")
_ALONE = re.compile(
    rb"(?i:urn:[a-z0-9][a-z0-9-]{0,30}[a-z0-9]:).+"  # RFC 8141 §2
    rb"|did:[a-z0-9]+:.+"
    rb"|VAA[0-9]{14}.+"
    rb"|MA\.[0-9]{3}\.M[0-9]+\.[0-9]{6}\..+"
    rb"|ecode:[1-4].+",
    re.DOTALL,
)
_FIRST = frozenset(b"uUdVMe")


def is_oid(name: bytes) -> bool:
    """Whether a name is a dotted OID: two or more arcs, the first 0, 1 or 2."""
    return name[1:2] == b"." and _OID.fullmatch(name) is not None


def stands_alone(name: bytes) -> bool:
    """Whether a name is a URN, a DID, an MA code, an Ecode or a VAA code as a carrier holds it.

    None of them is `prefix/suffix`, even where there is a slash in it.
    """
    return name[:1] != b"" and name[0] in _FIRST and _ALONE.fullmatch(name) is not None


def is_arcwise(handle: bytes) -> bool:
    """Whether a name is delegated arc by arc, not by what stands before its first slash.

    OIDs are, GS1 keys as URIs, and names that stand alone (protocol.arcs says where they lie).
    """
    prefix, slash, _ = handle.partition(b"/")
    if slash and b":" not in prefix and prefix[:3] != b"VAA":
        return not prefix
    return (slash != b"" and b":" in prefix) or is_oid(handle) or stands_alone(handle)


def prefix_of(handle: bytes) -> bytes:
    """What stands before the first slash, folded; a name without slash is a prefix of `0.NA`.

    Of a name that is delegated arc by arc, the longest prefix it could lie under: an OID's is
    itself, a GTIN's is `GS1` and the digits of its company and item: GS1.9.5.0.6.0.0.0.1….
    """
    prefix, slash, _ = handle.partition(b"/")
    if slash and prefix and b":" not in prefix and prefix[:3] != b"VAA":
        return prefix.upper()
    if is_arcwise(handle):
        from protocol.arcs import arcs_of  # which knows every scheme, and they this page

        arcs = arcs_of(handle)
        if arcs is not None:
            return arcs
    return prefix.upper() if slash else b"0.NA"


def prefix_record(prefix: bytes) -> bytes:
    """The handle that describes a prefix: b"88.118" -> b"0.NA/88.118"."""
    return PREFIX_RECORDS + prefix.upper()


def described_prefix(handle: bytes) -> bytes | None:
    """b"0.NA/88.118" -> b"88.118" (folded); None for any other handle."""
    folded = handle.upper()
    return folded[len(PREFIX_RECORDS) :] if folded.startswith(PREFIX_RECORDS) else None


def parent_prefix(prefix: bytes) -> bytes | None:
    """b"88.118.8" -> b"88.118"; None for a prefix of one segment."""
    parent, dot, _ = prefix.rpartition(b".")
    return parent if dot else None


def lines(prefix: bytes) -> Iterator[bytes]:
    """The prefix and those it is derived from: 2.999.7 -> 2.999.7, 2.999, 2."""
    above: bytes | None = prefix
    while above is not None:
        yield above
        above = parent_prefix(above)


def whole_name(handle: bytes) -> bytes:
    """A name without a slash stands for its prefix record, unless it is an OID or stands alone."""
    if b"/" in handle or is_oid(handle) or stands_alone(handle):
        return handle
    return prefix_record(handle)


def record_of(handle: bytes) -> bytes:
    """The prefix record of what is known to be a prefix: 88.118 -> 0.NA/88.118, also 2.999."""
    return handle if b"/" in handle else prefix_record(handle)
