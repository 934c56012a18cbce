"""The UNIX socket that shows the meters to a scraper without asking for a credential: the socket's mode is one."""

from __future__ import annotations

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IListeningPort

from hadesgw.http.site import Site
from hadesgw.interfaces import IRequestLog
from hadesgw.service.gateway import refuse_start
from hadesgw.service.listeners import ListenerRefused, StreamListener


class Scraping(Service):
    """Listens beside the gateway.

    :param site: what is shown there.
    :param listener: of a UNIX socket.
    """

    def __init__(self, site: Site, listener: StreamListener, log: IRequestLog) -> None:
        self._site = site
        self._listener = listener
        self._log = log
        self._port: IListeningPort | None = None

    def startService(self) -> None:
        """Listen."""
        Service.startService(self)
        try:
            self._port = self._listener.listen(self._site)
        except ListenerRefused as refused:
            refuse_start(str(refused))
        self._log.event("metrics_listening", address=str(self._listener))

    def stopService(self) -> Deferred[None] | None:
        """Listen no more; a scrape in flight is a matter of milliseconds, and nobody waits for it."""
        Service.stopService(self)
        port, self._port = self._port, None
        self._site.abort()
        return None if port is None else port.stopListening()
