"""What can be said of a record from a file alone: its signatures, its chain, its place in a log.

A file is a receipt, an answer of the Handle interface or of /api/resolve, or JSON lines of records
as `biaoshi export` writes them. Nothing is fetched: certificates come from the files given.
"""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from protocol import event_disclosure, note
from protocol.chain import Roots
from protocol.errors import BiaoshiError, ParseError, SettingsError, SignatureInvalid
from protocol.handle_json import parse_values
from protocol.keys import PublicKey
from protocol.keys.sm2 import Sm2PublicKey
from protocol.labels import open_values
from protocol.name import PREFIX_RECORDS, fold_prefix
from protocol.record import HandleValue, encode_values
from protocol.signature import REVOKED, parse_certificate, require_record
from protocol.signature import verify_record as verify_signature
from protocol.strict_json import parse_json
from registry.events.proof import FORMAT as EVENT_FORMAT
from registry.receipt import FORMAT, Receipt, parse_receipt, verify_receipt, verify_record
from registry.scitt import CoseReceipt, parse_cose_receipt
from registry.signing import signatures
from resolver.trust.cosigned import require_witnesses
from resolver.trust.offline_events import check_event, event_name
from resolver.verify import Need, Verifier

MAX_FILE_BYTES: Final = 256 << 20
_MAX_LINE_BYTES: Final = 16 << 20
_COSE: Final = b"\xd2"
"""How a COSE_Sign1 message with its tag begins."""


