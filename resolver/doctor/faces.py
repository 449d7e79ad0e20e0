"""The faces that the site record names: does each answer, and with the key of the site?"""

from __future__ import annotations

import asyncio
import socket
import ssl
from datetime import UTC, datetime

from cryptography.x509 import Certificate, load_der_x509_certificate

from protocol.doirp.administration import NO_NAME, encode_name
from protocol.doirp.administration import NameRequest as Name
from protocol.doirp.header import OpCode
from protocol.errors import BiaoshiError, ParseError, ResponseCode
from protocol.keys import decode_public_key, encode_spki
from protocol.values.hs_site import Site, Transport, decode_site
from resolver.addresses import AddressClass, classify, parse_address
from resolver.client import Ask, Client, Meter
from resolver.doctor.findings import Report
from resolver.peers import Endpoint, Peer, ServiceSite

_FEW_DAYS = 30
_WAIT_S = 3.0


async def check_faces(report: Report, client: Client, site: Site) -> None:
    """Ask over every address, port and transport that the site record names."""
    try:
        peer = ServiceSite((site,)).peer(b"0.NA/0.NA")
    except ParseError as error:
        report.fault("faces", f"the site record names no server: {error}", "restart the node")
        return
    await asyncio.gather(*(_check_one(report, client, peer, each) for each in peer.endpoints))
    _check_addresses(report, peer)


async def _check_one(report: Report, client: Client, peer: Peer, endpoint: Endpoint) -> None:
    where = f"{endpoint} over {endpoint.transport.name}"
    alone = Peer((endpoint,), peer.public_key, peer.version, peer.serial, peer.host)
    ask = Ask(OpCode.GET_SITE_INFO, encode_name(Name(NO_NAME)), NO_NAME)
    try:
        reply = await client.send(alone, ask, certify=True, meter=Meter())
        told = decode_site(reply.body) if reply.code == ResponseCode.SUCCESS else None
    except BiaoshiError as error:
        mend = (
            "open the port in the firewall, or take the face out of [faces] or the address out of "
            "`node.announce`; the site record follows at the next start"
        )
        report.fault("faces", f"{where}: {error}", mend)
        return
    if told is None or {s.public_key for s in told.servers} != {peer.public_key}:
        mend = "another node answers at this address: compare ports and `node.announce`"
        report.fault("faces", f"{where} answers as another site", mend)
    elif reply.signature != "signed":
        mend = "the node's key and its site record differ: restart it"
        report.warn("faces", f"{where} answers unsigned ({reply.signature})", mend)
    else:
        report.ok("faces", f"{where} answers, signed with the site's key")
    if endpoint.transport is Transport.HTTPS:
        await _check_certificate(report, endpoint, peer)


def _check_addresses(report: Report, peer: Peer) -> None:
    addresses = sorted({endpoint.address for endpoint in peer.endpoints})
    kinds = {classify(parse_address(address)) for address in addresses}
    if AddressClass.PUBLIC not in kinds:
        report.warn(
            "addresses",
            f"the site record names {', '.join(addresses)}: nobody outside can use that",
            "fine within one machine or network; else set `node.announce`",
        )
    else:
        report.ok("addresses", f"the site record names {', '.join(addresses)}")
    if not any(":" in address for address in addresses):
        state = report.warn if AddressClass.PUBLIC in kinds else report.skipped
        mend = "name one in `node.hosts` and `node.announce`, where the machine has one"
        state("addresses", "no IPv6 address: who has only IPv6 cannot ask this node", mend)


async def _check_certificate(report: Report, endpoint: Endpoint, peer: Peer) -> None:
    try:
        certificate = await asyncio.to_thread(_certificate, endpoint)
    except (OSError, ValueError) as error:
        report.fault("certificate", f"{endpoint}: {error}", "see tls/cert.pem of the node")
        return
    ends = certificate.not_valid_after_utc
    left = (ends - datetime.now(UTC)).days
    if left < 0:
        report.fault("certificate", f"ended on {ends:%Y-%m-%d}", "renew tls/cert.pem")
    elif left < _FEW_DAYS:
        report.warn("certificate", f"ends on {ends:%Y-%m-%d}", "renew tls/cert.pem")
    own = encode_spki(decode_public_key(peer.public_key))
    if encode_spki(certificate.public_key()) == own:  # type: ignore[arg-type]
        report.ok("certificate", f"of the site's key, until {ends:%Y-%m-%d}")
    else:
        report.warn(
            "certificate",
            "its key is not the site's: Handle software and other nodes refuse HTTPS",
            "use a certificate of keys/site_key.pem (any authority may sign it)",
        )


def _certificate(endpoint: Endpoint) -> Certificate:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # its key is compared with the site record
    with (
        socket.create_connection((endpoint.address, endpoint.port), _WAIT_S) as plain,
        context.wrap_socket(plain) as secure,
    ):
        return load_der_x509_certificate(secure.getpeercert(binary_form=True) or b"")
