"""Proving who asks: the answer to a challenge against the keys and secrets of a handle (do-irp 8.2).

Keys of handles that lie here are read here, those of others through the node's recursion from
the primary of their prefix. Secrets are only ever checked where they lie: for one that lies
elsewhere the primary of its prefix is asked (operation 201) and must sign what it says.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from hashlib import sha256

from protocol.challenge import (
    HS_PUBKEY,
    HS_SECKEY,
    MacCode,
    accepted_secret_answer,
    decode_key_answer,
    decode_secret_answer,
    verify_key_answer,
    verify_secret_answer,
)
from protocol.doirp.authentication import VerifyRequest
from protocol.errors import (
    AuthenticationError,
    AuthenticationFailed,
    BiaoshiError,
    InvalidCredential,
    ParseError,
    ResponseCode,
    SignatureInvalid,
)
from protocol.keys import decode_public_key
from protocol.keys.policy import Policy
from protocol.name import fold_prefix, whole_name
from protocol.record import HandleValue, Reference, decode_values
from registry.access import proves
from registry.records import read_record
from resolver.doirp.policy import SOUND_ITERATIONS, policy_of
from resolver.lookup import Query
from resolver.node import Node
from resolver.verdict import ask_verified

_KEY_TYPES = frozenset((HS_PUBKEY, HS_SECKEY))
_MOST_KEYS = 8
"""Keys or secrets of one handle that are tried for index 0."""


@dataclass(frozen=True, slots=True)
class Claim:
    """Who somebody says to be, and the proof.

    type: HS_PUBKEY or HS_SECKEY. identity: index 0 means any key of the handle. answer: the
    signed response. nonce, digest, version: of the challenge.
    """

    type: bytes
    identity: Reference
    answer: bytes
    nonce: bytes
    digest: bytes
    version: tuple[int, int]


def same_identity(one: Reference, other: Reference) -> bool:
    """Whether a proved identity is the one named before, whose index may be 0."""
    return one.index in {0, other.index} and fold_prefix(one.handle) == fold_prefix(other.handle)


def proof_of(node: Node, identity: Reference) -> bytes:
    """A digest of the key or secret that an identity names; empty where it does not lie here."""
    values = _local_values(node, identity.handle)
    if values is None:
        return b""
    held = [v for v in values if v.index == identity.index and v.type.upper() in _KEY_TYPES]
    return sha256(b"".join(value.type.upper() + value.data for value in held)).digest()


async def prove(node: Node, claim: Claim) -> Reference:
    """The identity, with the index of the value that proved it.

    Raises AuthenticationFailed (403), AuthenticationError (406) where the record with the key
    cannot be had, InvalidCredential (404) for an unknown kind of proof.
    """
    policy = policy_of(node.settings.auth)
    try:
        if claim.type == HS_PUBKEY:
            proved = _proved_by_key(claim, await _public_keys(node, claim.identity), policy)
        elif claim.type == HS_SECKEY and node.settings.auth.secret_keys:
            if _local_values(node, claim.identity.handle) is None:
                proved = await _proved_elsewhere(node, claim, policy)
            else:
                proved = await _proved_by_secret(claim, _secrets(node, claim.identity), policy)
        else:
            raise InvalidCredential(
                f"authentication type {claim.type!r:.40} is not accepted here; use HS_PUBKEY"
            )
    except ParseError as error:
        raise AuthenticationFailed(f"the answer to the challenge does not parse: {error}") from None
    _count_weak(node, claim)
    return proved


async def secret_holds(node: Node, claim: Claim) -> bool:
    """Whether the answer was made with a secret of a handle that lies here."""
    try:
        await _proved_by_secret(
            claim, _secrets(node, claim.identity), policy_of(node.settings.auth)
        )
    except (AuthenticationFailed, ParseError):
        return False
    return True


def _proved_by_key(claim: Claim, keys: list[HandleValue], policy: Policy) -> Reference:
    reason = "it has no such HS_PUBKEY value"
    for value in keys:
        try:
            key = decode_public_key(value.data)
            verify_key_answer(claim.answer, key, claim.nonce, claim.digest, policy)
        except SignatureInvalid as error:
            reason = str(error)
        except ParseError as error:
            reason = f"value {value.index}: {error}"
        else:
            return _named(claim.identity, value)
    raise AuthenticationFailed(f"{claim.identity.text()} is not proved: {reason}")


async def _proved_by_secret(claim: Claim, secrets: list[HandleValue], policy: Policy) -> Reference:
    """Says the same whether there is no secret or another one: names of secrets are not told."""
    for value in secrets:
        try:
            # The work may be a million rounds: in a thread, where it holds nobody up.
            await asyncio.to_thread(
                verify_secret_answer,
                claim.answer,
                value.data,
                claim.nonce,
                claim.digest,
                version=claim.version,
                policy=policy,
            )
        except SignatureInvalid:
            continue
        return _named(claim.identity, value)
    raise AuthenticationFailed(
        f"{claim.identity.text()} is not proved: no such secret key, or another one"
    )


def _named(identity: Reference, value: HandleValue) -> Reference:
    """A proved identity: as it was named, with the index of its key where any would do."""
    return identity if identity.index else Reference(identity.handle, value.index)


async def _proved_elsewhere(node: Node, claim: Claim, policy: Policy) -> Reference:
    """What the server that holds the secret says. The index stays the one that was claimed."""
    identity = claim.identity
    if node.asking is None:
        raise AuthenticationError(
            f"the secret of {identity.text()} lies at another node and this one asks none; "
            "name its parent (`node.parent`) or `recursion.roots`"
        )
    try:
        accepted_secret_answer(claim.answer, claim.version, policy)
    except SignatureInvalid as error:
        raise AuthenticationFailed(f"{identity.text()} is not proved: {error}") from None
    asked = VerifyRequest(identity.handle, identity.index, claim.nonce, claim.digest, claim.answer)
    try:
        valid = await ask_verified(node.asking, asked)
    except BiaoshiError as error:
        raise AuthenticationError(
            f"the server that holds the secret of {identity.text()} cannot be asked: {error}"
        ) from None
    if not valid:
        raise AuthenticationFailed(
            f"{identity.text()} is not proved: no such secret key, or another one"
        )
    return identity


def _secrets(node: Node, identity: Reference) -> list[HandleValue]:
    return _of_kind(_local_values(node, identity.handle) or (), HS_SECKEY, identity)


async def _public_keys(node: Node, identity: Reference) -> list[HandleValue]:
    """The HS_PUBKEY values that an identity names, in index order."""
    values = _local_values(node, identity.handle)
    if values is None:
        values = await _foreign_values(node, identity)
    return _of_kind(values, HS_PUBKEY, identity)


def _local_values(node: Node, handle: bytes) -> tuple[HandleValue, ...] | None:
    """All values of a record this node answers for; empty where it has none, None elsewhere."""
    name = whole_name(handle)
    if not node.prefixes.responsible(name):
        return None
    record = read_record(node.store, name)
    return () if record is None else record.values


async def _foreign_values(node: Node, identity: Reference) -> tuple[HandleValue, ...]:
    """Public values of a record at another node, from its primary and verified on the way."""
    if node.asking is None:
        raise AuthenticationError(
            f"the key of {identity.text()} lies at another node and this one asks none; "
            "name its parent (`node.parent`) or `recursion.roots`"
        )
    indexes = (identity.index,) if identity.index else ()
    types = () if indexes else (HS_PUBKEY,)
    answer = await node.asking.resolve(Query(identity.handle, indexes, types, authoritative=True))
    if answer.code in (ResponseCode.HANDLE_NOT_FOUND, ResponseCode.VALUES_NOT_FOUND):
        return ()
    if answer.code != ResponseCode.SUCCESS:
        raise AuthenticationError(
            f"the key of {identity.text()} cannot be had: {answer.message or answer.code.name}"
        )
    return decode_values(answer.values)


def _of_kind(
    values: tuple[HandleValue, ...], type_: bytes, identity: Reference
) -> list[HandleValue]:
    found = [v for v in values if v.type.upper() == type_ and proves(v, identity)]
    return sorted(found, key=lambda value: value.index)[:_MOST_KEYS]


def _count_weak(node: Node, claim: Claim) -> None:
    """Count what was accepted for old clients only (docs/compatibility.md)."""
    weak = node.metrics.weak
    if claim.type == HS_PUBKEY:
        if decode_key_answer(claim.answer).digest.upper() in {b"SHA1", b"SHA-1"}:
            weak["sha1"].inc()
        return
    answer = decode_secret_answer(claim.answer, claim.version)
    if answer.code in {None, MacCode.MD5}:
        weak["md5"].inc()
    elif answer.code in {MacCode.SHA1, MacCode.HMAC_SHA1}:
        weak["sha1"].inc()
    elif answer.code is MacCode.PBKDF2_HMAC_SHA1 and answer.iterations < SOUND_ITERATIONS:
        weak["pbkdf2_short"].inc()
