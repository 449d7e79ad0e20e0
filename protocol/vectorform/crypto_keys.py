"""Vector forms of keys: public_key, private_key, private_key_file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from protocol.errors import ParseError
from protocol.jsonfields import Fields, text_of
from protocol.keys import encode_pkcs8, encode_spki, load_private_key, load_public_key
from protocol.keys.files import (
    KeyFile,
    Method,
    decode_key_file,
    derive_key,
    encode_key_file,
    open_key_file,
    seal_key_file,
)
from protocol.keys.numbers import (
    DH_PUBLIC,
    ED25519_BYTES,
    ED25519_PRIVATE,
    ED25519_PUBLIC,
    PRIVATE_NUMBERS,
    PUBLIC_NUMBERS,
    RSA_CRT,
    WireKey,
    read_private_key,
    read_public_key,
    write_private_key,
    write_public_key,
)
from protocol.vectorform.crypto_fields import (
    TEST_ONLY,
    claims_without_case,
    demand,
    number_of,
    number_text,
)
from protocol.vectorform.form import Form, Shape, VectorMismatch, compare, hex_of, two_way

_OCTETS = "octets_hex"
_RSA_TAIL = b"\0\0\0\0"


def _number_shape(key: WireKey) -> Shape:
    shape: Shape = {f"{name}_hex": number_text(number) for name, number in key.named().items()}
    return shape | ({_OCTETS: key.octets.hex()} if key.octets else {})


def _key_of(fields: Fields, table: Mapping[bytes, tuple[str, ...]], flags: int) -> WireKey:
    type_ = fields.text("key_type")
    if type_ in table:
        numbers = tuple(number_of(fields, f"{name}_hex") for name in table[type_])
        return WireKey(type_, numbers, flags=flags)
    octets = fields.hex(_OCTETS) if type_ in {ED25519_PUBLIC, ED25519_PRIVATE} else b""
    if len(octets) != ED25519_BYTES:
        raise ParseError(f"{fields.path('key_type')} is {type_!r:.60}, or its numbers are missing")
    return WireKey(type_, octets=octets, flags=flags)


def _decode_public(data: bytes) -> Shape:
    key = read_public_key(data)
    numbers = key.named()
    shape: Shape = {
        "key_type": text_of(key.type, "the key type"),
        "flags": key.flags,
        "bits": numbers["n" if "n" in numbers else "p"].bit_length() if numbers else 256,
    } | _number_shape(key)
    if key.type != DH_PUBLIC:
        shape["spki_der_hex"] = encode_spki(load_public_key(key)).hex()
    return shape


def _encode_public(decoded: Shape) -> bytes:
    fields = Fields(decoded)
    flags = fields.u2("flags") if "flags" in fields else 0
    return write_public_key(_key_of(fields, PUBLIC_NUMBERS, flags))


def _encode_public_like(decoded: Shape, original: bytes) -> bytes:
    data = _encode_public(decoded)
    # The four zeros after an RSA key may be absent; `decoded` does not show it.
    return original if data == original + _RSA_TAIL else data


def _decode_private(data: bytes) -> Shape:
    key = read_private_key(data)
    shape: Shape = {"key_type": text_of(key.type, "the key type")} | _number_shape(key)
    if key.type == RSA_CRT:
        shape["pkcs8_der_hex"] = encode_pkcs8(load_private_key(key)).hex()
    return shape


def _encode_private(decoded: Shape) -> bytes:
    return write_private_key(_key_of(Fields(decoded), PRIVATE_NUMBERS, 0))


def _only_for_tests(_: bytes, decoded: Shape) -> None:
    if decoded[TEST_ONLY] is not True:
        raise VectorMismatch(f"decoded.{TEST_ONLY} is {decoded[TEST_ONLY]!r:.60}, not true")


def _decode_file(data: bytes) -> Shape:
    file = decode_key_file(data)
    if not file.encrypted:
        read_private_key(file.content)
        return {
            "encryption": int(file.method),
            "passphrase": None,
            "private_key_hex": file.content.hex(),
        }
    return _file_shape(file) | {"ciphertext_hex": file.content.hex()}


def _file_shape(file: KeyFile) -> Shape:
    return {
        "encryption": int(file.method),
        "salt_hex": file.salt.hex(),
        "iterations": file.iterations,
        "key_bits": file.key_bits,
        "iv_hex": file.iv.hex(),
    }


def _encode_file(decoded: Shape) -> bytes:
    fields = Fields(decoded)
    number = fields.u4("encryption")
    if number not in set(Method):
        raise ParseError(f"{fields.path('encryption')} is {number}; 1, 3 and 4 are written")
    method = Method(number)
    if method is Method.PLAIN:
        return seal_key_file(fields.hex("private_key_hex"), None)
    salt, iv = fields.hex("salt_hex"), fields.hex("iv_hex")
    iterations, key_bits = fields.u4("iterations"), fields.u4("key_bits")
    if "private_key_hex" not in fields:
        content = fields.hex("ciphertext_hex")
        return encode_key_file(KeyFile(method, content, salt, iterations, key_bits, iv))
    return seal_key_file(
        fields.hex("private_key_hex"),
        fields.text("passphrase"),
        salt=salt,
        iv=iv,
        iterations=iterations,
        key_bits=key_bits,
        method=method,
    )


def _check_file(vector: Mapping[str, Any]) -> None:
    data = hex_of(vector)
    claims = claims_without_case(vector)
    file = decode_key_file(data)
    if not file.encrypted:
        compare(claims, _decode_file(data))
    else:
        passphrase = Fields(claims).text("passphrase")
        key = derive_key(passphrase, file.salt, file.iterations, file.key_bits)
        private_key = open_key_file(data, passphrase)
        read_private_key(private_key)
        shape = _file_shape(file) | {
            "passphrase": passphrase.decode(),
            "derived_key_hex": key.hex(),
            "private_key_hex": private_key.hex(),
        }
        if "ciphertext_hex" in claims:
            shape["ciphertext_hex"] = file.content.hex()
        compare(claims, shape)
    demand("encoding `decoded` does not give `hex`", so=_encode_file(claims) == data)


FORMS: dict[str, Form] = {
    "public_key": two_way(_decode_public, _encode_public, like=_encode_public_like),
    "private_key": two_way(_decode_private, _encode_private, also={TEST_ONLY: _only_for_tests}),
    "private_key_file": Form(_decode_file, _encode_file, _check_file),
}
