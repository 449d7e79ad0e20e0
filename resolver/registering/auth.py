"""Who registers over HTTP: `--auth [INDEX:HANDLE=]FILE`, and how it is proved (handle-http-api §6).

FILE is a private key (PEM or the Handle form), then a challenge is answered; or, for an
administrator by secret, the secret itself, one final newline left out. A file alone is that of an
administrator of the node's own prefix: which one, the node's prefix record tells.
"""

from __future__ import annotations

import os
from base64 import b64decode, b64encode
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from protocol.errors import AuthenticationFailed, ParseError, SettingsError
from protocol.keys import PrivateKey, decode_pem, decode_private_key
from protocol.keys.files import open_key_file
from protocol.keys.signing import ED25519, SHA_256, sign_octets
from protocol.record import Reference
from registry.keys import require_private

MAX_FILE_BYTES = 65_536
_NONCE_BYTES = 16
UNNAMED = Reference(b"", 0)
"""The identity of a file that was given alone."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """An identity and what proves it: a key, or a secret. identity: UNNAMED until it is known."""

    identity: Reference
    key: PrivateKey | None = None
    secret: bytes = b""

    @classmethod
    def parse(
        cls, text: str, passphrase: bytes | None = None, *, unnamed: bool = False
    ) -> Credentials:
        """`300:0.NA/88.118=keys/admin_300.pem`, `301:0.NA/88.118=@secret`. Raises SettingsError.

        unnamed: take a file alone, too.
        """
        name, mark, file = text.rpartition("=")
        alone = unnamed and bool(text) and (not mark or Path(text.removeprefix("@")).exists())
        identity = UNNAMED if alone else Reference.parse(name)
        file = text if alone else file
        if not alone and (not mark or not file or identity.handle == name.encode()):
            raise SettingsError(
                "--auth is written INDEX:HANDLE=FILE, for instance "
                "300:0.NA/88.118=keys/admin_300.pem (a key) or 301:0.NA/88.118=secret.txt"
            )
        path = Path(file.removeprefix("@"))
        data = _read(path)
        key = _key(path, data, passphrase)
        if key is not None:
            return cls(identity, key)
        secret = data.removesuffix(b"\n")
        if not secret:
            whose = identity.text() if identity != UNNAMED else "an administrator"
            raise SettingsError(f"{path} is empty; it must hold the secret of {whose}")
        return cls(identity, None, secret)

    def basic(self) -> str:
        """The value of an Authorization header with the secret."""
        user = f"{self.identity.index}%3A{quote(self.identity.handle, safe='/')}"
        return "Basic " + b64encode(user.encode() + b":" + self.secret).decode()

    def answer(self, nonce: str) -> dict[str, str]:
        """The proof for a session's nonce (base64). Raises AuthenticationFailed."""
        if self.key is None:
            raise AuthenticationFailed("a secret answers no challenge here; it goes as Basic")
        try:
            server = b64decode(nonce, validate=True)
        except ValueError:
            raise AuthenticationFailed("the server's nonce is not base64") from None
        own = os.urandom(_NONCE_BYTES)
        digest = ED25519 if isinstance(self.key, Ed25519PrivateKey) else SHA_256
        return {
            "id": self.identity.text(),
            "type": "HS_PUBKEY",
            "cnonce": b64encode(own).decode(),
            "alg": digest.decode(),
            "signature": b64encode(sign_octets(self.key, server + own, digest)).decode(),
        }


def _read(path: Path) -> bytes:
    try:
        if path.exists():
            require_private(path)
        data = path.read_bytes()
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror}") from None
    if len(data) > MAX_FILE_BYTES:
        raise SettingsError(f"{path} is no key file: it has {len(data)} octets")
    return data


def _key(path: Path, data: bytes, passphrase: bytes | None) -> PrivateKey | None:
    """The private key of a file; None when it holds none and so is a secret."""
    try:
        if b"PRIVATE KEY-----" in data:
            return decode_pem(data, passphrase)
        if data[:4] in {b"\0\0\0\1", b"\0\0\0\3", b"\0\0\0\4"}:
            return decode_private_key(open_key_file(data, passphrase))
    except ParseError as error:
        raise SettingsError(f"{path}: {error}") from None
    return None
