"""Enrolment: how a child applies to its parent for a prefix, and what the parent answers.

Both are JWS texts signed by a site key (RSA, key 300): the application proves that the child has
the key it wants published, the answer is believed because the parent's key is pinned. Pure
texts; who sends them is resolver.parent, who decides is resolver.http.delegations.
"""

from __future__ import annotations

import json
import re
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from hmac import compare_digest
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey

from protocol.errors import BadIdentifier, ParseError, SignatureInvalid
from protocol.handover import successors
from protocol.jws import JsonObject, parse_jws, parse_object, sign_jws
from protocol.keys import PublicKey, decode_public_key, encode_public_key, encode_spki
from protocol.name import prefix_record
from protocol.record import HandleValue, decode_values, encode_values
from protocol.values.hs_site import Site, decode_site, encode_site
from resolver.enrol_keys import NO_MORE, MoreKeys, more_of_attributes, more_of_payload

APPLICATION: Final = "biaoshi-delegation-request"
ANSWER: Final = "biaoshi-delegation-answer"
MAX_APPLICATION_BYTES: Final = 65_536
MAX_PREFIX_BYTES: Final = 200
CLOCK_S: Final = 900
"""How far the clocks of child and parent may differ."""
_MIN_RSA_BITS: Final = 2048
_MAX_TEXT: Final = 500
_MAX_SITES: Final = 9
_SEGMENT: Final = re.compile(r"[^\s./\x00-\x1f\x7f]+")


@dataclass(frozen=True, slots=True)
class Application:
    """What a child asks to have published.

    prefix: folded. has_secret: it also has an administrator 301 by secret key. issued: seconds
    since 1970. audience: fingerprint of the parent's key that the application is meant for.
    home: the node's own prefix, where this is a further one: its log is named by that.
    """

    prefix: bytes
    sites: tuple[Site, ...]
    site_key: RSAPublicKey
    log_key: Ed25519PublicKey
    has_secret: bool
    issued: int
    audience: str
    contact: str = ""
    description: str = ""
    more: MoreKeys = NO_MORE
    home: bytes = b""

    def attributes(self) -> dict[str, Any]:
        """What the parent keeps in the prefix's row; msgpack-able."""
        return {
            "contact": self.contact,
            "description": self.description,
            "issued": self.issued,
            "keys": {
                "300": encode_public_key(self.site_key),
                "302": encode_public_key(self.log_key),
            },
            "secret": self.has_secret,
            "sites": [encode_site(site) for site in self.sites],
            **({"home": self.home} if self.home else {}),
            **self.more.attributes(),
        }

    @property
    def log_prefix(self) -> bytes:
        """The prefix that the applicant's log is named by."""
        return self.home or self.prefix


@dataclass(frozen=True, slots=True)
class Answer:
    """What a parent says about a prefix.

    node: its own prefix. key: its site key. state: none, requested, delegated or refused.
    values: the published record when delegated. reason: of a refusal. handovers: from site keys
    that the node had before.
    """

    node: bytes
    key: RSAPublicKey
    prefix: bytes
    state: str
    issued: int
    reason: str = ""
    values: tuple[HandleValue, ...] = ()
    handovers: tuple[bytes, ...] = ()


def fingerprint(key: PublicKey) -> str:
    """`SHA256:` and the digest of the key (SubjectPublicKeyInfo) in base64, as people compare it."""
    return f"SHA256:{b64encode(sha256(encode_spki(key)).digest()).decode().rstrip('=')}"


def check_prefix(text: str) -> bytes:
    """A prefix as folded octets. Raises BadIdentifier."""
    raw = text.encode(errors="replace")
    segments = text.split(".")
    if len(raw) > MAX_PREFIX_BYTES:
        raise BadIdentifier(
            "bad-prefix", f"{text[:40]!r}… has {len(raw)} octets; {MAX_PREFIX_BYTES} are the most"
        )
    if not all(map(_SEGMENT.fullmatch, segments)) or raw.decode() != text:
        raise BadIdentifier(
            "bad-prefix", f"{text!r} is no prefix; write segments with dots, such as 88.118.8"
        )
    if segments[0] == "0":
        raise BadIdentifier("reserved-prefix", f"{text!r}: prefixes under 0 belong to the system")
    return raw.upper()


