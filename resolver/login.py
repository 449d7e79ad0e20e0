"""A login step by step, for `biaoshi auth test`: the first step that fails is the last.

Nothing is changed: over DO-IRP the request that is proved is a listing of homed prefixes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from hmac import compare_digest

from protocol.doirp.administration import NO_NAME, NameRequest, encode_name
from protocol.doirp.header import REQUEST_FLAGS, Flag, OpCode
from protocol.doirp.resolution import ResolutionRequest, encode_resolution_request
from protocol.errors import (
    AuthenticationFailed,
    BiaoshiError,
    OutboundRefused,
    ParseError,
    ResponseCode,
    SettingsError,
    UpstreamError,
)
from protocol.keys import decode_public_key, encode_spki
from protocol.record import decode_values
from protocol.values.hs_site import Site, Transport
from resolver.client import Ask, Client, Identity, error_text, said_text
from resolver.config import OutboundSettings
from resolver.guard import Guard
from resolver.peers import Peer, plain_peer
from resolver.registering.auth import Credentials
from resolver.registering.connection import Connection
from resolver.replies import Reply
from resolver.roots import split_host_port

_REFUSED_HINTS = {
    ResponseCode.AUTHENTICATION_FAILED: (
        "the proof does not fit the value there: another key or secret is stored, or none"
    ),
    ResponseCode.INVALID_ADMIN: "",
    ResponseCode.AUTHENTICATION_TIMEOUT: "the challenge was not known any more; try again",
    ResponseCode.AUTHENTICATION_ERROR: "the server could not check it; see its log",
    ResponseCode.INVALID_CREDENTIAL: "the server does not take this kind of proof",
    ResponseCode.SERVER_BUSY: "too many failures before this one; wait a minute",
}


@dataclass(frozen=True, slots=True)
class Step:
    """One step. text: what was found, or why it failed and what to do."""

    name: str
    passed: bool
    text: str

    def shape(self) -> dict[str, object]:
        """For --json."""
        return {"step": self.name, "passed": self.passed, "text": self.text}


async def try_irp(server: str, credentials: Credentials) -> list[Step]:
    """Over TCP: connect, site, record, challenge, proof. Raises SettingsError."""
    client, peer = await _peer(server)
    steps: list[Step] = []
    try:
        site = await client.site_info(peer)
    except UpstreamError as error:
        return [Step("connect", False, f"{error}; does a server run at {server}?")]
    version = f"{site.version[0]}.{site.version[1]}"
    steps.append(Step("connect", True, f"{server} speaks version {version}"))
    peer = replace(peer, version=site.version)
    record = await _record(client, peer, credentials)
    steps.append(record)
    if not record.passed:
        return steps
    steps.append(await _proof(client, peer, site, credentials))
    return steps


async def _peer(server: str) -> tuple[Client, Peer]:
    host, port = split_host_port(server)
    guard = Guard(OutboundSettings(allow_ports=(port,)))  # whoever types an address means it
    try:
        await guard.trust_host(host, port)
        addresses = await guard.addresses(host, port, "irp-tcp")
    except OutboundRefused as error:
        raise SettingsError(f"--server {server}: {error}") from None
    return Client(guard), plain_peer(addresses, port, (Transport.TCP,), host)


async def _record(client: Client, peer: Peer, credentials: Credentials) -> Step:
    """Whether the identity's value can be what proves it, as far as everybody may see."""
    who = credentials.identity
    body = encode_resolution_request(ResolutionRequest(who.handle, (who.index,) * (who.index > 0)))
    ask = Ask(OpCode.RESOLUTION, body, who.handle, REQUEST_FLAGS.value)
    try:
        reply = await client.send(peer, ask)
    except BiaoshiError as error:
        return Step("record", False, str(error))
    name = who.text()
    if reply.code == ResponseCode.HANDLE_NOT_FOUND:
        return Step("record", False, f"there is no {who.handle.decode('utf-8', 'replace')} there")
    if credentials.key is None:
        if reply.code == ResponseCode.SUCCESS and who.index:
            kind = decode_values(reply.body)[0].type.decode("utf-8", "replace")
            return Step("record", False, f"{name} is public: a {kind}, no secret; name its index")
        return Step("record", True, f"{name} is not public, as a secret should be")
    if reply.code == ResponseCode.VALUES_NOT_FOUND:
        return Step("record", False, f"{name} is not there, or not public; name its HS_PUBKEY")
    if reply.code != ResponseCode.SUCCESS:
        # Its key may lie at another server, which this one asks itself.
        return Step("record", True, f"{name} is not answered there: {error_text(reply)}")
    return _key_step(name, credentials, reply)


