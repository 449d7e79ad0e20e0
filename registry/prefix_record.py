"""The record of a prefix, 0.NA/P: its site, administrators, keys and the certificates over them.

Former keys lie twenty places behind those that replaced them, with a certificate of the same
subject that ends with the overlap; revoked ones as 0.REVOKED from 440 on.

A node without a parent vouches for itself; its site key is then a root that others may trust.
Otherwise the parent makes the record, certifies both keys and signs the whole; the child keeps a
copy with its secret key beside.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey

from protocol.errors import InvalidValue, ParseError
from protocol.keys import PublicKey, encode_public_key
from protocol.keys.sm2 import Sm2PublicKey
from protocol.name import prefix_record
from protocol.record import ADMIN_READ, ADMIN_WRITE, HandleValue, Reference
from protocol.signature import (
    HS_CERT,
    HS_SIGNATURE,
    REVOKED,
    Perm,
    Permission,
    Revocation,
    Validity,
    issue_certificate,
    sign_record,
)
from protocol.values.hs_admin import ALL_PERMISSIONS, Admin, encode_admin
from protocol.values.hs_site import Site, encode_site, site_type
from protocol.values.hs_vlist import decode_vlist, encode_vlist
from registry.keys import NodeKeys
from registry.rotation import FormerKey, RevokedKey
from registry.signing import CERT_OFFSET, SKEW_S

SITE, SITE6 = 1, 2
MIRROR_SITES = range(3, 10)
"""Indexes of the sites of mirrors, which are no primary ones."""
MOST_MIRRORS: Final = len(MIRROR_SITES)
SITES = frozenset((SITE, SITE6, *MIRROR_SITES))
_SITE_TYPES: Final = frozenset((b"HS_SITE", b"HS_SITE.6"))
ADMIN_LIST, ADMIN_KEY, ADMIN_SECRET = 100, 101, 102
LIST, KEY, SECRET, LOG_KEY = 200, 300, 301, 302
NATIONAL = 304
KEY_CERT, LOG_CERT, NATIONAL_CERT, SIGNATURE = 400, 402, 404, 410
FORMER = 20
"""A former key lies so far behind the place it had, until its overlap ends."""
REVOKED_KEYS = 440
"""Where revoked keys are told of, one value each."""
OWN_INDEXES: Final = frozenset((*SITES, KEY_CERT, LOG_CERT, SIGNATURE)) | frozenset(
    (NATIONAL, NATIONAL_CERT, *(index + FORMER for index in (KEY, LOG_KEY, KEY_CERT, LOG_CERT)))
)
"""Indexes whose values a node makes anew whenever it makes its record."""
DAY_S: Final = 86_400
CERTIFICATE_DAYS: Final = 3_650
SECRET_PERMISSIONS = ADMIN_READ | ADMIN_WRITE
MAX_SECRET_BYTES = 4_096


@dataclass(frozen=True, slots=True)
class Holder:
    """What a prefix record says about its holder.

    sites: one with IPv4 addresses, one with IPv6, or either. site_key: RSA, of servers, TLS and
    administrator 300. log_key: Ed25519, of records and the log. has_secret: whether the holder
    also has an administrator 301 by secret key, which never leaves it. national_key: SM2, where
    national algorithms are asked for. former, revoked: the keys before.
    """

    prefix: bytes
    sites: tuple[Site, ...]
    site_key: RSAPublicKey
    log_key: Ed25519PublicKey
    has_secret: bool = False
    national_key: Sm2PublicKey | None = None
    former: tuple[FormerKey, ...] = ()
    revoked: tuple[RevokedKey, ...] = ()

    @classmethod
    def of(
        cls, keys: NodeKeys, prefix: bytes, sites: tuple[Site, ...], *, has_secret: bool
    ) -> Holder:
        """What a node says of itself."""
        return cls(
            prefix,
            sites,
            keys.site_public,
            keys.log_public,
            has_secret,
            keys.national.public_key() if keys.national is not None else None,
            keys.rotation.former,
            keys.rotation.revoked,
        )

    def is_revoked(self, key: PublicKey) -> bool:
        """Whether a key of the holder counts no more."""
        octets = encode_public_key(key)
        return any(encode_public_key(one.key) == octets for one in self.revoked)

    def former_at(self, now_s: int) -> tuple[FormerKey, ...]:
        """The former keys that hold still: the last one of each place."""
        last = {one.index: one for one in self.former if one.until > now_s}
        return tuple(last.values())


@dataclass(frozen=True, slots=True)
class Issuer:
    """Who certifies: the key 300 of a prefix record, and the certificates above it."""

    prefix: bytes
    key: RSAPrivateKey
    chain: tuple[Reference, ...]
    """Nearest first: (400:0.NA/P, 400:0.NA/parent, …) for P; see `certificate_chain`."""

    @property
    def reference(self) -> Reference:
        """`300:0.NA/P`."""
        return Reference(prefix_record(self.prefix), KEY)


def base_values(holder: Holder, now_s: int) -> tuple[HandleValue, ...]:
    """Site, administrators and public keys: what the certificates and the signature are over."""
    record = prefix_record(holder.prefix)
    primary = [site for site in holder.sites if site.primary]
    if holder.is_revoked(holder.site_key):
        primary = list(map(_without_key, primary))
    mirrors = [site for site in holder.sites if not site.primary]
    if len(mirrors) > MOST_MIRRORS:
        raise InvalidValue(f"a prefix record names {MOST_MIRRORS} mirrors at most")
    values = [_site(site, now_s) for site in primary]
    values += [
        HandleValue(index, site_type(site), encode_site(site), timestamp=now_s)
        for index, site in zip(MIRROR_SITES, mirrors, strict=False)
    ]
    if len({value.index for value in values}) != len(values):
        raise InvalidValue("a prefix record has one IPv4 and one IPv6 site at most")
    keys = (KEY, SECRET) if holder.has_secret else (KEY,)
    for at, index in ((ADMIN_LIST, LIST), (ADMIN_KEY, KEY), (ADMIN_SECRET, SECRET)):
        if index != SECRET or holder.has_secret:
            admin = encode_admin(Admin(ALL_PERMISSIONS, record, index))
            values.append(HandleValue(at, b"HS_ADMIN", admin, timestamp=now_s))
    members = encode_vlist([Reference(record, index) for index in keys])
    values.append(HandleValue(LIST, b"HS_VLIST", members, timestamp=now_s))
    values += (_key(index, key, now_s) for index, _, key in _current(holder))
    values += (_key(one.index + FORMER, one.key, now_s) for one in holder.former_at(now_s))
    return tuple(values)


def own_prefix_values(
    keys: NodeKeys,
    prefix: bytes,
    sites: Sequence[Site],
    *,
    now_s: int,
    secret: bytes | None = None,
    issuer: Issuer | None = None,
    days: int = CERTIFICATE_DAYS,
) -> tuple[HandleValue, ...]:
    """The record that a node keeps of a prefix of its own.

    issuer: the node itself, where it stands alone and certifies its keys; None where the
    certificates come from a parent (`delegated_values`, `adopted_values`). secret: of
    administrator 301.
    """
    holder = Holder.of(keys, prefix, tuple(sites), has_secret=secret is not None)
    if issuer is not None:
        values = certified_values(holder, issuer, now_s=now_s, days=days)
    else:
        values = base_values(holder, now_s)
    return with_secret(values, secret, now_s)


def own_issuer(keys: NodeKeys, prefix: bytes, chain: tuple[Reference, ...] | None = None) -> Issuer:
    """A node as issuer. chain: from `certificate_chain` at index 300; None for a root."""
    return Issuer(prefix, keys.site_private, chain or (_certificate_of(prefix),))


def delegated_values(
    holder: Holder, parent: Issuer, *, now_s: int, days: int = CERTIFICATE_DAYS
) -> tuple[HandleValue, ...]:
    """The record of a delegated prefix, certified and signed by its parent."""
    return certified_values(holder, parent, now_s=now_s, days=days)


def certified_values(
    holder: Holder, issuer: Issuer, *, now_s: int, days: int
) -> tuple[HandleValue, ...]:
    """Base values, a certificate for each key, and one signature over all of them."""
    record = prefix_record(holder.prefix)
    validity = Validity(now_s - SKEW_S, now_s + days * DAY_S, now_s)
    values = list(base_values(holder, now_s))
    keys = [(index, at, key, validity) for index, at, key in _current(holder)]
    for one in holder.former_at(now_s):
        until = Validity(now_s - SKEW_S, one.until, now_s)
        keys.append((one.index, one.index + CERT_OFFSET + FORMER, one.key, until))
    for index, at, key, valid in keys:
        data = _certificate(Reference(record, index), key, issuer, valid)
        values.append(HandleValue(at, HS_CERT, data, timestamp=now_s))
    for at, revoked in enumerate(holder.revoked, REVOKED_KEYS):
        data = revoked_certificate(
            Reference(record, revoked.index),
            revoked.key,
            _scoped(record),
            issuer,
            validity,
            revoked.revocation,
        )
        values.append(HandleValue(at, REVOKED, data, timestamp=now_s))
    signature = sign_record(
        record, values, issuer.reference, issuer.key, validity=validity, chain=issuer.chain
    )
    return (*values, HandleValue(SIGNATURE, HS_SIGNATURE, signature, timestamp=now_s))


def adopted_values(
    delegated: Sequence[HandleValue], secret: bytes | None, now_s: int
) -> tuple[HandleValue, ...]:
    """The child's own copy of what its parent made: its secret key stands beside."""
    return with_secret(tuple(delegated), secret, now_s)


