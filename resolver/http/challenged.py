"""The answer to a caller who must first prove an identity, outside of the Handle interface."""

from __future__ import annotations

from aiohttp import web

from protocol.errors import AuthenticationNeeded
from resolver.http.asked import Senders
from resolver.http.auth import Authenticator
from resolver.http.auth_errors import NotProved
from resolver.http.problem import problem, problem_of


def challenged(
    request: web.Request,
    error: NotProved | AuthenticationNeeded,
    authenticator: Authenticator,
    senders: Senders,
) -> web.Response:
    """401 with the challenges; 403 without TLS, over which alone credentials are taken."""
    if isinstance(error, NotProved):
        response = problem_of(error)
        lines = authenticator.challenge(error.session, error.fields, error=True)
    elif not senders.secure(request):
        told = "send the same to the https address of this node (faces.https)"
        return problem(403, "tls-needed", "Credentials are taken over TLS only", detail=told)
    else:
        response = problem_of(error)
        lines = authenticator.challenge(None, None)
    for line in lines:
        response.headers.add("WWW-Authenticate", line)
    return response
