"""biaoshi key: make, show and convert keys: PEM, JSON Web Keys, files of Handle software."""

from __future__ import annotations

import json
import os
from base64 import b64encode
from enum import StrEnum
from hashlib import sha256
from pathlib import Path
from typing import Annotated

import typer
from cryptography.hazmat.primitives.asymmetric.dsa import DSAPublicKey
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1
from cryptography.hazmat.primitives.asymmetric.ec import generate_private_key as generate_p256
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey, generate_private_key

from protocol.errors import SettingsError
from protocol.keys import (
    PrivateKey,
    PublicKey,
    encode_pem,
    encode_private_key,
    encode_public_key,
    encode_spki,
)
from protocol.keys.files import seal_key_file
from protocol.keys.jwk import format_jwk
from protocol.keys.private_jwk import format_private_jwk
from protocol.keys.sm2 import Sm2PrivateKey, Sm2PublicKey
from registry.keys import write_private
from resolver.keyfiles import AnyKey, read_any_key, read_passphrase
from resolver.pem import format_public_pem

app = typer.Typer(help="Make, show and convert keys.", no_args_is_help=True)

_EPILOG = """\b
Examples:
  biaoshi key new admin.pem
  biaoshi key new admin.bin --form handle --public admpub.bin --passphrase-file pass.txt
  biaoshi key new national.pem --type sm2
  biaoshi key show admpriv.bin
  biaoshi key convert admpriv.bin admin.pem --form pem
  biaoshi key convert admin.pem admpub.bin --form handle --only-public
\b
Exit codes: 0 done; 2 a file cannot be read or written as it is."""

_MIN_BITS, _MAX_BITS = 2048, 8192
_IV_BYTES, _SALT_BYTES = 16, 16


class Form(StrEnum):
    """How a key is written."""

    PEM = "pem"
    JWK = "jwk"
    HANDLE = "handle"


class Kind(StrEnum):
    """Which key is made."""

    RSA = "rsa"
    ED25519 = "ed25519"
    P256 = "p256"
    SM2 = "sm2"


_Passphrase = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="The passphrase (one final newline is not part of it)."),
]
_Form = Annotated[Form, typer.Option("--form", help="How the key is written.")]


@app.command(epilog=_EPILOG)
def new(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where the private key goes; 0600.")],
    kind: Annotated[
        Kind, typer.Option("--type", help="RSA is what Handle software reads; SM2 needs OpenSSL 3.")
    ] = Kind.RSA,
    bits: Annotated[int, typer.Option(min=_MIN_BITS, max=_MAX_BITS, help="Of an RSA key.")] = 2048,
    form: _Form = Form.PEM,
    public: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write the public key too, in the same form."),
    ] = None,
    passphrase_file: _Passphrase = None,
) -> None:
    """Make a key pair."""
    key = make_key(kind, bits)
    _write(file, private_octets(key, form, read_passphrase(passphrase_file)), private=True)
    if public is not None:
        _write(public, public_octets(key.public_key(), form), private=False)
    print(f"{file}: {describe(key.public_key())}, fingerprint {fingerprint(key.public_key())}")


@app.command(epilog=_EPILOG)
def show(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A key, private or public.")],
    passphrase_file: _Passphrase = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
) -> None:
    """Show what a key file holds; of a private key the public part alone."""
    key = read_any_key(file, passphrase_file)
    _warn(file, key)
    shape = shown(key)
    if as_json:
        print(json.dumps(shape))
        return
    what = "private" if key.private is not None else "public"
    print(f"{what} key, {describe(key.public)}, {key.form}{' (encrypted)' * key.encrypted}")
    print(f"SHA-256  {shape['fingerprint']}")
    print(f"JWK      {json.dumps(shape['jwk'])}")
    print(f"HS_PUBKEY (base64)  {shape['hs_pubkey']}")


