"""Sending whole answers: the head, then the body in a write of its own, as uvicorn does."""

from __future__ import annotations

from typing import Any, Final

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.web.server import Request

from hadesgw.demo import refusal
from hadesgw.demo.refusal import Refusal

JSON: Final = "application/json"


def field(request: Request, name: bytes) -> str:
    """The last value of a request's header field; "" without one."""
    return (request.getHeader(name) or b"").decode("latin-1")


def document(request: Request) -> dict[str, Any]:
    """The JSON object in a request's body.

    :raises Refusal: if there is none.
    """
    body = request.content.read() if request.content is not None else b""
    return refusal.decode(body, field(request, b"content-type"))


class Replies:
    """Sends answers.

    :param clock: tells the reactor's turns apart.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock

    async def begin(self, request: Request, kind: str) -> None:
        """Send the head, and let it leave before anything follows.

        :param kind: the media type of what follows; "" for nothing.
        """
        if kind:
            request.setHeader("content-type", kind)
        if not request.responseHeaders.hasHeader("vary"):
            request.setHeader("vary", "Origin")
        request.write(b"")
        # The reactor runs timed calls before it writes: only the second turn finds the head gone.
        await deferLater(self._clock, 0)
        await deferLater(self._clock, 0)

    async def send(self, request: Request, status: int, body: str, kind: str = JSON) -> None:
        """Send a whole answer."""
        data = body.encode()
        request.setResponseCode(status)
        request.setHeader("content-length", str(len(data)))
        await self.begin(request, kind)
        request.write(data)
        request.finish()

    async def refuse(self, request: Request, refused: Refusal, body: str) -> None:
        """Send a refusal.

        :param body: how it is said in the protocol of the route.
        """
        if refused.retry_after is not None:
            request.setHeader("retry-after", str(refused.retry_after))
        await self.send(request, refused.status, body)
