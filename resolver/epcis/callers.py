"""Who asks the EPCIS face, and on whose behalf they may capture."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from aiohttp import web

from protocol.errors import AuthenticationNeeded
from protocol.name import prefix_record
from protocol.record import Reference
from registry.events.writing import CAPTURE, prefix_of_actor
from registry.labels import ANYBODY, Viewer
from resolver.epcis.granted import Granted
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
        self._granted = Granted(node)

    async def actor(self, request: web.BaseRequest) -> Reference | None:
        """The identity that was proved; None for anybody. Raises NotProved."""
        return (await self._authenticator.caller(request)).identity

    async def viewer(self, request: web.BaseRequest) -> Viewer:
        """Who reads."""
        actor = await self.actor(request)
        return ANYBODY if actor is None else await self.viewer_of(actor)

    async def viewer_of(self, actor: Reference) -> Viewer:
        """What an identity is now, and what it is granted: asked again at each showing."""
        access = self._node.access
        access.forget()
        if access.is_server_admin(actor):
            return Viewer(actor, administrator=True)
        named = (access.rights(actor, prefix_record(prefix)) for prefix in self._prefixes(actor))
        if any(named):
            return Viewer(actor, administrator=True)
        return Viewer(actor, events=await self._granted.of(actor))

    def partner(self, viewer: Viewer) -> bool:
        """Whether somebody is granted events here: may name queries and subscribe for itself."""
        return self._granted.partner(viewer)

    async def subscriber(self, request: web.BaseRequest, what: str) -> Viewer:
        """Who names queries and subscribes: administrators, and partners for themselves.

        Raises AuthenticationNeeded, NotAuthorized.
        """
        viewer = await self.identified(request, what)
        if not viewer.administrator and not self.partner(viewer):
            self._node.access.require_server_admin(viewer.actor, what)
        return viewer

    async def identified(self, request: web.BaseRequest, what: str) -> Viewer:
        """Who asks, proved. Raises AuthenticationNeeded."""
        viewer = await self.viewer(request)
        if viewer.actor is None:
            raise AuthenticationNeeded(f"{what} needs an identity: send credentials over TLS")
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
