"""`GET /api/hermes/services/codex`: the gateway's own word on what it can do, for pages that look for coding help."""

from __future__ import annotations

import msgspec
from twisted.web.resource import Resource

from hadesgw.http.site import Request
from hadesgw.policy import refusals
from hadesgw.policy.service_card import COMPONENT, service_card


class Discovery(Resource):
    """Answers for one service, `codex`, wherever it is mounted; nobody has to say who he is.

    :param version: ours.
    """

    isLeaf = True

    def __init__(self, version: str) -> None:
        Resource.__init__(self)
        self._version = version

    def render(self, request: Request) -> bytes | int:
        """The record of the service, with the address by which the asker has reached us."""
        if request.postpath != [b"services", COMPONENT.encode("ascii")]:
            return request.refuse(refusals.NOT_FOUND)
        if request.method not in (b"GET", b"HEAD"):
            return request.refuse(refusals.METHOD_NOT_ALLOWED, [(b"Allow", b"GET, HEAD")])
        host = request.head.index.get(b"host")
        if host is None:  # HTTP/1.0
            return request.refuse(refusals.BAD_HOST)
        scheme = "https" if request.isSecure() else "http"
        request.setHeader(b"Content-Type", b"application/json")
        request.setHeader(b"Cache-Control", b"no-store")
        card = service_card(self._version, f"{scheme}://{host.decode('ascii')}")
        return msgspec.json.encode({**card, "healthy": True, "status": "active"})