def with_secret(
    values: tuple[HandleValue, ...], secret: bytes | None, now_s: int
) -> tuple[HandleValue, ...]:
    """The values with the secret key of administrator 301. Raises InvalidValue on an empty one."""
    if secret is None:
        return values
    if not 0 < len(secret) <= MAX_SECRET_BYTES:
        raise InvalidValue(
            f"a secret key of {len(secret)} octets is none; use 1 to {MAX_SECRET_BYTES}, "
            "better 16 or more random ones"
        )
    kept = tuple(value for value in values if value.index != SECRET)
    held = HandleValue(
        SECRET, b"HS_SECKEY", secret, timestamp=now_s, permissions=SECRET_PERMISSIONS
    )
    return (*kept, held)


def is_nodes_own(value: HandleValue) -> bool:
    """Whether a value of a prefix record is one that nodes make anew whenever they make it."""
    if value.index in SITES:
        return value.type.upper() in _SITE_TYPES
    return value.index in OWN_INDEXES or value.type.upper() == REVOKED


def with_members(
    values: tuple[HandleValue, ...], before: Sequence[HandleValue]
) -> tuple[HandleValue, ...]:
    """The values with the administrators that the list of the record before names besides."""
    more = [member for value in before for member in _members(value)]
    out = []
    for value in values:
        members = _members(value)
        added = [each for each in dict.fromkeys(more) if each not in members]
        if members and added:
            out.append(replace(value, data=encode_vlist([*members, *added])))
        else:
            out.append(value)
    return tuple(out)


