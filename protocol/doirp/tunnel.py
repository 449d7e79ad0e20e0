"""Messages in HTTP POST bodies: what requests and replies look like (do-irp 3.3).

Sends nothing; the HTTP face and the client use these facts.
"""

from __future__ import annotations

from urllib.parse import quote_from_bytes, unquote_to_bytes

from protocol.doirp.stream import NEED_DATA, MessageStream
from protocol.errors import ParseError, Truncated

CONTENT_TYPE = "application/x-hdl-message"
USER_AGENT = "CNRI-HCL 2.0"
"""What deployed clients call themselves."""


def request_path(handle: bytes, site_path: bytes = b"") -> str:
    """The path of a POST: the handle percent-encoded, its slashes too.

    site_path: the site's attribute `path`, put in front.
    """
    front = quote_from_bytes(site_path.rstrip(b"/"), safe="/")
    return f"{front}/{quote_handle(handle)}"


def quote_handle(handle: bytes) -> str:
    """Percent-encoded, slashes and spaces too; letters, digits and `-._~` stay."""
    return quote_from_bytes(handle, safe="")


def handle_of_path(path: str) -> bytes:
    """The handle in a POST path. Servers take the handle from the message; this is for logs."""
    return unquote_to_bytes(path.removeprefix("/"))


def request_headers(body: bytes) -> list[tuple[str, str]]:
    """Headers of a POST but Host, in the order of deployed clients."""
    return [
        ("Accept", CONTENT_TYPE),
        ("User-Agent", USER_AGENT),
        ("Content-Type", CONTENT_TYPE),
        ("Content-Length", str(len(body))),
    ]


def request_body(data: bytes) -> bytes:
    """A POST body without the one stray CR or LF that servers skip before the envelope."""
    return data[1:] if data[:1] in (b"\r", b"\n") else data


def messages(body: bytes) -> list[bytes]:
    """The messages of a reply body, each with its envelope: several when the reply is continued.

    Raises Truncated when the last one is not whole, ParseError on a wrong envelope or no message.
    """
    stream = MessageStream()
    stream.feed(body)
    found: list[bytes] = []
    at = 0
    while (message := stream.next()) is not NEED_DATA:
        end = len(body) - stream.held
        found.append(body[at:end])
        at = end
        if not message[1]:
            raise ParseError("a message has at least its header; this envelope counts nothing")
    if stream.held:
        raise Truncated(f"{stream.held} octets follow the last whole message")
    if not found:
        raise ParseError("an HTTP reply body with no message")
    return found
