"""Pages for people: a record's values, errors that help, the query form. No script, ever.

All text is escaped; the policy forbids everything but our own style sheet, which is named by its
hash. Stored addresses become links only where they are http or https.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable
from hashlib import sha256
from html import escape
from typing import Final
from urllib.parse import quote

from aiohttp import web

from protocol.handle_json import format_data, iso_time
from protocol.record import HandleValue

_STYLE: Final = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;"
    "color:#1a1a1a;background:#fff;overflow-wrap:break-word}"
    "h1{font-size:1.6rem;line-height:1.3}h2{font-size:1.2rem}"
    "table{border-collapse:collapse;width:100%}"
    "th,td{text-align:left;vertical-align:top;padding:.4rem .6rem;border-bottom:1px solid #ddd}"
    "td.data{overflow-wrap:anywhere;white-space:pre-wrap}code{overflow-wrap:anywhere}"
    "input{font:inherit;padding:.3rem .5rem;width:24rem;max-width:100%;box-sizing:border-box}button{font:inherit}"
    "@media(prefers-color-scheme:dark){body{color:#eee;background:#161616}"
    "th,td{border-color:#444}a{color:#8ab4f8}}"
)
_STYLE_HASH: Final = b64encode(sha256(_STYLE.encode()).digest()).decode()
_MOST_SHOWN: Final = 4_000
"""Characters of one value on a page; the rest is behind the JSON interface."""

SECURITY_HEADERS: Final = {
    "Content-Security-Policy": (
        f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; base-uri 'none'; "
        "form-action 'self'; frame-ancestors 'none'"
    ),
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Content-Type": "text/html;charset=UTF-8",
}


PUBLIC_HEADERS: Final = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Expose-Headers": "Link, Location",
}
"""On whatever is answered below no mount point: public data, for scripts of any origin."""

REDIRECT_BODY: Final = (
    '<html><head><title>Handle Redirect</title></head>\n<body><a href="%s">%s</a></body></html>\n'
)


def page(title: str, body: str, *, status: int = 200) -> web.Response:
    """A whole page. body: HTML that is escaped already."""
    text = (
        "<!DOCTYPE html>\n"
        '<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head>\n"
        f"<body><main>{body}</main></body></html>\n"
    )
    headers = {**SECURITY_HEADERS, "Cache-Control": "no-cache"}
    return web.Response(status=status, body=text.encode("utf-8", "replace"), headers=headers)


def record_page(name: str, values: Iterable[HandleValue], note: str = "") -> web.Response:
    """The values of a record."""
    body = (
        f"<h1>Handle values for: <code>{escape(name)}</code></h1>"
        f"{f'<p>{escape(note)}</p>' if note else ''}{values_table(name, values)}"
    )
    return page(name, body)


def values_table(name: str, values: Iterable[HandleValue]) -> str:
    """The values of a record as HTML, and a link to them as JSON."""
    rows = "".join(
        f"<tr><td>{value.index}</td><td>{escape(_text(value.type))}</td>"
        f"<td>{iso_time(value.timestamp).decode()}</td>"
        f'<td class="data">{_data(value)}</td></tr>'
        for value in values
    )
    json_path = f"/api/handles/{quote(name, safe='/:')}"
    return (
        "<table><thead><tr><th>Index</th><th>Type</th><th>Timestamp</th><th>Data</th></tr></thead>"
        f'<tbody>{rows}</tbody></table><p><a href="{escape(json_path)}">As JSON</a></p>'
    )


def not_found_page(name: str) -> web.Response:
    """No such identifier, and what may help."""
    hints = [
        "Check the spelling: digits and letters that look alike, and what stands after the slash.",
    ]
    trimmed = name.rstrip("/.,;)")
    if trimmed != name and "/" in trimmed:
        link = f'<a href="/{escape(quote(trimmed, safe="/:"))}">{escape(trimmed)}</a>'
        hints.insert(0, f"Did you mean {link}?")
    listed = "".join(
        f"<li>{hint if hint.startswith('Did you') else escape(hint)}</li>" for hint in hints
    )
    body = (
        f"<h1>Not found</h1><p>There is no identifier <code>{escape(name)}</code> here.</p>"
        f"<ul>{listed}</ul>{_form(name)}"
    )
    return page("Not found", body, status=404)


def error_page(status: int, title: str, name: str, why: str) -> web.Response:
    """Another failure, in words."""
    body = (
        f"<h1>{escape(title)}</h1><p><code>{escape(name)}</code></p><p>{escape(why)}</p>"
        f"{_form(name)}"
    )
    return page(title, body, status=status)


def front_page() -> web.Response:
    """The query form."""
    return page("Resolve an identifier", f"<h1>Resolve an identifier</h1>{_form('')}")


def redirect(status: int, target: str, headers: dict[str, str]) -> web.Response:
    """A redirect with a body for those who do not follow it. target: ASCII, checked."""
    shown = escape(target)
    return web.Response(
        status=status,
        body=(REDIRECT_BODY % (shown, shown)).encode(),
        headers={**SECURITY_HEADERS, **PUBLIC_HEADERS, **headers, "Location": target},
    )


def is_web_address(text: str) -> bool:
    """Whether a stored text may become a link."""
    return text[:8].lower().startswith(("http://", "https://")) and text.isprintable()


def _data(value: HandleValue) -> str:
    text = _text(value.data) if _is_text(value.data) else _structure(value)
    cut = text if len(text) <= _MOST_SHOWN else text[:_MOST_SHOWN] + "…"
    if text == cut and is_web_address(text):
        return f'<a rel="noopener noreferrer nofollow" href="{escape(text)}">{escape(text)}</a>'
    return escape(cut)


def _structure(value: HandleValue) -> str:
    return _text(format_data(value.type, value.data))


def _is_text(data: bytes) -> bool:
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return False
    return all(char >= " " or char in "\t\r\n" for char in text)


def _text(octets: bytes) -> str:
    return octets.decode("utf-8", "replace")


def _form(name: str) -> str:
    return (
        '<form method="get" action="/"><p><label>Identifier '
        f'<input name="id" value="{escape(name)}" autocomplete="off" spellcheck="false"></label> '
        "<button>Resolve</button></p></form>"
    )
