"""biaoshi key: make, show, convert, replace and revoke keys."""

from __future__ import annotations

import json
import os
import sys
import time
from base64 import b64encode
from enum import StrEnum
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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
from resolver.commands.telling import JsonOption, tell
from resolver.exits import Exit
from resolver.keyfiles import AnyKey, read_any_key, read_passphrase
from resolver.pem import format_public_pem

if TYPE_CHECKING:
    from collections.abc import Sequence

    from registry.rotation import RevokedKey
    from resolver.rotate import Rotated

app = typer.Typer(help="Make, show, convert, replace and revoke keys.", no_args_is_help=True)

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


class Which(StrEnum):
    """Which of a node's own keys."""

    LOG = "log"
    SITE = "site"
    BOTH = "both"


_INDEXES = {Which.LOG: (302,), Which.SITE: (300,), Which.BOTH: (300, 302)}
_Folder = Annotated[Path, typer.Argument(metavar="DIR", help="The node's folder.")]


@app.command(
    epilog="""\b
Examples:
  biaoshi key rotate ./steel
  biaoshi key rotate ./steel --key both --overlap 60
  biaoshi key rotate ./steel 300:88.118.8/alice --public alice-new.pem
\b
A node's own key: a new one is published in the prefix record, by the parent where there is one,
and the old one stays valid beside it for the overlap; checkpoints are signed by both. A running node
reloads. Records signed by the node are signed anew (--no-resign leaves them).
\b
With INDEX:HANDLE and --public the new key of an administrator is added beside the old one, with the
same rights; `biaoshi key revoke` ends the overlap.
\b
Exit codes: 0 done; 1 refused; 2 the folder or an option cannot be used; 3 the node's parent or
writer does not answer."""
)
def rotate(
    folder: _Folder,
    identity: Annotated[
        str, typer.Argument(metavar="[INDEX:HANDLE]", help="An administrator instead.")
    ] = "",
    which: Annotated[Which, typer.Option("--key", help="Which of the node's keys.")] = Which.LOG,
    overlap: Annotated[
        int, typer.Option(min=1, max=3650, metavar="DAYS", help="How long the old key stays valid.")
    ] = 30,
    public: Annotated[
        Path | None, typer.Option(metavar="FILE", help="An administrator's new public key.")
    ] = None,
    resign: Annotated[
        bool, typer.Option(help="Sign the records anew that the old key signed.")
    ] = True,
    as_json: JsonOption = False,
) -> None:
    """Replace a key; the old one stays valid for a time."""
    node = folder.resolve()
    if identity:
        from resolver.keyfiles import read_public_keys
        from resolver.revoke import add_key

        if public is None:
            raise SettingsError("give the administrator's new public key: --public FILE")
        (key, *_) = read_public_keys(public)
        added = add_key(node, identity, key)
        tell(
            {"added": added, "beside": identity},
            f"{added} has the new key, with the rights of {identity}.",
            f"End the overlap with: biaoshi key revoke {folder} {identity}",
            as_json=as_json,
        )
        return
    from resolver import rotate as rotating

    done = rotating.rotate(node, indexes=_INDEXES[which], overlap_s=overlap * rotating.DAY_S)
    _finish(node, which, [done], resign=resign, as_json=as_json)


@app.command(
    epilog="""\b
Examples:
  biaoshi key revoke ./steel --key log --reason stolen
  biaoshi key revoke ./steel --key log --former
  biaoshi key revoke ./steel 300:88.118.8/alice --reason "left the company"
  biaoshi key revoke ./second 302:0.NA/88.118.8
\b
A node's own key in use is replaced at once and counts no more; --former means the one before the last
rotation. INDEX:HANDLE is a key in any record here, also that of a child's prefix. Other nodes know
within a minute. What the log had before stays verifiable with its receipt: `biaoshi verify` says so.
\b
Exit codes: 0 done; 1 refused; 2 the folder, an option or the identity cannot be used; 3 the node's
parent or writer does not answer."""
)
def revoke(
    folder: _Folder,
    identity: Annotated[
        str, typer.Argument(metavar="[INDEX:HANDLE]", help="A key in a record here instead.")
    ] = "",
    which: Annotated[Which, typer.Option("--key", help="Which of the node's keys.")] = Which.LOG,
    former: Annotated[
        bool, typer.Option("--former", help="The key before the last rotation.")
    ] = False,
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Told to everybody.")] = "",
    position: Annotated[
        int | None,
        typer.Option(
            min=0, help="For a child's key: the change of its log from which nothing counts."
        ),
    ] = None,
    resign: Annotated[
        bool, typer.Option(help="Sign the records anew that the old key signed.")
    ] = True,
    as_json: JsonOption = False,
) -> None:
    """Revoke a key: everywhere within a minute, and not for what was logged before."""
    node = folder.resolve()
    if identity:
        from resolver.revoke import revoke_value

        told = revoke_value(node, identity, reason, position)
        shape = {"revoked": identity, "log": told.log, "position": told.position}
        tell(shape, f"{identity} is {told.text()}.", as_json=as_json)
        return
    from resolver import rotate as rotating

    if former:
        done = [rotating.revoke_former(node, index, reason) for index in _INDEXES[which]]
    else:
        done = [rotating.rotate(node, indexes=_INDEXES[which], overlap_s=0, revoke=reason)]
    _finish(node, which, done, resign=resign, as_json=as_json)


