"""The one way in: changes are checked one by one and written as one durable transaction.

Writer is synchronous and knows no queue: that is registry.group_commit.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from protocol.change import Change, Kind, Ready
from protocol.errors import (
    BiaoshiError,
    ResponseCode,
    StoreError,
    VersionConflict,
)
from protocol.identifier import key_of
from protocol.merkle import leaf_hash
from protocol.name import described_prefix, prefix_of, record_of
from protocol.record import HandleValue, encode_value
from registry import idempotency, tree
from registry.access import Access, AccessSettings
from registry.alter import CHANGED, CREATED, RECORD_KINDS, REFUSED, UNCHANGED, alter
from registry.alter_prefix import alter_prefix, changed_prefix
from registry.batch import Batch, Held, ReadyHeld
from registry.content import same_content
from registry.erase import erase_writes, erased_by
from registry.events.writing import captured, first_same, logged, require_entitled
from registry.fence import require_open
from registry.generation import Generation
from registry.label_rules import (
    check_labels,
    check_reserved,
    refuse_unseen,
    require_labels,
    stay_unseen,
)
from registry.log import (
    SALT_BYTES,
    SEQUENCE_KEY,
    Body,
    entry,
    last_sequence,
    ready_entry,
    sequence_key,
)
from registry.notes import Note
from registry.prefixes import (
    DELEGATED,
    HOMED,
    WAITING,
    PrefixRow,
    delegation_above,
    not_served,
    unsigned_policy,
)
from registry.ready import plain_change
from registry.rules import (
    HS_VLIST,
    REFUSE,
    WriterSettings,
    check_handle,
    check_size,
    check_values,
)
from registry.signing import NodeSigners, RecordGuard
from registry.store import Store, Table, Write
from registry.store.row import MAX_KEY
from registry.tree import LogSigner

_VALUE_KINDS = frozenset((Kind.ADD, Kind.MODIFY, Kind.REMOVE, Kind.MERGE))

Values = tuple[HandleValue, ...]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one change.

    code: as the Handle interfaces answer it. status: created, unchanged, replaced, changed,
    deleted or refused. version: of the record now; 0 when there is none. sequence: of the change
    in the log; None when nothing was written. error: the reason of a refusal. reason: the name
    of its error class, for programs.

    Creating what is there already with the same values is `unchanged` and writes nothing; its
    code is HANDLE_ALREADY_EXISTS unless overwriting was asked for. Of events, which have no version,
    `unchanged` has the sequence of the first capture.
    """

    code: ResponseCode
    status: str
    version: int
    sequence: int | None
    error: str | None
    handle: bytes
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Submission:
    """Changes that came together. atomic: all or none."""

    changes: Sequence[Change]
    atomic: bool = False


