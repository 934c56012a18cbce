"""The leaf that gives a browser's page the ticket its WebSocket will show; see :mod:`hadesgw.policy.tickets`."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
from twisted.internet.interfaces import IReactorTime
from twisted.web.resource import Resource

from hadesgw.http.site import Request
from hadesgw.policy import refusals
from hadesgw.policy.credentials import Warrant
from hadesgw.policy.tickets import LIFETIME_SECONDS, TicketStore


class TicketOffice(Resource):
    """`POST`: a ticket for the client and the origin that ask. It stands behind a guard.

    :param store: what the tickets are redeemed from.
    :param clock: monotonic time.
    :param warrant: by what somebody who asks has come in.
    """

    isLeaf = True

    def __init__(self, store: TicketStore, clock: IReactorTime, warrant: Callable[[Request], Warrant]) -> None:
        Resource.__init__(self)
        self._warrant = warrant
        self._store = store
        self._clock = clock

    def render(self, request: Request) -> bytes | int:
        """The ticket, in JSON that nobody on the way may keep; or why there is none. The request's body is not read."""
        client = request.record.client
        if request.postpath or client is None:
            return request.refuse(refusals.NOT_FOUND)
        if request.method != b"POST":
            return request.refuse(refusals.METHOD_NOT_ALLOWED, [(b"Allow", b"POST")])
        origin = request.head.index.get(b"origin")
        ticket = self._store.issue(client, origin, self._clock.seconds(), self._warrant(request))
        request.setHeader(b"Content-Type", b"application/json")
        request.setHeader(b"Cache-Control", b"no-store")
        return msgspec.json.encode({"ticket": ticket, "expires_in": LIFETIME_SECONDS})
