"""Refusing credentials slowly: holds the answers that :mod:`hadesgw.policy.penalties` wants held, and tells the log."""

from __future__ import annotations

from collections.abc import Iterable

from twisted.internet.interfaces import IAddress, IReactorTime
from twisted.web.server import NOT_DONE_YET

from hadesgw.http.site import Request
from hadesgw.interfaces import IRequestLog
from hadesgw.policy.penalties import TELL_SECONDS, Failures, peer_name
from hadesgw.policy.refusals import Refusal

MOST_HELD = 256
"""Answers held back at one time; any more are given at once. A flood costs us this many waiting requests, and no memory
for their bodies."""


class Penalties:
    """The refused credentials of all guards.

    :param clock: monotonic time and timers.
    :param log: told of them, sampled: beyond the first failures of a peer a request leaves a line of its own only if
        there has been none of them for a while, because whoever floods us would choose how much is written.
    """

    def __init__(self, clock: IReactorTime, log: IRequestLog) -> None:
        self._clock = clock
        self._log = log
        self._failures = Failures()
        self._telling = False
        self.held = 0

    def refuse(self, request: Request, refusal: Refusal, fields: Iterable[tuple[bytes, bytes]]) -> int:
        """Refuse `request`, now or later; arguments and answer as :meth:`IGatewayRequest.refuse`."""
        assert request.channel is not None
        peer = _peer(request.channel.getPeer())
        penalty = self._failures.failed(peer, self._clock.seconds())
        if penalty.told:
            self._tell(peer, penalty.told)
        else:
            request.record.quiet = penalty.delay > 0
            self._tell_later()
        if not penalty.delay or self.held >= MOST_HELD:
            return request.refuse(refusal, fields)
        self._hold(request, refusal, fields, penalty.delay)
        return NOT_DONE_YET

    def _hold(self, request: Request, refusal: Refusal, fields: Iterable[tuple[bytes, bytes]], seconds: float) -> None:
        def answer() -> None:
            request.on_late = None
            request.refuse(refusal, fields)

        def ended(completed: bool) -> None:
            self.held -= 1

        self.held += 1
        request.at_end(ended)
        request.discard_body()
        request.on_late = answer
        request.watch(seconds)

    # -- The log -------------------------------------------------------------------------------------------------------

    def _tell(self, peer: str, count: int) -> None:
        self._log.event("credentials_refused", level="warn", peer=peer, count=count)

    def _tell_later(self) -> None:
        """See that what is not told now will be, even if nobody fails any more."""
        if not self._telling:
            self._telling = True
            self._clock.callLater(TELL_SECONDS, self._tell_overdue)

    def _tell_overdue(self) -> None:
        self._telling = False
        for peer, count in self._failures.overdue(self._clock.seconds()):
            self._tell(peer, count)
        if not self._failures.all_told:
            self._tell_later()


def _peer(address: IAddress) -> str:
    return peer_name(getattr(address, "host", None))