class Writer:
    """Checks changes and writes them. One per store, used by one thread at a time."""

    def __init__(
        self,
        store: Store,
        *,
        now: Callable[[], float] = time.time,
        random: Callable[[int], bytes] = os.urandom,
        settings: WriterSettings | None = None,
        access: Access | None = None,
        generation: Generation | None = None,
        signers: NodeSigners | None = None,
        log_signer: LogSigner | None = None,
    ) -> None:
        """now: seconds since 1970. random: octets for salts.

        access: default: no server administrators. generation: raised when prefixes change.
        signers: renew the node's own signatures when their records change, and sign changes
        with the attribute `sign`. log_signer: signs a checkpoint with each commit; without one
        the tree grows unsigned.
        """
        self._store = store
        self._now = now
        self._random = random
        self._settings = settings or WriterSettings()
        # Who has all rights anyway cannot shut anybody out by removing an HS_ADMIN value by name.
        self._unhindered = replace(self._settings, keep_last_admin=False)
        self._access = access or Access(store, AccessSettings())
        self._generation = generation
        self._guard = RecordGuard(signers)
        self._log_signer = log_signer
        self.checkpoint: bytes | None = None
        """The last checkpoint that a commit of this writer made durable."""

    def commit(self, changes: Sequence[Change], *, atomic: bool = False) -> list[Outcome]:
        """Write changes in one durable transaction; one outcome a change, in order.

        Item mode: a refused change leaves the batch with its reason, the rest goes on. Atomic:
        one refusal refuses all. Raises ReadOnly or StoreError when nothing could be written.
        """
        return self.commit_all([Submission(changes, atomic)])[0]

    def commit_all(self, submissions: Sequence[Submission]) -> list[list[Outcome]]:
        """Write several submissions in one durable transaction; their outcomes, in order."""
        now_s = int(self._now())
        self.complete_tree()
        with self._store.snapshot() as state:
            require_open(state)
            first = last_sequence(state.get(Table.META, SEQUENCE_KEY))
            batch = Batch(state, first)
            access = self._access.reading(batch.values)
            outcomes = [self._submit(batch, access, one, now_s) for one in submissions]
            writes = self._writes(batch, first, now_s)
            grown, checkpoint = self._grown(batch)
        if writes:
            bare = batch.bare_keys()
            self._store.apply(writes + grown, *((bare,) if bare else ()))
            self.checkpoint = checkpoint or self.checkpoint
        if batch.prefixes_changed and self._generation is not None:
            self._generation.bump()
        return outcomes

    def _submit(
        self, batch: Batch, access: Access, submission: Submission, now_s: int
    ) -> list[Outcome]:
        if not submission.atomic:
            return [self._one(batch, access, change, now_s) for change in submission.changes]
        part, outcomes = batch.part(), list[Outcome]()
        inner = self._access.reading(part.values)
        for at, change in enumerate(submission.changes):
            outcomes.append(self._one(part, inner, change, now_s))
            if outcomes[-1].status == REFUSED:
                return _refuse_all(submission.changes, at, outcomes[-1])
        batch.absorb(part)
        access.forget()
        return outcomes

    def _one(self, batch: Batch, access: Access, change: Change, now_s: int) -> Outcome:
        """One change: done in the batch, or refused without a trace."""
        try:
            if change.idempotency_key is None:
                return self._made(batch, access, change, now_s)
            key = idempotency.row_key(change)
            known = idempotency.remembered(change, batch.remembered_result(key))
            if known is not None:
                return _decode_outcome(known, change.handle)
            outcome = self._made(batch, access, change, now_s)
            batch.remembered[key] = idempotency.encode(change, _encode_outcome(outcome), now_s)
            return outcome
        except BiaoshiError as error:
            unknown = change.kind is Kind.EVENT or _is_unseen(batch, access, change)
            return _refusal(change, error, 0 if unknown else _version(batch, change.handle))

    def _made(self, batch: Batch, access: Access, change: Change, now_s: int) -> Outcome:
        """The outcome of a change that was not made before."""
        if change.ready is None:
            return self._do(batch, access, change, now_s)
        outcome = self._ready(batch, access, change, change.ready, now_s)
        if outcome is None:
            outcome = self._do(batch, access, plain_change(change, change.ready), now_s)
        return outcome

    def _do(self, batch: Batch, access: Access, change: Change, now_s: int) -> Outcome:
        check_handle(change.handle, self._settings)
        if change.kind is Kind.ERASE:
            return self._erase(batch, access, change, now_s)
        if change.kind is Kind.EVENT:
            return self._event(batch, access, change, now_s)
        if change.kind in RECORD_KINDS:
            return self._record(batch, access, change, now_s)
        return self._prefix(batch, access, replace(change, handle=record_of(change.handle)), now_s)

    # --- records

    def _record(self, batch: Batch, access: Access, change: Change, now_s: int) -> Outcome:
        _require_served(batch, change)
        held = batch.held(change.handle)
        if held is not None and stay_unseen(access, change, held.values):
            _require_version(change, 0)
            alter(change, None, now_s, self._settings)
            refuse_unseen(access, change)
        version = held.version if held is not None else 0
        _require_version(change, version)
        before = held.values if held is not None else None
        if before is not None and change.kind in _VALUE_KINDS:
            access.require(change, before, None)  # what is missing is told to the entitled only
        proved = change.actor is not None and access.has_everything(change.actor)
        altered = alter(change, before, now_s, self._unhindered if proved else self._settings)
        access.require(change, before, altered.values)
        check_reserved(access, change, altered.values)
        if altered.status == UNCHANGED:
            exists = change.kind is Kind.CREATE and not change.overwrite
            code = ResponseCode.HANDLE_ALREADY_EXISTS if exists else ResponseCode.SUCCESS
            return Outcome(code, UNCHANGED, version, None, None, change.handle)
        after = altered.values
        name = change.handle if held is None or change.kind is Kind.CREATE else held.name
        if after is not None:
            check_labels(change, before, after)
            require_labels(access, change, before, after)
            unsigned = self._unsigned(batch, name)
            after = self._guard.finish(access, change, name, after, now_s, unsigned)
            check_size(name, after, self._settings)
        return self._log(
            batch,
            access,
            change,
            now_s,
            status=altered.status,
            name=name,
            before=before,
            after=after,
        )

    def _erase(self, batch: Batch, access: Access, change: Change, now_s: int) -> Outcome:
        """Take the content of earlier changes out of the log; leaves and proofs stay."""
        durable = last_sequence(batch.state.get(Table.META, SEQUENCE_KEY))
        sequences, attributes = erased_by(change, durable)
        if change.actor is not None:
            access.require_server_admin(change.actor, "erase content of the log")
        batch.extra += erase_writes(batch.state, sequences)
        return self._log(
            batch,
            access,
            change,
            now_s,
            status=CHANGED,
            name=change.handle,
            before=None,  # what goes is not logged anew
            after=None,
            attributes=attributes,
        )

    def _ready(
        self, batch: Batch, access: Access, change: Change, ready: Ready, now_s: int
    ) -> Outcome | None:
        """What _do() comes to for a new record that came ready; None: it must go that way."""
        handle = change.handle
        folded = handle.upper()
        if handle.startswith(b"0.") or b"/0." in handle or len(folded) > MAX_KEY or batch.is_part:
            return None
        if change.expected_version or batch.has_key(folded):
            return None
        creator = (handle.partition(b"/")[0], change.actor, change.memberships)
        if creator not in batch.creators:
            if key_of(handle) != folded or not self._may_create(batch, access, change):
                return None
            batch.creators.add(creator)
        check_handle(handle, self._settings)
        batch.sequence += 1
        sequence, salts = batch.sequence, self._random(2 * SALT_BYTES)
        batch.entries.append(
            ready_entry(sequence, now_s, folded, handle, ready.values, change.actor, salts)
        )
        batch.put_ready(folded, ReadyHeld(handle, ready, sequence, now_s))
        access.changed_key(folded)
        return Outcome(ResponseCode.SUCCESS, CREATED, sequence, sequence, None, handle)

    def _may_create(self, batch: Batch, access: Access, change: Change) -> bool:
        """Whether an actor's new records under a prefix are taken as they come.

        Raises NotServedHere or NotAuthorized where none may be made. Holds until the batch does
        anything else than add such records.
        """
        _require_served(batch, change)
        access.require(change, None, None)
        return self._unsigned(batch, change.handle) != REFUSE

    def _unsigned(self, batch: Batch, handle: bytes) -> str:
        """What the nearest prefix above a handle says of records without a valid signature."""
        prefix = prefix_of(handle)
        if prefix not in batch.policies:
            said = unsigned_policy(prefix, batch.prefix, self._settings.unsigned)
            batch.policies[prefix] = said
        return batch.policies[prefix]

    # --- prefixes

    def _prefix(self, batch: Batch, access: Access, change: Change, now_s: int) -> Outcome:
        prefix = changed_prefix(change)
        row = batch.prefix(prefix)
        altered = alter_prefix(change, row, batch.prefix_state)
        access.require(change, None, None)
        before = batch.values(change.handle)
        after = before
        if change.values:
            check_values(change.values, self._settings)
            check_labels(change, None, change.values)
            after = tuple(replace(value, timestamp=now_s) for value in change.values)
            check_size(change.handle, after, self._settings)
            if before is not None and same_content(before, after):
                after = before
        status = altered.status
        if status == UNCHANGED:
            if after is before:
                version = _version(batch, change.handle)
                return Outcome(ResponseCode.SUCCESS, UNCHANGED, version, None, None, change.handle)
            status = CHANGED
        new = None
        if altered.state is not None:
            new = PrefixRow(prefix, altered.state, now_s, batch.sequence + 1, altered.attributes)
        batch.put_prefix(prefix, new)
        attributes = {"attributes": dict(altered.attributes), "state": altered.state}
        return self._log(
            batch,
            access,
            change,
            now_s,
            status=status,
            name=change.handle,
            before=before,
            after=after,
            attributes=attributes,
        )

    # --- events

    def _event(self, batch: Batch, access: Access, change: Change, now_s: int) -> Outcome:
        """An event: once. Repeated with the same content it is `unchanged`, at its first place."""
        attributes = change.attributes or {}
        require_entitled(batch, access, change)
        event = captured(change.handle, attributes)
        first = first_same(batch, access, change, event.row)
        if first is not None:
            return Outcome(ResponseCode.SUCCESS, UNCHANGED, 0, first, None, change.handle)
        batch.sequence += 1
        body = Body(
            change.kind.value, change.handle, actor=change.actor, attributes=logged(attributes)
        )
        salts = self._random(2 * SALT_BYTES)
        batch.entries.append(entry(batch.sequence, now_s, change.handle, body, salts, flat=True))
        batch.put_event(event, batch.sequence)
        return Outcome(ResponseCode.SUCCESS, CREATED, 0, batch.sequence, None, change.handle)

    # --- what every change ends in

    def _log(
        self,
        batch: Batch,
        access: Access,
        change: Change,
        now_s: int,
        *,
        status: str,
        name: bytes,
        before: Values | None,
        after: Values | None,
        attributes: dict[str, Any] | None = None,
    ) -> Outcome:
        """Number the change, log it and set the record."""
        batch.sequence += 1
        sequence, folded = batch.sequence, key_of(change.handle)
        body = Body(change.kind.value, name, before, after, change.actor, attributes)
        wire = None if after is None or after is before else tuple(map(encode_value, after))
        batch.entries.append(
            entry(sequence, now_s, folded, body, self._random(2 * SALT_BYTES), wire)
        )
        if after is not before:
            batch.put(folded, None if after is None else Held(name, after, sequence, now_s, wire))
            _forget_rights(access, change.handle, before, after)
            if after is None:
                _drop_delegation(batch, folded)
        version = _version(batch, change.handle)
        return Outcome(ResponseCode.SUCCESS, status, version, sequence, None, change.handle)

    def keep(self, notes: Sequence[Note]) -> bool:
        """Write the node's own notes in one durable transaction; nothing of them is logged.

        False, and nothing was written: one that had to be new is there. Raises ReadOnly, StoreError.
        """
        with self._store.snapshot() as state:
            require_open(state)
            for note in notes:
                if note.new and state.get(Table.SECONDARY, note.row_key()) is not None:
                    return False
        self._store.apply([note.write() for note in notes])
        return True

    def complete_tree(self) -> None:
        """Changes that were logged before stores had a tree are brought into it."""
        tree.complete(self._store, self._log_signer)

    def _grown(self, batch: Batch) -> tuple[list[Write], bytes | None]:
        """The tree over the batch's leaves, and its checkpoint: one for the whole commit."""
        if not batch.entries:
            return [], None
        growth = tree.grow(batch.state, [leaf_hash(logged.leaf) for logged in batch.entries])
        if self._log_signer is None:
            return growth.writes, None
        epoch = tree.epoch_of(batch.state)
        signed = tree.checkpoint_write(self._log_signer, growth.size, growth.root, epoch)
        return [*growth.writes, signed], signed.value

    def _writes(self, batch: Batch, first: int, now_s: int) -> list[Write]:
        writes = batch.writes()
        if batch.sequence != first:
            writes.append(Write(Table.META, SEQUENCE_KEY, sequence_key(batch.sequence)))
        if not writes and not batch.remembered:
            return []
        settings, state = self._settings, batch.state
        last = idempotency.last_order(state)
        kept = max(0, settings.idempotency_keys - len(batch.remembered))
        expired = idempotency.expire_writes(state, now_s - settings.idempotency_s, last, kept)
        return expired + writes + idempotency.store_writes(batch.remembered, last)