@app.command(
    epilog="""\b
Examples:
  biaoshi key certify ./steel 300:88.118.8/alice
  biaoshi key certify ./steel 300:88.118.8/alice --handle 88.118.8/pump-7 --days 365
\b
The certificate goes into the record that has the key. What `biaoshi sign` signs with that key then
verifies up to the root; `biaoshi key revoke` takes it away.
\b
Exit codes: 0 done; 1 refused, or no such key; 2 the folder or an option cannot be used; 3 the
node's writer does not answer."""
)
def certify(
    folder: _Folder,
    identity: Annotated[
        str, typer.Argument(metavar="INDEX:HANDLE", help="A key in a record of this node.")
    ],
    handle: Annotated[
        list[str] | None,
        typer.Option(metavar="H", help="It may sign this record; default: all of its prefix."),
    ] = None,
    days: Annotated[
        int, typer.Option(min=1, max=36_500, help="How long the certificate holds.")
    ] = 365,
    as_json: JsonOption = False,
) -> None:
    """Let a registrant's key sign records: a certificate by this node."""
    from resolver.certify import certify as make_certificate

    made = make_certificate(folder.resolve(), identity, handle or [], days)
    tell(
        {"key": identity, "certificate": made.text(), "days": days},
        f"{identity} is certified by {made.text()}, for {days} days.",
        as_json=as_json,
    )


def _finish(
    folder: Path, which: Which, done: Sequence[Rotated], *, resign: bool, as_json: bool
) -> None:
    """Sign anew, and say what was done. Exits with 3 where a parent did not publish the keys."""
    signed = _resign(folder, which) if resign else None
    missing = [pair for one in done for pair in one.unpublished]
    shape = {
        "keys": {f"{i}:0.NA/{one.prefix}": name for one in done for i, name in one.keys},
        "revoked": [{"index": r.index, "position": r.revocation.position} for r in _revoked(done)],
        "until": next((one.until for one in done if one.until is not None), None),
        "signedAnew": signed,
        "unpublished": dict(missing),
    }
    lines = [line for one in done for line in _lines(one)]
    if signed is not None:
        lines.append(f"{signed} records signed anew.")
    tell(shape, *lines, as_json=as_json)
    for prefix, why in missing:
        print(f"biaoshi: {prefix} still names the key before: {why}", file=sys.stderr)
    if missing:
        raise typer.Exit(Exit.UNAVAILABLE)


def _revoked(done: Sequence[Rotated]) -> list[RevokedKey]:
    return [revoked for one in done for revoked in one.revoked]


def _lines(done: Rotated) -> list[str]:
    lines = [f"{index}:0.NA/{done.prefix} is now {name}." for index, name in done.keys]
    lines += [f"The key before at {one.index} is {one.revocation.text()}." for one in done.revoked]
    if done.until is not None:
        day = time.strftime("%F", time.gmtime(done.until))
        lines.append(f"The key before stays valid until {day}.")
    return lines


def _resign(folder: Path, which: Which) -> int | None:
    """Sign anew what the replaced key signed: the site key does so where Handle software verifies."""
    from resolver.config_file import load_settings
    from resolver.resign import resign_records

    signing = Which.SITE if load_settings(folder).signing.handle_compat else Which.LOG
    return resign_records(folder) if which in {signing, Which.BOTH} else None


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
