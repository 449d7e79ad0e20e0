"""Which server of a site answers for a handle (RFC 3652 §3.1.3; do-irp 16)."""

from __future__ import annotations

from hashlib import md5

from protocol.errors import ParseError
from protocol.values.hs_site import HashOption

PREFIX_OF_NAMES = b"0.NA"
"""What stands for the prefix of a name without a slash."""


def prefix_part(handle: bytes) -> bytes:
    """What stands before the first slash, as written; `0.NA` when there is none."""
    prefix, slash, _ = handle.partition(b"/")
    return prefix if slash else PREFIX_OF_NAMES


def suffix_part(handle: bytes) -> bytes:
    """What stands after the first slash, as written; the whole name when there is none."""
    _, slash, suffix = handle.partition(b"/")
    return suffix if slash else handle


def hashed_part(handle: bytes, hash_option: int) -> bytes:
    """The part that a site hashes, not folded. Raises ParseError on an unknown option."""
    if hash_option == HashOption.BY_PREFIX:
        return prefix_part(handle)
    if hash_option == HashOption.BY_SUFFIX:
        return suffix_part(handle)
    if hash_option == HashOption.BY_HANDLE:
        return handle
    raise ParseError(f"hash option {hash_option} is unknown; 0, 1 and 2 are defined")


def part_digest(part: bytes) -> bytes:
    """MD5 of the part in ASCII upper case."""
    # The protocol fixes MD5 here; it spreads handles over servers and protects nothing.
    return md5(part.upper(), usedforsecurity=False).digest()


def part_number(part: bytes) -> int:
    """The last four octets of the digest as a signed number, its sign kept."""
    return int.from_bytes(part_digest(part)[-4:], signed=True)


def server_index(handle: bytes, hash_option: int, servers: int) -> int:
    """Position in the server list, from 0. servers: how many there are, at least one."""
    if servers < 1:
        raise ParseError("a site without servers answers for no handle")
    number = part_number(hashed_part(handle, hash_option))
    # |number| modulo servers; -2^31, which deployed software trips over, is a number like others.
    return abs(number) % servers
