"""The pieces that the description of the HTTP resources is put together from (OpenAPI 3.1)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

Json = dict[str, Any]

TEXT: Final[Json] = {"type": "string"}
WORD: Final[Json] = {"type": "string", "minLength": 1}
NUMBER: Final[Json] = {"type": "integer"}
NATURAL: Final[Json] = {"type": "integer", "minimum": 0, "maximum": 2**63 - 1}
FLAG: Final[Json] = {"type": "boolean"}
SWITCH: Final[Json] = {"type": "string", "description": "true, 1, yes or nothing: yes; else no"}
"""A flag in a query: any text is read."""
PRINTED: Final = r"[^\x00-\x1f\x7f-\x9f]"
"""A character that names may hold."""
_SPECIAL: Final = frozenset(r".^$*+?()[]{}|\/")
_ABROAD: Final = r"20\.[1-9][0-9]{2,3}\.[1-9][0-9]{0,8}"
"""Prefixes of other nodes, for the description of one that is home to none."""
_MOST_NAMED: Final = 20
"""Prefixes that a pattern names; a node may be home to thousands."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What of a node its description depends on.

    homed: the prefixes it is home to, as text. epcis: whether it keeps events. witnesses: whether
    it takes cosignatures.
    """

    homed: tuple[str, ...] = ()
    epcis: bool = True
    witnesses: bool = True

    def prefix(self) -> Json:
        """The schema of a prefix that is homed here."""
        return self._named(r"^(0\.NA/)?", "$")

    def name(self) -> Json:
        """The schema of a name under a prefix that is homed here, in its own spelling."""
        return self._named("^", f"/{PRINTED}*$")

    def sought(self) -> Json:
        """The same of ASCII: what is looked for by it, and need not be there."""
        return self._named("^", "/[!-~]+$")

    def example(self) -> str:
        """A name that is one here."""
        return f"{self.homed[0] if self.homed else '20.500.12345'}/pump-7"

    def derived(self) -> Json:
        """The schema of a prefix below one that is homed here."""
        return self._named("^", r"(\.[0-9A-Za-z]{1,20}){1,4}$")

    def _named(self, before: str, after: str) -> Json:
        known = "|".join(map(either_case, self.homed[:_MOST_NAMED])) or _ABROAD
        return {"type": "string", "pattern": f"{before}({known}){after}"}


def either_case(text: str) -> str:
    """A pattern of a text whose ASCII letters may be of either case."""
    made = []
    for char in text:
        if char.isascii() and char.isalpha():
            made.append(f"[{char.upper()}{char.lower()}]")
        else:
            made.append("\\" + char if char in _SPECIAL else char)
    return "".join(made)


def parameter(
    name: str,
    kind: Json,
    text: str,
    *,
    where: str = "query",
    many: bool = False,
    required: bool = False,
    example: str | None = None,
) -> Json:
    schema: Json = {"type": "array", "items": kind} if many else kind
    made: Json = {"name": name, "in": where, "description": text, "schema": schema}
    if where == "path" or required:
        made["required"] = True
    if example is not None:
        made["example"] = example
    return made


KNOWN: Final = parameter(
    "If-None-Match", TEXT, "ETags that the client has: 304 where one holds", where="header"
)


def reference(schema: str) -> Json:
    return {"$ref": f"#/components/schemas/{schema}"}


def answer(
    text: str, schema: str | None = None, *media: str, headers: Mapping[str, str] | None = None
) -> Json:
    """media: types of the body; application/json when a schema is named and no type is."""
    made: Json = {"description": text}
    if schema is not None:
        media = media or ("application/json",)
        made["content"] = {one: {"schema": reference(schema)} for one in media}
    elif media:
        made["content"] = {one: {} for one in media}
    if headers:
        made["headers"] = {
            name: {"schema": TEXT, "description": why} for name, why in headers.items()
        }
    return made


def operation(
    summary: str,
    answers: Mapping[int, Json],
    *,
    tag: str,
    parameters: Sequence[Json] = (),
    body: Json | None = None,
    secured: bool = False,
    conditions: Sequence[str] = (),
    text: str | None = None,
) -> Json:
    """conditions: names of `components.parameters` whose right values only the store can tell.

    OpenAPI has no word for these. As parameters of the operation they would say that each value of
    their shape is taken, where most are rightly refused (412, 422, 400).
    """
    made: Json = {
        "summary": summary,
        "tags": [tag],
        "responses": {str(status): answer for status, answer in sorted(answers.items())},
    }
    if text:
        made["description"] = text
    if parameters:
        made["parameters"] = list(parameters)
    if conditions:
        made["x-conditional-parameters"] = [
            {"$ref": f"#/components/parameters/{name}"} for name in conditions
        ]
    if body is not None:
        made["requestBody"] = body
    if secured:
        made["security"] = [{"basic": []}, {"handle": []}, {"certificate": []}]
    return made


def content(schema: Json, *media: str, required: bool = True) -> Json:
    """A request body of one schema in these media types."""
    return {"required": required, "content": {one: {"schema": schema} for one in media}}


def object_of(properties: Json, *required: str) -> Json:
    made: Json = {"type": "object", "properties": properties}
    if required:
        made["required"] = list(required)
    return made


def problems(*statuses: int) -> dict[int, Json]:
    """Problem documents of these statuses, with the headers that go with them."""
    return {status: _problem(status) for status in statuses}


def _problem(status: int) -> Json:
    return answer(
        _WHY.get(status, "a problem document"),
        "Problem",
        "application/problem+json",
        headers=HEADERS_OF.get(status),
    )


def documented(paths: Mapping[str, Json]) -> Iterable[tuple[str, str]]:
    """Every path and method of a description."""
    return ((path, method.upper()) for path, item in paths.items() for method in item)


HEADERS_OF: Final[Mapping[int, Mapping[str, str]]] = {
    401: {"WWW-Authenticate": "how to prove who asks, over TLS"},
    429: {"Retry-After": "seconds until there is another turn"},
    503: {"Retry-After": "seconds until it may be tried again"},
}
_WHY: Final = {
    400: "malformed",
    401: "who asks is not proved (over TLS)",
    403: "refused: the right is missing",
    404: "there is nothing of the kind here",
    408: "the body did not come in time",
    409: "at odds with what is here",
    413: "the body is too large",
    422: "well formed, and it does not hold",
    429: "too many requests, or failed proofs of identity",
    503: "busy or read-only",
}
PROBLEM: Final = answer("a problem document", "Problem", "application/problem+json")
