"""The resources of the log, for GET /openapi.json."""

from __future__ import annotations

from typing import Final

from resolver.http.openapi_parts import FLAG, NUMBER, PROBLEM, TEXT, Json, answer, operation
from resolver.http.openapi_parts import parameter as asked

_SIZE = asked("size", NUMBER, "changes in the tree")


def _get(summary: str, told: str, *parameters: Json, path: str = "", also: int = 404) -> Json:
    """path: names of parameters in the path, with a blank between."""
    named = [asked(name, TEXT, "as in the path", where="path") for name in path.split()]
    answers = {200: answer(told), 400: PROBLEM, also: PROBLEM}
    return operation(summary, answers, tag="log", parameters=[*named, *parameters])


LOG_PATHS: Final[Json] = {
    "/log/checkpoint": {
        "get": _get(
            "The newest signed checkpoint (C2SP tlog-checkpoint)",
            "a signed note",
            asked("size", NUMBER, "the oldest over so many changes instead"),
            asked("after", NUMBER, "wait a little for one over more changes"),
        )
    },
    "/log/tile/{path}": {
        "get": _get("A tile of hashes or entries (C2SP tlog-tiles)", "octets", path="path")
    },
    "/log/proof/inclusion": {
        "get": _get(
            "That a leaf is in the tree", "its proof", asked("index", NUMBER, "from 0"), _SIZE
        )
    },
    "/log/proof/consistency": {
        "get": _get(
            "That one tree begins another",
            "its proof",
            asked("old", NUMBER, "changes in the earlier tree"),
            asked("new", NUMBER, "changes in the later tree"),
        )
    },
    "/log/receipt": {
        "get": _get(
            "The receipt of a change",
            "leaf, proof and checkpoint, opened as far as the caller may read",
            asked("sequence", NUMBER, "the change"),
            asked("handle", TEXT, "or the last change of a record"),
            asked("cosigned", FLAG, "under the checkpoint that witnesses cosigned"),
        )
    },
    "/log/entries/{number}/receipt": {
        "get": _get(
            "The receipt of change N, as COSE (RFC 9942) where Accept asks for it",
            "JSON, or application/scitt-receipt+cose",
            path="number",
        )
    },
    "/log/keys": {"get": _get("Keys that sign checkpoints", "verifier keys and handovers")},
    "/log/cosigned": {
        "get": _get("The newest checkpoint that witnesses cosigned", "a signed note"),
        "post": operation(
            "Hand in a cosigned checkpoint",
            {200: answer("what is served now"), 400: PROBLEM},
            tag="log",
            body={"required": True, "content": {"text/plain": {"schema": TEXT}}},
        ),
    },
    "/log/bodies": {
        "get": operation(
            "Leaves and content, for administrators of the server",
            {200: answer("rows of msgpack"), 401: PROBLEM, 403: PROBLEM},
            tag="log",
            parameters=[asked("from", NUMBER, "the first change"), asked("limit", NUMBER, "rows")],
            secured=True,
        )
    },
    "/log/notes": {
        "get": operation(
            "What a mirror carries along beside the log, for administrators of the server",
            {200: answer("rows of msgpack: key, value"), 401: PROBLEM, 403: PROBLEM},
            tag="log",
            parameters=[asked("after", TEXT, "the last key so far, in hexadecimal digits")],
            secured=True,
        )
    },
    "/log/held": {
        "post": operation(
            "A mirror says how far it holds the log",
            {200: answer("noted"), 400: PROBLEM, 401: PROBLEM, 403: PROBLEM},
            tag="log",
            body={"required": True, "content": {"application/json": {"schema": {}}}},
            secured=True,
        )
    },
}
