"""The pieces that the description of the HTTP resources is put together from (OpenAPI 3.1)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

Json = dict[str, Any]

TEXT: Final[Json] = {"type": "string"}
NUMBER: Final[Json] = {"type": "integer"}
FLAG: Final[Json] = {"type": "boolean"}


def parameter(
    name: str, kind: Json, text: str, *, where: str = "query", many: bool = False
) -> Json:
    schema: Json = {"type": "array", "items": kind} if many else kind
    made: Json = {"name": name, "in": where, "description": text, "schema": schema}
    if where == "path":
        made["required"] = True
    return made


def answer(text: str, schema: str | None = None, media: str = "application/json") -> Json:
    made: Json = {"description": text}
    if schema is not None:
        made["content"] = {media: {"schema": {"$ref": f"#/components/schemas/{schema}"}}}
    return made


def operation(
    summary: str,
    answers: Mapping[int, Json],
    *,
    tag: str,
    parameters: list[Json] | None = None,
    body: Json | None = None,
    secured: bool = False,
) -> Json:
    made: Json = {
        "summary": summary,
        "tags": [tag],
        "responses": {str(status): answer for status, answer in answers.items()},
    }
    if parameters:
        made["parameters"] = parameters
    if body is not None:
        made["requestBody"] = body
    if secured:
        made["security"] = [{"basic": []}, {"handle": []}, {"certificate": []}]
    return made


def object_of(properties: Json, *required: str) -> Json:
    made: Json = {"type": "object", "properties": properties}
    if required:
        made["required"] = list(required)
    return made


PROBLEM: Final = answer("a problem document", "Problem", "application/problem+json")