@dataclass(frozen=True, slots=True)
class Item:
    """One thing to verify. line: in its file. handle: b"" for a bare receipt.

    event: an exported one (registry.events.proof); handle is its eventID then.
    """

    line: int
    handle: bytes
    values: tuple[HandleValue, ...]
    receipt: Receipt | None
    cose: CoseReceipt | None = None
    event: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Trusted:
    """What the verifier believes.

    roots: keys where chains may end. signers: keys that are believed by themselves. log_keys:
    32 octets each, or 65 of SM2. now: seconds since 1970, for time windows. least_witnesses: how many of the
    witnesses must have cosigned the checkpoint of a receipt.
    """

    roots: tuple[PublicKey, ...]
    signers: tuple[PublicKey, ...]
    log_keys: tuple[bytes, ...]
    now: int
    witnesses: tuple[note.Key, ...] = ()
    least_witnesses: int = 0


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was found. held: each check that held, in words. problem: the first that did not."""

    item: Item
    held: tuple[str, ...]
    problem: str | None

    def shape(self) -> dict[str, Any]:
        """As JSON shows it."""
        return {
            "line": self.item.line,
            "handle": self.item.handle.decode("utf-8", "replace") or None,
            "ok": self.problem is None,
            "held": list(self.held),
            "problem": self.problem,
        }


def read_items(path: Path) -> Iterator[Item]:
    """What a file holds: one JSON document, or one a line. Raises SettingsError, ParseError."""
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise SettingsError(f"{path} is above {MAX_FILE_BYTES} octets; verify it in parts")
        data = path.read_bytes()
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror}") from None
    if data[:1] == _COSE:
        yield Item(1, b"", (), None, parse_cose_receipt(data))
        return
    try:
        whole = parse_json(data, path.name) if len(data) <= _MAX_LINE_BYTES else None
    except ParseError:
        whole = None
    if isinstance(whole, Mapping):
        yield _item(1, whole)
        return
    for number, line in enumerate(data.split(b"\n"), 1):
        if line.strip():
            yield _item(number, parse_json(line, f"line {number}"))


def _item(line: int, fields: Any) -> Item:
    if not isinstance(fields, Mapping):
        raise ParseError(f"line {line} is no JSON object")
    if fields.get("format") == FORMAT:
        return Item(line, b"", (), parse_receipt(fields))
    if fields.get("format") in {EVENT_FORMAT, event_disclosure.FORMAT}:
        return Item(line, event_name(fields), (), None, event=fields)
    name = fields.get("handle", fields.get("identifier"))
    if isinstance(name, Mapping):
        name = name.get("handle", name.get("normalized"))
    if not isinstance(name, str) or not name:
        raise ParseError(f"line {line} has no `handle`; is it an answer, a record or a receipt?")
    receipt, cose = fields.get("receipt"), fields.get("scitt")
    return Item(
        line,
        name.encode("utf-8", "replace"),
        _values(fields.get("values")),
        None if receipt is None else parse_receipt(receipt),
        None if cose is None else parse_cose_receipt(_base64(cose)),
    )


def _base64(text: Any) -> bytes:
    try:
        return b64decode(text, validate=True)
    except (TypeError, ValueError):
        raise ParseError("`scitt` of a line is not base64") from None


def _values(items: Any) -> tuple[HandleValue, ...]:
    """Values as an answer has them: with the timestamps, which the log covers."""
    values = parse_values({"values": items})
    return tuple(
        replace(value, timestamp=_seconds(item.get("timestamp")))
        for value, item in zip(values, items, strict=True)
    )


def _seconds(text: Any) -> int:
    try:
        moment = (
            datetime.fromisoformat(text) if text is not None else datetime.fromtimestamp(0, UTC)
        )
        return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())
    except (TypeError, ValueError, OverflowError):
        raise ParseError(f"{str(text)[:40]!r} is no timestamp of a value") from None


async def verify_item(item: Item, trusted: Trusted, records: Mapping[bytes, Item]) -> Verdict:
    """Everything that can be checked of one item. records: by folded name, for certificates."""
    held: list[str] = []
    proven: dict[str, int] = {}
    try:
        if item.cose is not None:
            _cose(item.cose, trusted, held)
        if item.event is not None:
            held += await check_event(
                item.event,
                signers=trusted.signers,
                roots=trusted.roots,
                log_keys=trusted.log_keys,
                now_s=trusted.now,
                fetch=_fetch(records),
            )
        elif item.receipt is not None:
            proven = _receipt(item, item.receipt, trusted, records, held)
        if item.event is None and item.handle and (trusted.roots or trusted.signers):
            await _signature(item, trusted, _fetch(records), proven, held)
    except BiaoshiError as error:
        return Verdict(item, tuple(held), str(error))
    if not held:
        return Verdict(
            item, (), "nothing was checked: give --root-key, --key or --log-key, and a receipt"
        )
    return Verdict(item, tuple(held), None)


def _cose(receipt: CoseReceipt, trusted: Trusted, held: list[str]) -> None:
    if not trusted.log_keys:
        raise SignatureInvalid("there is a COSE receipt and no log key to check it with: --log-key")
    receipt.verify(trusted.log_keys)
    held.append(
        f"COSE receipt: change {receipt.index + 1} is in {receipt.origin} of {receipt.size} changes"
    )


def _receipt(
    item: Item,
    receipt: Receipt,
    trusted: Trusted,
    records: Mapping[bytes, Item],
    held: list[str],
) -> dict[str, int]:
    """What the receipt proves: the log and the change in it that wrote the record."""
    if not trusted.log_keys:
        if not trusted.roots and not trusted.signers:
            raise SignatureInvalid("there is a receipt and no log key to check it with: --log-key")
        return {}
    said = verify_receipt(receipt, trusted.log_keys)
    log = said.origin.partition("/epoch/")[0]
    _require_unrevoked(receipt, log, trusted.log_keys, records)
    held.append(f"change {receipt.index + 1} is in {said.origin} of {said.size} changes")
    if trusted.least_witnesses:
        found = require_witnesses(receipt.checkpoint, trusted.witnesses, trusted.least_witnesses)
        held.append(f"cosigned by {', '.join(key.name for key in found)}")
    if not item.handle:
        return {}
    public = open_values(item.values)
    verify_record(receipt, item.handle, encode_values(public))
    held.append("it wrote these values under this name")
    return {log: receipt.index + 1}


def _require_unrevoked(
    receipt: Receipt, log: str, log_keys: Sequence[bytes], records: Mapping[bytes, Item]
) -> None:
    """Raise SignatureInvalid where only log keys that were revoked signed the checkpoint.

    Whoever has such a key makes checkpoints of any size with it, also small ones.
    """
    item = records.get(fold_prefix(PREFIX_RECORDS + unquote(log.rpartition("/")[2]).encode()))
    revoked = {key for value in item.values if (key := _revoked_log_key(value))} if item else set()
    if revoked.intersection(log_keys):
        try:
            verify_receipt(receipt, [key for key in log_keys if key not in revoked])
        except SignatureInvalid:
            raise SignatureInvalid(
                f"the log key that signed this receipt was revoked; have {log} give it anew, and "
                "check it with the key in use"
            ) from None


def _revoked_log_key(value: HandleValue) -> bytes | None:
    if value.type.upper() != REVOKED:
        return None
    try:
        key = parse_certificate(value.data).public_key
    except ParseError:
        return None
    if isinstance(key, Sm2PublicKey):
        return key.point
    return key.public_bytes_raw() if isinstance(key, Ed25519PublicKey) else None


async def _signature(
    item: Item,
    trusted: Trusted,
    fetch: Callable[[bytes], Awaitable[Sequence[HandleValue]]],
    proven: Mapping[str, int],
    held: list[str],
) -> None:
    public = tuple(value for value in item.values if value.public)
    if trusted.signers:
        _by_key(item.handle, public, trusted, held)
        return
    verifier = Verifier(wall=lambda: trusted.now)
    found = await verifier.verify(
        item.handle, public, Need.REQUIRED, Roots.of(trusted.roots, None), fetch, proven
    )
    held += found.lines()


def _by_key(
    handle: bytes, values: Sequence[HandleValue], trusted: Trusted, held: list[str]
) -> None:
    """Signatures by keys that are believed without a chain; together they cover the values."""
    problem, sound = "it has no HS_SIGNATURE value", []
    for signature in signatures(values):
        for key in trusted.signers:
            report = verify_signature(handle, values, signature.data, key, trusted.now)
            try:
                report.require_sound()
            except SignatureInvalid as error:
                problem = str(error)
            else:
                sound.append(report)
                held.append(f"signature {signature.index} holds for {len(report.verified)} values")
                break
    if not sound:
        raise SignatureInvalid(problem)
    require_record(values, sound)


def _fetch(records: Mapping[bytes, Item]) -> Callable[[bytes], Awaitable[Sequence[HandleValue]]]:
    async def fetch(name: bytes) -> Sequence[HandleValue]:
        found = records.get(fold_prefix(name))
        return () if found is None else open_values(found.values)

    return fetch