def _require_version(change: Change, version: int) -> None:
    """Raise VersionConflict unless the record is at the version that a change asks for."""
    if change.expected_version is not None and change.expected_version != version:
        raise VersionConflict(
            f"{_shown(change)} is at version {version}, not {change.expected_version}; "
            "read it again and repeat the change"
        )


def _is_unseen(batch: Batch, access: Access, change: Change) -> bool:
    try:
        held = batch.held(change.handle)
    except StoreError:
        return False
    return held is not None and stay_unseen(access, change, held.values)


def _require_served(batch: Batch, change: Change) -> None:
    """Raise NotServedHere unless the record lies at this node.

    The operator may also keep the record of a prefix that still waits for its parent.
    """
    handle = change.handle
    described, prefix = described_prefix(handle), prefix_of(handle)
    if described is None and prefix in batch.served:
        return
    waiting = change.actor is None and described is not None
    if not batch.responsible(handle, HOMED, *((WAITING,) if waiting else ())):
        raise not_served(handle, batch.prefix(described or prefix))
    away = delegation_above(
        handle,
        lambda prefix: batch.prefix_state(prefix) == HOMED,
        lambda prefix: batch.prefix_state(prefix) == DELEGATED,
    )
    if away is not None:
        raise not_served(handle, batch.prefix(away))
    if described is None:
        batch.served.add(prefix)


