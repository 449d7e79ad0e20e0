"""A certificate for a registrant's key: what it signs then verifies up to the root.

Issued by the node's site key, kept beside the key in its own record, taken away by
`biaoshi key revoke`.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from protocol.change import Change, Kind
from protocol.errors import (
    HandleNotFound,
    InvalidValue,
    NotServedHere,
    SettingsError,
    ValuesNotFound,
)
from protocol.keys import decode_public_key
from protocol.name import described_prefix, prefix_of, prefix_record
from protocol.record import HandleValue, Reference
from protocol.signature import (
    HS_CERT,
    Perm,
    Permission,
    Validity,
    issue_certificate,
    parse_certificate,
    same_identity,
)
from registry.keys import load_keys
from registry.prefix_record import DAY_S
from registry.records import read_record
from registry.rules import HS_PUBKEY, SIGN
from registry.signing import CERT_OFFSET, SKEW_S, is_under
from resolver.config_file import load_settings
from resolver.delegate import issuer
from resolver.trust.source import FolderSource
from resolver.writer_link import open_writer


def certify(folder: Path, identity: str, handles: Sequence[str], days: int) -> Reference:
    """Certify a key in a record here; gives where the certificate lies.

    handles: that it may sign; none: every one of its own prefix. Raises NotServedHere,
    HandleNotFound, ValuesNotFound, SettingsError, InvalidValue.
    """
    found = Reference.parse(identity.encode())
    settings, keys = load_settings(folder), load_keys(folder)
    own = settings.node.prefix.encode().upper()
    if described_prefix(found.handle) is not None:
        raise SettingsError(f"{identity} is a prefix's key; its parent certifies it by approving")
    if not own:
        raise NotServedHere(f"{folder} has no prefix of its own, so it certifies nothing")
    source, now_s = FolderSource(folder), int(time.time())
    try:
        record = read_record(source.store, found.handle)
        if record is None:
            raise HandleNotFound(f"no record of {identity} lies here")
        key = next((v for v in record.values if v.index == found.index), None)
        if key is None or key.type.upper() != HS_PUBKEY:
            raise ValuesNotFound(f"{identity} is no HS_PUBKEY value; look at the record")
        above = issuer(source.store, keys, own, found.handle)
        _require_under(above.prefix, (found.handle, *(handle.encode() for handle in handles)))
    finally:
        source.close()
    data = issue_certificate(
        found,
        decode_public_key(key.data),
        _permissions(found.handle, handles),
        above.reference,
        above.key,
        validity=Validity(now_s - SKEW_S, now_s + days * DAY_S, now_s),
        chain=above.chain,
    )
    index = _place(record.values, found)
    change = Change(
        Kind.ADD,
        found.handle,
        (HandleValue(index, HS_CERT, data),),
        overwrite=True,
        attributes={SIGN: True},
    )
    with open_writer(folder) as writer:
        (outcome,) = writer.submit([change])
    if outcome.status == "refused":
        raise InvalidValue(f"nothing was certified: {outcome.error}")
    return Reference(found.handle, index)


def _require_under(prefix: bytes, names: Sequence[bytes]) -> None:
    """Raise NotServedHere unless each name is under the prefix that the issuer is certified for."""
    for name in names:
        if not is_under(name, prefix):
            shown = name.decode("utf-8", "replace")
            raise NotServedHere(
                f"{shown} is not under {prefix.decode()}, so it cannot be certified; "
                "a further prefix is certified first: `biaoshi prefix home P`"
            )


def _permissions(handle: bytes, handles: Sequence[str]) -> list[Permission]:
    if handles:
        return [Permission(one.encode(), Perm.THIS_HANDLE) for one in handles]
    return [Permission(prefix_record(prefix_of(handle)), Perm.HANDLES_UNDER_THIS_PREFIX)]


def _place(values: Sequence[HandleValue], subject: Reference) -> int:
    """Where the certificate of a key lies already, or a free index for it."""
    for value in values:
        if value.type == HS_CERT and same_identity(parse_certificate(value.data).subject, subject):
            return value.index
    taken, index = {value.index for value in values}, subject.index + CERT_OFFSET
    while index in taken:
        index += 1
    return index
