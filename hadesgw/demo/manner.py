"""uvicorn's manner on twisted.web: the things a peer can see of vLLM's HTTP server before any JSON.

Lower-case field names in uvicorn's order, always HTTP/1.1, the head apart from the body, idle connections
closed after five seconds, a half-closed connection taken for a client that left, garbage answered in plain
text.
"""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from typing import Final

from twisted.internet.interfaces import IAddress, IDelayedCall, IReactorTime
from twisted.web import http, server
from twisted.web.http_headers import Headers
from twisted.web.resource import IResource

_KEEP_ALIVE_SECONDS: Final = 5.0
_HEAD_BYTES: Final = 65_536
# The order of uvicorn's own fields; what an answer adds stands in the gap.
_BEFORE: Final = (b"date", b"server")
_AFTER: Final = (b"connection", b"transfer-encoding")


class UvicornRequest(server.Request):
    """A request whose answer looks like uvicorn's."""

    defaultContentType = None  # an answer without a body has no type

    def process(self) -> None:
        """Answer as HTTP/1.1, whatever version asked."""
        self.clientproto = b"HTTP/1.1"
        super().process()


class UvicornChannel(http.HTTPChannel):
    """A connection that looks like uvicorn's.

    :param site: what answers on it.
    :param clock: for the idle limit.
    """

    MAX_LENGTH = _HEAD_BYTES

    def __init__(self, site: server.Site, clock: IReactorTime) -> None:
        super().__init__()
        self.totalHeadersSize = _HEAD_BYTES
        self.timeOut = None
        self.factory = site
        self.site = site
        self.requestFactory = site.requestFactory
        self._clock = clock

    def callLater(self, period: float, func: Callable[[], None]) -> IDelayedCall:
        """Measure time by the given clock."""
        return self._clock.callLater(period, func)

    def dataReceived(self, data: bytes) -> None:
        """A client that speaks is not idle."""
        self.setTimeout(None)
        super().dataReceived(data)

    def requestDone(self, request: http.Request) -> None:
        """Only a connection that has been answered can be idle."""
        super().requestDone(request)
        if self.persistent and not self.requests:
            self.setTimeout(_KEEP_ALIVE_SECONDS)

    def timeoutConnection(self) -> None:
        """Close an idle connection without a word."""
        self.loseConnection()

    def writeHeaders(self, version: bytes, code: bytes, reason: bytes, headers: Headers) -> None:
        """Write the head with its names in lower case."""
        fields = {name.lower(): values for name, values in headers.getAllRawHeaders()}
        between = [name for name in fields if name not in _BEFORE and name not in _AFTER]
        lines = [version + b" " + code + b" " + reason]
        for name in (*_BEFORE, *between, *_AFTER):
            lines += [name + b": " + value for value in fields.get(name, ())]
        self.write(b"\r\n".join([*lines, b"", b""]))

    def _respondToBadRequestAndDisconnect(self) -> None:  # noqa: N802  # twisted.web has no public name for it
        """Answer garbage."""
        fields = b"server: uvicorn\r\ncontent-type: text/plain; charset=utf-8\r\nconnection: close\r\n\r\n"
        head = b"HTTP/1.1 400 Bad Request\r\ndate: " + http.datetimeToString() + b"\r\n" + fields
        self.write(head + b"Invalid HTTP request received.")
        self.loseConnection()


class UvicornSite(server.Site):
    """Connections in uvicorn's manner to a tree of resources. It logs nothing.

    :param root: the resource that answers.
    :param clock: for the idle limit.
    """

    requestFactory = UvicornRequest

    def __init__(self, root: IResource, clock: IReactorTime) -> None:
        super().__init__(root, reactor=clock, timeout=None, parsePOSTFormSubmission=False)
        self._clock = clock

    def buildProtocol(self, addr: IAddress | None) -> UvicornChannel:  # type: ignore[override]
        """One channel a connection; twisted.web's own choice between protocols is not wanted."""
        return UvicornChannel(self, self._clock)

    def getContentFile(self, length: int | None) -> BytesIO:
        """Keep every request's body in memory: a prompt never touches a disk."""
        del length
        return BytesIO()

    def startFactory(self) -> None:
        """Open no log."""

    def stopFactory(self) -> None:
        """There is no log to close."""

    def log(self, request: http.Request) -> None:
        """Write no access log: paths are the client's."""
