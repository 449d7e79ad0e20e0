"""Vector forms of signatures and trust: hs_signature, hs_cert, cert_permission, trust_chain."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from protocol.chain import ChainReport, ChainWalk, Roots
from protocol.errors import ParseError
from protocol.jsonfields import Fields, text_of
from protocol.jws import parse_jws, parse_object
from protocol.keys import decode_public_key, encode_public_key
from protocol.keys.policy import EVERYTHING
from protocol.record import HandleValue, Reference, decode_value
from protocol.signature import (
    HS_CERT,
    Certificate,
    Permission,
    Report,
    parse_certificate,
    permits,
    verify_record,
)
from protocol.vectorform.crypto_fields import (
    claims_without_case,
    demand,
    holds,
    public_key_of,
)
from protocol.vectorform.form import Form, Shape, compare, hex_of

_REPORT_LISTS = ("verified", "unsigned", "bad_digest", "missing")


def _decode_jws(data: bytes) -> Shape:
    jws = parse_jws(data)
    return {
        "jws": text_of(data, "the JWS"),
        "payload": text_of(jws.payload, "the payload"),
    }


def _decode_signature(data: bytes) -> Shape:
    try:
        return _decode_jws(data)
    except ParseError:
        # A text that is no acceptable JWS is shown, and is no valid signature.
        return {"jws": text_of(data, "the JWS"), "valid": False}


def _encode_jws(decoded: Shape) -> bytes:
    return Fields(decoded).text("jws")


def _values_of(fields: Fields) -> tuple[HandleValue, ...]:
    path = fields.path("record_values_hex")
    rows = [Fields({"": item}, path) for item in fields.items("record_values_hex")]
    return tuple(decode_value(row.hex("")) for row in rows)


def _now_of(fields: Fields) -> int:
    return fields.number("now", 0, 1 << 62)


def _inputs(fields: Fields, *names: str) -> Shape:
    """What the row gives and nothing derives: taken as it is, its effect is checked."""
    return {name: fields.any(name) for name in names}


def _check_signature(vector: Mapping[str, Any]) -> None:
    data = hex_of(vector)
    claims = claims_without_case(vector)
    fields = Fields(claims)
    key, values, now = public_key_of(fields), _values_of(fields), _now_of(fields)
    handle = fields.text("handle")
    actual: Shape = {"jws": text_of(data, "the JWS")}
    actual |= _inputs(fields, "handle", "public_key_hex", "now", "record_values_hex")
    try:
        report = verify_record(handle, values, data, key, now, policy=EVERYTHING)
    except ParseError:
        compare(claims, actual | {"expected": {"parses": False}, "valid": False})
        return
    actual["payload"] = text_of(parse_jws(data).payload, "the payload")
    expected = _report_shape(report)
    valid = report.sound and not report.unsigned
    compare(claims, actual | {"expected": expected, "valid": valid})


def _report_shape(report: Report) -> Shape:
    shape: Shape = {
        "parses": True,
        "signature_verifies": report.signature_verifies,
        "valid_payload": report.valid_payload,
        "correct_handle": report.correct_handle,
        "date_in_range": report.date_in_range,
    }
    return shape | {name: list(getattr(report, name)) for name in _REPORT_LISTS}


def _decode_certificate(data: bytes) -> Shape:
    return _decode_jws(data) | _certificate_shape(parse_certificate(data))


def _certificate_shape(certificate: Certificate) -> Shape:
    payload = parse_object(certificate.jws.payload)
    return {
        "iss": payload["iss"],
        "sub": payload["sub"],
        "perms": payload.get("perms", []),
        "subject_public_key_hex": encode_public_key(certificate.public_key).hex(),
    }


def _check_certificate(vector: Mapping[str, Any]) -> None:
    data = hex_of(vector)
    claims = claims_without_case(vector)
    fields = Fields(claims)
    certificate = parse_certificate(data)
    key, now = public_key_of(fields, "issuer_public_key_hex"), _now_of(fields)
    verifies = holds(lambda: certificate.jws.verify(key, EVERYTHING))
    in_range = certificate.claims.validity.covers(now)
    actual = _decode_certificate(data) | _inputs(fields, "issuer_public_key_hex", "now")
    actual |= {
        "expected": {"signature_verifies": verifies, "date_in_range": in_range},
        "valid": verifies and in_range,
    }
    compare(claims, actual)


def _decode_permission(data: bytes) -> Shape:
    return {"handle": text_of(data, "the handle")}


def _encode_permission(decoded: Shape) -> bytes:
    return Fields(decoded).text("handle")


def _check_permission(vector: Mapping[str, Any]) -> None:
    data = hex_of(vector)
    claims = claims_without_case(vector)
    fields = Fields(claims)
    permission = Permission(fields.text("permission_handle"), fields.text("permission").decode())
    actual = _decode_permission(data) | _inputs(fields, "permission", "permission_handle")
    compare(claims, actual | {"authorized": permits([permission], data)})


def _check_chain(vector: Mapping[str, Any]) -> None:
    data = hex_of(vector)
    claims = claims_without_case(vector)
    fields = Fields(claims)
    handle, now = fields.text("handle"), _now_of(fields)
    chain = _walk(data, fields, handle, now)
    actual: Shape = {"jws": text_of(data, "the JWS")}
    inputs = ("handle", "now", "record_values_hex", "other_records", "trusted_root_keys_hex")
    actual |= _inputs(fields, *inputs)
    good = _record_is_good(data, fields, chain, handle)
    actual["expected"] = {
        "chain_length": chain.length,
        "root_is_trusted": chain.root_is_trusted,
        "can_trust": chain.trusted,
        "can_trust_and_authorized": chain.authorized,
    }
    actual["valid"] = chain.authorized and good
    compare(claims, actual)
    # Where the chain itself is the fault, the record is meant to be right.
    demand("the values do not have the signed digests", so=good or chain.authorized)


def _walk(data: bytes, fields: Fields, handle: bytes, now: int) -> ChainReport:
    path = fields.path("trusted_root_keys_hex")
    rows = [Fields({"": item}, path) for item in fields.items("trusted_root_keys_hex")]
    roots = Roots.of([decode_public_key(row.hex("")) for row in rows])
    others = fields.object("other_records")
    records = {Reference.parse(name): others.text(name) for name in fields.any("other_records")}
    walk = ChainWalk(data, handle, roots, now, EVERYTHING)
    while (wanted := walk.needs()) is not None:
        walk.give(
            HandleValue(reference.index, HS_CERT, certificate)
            for reference, certificate in records.items()
            if reference.handle == wanted.handle
        )
    return walk.report()


def _record_is_good(data: bytes, fields: Fields, chain: ChainReport, handle: bytes) -> bool:
    if chain.signer_key is None:
        return False
    now, values = _now_of(fields), _values_of(fields)
    report = verify_record(handle, values, data, chain.signer_key, now, policy=EVERYTHING)
    lists = (report.unsigned, report.bad_digest, report.missing)
    return report.correct_handle and not any(lists)


FORMS: dict[str, Form] = {
    "hs_signature": Form(_decode_signature, _encode_jws, _check_signature),
    "hs_cert": Form(_decode_certificate, _encode_jws, _check_certificate),
    "cert_permission": Form(_decode_permission, _encode_permission, _check_permission),
    "trust_chain": Form(_decode_jws, _encode_jws, _check_chain),
}
