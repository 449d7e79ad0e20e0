"""Some fields of an event, proved without the others: salted digests under one signature (SD-JWT).

A disclosure is {"format", "jws", "disclosures"}. The payload of the JWS names the event (`sub`), who
said it (`issuer`), its label, the change of the log that captured it (`change`, `leaf`), and has in
`_sd` a digest for each field of the event, among decoys, in the order of the digests. Each of the
disclosures is base64url of the JSON [salt, name, value]; its SHA-256 must be among the digests. Salts
are drawn anew each time: two disclosures of an event cannot be joined, nor a field be guessed.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

import orjson

from protocol.epcis.jcs import canonical
from protocol.errors import ParseError, SignatureInvalid
from protocol.jws import parse_jws, parse_object, sign_jws
from protocol.keys import PrivateKey, PublicKey
from protocol.keys.jwk import format_base64url, parse_base64url
from protocol.keys.policy import STRICT, Policy
from protocol.record import Reference
from protocol.strict_json import parse_json

FORMAT: Final = "biaoshi-disclosure/1"
MEDIA_TYPE: Final = "application/vnd.biaoshi.disclosure+json"
SALT_BYTES: Final = 16
ROUND: Final = 16
"""Digests come in multiples of this: how many fields an event has is not told closely."""
MOST: Final = 512


@dataclass(frozen=True, slots=True)
class Disclosed:
    """What a disclosure proves. fields: by name. leaf: SHA-256 of the log's leaf, hex."""

    event_id: str
    issuer: str
    signer: Reference
    label: Mapping[str, Any] | None
    change: int
    leaf: str
    fields: Mapping[str, Any]


def disclose(
    event: Mapping[str, Any],
    names: Collection[str],
    claims: Mapping[str, Any],
    signer: Reference,
    key: PrivateKey,
    random: Callable[[int], bytes],
) -> dict[str, Any]:
    """A disclosure of the fields with these names.

    claims: `sub`, `issuer`, `label`, `change`, `leaf`, `iat`. random: octets for salts.
    """
    digests, shown = [], []
    for name, value in event.items():
        salt = format_base64url(random(SALT_BYTES))
        text = format_base64url(canonical([salt, name, value]))
        digests.append(_digest(text))
        if name in names:
            shown.append(text)
    while len(digests) % ROUND:
        digests.append(format_base64url(sha256(random(SALT_BYTES)).digest()))
    payload = {**claims, "iss": signer.text(), "_sd_alg": "sha-256", "_sd": sorted(digests)}
    jws = sign_jws(orjson.dumps(payload, option=orjson.OPT_SORT_KEYS), key)
    return {"format": FORMAT, "jws": jws.decode(), "disclosures": shown}


def read_signer(shape: Mapping[str, Any]) -> Reference:
    """Whose key a disclosure wants to be checked with; nothing verified. Raises ParseError."""
    payload = parse_object(parse_jws(_text(shape, "jws").encode()).payload)
    return Reference.parse(_text(payload, "iss"))


def verify_disclosure(
    shape: Mapping[str, Any], keys: Sequence[PublicKey], policy: Policy = STRICT
) -> Disclosed:
    """What a disclosure proves by one of these keys. Raises SignatureInvalid or ParseError."""
    if shape.get("format") != FORMAT:
        raise ParseError(f"a disclosure has the `format` {FORMAT!r}")
    jws = parse_jws(_text(shape, "jws").encode())
    problem = "no key was given"
    for key in keys:
        try:
            jws.verify(key, policy)
            break
        except SignatureInvalid as error:
            problem = str(error)
    else:
        raise SignatureInvalid(f"the disclosure: {problem}")
    payload = parse_object(jws.payload)
    digests, texts = payload.get("_sd"), shape.get("disclosures")
    if not isinstance(digests, list) or not isinstance(texts, list) or len(texts) > MOST:
        raise ParseError("a disclosure has a list of `disclosures`, and its payload one of `_sd`")
    fields = dict(_field(text, digests) for text in texts)
    if len(fields) != len(texts):
        raise SignatureInvalid("a field is disclosed twice")
    label, change = payload.get("label"), payload.get("change")
    if type(change) is not int or not (label is None or isinstance(label, Mapping)):
        raise ParseError("the payload of a disclosure has a `change` and perhaps a `label`")
    sub = _text(payload, "sub")
    if fields.get("eventID", sub) != sub:
        raise SignatureInvalid("the eventID that is disclosed is that of another event")
    signer = Reference.parse(_text(payload, "iss"))
    leaf = _text(payload, "leaf")
    return Disclosed(sub, _text(payload, "issuer"), signer, label, change, leaf, fields)


def _field(text: Any, digests: Sequence[Any]) -> tuple[str, Any]:
    if not isinstance(text, str) or _digest(text) not in digests:
        raise SignatureInvalid("a field is disclosed that the signature does not have")
    said = parse_json(parse_base64url(text), "a disclosed field")
    if not isinstance(said, list) or len(said) != 3 or not isinstance(said[1], str):
        raise ParseError("a disclosed field is [salt, name, value]")
    return said[1], said[2]


def _digest(text: str) -> str:
    return format_base64url(sha256(text.encode("utf-8", "replace")).digest())


def _text(shape: Mapping[str, Any], name: str) -> str:
    text = shape.get(name)
    if not isinstance(text, str) or not text.isprintable():
        raise ParseError(f"a disclosure has a text `{name}`")
    return text
