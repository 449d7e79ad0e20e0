"""What scripts of other origins may do with the resources of programs (the Fetch standard, CORS).

Credentials are what a script holds itself: there are no cookies, and browsers are told to send none
of their own. What is for the operator's machines alone is not shared: a page that an operator looks
at reads them otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from aiohttp import web

from resolver.http.reply import NO_HEADERS, cors_headers

_NOT_SHARED: Final = frozenset(("metrics", "health", "console"))
_SENT: Final = (
    "Authorization, Content-Type, Accept, Accept-Language, If-Match, If-None-Match, "
    "Idempotency-Key, X-Requested-With, Biaoshi-Label, GS1-EPCIS-Version, GS1-EPCIS-Min, "
    "GS1-EPCIS-Max, GS1-CBV-Version, GS1-CBV-Min, GS1-CBV-Max, GS1-EPC-Format, "
    "GS1-Capture-Error-Behaviour"
)
"""Headers that our resources read. `*` would not cover Authorization."""


def options(allowed: str) -> web.Response:
    """The answer to OPTIONS: what the resource takes (RFC 9110 §9.3.7)."""
    return web.Response(status=204, headers={"Allow": f"{allowed}, OPTIONS"})


def shared(request: web.BaseRequest, first: str, response: web.StreamResponse) -> Mapping[str, str]:
    """Headers that let a script of another origin read an answer. first: segment of the path."""
    if first in _NOT_SHARED:
        return NO_HEADERS
    headers = cors_headers(request, response.headers)
    if headers and request.method == "OPTIONS" and "Allow" in response.headers:
        headers["Access-Control-Allow-Methods"] = response.headers["Allow"]
        headers["Access-Control-Allow-Headers"] = _SENT
        headers["Access-Control-Max-Age"] = "86400"
    return headers
