"""What the site and the proxy see, told to the meters, to the log, and to whoever follows."""

from __future__ import annotations

from collections.abc import Mapping

from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

from hadesgw.http.site import Request
from hadesgw.interfaces import IProxyObserver, ISiteObserver
from hadesgw.policy.refusals import Refusal
from hadesgw.telemetry.conveyance import Conveyance
from hadesgw.telemetry.followers import Followers
from hadesgw.telemetry.log import Log
from hadesgw.telemetry.memory import Vocabulary, memory_events_in
from hadesgw.telemetry.meters import Meters
from hadesgw.telemetry.tee import Tee
from hadesgw.telemetry.watch import Watch
from hadesgw.telemetry.watch_chat import ChatWatch
from hadesgw.telemetry.watch_messages import MessagesWatch
from hadesgw.telemetry.watch_responses import ResponsesWatch

WATCHES: Mapping[bytes, type[Watch]] = {
    b"/v1/chat/completions": ChatWatch,
    b"/v1/completions": ChatWatch,
    b"/v1/embeddings": ChatWatch,
    b"/v1/messages": MessagesWatch,
    b"/v1/responses": ResponsesWatch,
}
"""What understands the answers of each route; those of the others say nothing that anybody counts."""


@implementer(ISiteObserver)
class Witness:
    """Joins a gateway's meters and log; see :class:`ISiteObserver` for what each method is told."""

    def __init__(self, meters: Meters, log: Log, conveyance: Conveyance) -> None:
        self._log = log
        self._conveyance = conveyance
        self.connections = meters.connections
        self.ids_replaced = meters.ids_replaced
        self._meters = meters

    def refused_early(self, refusal: Refusal, request_id: bytes, session_id: bytes) -> None:
        """Count it, and write its line: there is no `metered` layer where it happened."""
        self._meters.refused_early(refusal, request_id, session_id)
        self._log.refused_early(refusal, request_id, session_id)

    def correlation_missing(self) -> None:
        """Count the defect, and say so loudly."""
        self._meters.correlation_missing()
        self._log.event("correlation_missing", level="error")
        self._conveyance.headers_missing()


class SideWitness(Witness):
    """The witness of a site beside the gateway's own, whose connections are no clients'."""

    def __init__(self, meters: Meters, log: Log, conveyance: Conveyance) -> None:
        Witness.__init__(self, meters, log, conveyance)
        self.connections = lambda count: None


@implementer(IProxyObserver)
class ProxyWitness:
    """Joins meters and followers to what passes between a client and the model server; see :class:`IProxyObserver`.

    :param words: the names that are told apart.
    """

    def __init__(self, meters: Meters, followers: Followers, clock: IReactorTime, words: Vocabulary) -> None:
        self.correlation_mismatch = meters.correlation_mismatch
        self.upstream_abandoned = meters.upstream_abandoned
        self._meters = meters
        self._followers = followers
        self._seconds = clock.seconds
        self._words = words
        self._echoed: tuple[bytes, ...] = ()  # correlation headers that the last answer had

    def ids_echoed(self, headers: tuple[bytes, ...]) -> None:
        """A model server need not echo ids; but one that did and does not any more has lost what it was sent."""
        if headers != self._echoed:
            for name in set(self._echoed).difference(headers):
                self._meters.correlation_mismatch(name)
            self._echoed = headers

    def request_sent(self, request: Request, body: bytes) -> None:
        """Look for memory events: the conversation is where a runtime tells the model of them."""
        for kind in memory_events_in(body, self._words):
            request.record.memory_events += 1
            self._meters.memory_event(kind)
            if self._followers.present:
                self._followers.learned(request, "memory_event", kind)

    def answer_begun(self, request: Request, code: int, events: bool) -> Tee | None:
        """Watch it, if it is one of the model's."""
        kind = WATCHES.get(request.path)
        if kind is None or (code >= 400 and not events):
            return None
        return Tee(request, kind, events, self._words, self._seconds, self._meters, self._followers)
