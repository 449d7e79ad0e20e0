"""Names of handles: folding, prefixes and prefix records (RFC 3651 §2; do-irp 15).

ASCII letters fold, nothing else: bytes.upper() does just that.
"""

from __future__ import annotations

PREFIX_RECORDS = b"0.NA/"
ROOT_RECORD = b"0.NA/0.NA"


def fold(handle: bytes) -> bytes:
    """The whole name upper-cased: the store key of handles, DOIs and idis identifiers."""
    return handle.upper()


def fold_prefix(handle: bytes) -> bytes:
    """Only the prefix upper-cased, unless the name begins with `0.`: how identities compare."""
    if handle.startswith(b"0."):
        return handle.upper()
    prefix, slash, suffix = handle.partition(b"/")
    return prefix.upper() + slash + suffix


def prefix_of(handle: bytes) -> bytes:
    """What stands before the first slash, folded; a name without slash is a prefix of `0.NA`."""
    prefix, slash, _ = handle.partition(b"/")
    return prefix.upper() if slash else b"0.NA"


def suffix_of(handle: bytes) -> bytes:
    """What stands after the first slash; the whole name if there is none."""
    _, slash, suffix = handle.partition(b"/")
    return suffix if slash else handle


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


def whole_name(handle: bytes) -> bytes:
    """A name without a slash stands for its prefix record."""
    return handle if b"/" in handle else prefix_record(handle)