def _forget_rights(
    access: Access, handle: bytes, before: Values | None, after: Values | None
) -> None:
    """Rights in a record are remembered for a batch until it changes; all, until a list does."""
    if any(value.type.upper() == HS_VLIST for value in (*(before or ()), *(after or ()))):
        access.forget()
    else:
        access.changed(handle)


def _drop_delegation(batch: Batch, folded: bytes) -> None:
    """Deleting the record of a delegated prefix takes the delegation back."""
    prefix = described_prefix(folded)
    if prefix is not None and batch.prefix_state(prefix) == DELEGATED:
        batch.put_prefix(prefix, None)


def _version(batch: Batch, handle: bytes) -> int:
    try:
        held = batch.held(handle)
    except StoreError:
        return 0
    return held.version if held is not None else 0


def _refusal(change: Change, error: BiaoshiError, version: int) -> Outcome:
    return Outcome(
        error.code, REFUSED, version, None, str(error), change.handle, type(error).__name__
    )


def _refuse_all(changes: Sequence[Change], at: int, cause: Outcome) -> list[Outcome]:
    """The outcomes of an atomic batch in which one change was refused."""
    told = f"not done: the batch is all or nothing, and change {at + 1} was refused ({cause.error})"
    return [
        cause
        if n == at
        else Outcome(cause.code, REFUSED, 0, None, told, change.handle, cause.reason)
        for n, change in enumerate(changes)
    ]


def _encode_outcome(outcome: Outcome) -> list[Any]:
    return [int(outcome.code), outcome.status, outcome.version, outcome.sequence]


def _decode_outcome(fields: Sequence[Any], handle: bytes) -> Outcome:
    code, status, version, sequence = fields
    return Outcome(ResponseCode(code), status, version, sequence, None, handle)


def _shown(change: Change) -> str:
    return change.handle.decode("utf-8", "replace")