@app.command(epilog=_EPILOG)
def convert(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A key of any form.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Where it goes; not there yet.")],
    form: _Form = Form.PEM,
    only_public: Annotated[
        bool, typer.Option("--only-public", help="Write the public part of a private key.")
    ] = False,
    passphrase_file: _Passphrase = None,
    new_passphrase_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Encrypt what is written.")
    ] = None,
) -> None:
    """Write a key in another form."""
    key = read_any_key(file, passphrase_file)
    _warn(file, key)
    passphrase = read_passphrase(new_passphrase_file)
    if key.private is None or only_public:
        if passphrase:
            raise SettingsError("a public key is not encrypted; leave --new-passphrase-file out")
        _write(out, public_octets(key.public, form), private=False)
    else:
        if key.encrypted and passphrase is None:
            typer.echo(f"{out} is written without a passphrase; mode 0600", err=True)
        _write(out, private_octets(key.private, form, passphrase), private=True)
    print(f"{out}: {describe(key.public)}, fingerprint {fingerprint(key.public)}")


def make_key(kind: Kind, bits: int) -> PrivateKey:
    """A new key. Raises NotSupported: SM2 without libcrypto."""
    if kind is Kind.ED25519:
        return Ed25519PrivateKey.generate()
    if kind is Kind.P256:
        return generate_p256(SECP256R1())
    if kind is Kind.SM2:
        return Sm2PrivateKey.generate()
    return generate_private_key(public_exponent=65_537, key_size=bits)


def _warn(file: Path, key: AnyKey) -> None:
    if key.open_to_others:
        typer.echo(f"others can read {file}; run `chmod 600 {file}`", err=True)


def private_octets(key: PrivateKey, form: Form, passphrase: bytes | None) -> bytes:
    """A private key as a file's octets. Raises SettingsError or ParseError."""
    if form is Form.PEM:
        return encode_pem(key, passphrase)
    if form is Form.HANDLE:
        octets = encode_private_key(key)
        if passphrase is None:
            return seal_key_file(octets, None)
        return seal_key_file(
            octets, passphrase, salt=os.urandom(_SALT_BYTES), iv=os.urandom(_IV_BYTES), key_bits=128
        )
    if passphrase is not None:
        raise SettingsError("a JSON Web Key is not encrypted here; use --form pem or handle")
    return json.dumps(format_private_jwk(key)).encode() + b"\n"


def public_octets(key: PublicKey, form: Form) -> bytes:
    """A public key as a file's octets; in the Handle form the data of HS_PUBKEY."""
    if form is Form.PEM:
        return format_public_pem(key)
    if form is Form.HANDLE:
        return encode_public_key(key)
    return json.dumps(format_jwk(key)).encode() + b"\n"


def describe(key: PublicKey) -> str:
    """`RSA 2048 bits`."""
    if isinstance(key, RSAPublicKey):
        return f"RSA {key.key_size} bits"
    if isinstance(key, DSAPublicKey):
        return f"DSA {key.key_size} bits"
    if isinstance(key, Sm2PublicKey):
        return "SM2"
    return "Ed25519" if isinstance(key, Ed25519PublicKey) else "P-256"


def fingerprint(key: PublicKey) -> str:
    """SHA-256 of the SubjectPublicKeyInfo, hex: what other commands print too."""
    return sha256(encode_spki(key)).hexdigest()


def shown(key: AnyKey) -> dict[str, object]:
    """What `show --json` prints: never a private number."""
    return {
        "type": describe(key.public),
        "form": key.form,
        "private": key.private is not None,
        "encrypted": key.encrypted,
        "fingerprint": fingerprint(key.public),
        "jwk": format_jwk(key.public),
        "hs_pubkey": b64encode(encode_public_key(key.public)).decode(),
    }


def _write(path: Path, data: bytes, *, private: bool) -> None:
    try:
        if private:
            write_private(path, data)
        else:
            with path.open("xb") as file:
                file.write(data)
    except FileExistsError:
        raise SettingsError(f"{path} is there already; name another file") from None
    except OSError as error:
        raise SettingsError(f"{path} cannot be written: {error.strerror}") from None
