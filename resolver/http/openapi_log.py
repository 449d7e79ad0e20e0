"""The resources of the log, for GET /openapi.json."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from protocol import note
from resolver.http.openapi_parts import (
    KNOWN,
    NATURAL,
    SWITCH,
    Facts,
    Json,
    answer,
    content,
    object_of,
    operation,
    problems,
)
from resolver.http.openapi_parts import parameter as asked

_ROOT: Final[Json] = {"type": "string", "pattern": "^[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=$"}
_HEX: Final[Json] = {"type": "string", "pattern": "^([0-9a-f]{2})*$"}
_NOTE: Final = ("text/plain",)
_COSIGNED: Final[Json] = {
    "type": "string",
    "description": "a checkpoint (C2SP tlog-checkpoint): origin, size and root, then signatures",
    "maxLength": note.MOST_BYTES,
    "pattern": "^[!-~]([ -~]{0,99}[!-~])?\n(0|[1-9][0-9]{0,17})\n"
    "[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=\n\n"
    "(— [A-Za-z0-9./_-]{1,99} ([A-Za-z0-9+/]{4}){2,32}\n){1,8}$",
}
_ROWS: Final = "application/vnd.biaoshi.log+msgpack"
_TILE: Final[Json] = {
    "type": "string",
    "pattern": r"^(entries|[0-7])/"
    r"(x(00[1-9]|0[1-9][0-9]|[1-9][0-9][0-9])/(x[0-9]{3}/){0,4})?[0-9]{3}"
    r"(\.p/([1-9]|[1-9][0-9]|1[0-9][0-9]|2[0-4][0-9]|25[0-5]))?$",
}
_NEEDED: Final = {
    name: asked(name, NATURAL, text, required=True)
    for name, text in (
        ("index", "the leaf, from 0"),
        ("size", "changes in the tree"),
        ("old", "changes in the earlier tree"),
        ("new", "changes in the later tree"),
    )
}


def _get(
    summary: str,
    told: str,
    *parameters: Json,
    media: tuple[str, ...] = ("application/json",),
    more: Mapping[int, Json] | None = None,
    text: str | None = None,
) -> Json:
    answers = {
        200: answer(told, None, *media, headers={"ETag": "of these octets"}),
        304: answer("not changed since that ETag"),
        **problems(400, 404),
        **(more or {}),
    }
    asking = (*parameters, KNOWN)
    return {"get": operation(summary, answers, tag="log", parameters=asking, text=text)}


def _rows(summary: str, told: str, *parameters: Json) -> Json:
    """What an administrator of the server reads of the log, as rows of msgpack."""
    answers = {200: answer(told, None, _ROWS), **problems(400, 401, 403, 429)}
    return {"get": operation(summary, answers, tag="log", parameters=parameters, secured=True)}


_READ: Final[Json] = {
    "/log/checkpoint": _get(
        "The newest signed checkpoint (C2SP tlog-checkpoint)",
        "a signed note",
        asked("size", NATURAL, "the oldest over so many changes instead"),
        asked("after", NATURAL, "wait a little for one over more changes"),
        media=_NOTE,
    ),
    "/log/tile/{path}": _get(
        "A tile of hashes or entries (C2SP tlog-tiles)",
        "octets",
        asked(
            "path",
            _TILE,
            "level and number, as tlog-tiles writes them",
            where="path",
            example="0/000.p/1",
        ),
        media=("application/octet-stream",),
    ),
    "/log/proof/inclusion": _get(
        "That a leaf is in the tree", "its proof", _NEEDED["index"], _NEEDED["size"]
    ),
    "/log/proof/consistency": _get(
        "That one tree begins another", "its proof", _NEEDED["old"], _NEEDED["new"]
    ),
    "/log/entries/{number}/receipt": _get(
        "The receipt of change N, as COSE (RFC 9942) where Accept asks for it",
        "the proof",
        asked("number", NATURAL, "of the change", where="path"),
        media=("application/json", "application/scitt-receipt+cose"),
        more=problems(501),
    ),
    "/log/keys": _get("Keys that sign checkpoints", "verifier keys and handovers"),
    "/log/bodies": _rows(
        "Leaves and content, for administrators of the server",
        "rows of msgpack",
        asked("from", {**NATURAL, "minimum": 1}, "the first change", required=True),
        asked("limit", NATURAL, "rows; 0: as many as fit"),
    ),
    "/log/notes": _rows(
        "What a mirror carries along beside the log, for administrators of the server",
        "rows of msgpack: key, value",
        asked("after", _HEX, "the last key so far, in hexadecimal digits"),
    ),
}
"""What every node with a log gives, whatever it is home to."""


def paths(facts: Facts) -> Json:
    """Every path of the log."""
    receipt = _get(
        "The receipt of the last change of a record",
        "leaf, proof and checkpoint, opened as far as the caller may read",
        asked("handle", facts.sought(), "the record", required=True, example=facts.example()),
        asked("cosigned", SWITCH, "under the checkpoint that witnesses cosigned"),
        more=problems(401, 429),
        text="Or, with `sequence` in place of `handle`, of the change of that number.",
    )
    own = {"/log/receipt": receipt, "/log/cosigned": _cosigned(facts), "/log/held": _held()}
    return _READ | own


def _cosigned(facts: Facts) -> Json:
    """POST only where there are witnesses to hear."""
    made = _get("The newest checkpoint that witnesses cosigned", "a signed note", media=_NOTE)
    if facts.witnesses:
        made["post"] = operation(
            "Hand in a cosigned checkpoint",
            {
                200: answer("what is served now", None, "text/plain"),
                **problems(400, 408, 409, 413, 501),
            },
            tag="log",
            body=content(_COSIGNED, "text/plain"),
        )
    return made


def _held() -> Json:
    held = object_of(
        {
            "size": NATURAL,
            "root": _ROOT,
            "mirror": {"type": "string"},
            "sites": {
                "type": "array",
                "maxItems": 0,
                "description": "or the site records of the mirror, encoded, in base64",
            },
        },
        "size",
        "root",
        "mirror",
        "sites",
    )
    return {
        "post": operation(
            "A mirror says how far it holds the log",
            {
                200: answer("noted", None, "application/json"),
                **problems(400, 401, 403, 408, 409, 413, 429),
            },
            tag="log",
            body=content(held, "application/json"),
            secured=True,
        )
    }