def same_keys(attributes: Mapping[str, Any], application: Application) -> bool:
    """Whether a prefix's row holds the keys of this application."""
    held = attributes.get("keys")
    wanted: dict[str, bytes] = application.attributes()["keys"]
    return isinstance(held, Mapping) and all(
        isinstance(held.get(name), bytes) and compare_digest(held[name], key)
        for name, key in wanted.items()
    )


def application_of(prefix: bytes, attributes: Mapping[str, Any]) -> Application:
    """The application that a prefix's row keeps. Raises ParseError."""
    try:
        keys = attributes["keys"]
        return Application(
            prefix=prefix,
            sites=tuple(map(decode_site, attributes["sites"])),
            site_key=_rsa(keys["300"]),
            log_key=_ed25519(keys["302"]),
            has_secret=bool(attributes["secret"]),
            issued=int(attributes["issued"]),
            audience="",
            contact=str(attributes["contact"]),
            description=str(attributes["description"]),
            more=more_of_attributes(attributes),
            home=bytes(attributes.get("home", b"")),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ParseError(f"the row of prefix {prefix!r} holds no application: {error!r}") from None


def format_application(application: Application, key: RSAPrivateKey) -> bytes:
    """The application as a JWS of the child's site key."""
    payload = {
        "aud": application.audience,
        "contact": application.contact,
        "description": application.description,
        "iat": application.issued,
        "keys": {
            "300": _base64(encode_public_key(application.site_key)),
            "302": _base64(encode_public_key(application.log_key)),
        },
        "prefix": application.prefix.decode(),
        "secret": application.has_secret,
        "sites": [_base64(encode_site(site)) for site in application.sites],
        "typ": APPLICATION,
        **({"home": application.home.decode()} if application.home else {}),
        **application.more.payload(),
    }
    return sign_jws(_json(payload), key)


def parse_application(data: bytes, *, now: float, audience: str) -> Application:
    """An application that its own key signed, for us, just now.

    Raises ParseError or BadIdentifier on what is no application, SignatureInvalid when the
    signature, the time or the audience does not hold.
    """
    if len(data) > MAX_APPLICATION_BYTES:
        raise ParseError(f"an application of {len(data)} octets is above {MAX_APPLICATION_BYTES}")
    jws = parse_jws(data)
    payload = parse_object(jws.payload)
    if payload.get("typ") != APPLICATION:
        raise ParseError("this is no delegation request; send one with `biaoshi prefix request`")
    application = _application(payload)
    jws.verify(application.site_key)
    if not compare_digest(application.audience, audience):
        raise SignatureInvalid(
            f"the request is meant for the node with key {application.audience}, "
            f"this one has {audience}; send it to its own parent"
        )
    if abs(now - application.issued) > CLOCK_S:
        raise SignatureInvalid(
            f"the request was made {now - application.issued:.0f} s ago by our clock; "
            "set the clocks right and send a new one"
        )
    return application


def _application(payload: JsonObject) -> Application:
    try:
        sites = tuple(decode_site(_octets(item)) for item in _list(payload, "sites"))
        keys = payload["keys"]
        application = Application(
            prefix=check_prefix(_text(payload, "prefix")),
            sites=sites,
            site_key=_rsa(_octets(keys["300"])),
            log_key=_ed25519(_octets(keys["302"])),
            has_secret=payload.get("secret") is True,
            issued=_int(payload, "iat"),
            audience=_text(payload, "aud"),
            contact=_text(payload, "contact"),
            description=_text(payload, "description"),
            more=more_of_payload(payload),
            home=check_prefix(_text(payload, "home")) if "home" in payload else b"",
        )
    except (KeyError, TypeError) as error:
        raise ParseError(f"the request lacks or garbles {error}") from None
    own = [site for site in sites if site.primary]
    if not 0 < len(own) <= 2 or any(not site.servers for site in sites):
        raise ParseError("a request names one site, or an IPv4 and an IPv6 one, with a server each")
    key = encode_public_key(application.site_key)
    if any(server.public_key != key for site in own for server in site.servers):
        raise ParseError("the site record names another key than the request")
    return application


def format_answer(answer: Answer, key: RSAPrivateKey) -> bytes:
    """The answer as a JWS of the parent's site key."""
    payload = {
        "handovers": [text.decode() for text in answer.handovers],
        "iat": answer.issued,
        "key": _base64(encode_public_key(answer.key)),
        "node": answer.node.decode(),
        "prefix": answer.prefix.decode(),
        "reason": answer.reason,
        "record": _base64(encode_values(answer.values)) if answer.values else None,
        "state": answer.state,
        "typ": ANSWER,
    }
    return sign_jws(_json(payload), key)


def parse_answer(data: bytes, pin: PublicKey | None, now: float | None = None) -> Answer:
    """A parent's answer. pin: the key that must have signed it, or handed over to the one that
    did; None takes the key it names. now: for the dates of handovers; None takes none.

    Raises ParseError, or SignatureInvalid when another key signed it.
    """
    jws = parse_jws(data)
    payload = parse_object(jws.payload)
    if payload.get("typ") != ANSWER:
        raise ParseError("the parent's answer is none about a delegation; is the address right?")
    try:
        record = payload.get("record")
        answer = Answer(
            node=_text(payload, "node").encode(),
            key=_rsa(_octets(payload["key"])),
            prefix=_text(payload, "prefix").encode(),
            state=_text(payload, "state"),
            issued=_int(payload, "iat"),
            reason=_text(payload, "reason"),
            values=decode_values(_octets(record)) if record is not None else (),
            handovers=more_of_payload({"handovers": payload.get("handovers", [])}).handovers,
        )
    except (KeyError, TypeError) as error:
        raise ParseError(f"the parent's answer lacks or garbles {error}") from None
    if pin is not None and not _follows(pin, answer, now):
        raise SignatureInvalid(
            f"the parent now shows the key {fingerprint(answer.key)}, but {fingerprint(pin)} was "
            "expected; ask its operator, and give --parent-key FILE if the new one is right"
        )
    jws.verify(answer.key)
    return answer


def _follows(pin: PublicKey, answer: Answer, now: float | None) -> bool:
    if encode_spki(pin) == encode_spki(answer.key):
        return True
    if now is None:
        return False
    subject = f"300:{prefix_record(answer.node).decode()}"
    after = successors([pin], answer.handovers, subject, int(now))
    return encode_public_key(answer.key) in after


def _json(payload: JsonObject) -> bytes:
    return json.dumps(payload, separators=(",", ":"), ensure_ascii=False).encode()


def _base64(data: bytes) -> str:
    return b64encode(data).decode()


def _octets(value: Any) -> bytes:
    if not isinstance(value, str):
        raise TypeError("a base64 text")
    try:
        return b64decode(value, validate=True)
    except (Base64Error, ValueError):
        raise ParseError("a field of the message is not base64") from None


def _text(payload: JsonObject, name: str) -> str:
    value = payload[name]
    if not isinstance(value, str) or len(value) > _MAX_TEXT or not _encodable(value):
        raise TypeError(name)
    return value


def _encodable(value: str) -> bool:
    """Text without control characters and halves of surrogate pairs."""
    return not any(char < " " or char == "\x7f" or "\ud800" <= char <= "\udfff" for char in value)


def _int(payload: JsonObject, name: str) -> int:
    value = payload[name]
    if type(value) is not int or not 0 <= value < 1 << 40:
        raise TypeError(name)
    return value


def _list(payload: JsonObject, name: str) -> list[Any]:
    value = payload[name]
    if not isinstance(value, list) or len(value) > _MAX_SITES:
        raise TypeError(name)
    return value


def _rsa(data: bytes) -> RSAPublicKey:
    key = decode_public_key(data)
    if not isinstance(key, RSAPublicKey) or key.key_size < _MIN_RSA_BITS:
        raise ParseError(f"key 300 must be an RSA key of {_MIN_RSA_BITS} bits or more")
    return key


def _ed25519(data: bytes) -> Ed25519PublicKey:
    key = decode_public_key(data)
    if not isinstance(key, Ed25519PublicKey):
        raise ParseError("key 302 must be an Ed25519 key")
    return key