def _members(value: HandleValue) -> tuple[Reference, ...]:
    """Whom the list of administrators names; nobody in any other value, or an unreadable list."""
    if value.index != LIST or value.type.upper() != b"HS_VLIST":
        return ()
    try:
        return decode_vlist(value.data)
    except ParseError:
        return ()


def secret_of(values: Sequence[HandleValue]) -> bytes | None:
    """The secret key of administrator 301 in a node's own record, or None."""
    return next((v.data for v in values if v.index == SECRET and v.type == b"HS_SECKEY"), None)


def revoked_certificate(
    subject: Reference,
    key: PublicKey,
    permissions: Iterable[Permission],
    issuer: Issuer,
    validity: Validity,
    revocation: Revocation,
) -> bytes:
    """The data of a 0.REVOKED value: what a key was permitted, and since when it is no more."""
    return issue_certificate(
        subject,
        key,
        permissions,
        issuer.reference,
        issuer.key,
        validity=validity,
        chain=issuer.chain,
        revocation=revocation,
    )


def _certificate(subject: Reference, key: PublicKey, issuer: Issuer, validity: Validity) -> bytes:
    """A certificate over a key of a prefix record; the issuer's own key is a root."""
    if subject == issuer.reference and key == issuer.key.public_key():
        everything = (Permission(b"", Perm.EVERYTHING),)
        return issue_certificate(
            subject, key, everything, issuer.reference, issuer.key, validity=validity
        )
    scoped = _scoped(subject.handle)
    return issue_certificate(
        subject, key, scoped, issuer.reference, issuer.key, validity=validity, chain=issuer.chain
    )


def _current(holder: Holder) -> Iterator[tuple[int, int, PublicKey]]:
    """Index, certificate's index and key of each key in use."""
    keys = (
        (KEY, KEY_CERT, holder.site_key),
        (LOG_KEY, LOG_CERT, holder.log_key),
        (NATIONAL, NATIONAL_CERT, holder.national_key),
    )
    for index, at, key in keys:
        if key is not None and not holder.is_revoked(key):
            yield index, at, key


def _without_key(site: Site) -> Site:
    """A site whose key was revoked: nothing that it signs is to be believed."""
    servers = tuple(replace(server, public_key=b"") for server in site.servers)
    return replace(site, servers=servers)


def _scoped(record: bytes) -> tuple[Permission, ...]:
    perms = (Perm.THIS_HANDLE, Perm.HANDLES_UNDER_THIS_PREFIX, Perm.DERIVED_PREFIXES)
    return tuple(Permission(record, perm) for perm in perms)


def _certificate_of(prefix: bytes) -> Reference:
    return Reference(prefix_record(prefix), KEY_CERT)


def _site(site: Site, now_s: int) -> HandleValue:
    type_ = site_type(site)
    index = SITE if type_ == b"HS_SITE" else SITE6
    return HandleValue(index, type_, encode_site(site), timestamp=now_s)


def _key(index: int, key: PublicKey, now_s: int) -> HandleValue:
    return HandleValue(index, b"HS_PUBKEY", encode_public_key(key), timestamp=now_s)
