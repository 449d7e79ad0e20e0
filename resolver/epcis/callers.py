"""Who asks the EPCIS face, and on whose behalf they may capture."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from aiohttp import web

from protocol.errors import AuthenticationNeeded
from protocol.name import prefix_record
from protocol.record import Reference
from registry.events.writing import CAPTURE, prefix_of_actor
from registry.labels import ANYBODY, Viewer
from resolver.groups import memberships
from resolver.http.auth import Authenticator

if TYPE_CHECKING:
    from resolver.node import Node

MOST_PREFIXES: Final = 256
"""Homed prefixes looked through for one that names an identity."""


class Capturer(NamedTuple):
    """Who captures. prefix: on whose behalf; None: the actor's own, or a server administrator."""

    actor: Reference
    prefix: bytes | None
    memberships: tuple[Reference, ...]


class Callers:
    """Answers who sent a request."""

    def __init__(self, node: Node, authenticator: Authenticator) -> None:
        self._node = node
        self._authenticator = authenticator

    async def actor(self, request: web.BaseRequest) -> Reference | None:
        """The identity that was proved; None for anybody. Raises NotProved."""
        return (await self._authenticator.caller(request)).identity

    async def viewer(self, request: web.BaseRequest) -> Viewer:
        """Who reads."""
        actor = await self.actor(request)
        return ANYBODY if actor is None else self.viewer_of(actor)

    def viewer_of(self, actor: Reference) -> Viewer:
        """What an identity is now: asked again whenever something is shown to it."""
        access = self._node.access
        access.forget()
        if access.is_server_admin(actor):
            return Viewer(actor, administrator=True)
        named = (access.rights(actor, prefix_record(prefix)) for prefix in self._prefixes(actor))
        return Viewer(actor, administrator=any(named))

    async def administrator(self, request: web.BaseRequest, what: str) -> Viewer:
        """Who manages queries and subscriptions. Raises AuthenticationNeeded, NotAuthorized."""
        viewer = await self.viewer(request)
        if viewer.actor is None:
            raise AuthenticationNeeded(f"{what} needs an identity: send credentials over TLS")
        if not viewer.administrator:
            self._node.access.require_server_admin(viewer.actor, what)
        return viewer

    async def capturer(self, request: web.BaseRequest) -> Capturer:
        """Who captures. Raises AuthenticationNeeded, NotAuthorized."""
        actor = await self.actor(request)
        if actor is None:
            raise AuthenticationNeeded(
                "capturing needs an identity: send Basic credentials, an answered Handle challenge "
                "or a client certificate over TLS"
            )
        access = self._node.access
        access.forget()
        if access.is_server_admin(actor):
            return Capturer(actor, None, ())
        prefixes = self._prefixes(actor)
        groups = await memberships(self._node, actor, *map(prefix_record, prefixes[:8]))
        with access.knowing(groups):
            for prefix in prefixes:
                if access.allows(actor, prefix_record(prefix), CAPTURE):
                    return Capturer(actor, prefix, groups)
        access.require_server_admin(actor, "capture events: no prefix homed here names it")
        raise AuthenticationNeeded("capturing needs an administrator of a prefix homed here")

    def _prefixes(self, actor: Reference) -> list[bytes]:
        """The homed prefixes, the actor's own first."""
        homed, own = self._node.prefixes.homed(), prefix_of_actor(actor)
        first = [own] if own in homed else []
        return first + sorted(homed - {own})[:MOST_PREFIXES]
