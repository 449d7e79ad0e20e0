"""DOI: a handle under 10., compared without regard to ASCII case (ISO 26324; §11.6)."""

from __future__ import annotations

import re

from protocol.errors import BadIdentifier
from protocol.name import fold
from protocol.schemes.base import Identifier, shown
from protocol.schemes.handle import check_suffix, split_name, unspell

_PREFIX = re.compile(r"10(?:\.[0-9]+)+")


def parse(text: str) -> Identifier:
    """A DOI in any spelling; ASCII letters are lower-cased, as DOIs are usually shown.

    extra: `index` where a value reference was given. Raises BadIdentifier.
    """
    spelling = unspell(text)
    prefix, suffix = split_name(spelling.name)
    if not _PREFIX.fullmatch(prefix):
        raise BadIdentifier(
            "bad-prefix-segment",
            f"{shown(prefix)} is no DOI prefix; write 10. and the registrant's number, "
            "such as 10.1000",
        )
    check_suffix(spelling.name, suffix)
    suffix = suffix.encode().lower().decode()
    normalized = f"{prefix}/{suffix}"
    extra = {} if spelling.index is None else {"index": spelling.index}
    return Identifier("doi", prefix, suffix, normalized, fold(normalized.encode()), extra)
