"""What the writer asks of labels: their shape, who may loosen them, and what stays unseen.

A label is loosened only by a 0.LABEL value that says so, from somebody who may read the values and
change administrators; leaving it out of a record that is replaced loosens nothing: it is refused.
"""

from __future__ import annotations

from collections.abc import Sequence

from protocol.change import Change, Kind
from protocol.errors import AtOdds, HandleExists, InvalidValue, NotAuthorized, ParseError
from protocol.identifier import key_of
from protocol.labels import (
    EVERY,
    LABEL,
    MOST_GROUPS,
    PRIVATE,
    PUBLIC,
    Labels,
    groups,
    is_label,
    is_unseen,
    labels_in,
    level_at,
    level_of,
    parse_labels,
)
from protocol.name import described_prefix, prefix_of, prefix_record
from protocol.record import HandleValue
from protocol.values.hs_admin import Permission
from registry.access import Access
from registry.grants import GRANTS, is_grant, parse_grant
from registry.reads import PLACE

Values = Sequence[HandleValue]
ENTITLED = int(Permission.READ_VALUE | Permission.MODIFY_ADMIN)
"""Rights, in one HS_ADMIN value, of who may loosen labels and give grants."""


def check_labels(change: Change, before: Values | None, after: Values) -> None:
    """Raise InvalidValue unless the labels that a change brings are in order."""
    brought = [value for value in change.values if is_label(value)]
    if not brought and not (before is not None and any(map(is_label, before))):
        return
    if described_prefix(change.handle) is not None:
        raise InvalidValue("the record of a prefix is public: it takes no 0.LABEL value")
    if sum(map(is_label, after)) > 1:
        raise InvalidValue("a record has one 0.LABEL value, which names every labelled index")
    there = {value.index for value in after if not is_label(value)}
    for value in brought:
        where = f"value {value.index} (0.LABEL)"
        if not value.public:
            raise InvalidValue(
                f"{where} must have the permission to be read by the public: signatures cover it "
                "then, and the levels in it hide it"
            )
        try:
            labels = parse_labels(value.data)
        except (ParseError, InvalidValue) as error:
            raise InvalidValue(f"{where}: {error}") from None
        missing = labels.named.keys() - there
        if missing:
            raise InvalidValue(f"{where} labels the value {min(missing)}, which is not there")
    if len(groups(after)) > MOST_GROUPS:
        raise InvalidValue(
            f"the hidden values of a record are of at most {MOST_GROUPS} kinds (by type and label)"
        )


def require_labels(access: Access, change: Change, before: Values | None, after: Values) -> None:
    """Raise AtOdds or NotAuthorized where a change would loosen a label without the right."""
    if before is None:
        return
    old = labels_in(before)
    if old is None or not _loosened(old, labels_in(after), before, after):
        return
    if not any(map(is_label, change.values)):
        raise AtOdds(
            "the labels of this record would be loosened; to do that, give its 0.LABEL value as it "
            "shall be"
        )
    if not _may_loosen(access, change, before):
        raise NotAuthorized(
            "loosening a label takes the rights to read values and to modify administrators"
        )


def _loosened(old: Labels, new: Labels | None, before: Values, after: Values) -> bool:
    held = {value.index for value in before}
    for value in after:
        lower = level_at(new, value.index) < level_at(old, value.index)
        if lower and value.index in held and not is_label(value):
            return True
    every = PUBLIC if new is None or new.every is None else level_of(new.every)
    return old.every is not None and every < level_of(old.every)


def _may_loosen(access: Access, change: Change, values: Values) -> bool:
    if access.has_everything(change.actor) or change.actor is None:
        return True
    with access.knowing(change.memberships):
        return any(mask & ENTITLED == ENTITLED for mask in access.masks(change.actor, values))


def check_reserved(access: Access, change: Change, after: Values | None) -> None:
    """The records of grants and of reads under a prefix. Raises InvalidValue, AtOdds or
    NotAuthorized.
    """
    folded = key_of(change.handle)
    prefix, slash, suffix = folded.partition(b"/")
    if not slash or prefix == b"0.NA" or not suffix.startswith(b"0."):
        return
    name = b"/" + suffix
    if name.startswith(PLACE):
        if change.actor is not None or change.kind is not Kind.CREATE or change.overwrite:
            raise NotAuthorized("reads of what is not public are logged by the node alone")
    elif name == GRANTS:
        if change.actor is not None and not access.has_everything(change.actor):
            with access.knowing(change.memberships):
                if not access.allows(change.actor, prefix_record(prefix), ENTITLED):
                    raise NotAuthorized(
                        "grants are given by who may read values and modify administrators of "
                        f"the prefix {prefix.decode('utf-8', 'replace')}"
                    )
        _check_grants(after or ())


def _check_grants(after: Values) -> None:
    for value in after:
        if is_grant(value):
            try:
                parse_grant(value.data)
            except (InvalidValue, ParseError) as error:
                raise InvalidValue(f"value {value.index} (0.GRANT): {error}") from None
    labels = labels_in(after)
    if after and (labels is None or labels.named or level_at(labels, 0) != PRIVATE):
        raise AtOdds(
            f"the record of grants has a value {LABEL.decode()} that labels `{EVERY}` 3 and no other"
        )


def knows(access: Access, change: Change, values: Values) -> bool:
    """Whether who sends a change may know of a record that labels hide."""
    if access.has_everything(change.actor) or change.actor is None:
        return True
    with access.knowing(change.memberships):
        own = access.masks(change.actor, values)
        return bool(own) or access.allows(
            change.actor, prefix_record(prefix_of(change.handle)), int(Permission.READ_VALUE)
        )


def stay_unseen(access: Access, change: Change, before: Values | None) -> bool:
    """Whether a record must look as if it were not there to who sends a change."""
    return before is not None and is_unseen(before) and not knows(access, change, before)


def refuse_unseen(access: Access, change: Change) -> None:
    """For a record that stays unseen: what the change would come to without it, but done never.

    Who may register under the prefix learns that the name is taken: there is no other way.
    """
    access.require(change, None, tuple(change.values))
    raise HandleExists(
        f"{change.handle.decode('utf-8', 'replace')} exists already with other values; "
        "replace or merge it, or choose another name"
    )
