"""GET /api/resolve?id=…: any spelling of an identifier, answered as JSON with how it was found.

Parameters: id; scheme (read it as this one); type, index (repeatable); steps=1 (each hop);
verify=1 (signatures up to a trusted root); alias=0 (the record as it is: HS_ALIAS and 0.ALIAS are
not followed). Public values only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final

import orjson
from aiohttp import web

from protocol.chain import Roots
from protocol.errors import (
    BadIdentifier,
    ParseError,
    RecursionTooDeep,
    ResponseCode,
    SignatureInvalid,
    UpstreamError,
)
from protocol.handle_json import format_values
from protocol.identifier import Identifier, parse
from protocol.keys import PublicKey
from protocol.name import prefix_of, whole_name
from protocol.record import HandleValue, decode_values, select
from registry.prefixes import unsigned_policy
from registry.rules import MARK, is_signature
from resolver.aliases import Followed, follow
from resolver.founding import ROOT_KEY
from resolver.http.asked import Parameters
from resolver.http.problem import problem
from resolver.http.reply import cors_headers
from resolver.keyfiles import read_public_keys
from resolver.lookup import Answer, Query
from resolver.pressure import RETRY_S
from resolver.verify import NOT_CHECKED, Need, Verifier, told

if TYPE_CHECKING:
    from resolver.node import Node
    from resolver.recursion import Recursion

_PROBLEMS: Final[Mapping[ResponseCode, tuple[int, str, str]]] = {
    ResponseCode.HANDLE_NOT_FOUND: (404, "not-found", "No such identifier"),
    ResponseCode.VALUES_NOT_FOUND: (404, "values-not-found", "It has none of the values asked for"),
    ResponseCode.SERVER_NOT_RESPONSIBLE: (404, "not-served-here", "Its prefix is served elsewhere"),
    ResponseCode.SERVICE_REFERRAL: (404, "referral", "Its prefix is served elsewhere"),
    ResponseCode.PREFIX_REFERRAL: (404, "referral", "Its prefix is served elsewhere"),
    ResponseCode.RECURSION_COUNT_TOO_HIGH: (508, "loop", "Its delegations lead too far"),
    ResponseCode.SERVER_BUSY: (503, "busy", "Too many questions under way"),
    ResponseCode.INVALID_CREDENTIAL: (502, "signature-invalid", "Its signature does not hold"),
}
_NOT_HERE: Final = frozenset(
    (
        ResponseCode.SERVER_NOT_RESPONSIBLE,
        ResponseCode.SERVICE_REFERRAL,
        ResponseCode.PREFIX_REFERRAL,
    )
)


class Resolve:
    """The resource. elsewhere: where certificates are fetched that this node does not answer for;
    without it they are not.
    """

    def __init__(
        self, node: Node, elsewhere: Callable[[], Recursion | None] = lambda: None
    ) -> None:
        self._node = node
        self._elsewhere = elsewhere
        self._verifier = Verifier(wall=node.now)
        self._roots = Roots.of(_root_keys(node), None)

    async def get(self, request: web.Request) -> web.Response:
        """Identifier, values, and on request steps and verification."""
        parameters = Parameters.of(request)
        text = parameters.first("id")
        if not text:
            raise ParseError("give the identifier: /api/resolve?id=…")
        identifier = self._read(text, parameters.first("scheme"))
        started = perf_counter()
        query = Query(identifier.handle)  # whole: a signature covers the record
        found = await self._found(query, aliases=parameters.flag("alias", default=True))
        answer = found.answer
        took_ms = (perf_counter() - started) * 1000
        shape = _identifier(identifier)
        if found.passed:
            shape["aliases"] = [_text(name) for name in found.passed]
            shape["record"] = _text(answer.handle)
        if found.note:
            shape["note"] = found.note
        if parameters.flag("steps"):
            shape["steps"] = list(answer.steps)
            shape["ms"] = round(took_ms, 2)
        if answer.code != ResponseCode.SUCCESS:
            return _problem(answer, shape)
        values = decode_values(answer.values)
        if parameters.flag("verify") or self._marks(answer, values):
            shape["verification"] = await self.verification(answer.handle, values, answer)
        indexes, types = parameters.indexes(), parameters.types()
        chosen = select(values, indexes, types)
        if not chosen:
            return _problem(Answer(ResponseCode.VALUES_NOT_FOUND, answer.handle), shape)
        shape |= _source(answer)
        body = orjson.dumps(shape)[:-1] + b',"values":%b}' % format_values(chosen)
        headers = {"Content-Type": "application/json", **cors_headers(request)}
        return web.Response(body=body, headers=headers)

    def _read(self, text: str, scheme: str | None) -> Identifier:
        """The identifier that a text is. What looks like one of another scheme and is none (86/7 at
        the top of VAA codes) is a handle where its prefix is at home.
        """
        try:
            return parse(text, scheme)
        except BadIdentifier:
            if scheme or not self._node.prefixes.responsible(text.encode("utf-8", "replace")):
                raise
            return parse(text, "handle")

    async def _found(self, query: Query, *, aliases: bool) -> Followed:
        if not aliases:
            return Followed(await self._ask(query))
        try:
            return await follow(self._ask, query)
        except RecursionTooDeep as error:
            return Followed(Answer(error.code, query.handle, message=str(error)))

    async def _ask(self, query: Query) -> Answer:
        """One look-up; where it took no other node, its only step says how it was answered."""
        started = perf_counter()
        lookup = self._node.lookup
        answer = lookup.answer_now(query) or await lookup.answer(query)
        if answer.steps:
            return answer
        return replace(answer, steps=(_own_step(answer, (perf_counter() - started) * 1000),))

    def _marks(self, answer: Answer, values: Sequence[HandleValue]) -> bool:
        """Whether a record here without a signature is told as such: policy `mark`."""
        if answer.source != "store" or any(map(is_signature, values)):
            return False
        default = self._node.settings.signing.unsigned
        return unsigned_policy(prefix_of(answer.handle), self._node.prefixes.get, default) == MARK

    async def verification(
        self, handle: bytes, values: Sequence[HandleValue], answer: Answer
    ) -> Mapping[str, Any]:
        """What holds of a record's signatures; of other nodes' records what recursion found."""
        if answer.source != "store" and answer.verification not in {"", NOT_CHECKED.status}:
            return told(answer.verification)
        roots = self._roots
        if answer.source != "store" and self._node.recursion is not None:
            roots = self._node.recursion.trust_for(whole_name(handle))
        try:
            found = await self._verifier.verify(
                whole_name(handle), values, Need.WHEN_SIGNED, roots, self._values_of
            )
        except SignatureInvalid as error:
            return {"status": "invalid", "reason": str(error)}
        except UpstreamError as error:
            return {"status": "not verified", "reason": str(error)}
        return found.as_dict()

    async def _values_of(self, name: bytes) -> Sequence[HandleValue]:
        lookup = self._node.lookup
        query = Query(name)
        answer = lookup.answer_now(query) or await lookup.answer(query)
        if answer.code in _NOT_HERE and (recursion := self._elsewhere()) is not None:
            answer = await recursion.resolve(query)
        if answer.code in {ResponseCode.HANDLE_NOT_FOUND, ResponseCode.VALUES_NOT_FOUND}:
            return ()
        if answer.code != ResponseCode.SUCCESS:
            shown = name.decode("utf-8", "replace")
            raise UpstreamError(
                f"the certificate in {shown} lies at another node, which this one does not ask; "
                "verify at a recursive node"
            )
        return decode_values(answer.values)


def _identifier(identifier: Identifier) -> dict[str, Any]:
    return {
        "id": identifier.normalized,
        "scheme": identifier.scheme,
        "handle": _text(identifier.handle),
    }


def _source(answer: Answer) -> dict[str, Any]:
    shape: dict[str, Any] = {"source": answer.source, "authoritative": answer.authoritative}
    if answer.version:
        shape["version"] = answer.version
    if answer.ttl_s is not None:
        shape["ttl_s"] = round(answer.ttl_s)
    if answer.source == "cache":
        shape["cache"] = "stale" if answer.stale else "fresh"
        shape["age_s"] = round(answer.age_s or 0)
    if answer.stale:
        shape["stale"] = True
    return shape


def _own_step(answer: Answer, took_ms: float) -> dict[str, Any]:
    told = answer.code.name
    if answer.source == "cache":
        told += f", {'stale' if answer.stale else 'fresh'}, {answer.age_s or 0:.0f} s old"
        told += f", {answer.ttl_s or 0:.0f} s left"
    return {
        "node": answer.source,
        "asked": _text(answer.handle),
        "outcome": told,
        "ms": round(took_ms, 2),
    }


def _text(name: bytes) -> str:
    return name.decode("utf-8", "replace")


def _problem(answer: Answer, shape: dict[str, Any]) -> web.Response:
    status, code, title = _PROBLEMS.get(answer.code, (502, "upstream", "It could not be resolved"))
    more = dict(shape)
    if answer.code in {ResponseCode.SERVICE_REFERRAL, ResponseCode.PREFIX_REFERRAL}:
        more["referral"] = orjson.loads(format_values(decode_values(answer.values)))
    busy = answer.code == ResponseCode.SERVER_BUSY
    headers = {"Retry-After": str(round(RETRY_S))} if busy else {}
    return problem(
        status,
        code,
        title,
        detail=answer.message,
        headers=headers,
        responseCode=int(answer.code),
        **more,
    )


def _root_keys(node: Node) -> list[PublicKey]:
    """The root keys the node was given, and its own where it stands alone."""
    files = [node.dir / name for name in node.settings.recursion.root_keys]
    if (node.dir / ROOT_KEY).exists():
        files.append(node.dir / ROOT_KEY)
    return [key for file in files for key in read_public_keys(file)]