def _key_step(name: str, credentials: Credentials, reply: Reply) -> Step:
    assert credentials.key is not None  # noqa: S101 - asked for by the caller
    own = encode_spki(credentials.key.public_key())
    for value in decode_values(reply.body):
        if value.type.upper() != b"HS_PUBKEY":
            continue
        try:
            if compare_digest(encode_spki(decode_public_key(value.data)), own):
                return Step("record", True, f"{name} holds the public part of this key")
        except ParseError as error:
            return Step("record", False, f"the HS_PUBKEY at {name} cannot be read: {error}")
    return Step("record", False, f"{name} holds another key than the one in the file")


async def _proof(client: Client, peer: Peer, site: Site, credentials: Credentials) -> Step:
    """A listing of homed prefixes, which every server wants a proof for."""
    identity = Identity(credentials.identity, credentials.key, credentials.secret or None)
    ask = Ask(
        OpCode.LIST_HOMED_PREFIXES,
        encode_name(NameRequest(NO_NAME)),
        NO_NAME,
        int(Flag.AT),
    )
    name = credentials.identity.text()
    try:
        reply = await client.administer(peer, ask, identity)
    except AuthenticationFailed as error:
        return Step("challenge", False, str(error))
    except BiaoshiError as error:
        return Step("proof", False, str(error))
    if reply.code == ResponseCode.SUCCESS:
        return Step("proof", True, f"{name} is proved, and administers this server")
    if reply.code == ResponseCode.INVALID_ADMIN:
        return Step("proof", True, f"{name} is proved; its rights are those of HS_ADMIN values")
    hint = _REFUSED_HINTS.get(reply.code, "")
    said = said_text(reply)
    text = f"{reply.code.name} ({reply.code.value})" + (f": {hint or said}" if hint or said else "")
    if site.version < (2, 7):
        text += f"; version {site.version[0]}.{site.version[1]} is too old to prove anything to"
    return Step("proof", False, text)


def try_http(server: str, credentials: Credentials) -> list[Step]:
    """Over HTTPS: connect, session, proof. Raises SettingsError."""
    steps: list[Step] = []
    try:
        plain = Connection(server, insecure=True)
        site = plain.request("GET", "/api/site")
        plain.close()
    except UpstreamError as error:
        return [Step("connect", False, str(error))]
    steps.append(Step("connect", True, f"{server} answers ({site.status})"))
    try:
        connection = Connection(server, credentials)
    except AuthenticationFailed as error:
        return [*steps, Step("proof", False, str(error))]
    except SettingsError as error:
        return [*steps, Step("tls", False, str(error))]
    except BiaoshiError as error:
        return [*steps, Step("session", False, str(error))]
    name = credentials.identity.text()
    try:
        opened = connection.request("POST", "/api/sessions").json()
        if credentials.key is None and not opened.get("authenticated"):
            return [
                *steps,
                Step("proof", False, f"the server did not accept {name} with this secret"),
            ]
        steps.append(Step("proof", True, f"{name} is proved"))
    except BiaoshiError as error:
        return [*steps, Step("session", False, str(error))]
    finally:
        connection.close()
    return steps
