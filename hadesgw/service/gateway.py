"""The gateway as a Twisted service: it binds, serves, and leaves well."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Sequence
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

from twisted.application.service import Service
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IAddress, IListeningPort, IReactorCore, IReactorTime
from twisted.internet.task import deferLater
from zope.interface import implementer

from hadesgw.http.agent import Agent
from hadesgw.http.site import Site
from hadesgw.interfaces import IServing
from hadesgw.policy import refusals
from hadesgw.policy.exposure import Exposed
from hadesgw.service.late_sessions import LateSessions
from hadesgw.service.listeners import ListenerRefused, StreamListener
from hadesgw.service.surplus import Surplus, SurplusWatch
from hadesgw.telemetry.log import Log

if TYPE_CHECKING:
    from hadesgw.sessions.registry import SessionRegistry

_FLUSH_SECONDS = 1.0
"""How long a stream that was ended at the drain's limit has to send its last event."""
_LOOK_SECONDS = 0.02


def refuse_start(reason: str) -> NoReturn:
    """One clear line where the operator sees it, whatever takes the log, and out."""
    print(f"hadesgw: {reason}", file=sys.__stderr__, flush=True)
    raise SystemExit(1)


@implementer(IServing)
class Gateway(Service):
    """Listens, and when told to stop: accepts no more, lets what runs finish, then ends it, then is gone.

    :param listeners: where to listen.
    :param watch: sees that we listen nowhere else.
    :param drain_seconds: how long requests in flight may go on once stopping.
    :param sessions: coding sessions, which end when the drain begins: their agents call back through our listeners.
    """

    def __init__(
        self,
        clock: IReactorTime,
        site: Site,
        listeners: Sequence[StreamListener],
        watch: SurplusWatch,
        agents: list[Agent],
        log: Log,
        drain_seconds: float,
        sessions: LateSessions | SessionRegistry | None = None,
    ) -> None:
        self._clock = clock
        self._sessions = sessions
        self._site = site
        self._listeners = listeners
        self._watch = watch
        self._agents = agents
        self._log = log
        self._drain_seconds = drain_seconds
        self._ports: list[IListeningPort] = []
        self._hurry = False
        self._since = 0.0
        self._finishers: list[Callable[[], Deferred[None]]] = []

    # -- Starting ------------------------------------------------------------------------------------------------------

    def privilegedStartService(self) -> None:
        """Bind, while we may still bind low ports. Nothing listens before all of it has been judged."""
        try:
            for listener in self._listeners:
                listener.bind()
            self._watch.begin({listener.address for listener in self._listeners if listener.address is not None})
            self._ports = [listener.listen(self._site) for listener in self._listeners]
        except (Exposed, ListenerRefused, Surplus) as refused:
            refuse_start(str(refused))

    def startService(self) -> None:
        """Serve."""
        Service.startService(self)
        if not self._ports:  # `twist` has no privileged start
            self.privilegedStartService()
        self._since = self._clock.seconds()
        self._log.sink.start(self._clock)
        self._watch.startService()
        for listener in self._listeners:
            self._log.event("listening", address=str(listener))

    @property
    def addresses(self) -> list[IAddress]:
        """The addresses that are listened on."""
        return [port.getHost() for port in self._ports]

    @property
    def own_url(self) -> str | None:
        """Of a listener without TLS: only programs on this machine reach one. None while there is none."""
        places = [str(listener) for listener in self._listeners if listener.address is not None]
        plain = next((place for place in places if place.startswith("tcp:")), None)
        return None if plain is None else f"http://{plain.removeprefix('tcp:')}"

    @property
    def url(self) -> str:
        """Of the first TCP listener, for others to reach us; "" if there is none, or nobody listens yet."""
        places = [str(listener) for listener in self._listeners if listener.address is not None]
        if not places:
            return ""
        kind, _, place = places[0].partition(":")
        return f"{'https' if kind == 'tls' else 'http'}://{place}"

    def status(self) -> dict[str, object]:
        """What an operator asks first: where it listens, for how long, and how many are there."""
        return {
            "listening": [str(listener) for listener in self._listeners],
            "serving_seconds": round(self._clock.seconds() - self._since, 1),
            "connections": len(self._site.channels),
            "draining": self._site.draining,
        }

    def at_last(self, finish: Callable[[], Deferred[None]]) -> None:
        """Call `finish`, and wait for it, when we have served the last request."""
        self._finishers.append(finish)

    # -- Stopping ------------------------------------------------------------------------------------------------------

    def hurry(self) -> None:
        """Do not wait any longer for what is in flight."""
        self._hurry = True

    def stopService(self) -> Deferred[None]:
        """Drain and stop."""
        Service.stopService(self)
        self._watch.stopService()
        return Deferred.fromCoroutine(self._leave())

    async def _leave(self) -> None:
        self._log.event("draining", connections=len(self._site.channels), limit_seconds=self._drain_seconds)
        ports, self._ports = self._ports, []
        for port in ports:
            await _stopped(port)
        self._site.drain()
        ending = succeed(None) if self._sessions is None else self._sessions.close()
        await self._empty_within(self._drain_seconds, lambda: self._hurry)
        cut = len(self._site.channels)
        if cut:
            self._site.interrupt(refusals.STREAM_DRAINED)
            await self._empty_within(_FLUSH_SECONDS, lambda: False)
            self._site.abort()
        await ending
        for agent in self._agents:
            agent.close_idle()
        for finish in self._finishers:
            await finish()
        self._log.event("stopped", connections_cut=cut)
        self._log.sink.stop()

    async def _empty_within(self, seconds: float, give_up: Callable[[], bool]) -> None:
        until = self._clock.seconds() + seconds
        while self._site.channels and self._clock.seconds() < until and not give_up():
            await deferLater(self._clock, _LOOK_SECONDS)


async def _stopped(port: IListeningPort) -> None:
    stopping = port.stopListening()
    if stopping is not None:
        await stopping


class Termination:
    """What a termination signal does: the first begins to drain, the second cuts.

    Twisted's own handler would make the process end as killed by the signal, although it left in good order.

    :param reactor: stopped by the first signal.
    :param hurry: called by the second.
    """

    def __init__(self, reactor: IReactorCore, hurry: Callable[[], None]) -> None:
        self._reactor = reactor
        self._hurry = hurry
        self._told = False

    def install(self) -> None:
        """Take SIGTERM and SIGINT over; call this once the reactor has installed its own handlers."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._received)

    def _received(self, number: int, frame: FrameType | None) -> None:
        self._reactor.callFromThread(self._act)  # type: ignore[attr-defined]

    def _act(self) -> None:
        if self._told:
            self._hurry()
        else:
            self._told = True
            self._reactor.stop()
