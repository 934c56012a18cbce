"""The layer that times and counts a request, and has its line written when it has ended."""

from __future__ import annotations

from twisted.internet.interfaces import IReactorTime
from twisted.web.resource import IResource

from hadesgw.http.site import Request
from hadesgw.interfaces import IMeter, IRequestLog
from hadesgw.resources.layer import Layer
from hadesgw.telemetry.followers import Followers


class Metered(Layer):
    """Observes a request from its head to its end, whichever end that is.

    :param route: the configured path, the route's name until a leaf knows better.
    :param followers: told of each request's beginning and end.
    """

    def __init__(
        self,
        inner: IResource,
        route: str,
        clock: IReactorTime,
        meter: IMeter,
        log: IRequestLog,
        followers: Followers,
    ) -> None:
        Layer.__init__(self, inner)
        self._route = route
        self._clock = clock
        self._meter = meter
        self._log = log
        self._followers = followers

    def render(self, request: Request) -> bytes | int:
        """Watch, and pass on."""
        request.record.mount = request.record.route = self._route
        self._meter.begun()
        request.at_end(lambda completed: self._ended(request, completed))
        if self._followers.present:
            self._followers.begun(request)
        return self.pass_on(request)

    def _ended(self, request: Request, completed: bool) -> None:
        now = self._clock.seconds()
        if request.record.settle is not None:
            request.record.settle()
        if not completed and request.record.reason is None:
            request.record.reason = "client_left"
        self._meter.finished(request, completed, now)
        if not request.record.quiet:
            self._log.request(request, completed, now)
        if self._followers.present:
            self._followers.ended(request, completed, now)
