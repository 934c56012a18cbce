"""The service: it binds, refuses to start where it must not, drains, and cuts when told to hurry."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IListeningPort
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from hadesgw.http.site import Request, Site
from hadesgw.interfaces import IListenerObserver, IServing
from hadesgw.policy.exposure import Address, Exposed, Held
from hadesgw.policy.refusals import Refusal
from hadesgw.service.gateway import Gateway, Termination
from hadesgw.service.listeners import ListenerRefused
from hadesgw.service.surplus import SurplusWatch
from hadesgw.sessions.admission import Wish
from hadesgw.sessions.registry import SessionRegistry
from hadesgw.telemetry.log import Log, Sink
from tests.sessions.stage import Stage
from tests.wire.door import Door, Leaf, hold

_GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


@implementer(IListeningPort)
class _Port:
    def __init__(self, address: Address) -> None:
        self._address = address
        self.listening = True

    def getHost(self) -> IPv4Address:
        return IPv4Address("TCP", str(self._address.host), self._address.port)

    def startListening(self) -> None:
        self.listening = True

    def stopListening(self) -> None:
        self.listening = False


class _Listener:
    """Notes in `events` what is done with it, and with all others that share the list.

    :param problem: raised by the step it is given for.
    """

    def __init__(
        self, port: int, events: list[str], bind: Exception | None = None, listen: Exception | None = None
    ) -> None:
        self.address: Address | None = Address.of("127.0.0.1", port)
        self.port: _Port | None = None
        self._events = events
        self._problems = {"bind": bind, "listen": listen}

    def __str__(self) -> str:
        return str(self.address)

    def _step(self, name: str) -> None:
        assert self.address is not None
        self._events.append(f"{name} {self.address.port}")
        if problem := self._problems[name]:
            raise problem

    def bind(self) -> None:
        self._step("bind")

    def listen(self, site: Site) -> IListeningPort:
        self._step("listen")
        assert self.address is not None
        self.port = _Port(self.address)
        return self.port


class _Lines(Sink):
    """A sink that remembers."""

    def __init__(self) -> None:
        Sink.__init__(self, os.open(os.devnull, os.O_WRONLY))
        self.lines: list[bytes] = []

    def write(self, line: bytes) -> None:
        self.lines.append(line)


@implementer(IListenerObserver)
class GatewayTests(SynchronousTestCase):
    """One gateway, its whole life."""

    def setUp(self) -> None:
        self.events: list[str] = []
        self.held: list[Held] = []
        self.surplus: list[int] = []

    def _gateway(
        self, door: Door, *listeners: _Listener, drain: float = 300.0, sessions: SessionRegistry | None = None
    ) -> Gateway:
        self.sink = _Lines()
        self.addCleanup(os.close, self.sink._descriptor)
        log = Log(self.sink, lambda: 0.0, text=False, level="info")
        self.listeners = listeners or (_Listener(8082, self.events),)
        watch = SurplusWatch(door.site.clock, self._look, maybeDeferred, lambda: 7, self, log)
        return Gateway(door.site.clock, door.site, self.listeners, watch, [], log, drain, sessions)

    def _look(self, pid: int) -> list[Held]:
        self.events.append("look")
        return [*self.held, *(Held(pid, one.address) for one in self.listeners if one.port and one.address)]

    def unexpected_listeners(self, count: int) -> None:
        self.surplus.append(count)

    def test_starts(self) -> None:
        """It says where it listens, also where nobody starts it privileged, and goes on watching."""
        door = Door()
        gateway = self._gateway(door)
        verifyObject(IServing, gateway)
        verifyObject(IListenerObserver, self)
        gateway.startService()
        self.assertEqual([str(address.port) for address in gateway.addresses], ["8082"])  # type: ignore[attr-defined]
        self.assertIn(b'"event":"listening","address":"tcp:127.0.0.1:8082"', self.sink.lines[-1])
        self.held.append(Held(7, Address.of("127.0.0.1", 9)))
        door.reactor.advance(30)
        self.assertEqual(self.surplus, [0, 1])
        self._stop(door, gateway)
        self.assertEqual(door.reactor.getDelayedCalls(), [])

    def test_nothing_listens_before_all_is_judged(self) -> None:
        """Every place is taken, and this process looked at, before a single connection can be made."""
        gateway = self._gateway(Door(), _Listener(1, self.events), _Listener(2, self.events))
        gateway.privilegedStartService()
        self.assertEqual(self.events, ["bind 1", "bind 2", "look", "listen 1", "listen 2"])

    def _stop(self, door: Door, gateway: Gateway, seconds: float = 0.0) -> Deferred[None]:
        stopping = gateway.stopService()
        waited = 0.0
        while waited < seconds:
            door.reactor.advance(0.02)
            door.reactor.settle()
            waited += 0.02
        return stopping

    def test_refuses_to_start(self) -> None:
        """Over a place that is taken or open to others, or a listener nobody asked for: status 1, and none listens."""
        taken, exposed = ListenerRefused("cannot listen on tcp:2: in use"), Exposed("tcp:2 can be reached")
        good = _Listener(1, self.events)
        for bad, held in (
            (_Listener(2, self.events, bind=taken), []),
            (_Listener(2, self.events, bind=exposed), []),
            (_Listener(2, self.events), [Held(7, Address.of("127.0.0.1", 9))]),
        ):
            self.held[:] = held
            stopped = self.assertRaises(SystemExit, self._gateway(Door(), good, bad).privilegedStartService)
            self.assertEqual(stopped.code, 1)
        self.assertEqual([event for event in self.events if event.startswith("listen")], [])

    def test_a_place_lost_at_the_last_moment(self) -> None:
        """Somebody may begin to listen between the two steps: that is refused as well."""
        late = _Listener(2, self.events, listen=ListenerRefused("cannot listen on tcp:2: in use"))
        stopped = self.assertRaises(SystemExit, self._gateway(Door(), late).privilegedStartService)
        self.assertEqual(stopped.code, 1)

    def test_drains(self) -> None:
        """Stopping, it takes no more, closes who is idle, and waits for what is in flight."""
        door = Door(Leaf(hold))
        gateway = self._gateway(door)
        gateway.startService()
        idle, busy = door.call(), door.call().send(_GET)
        stopping = self._stop(door, gateway, 1.0)
        assert self.listeners[0].port is not None
        self.assertFalse(self.listeners[0].port.listening)
        self.assertNotIn(idle.channel, door.site.channels)
        self.assertNoResult(stopping)
        request = door.asked[0]
        request.setHeader(b"Content-Length", b"2")
        request.write(b"ok")
        request.finish()
        door.reactor.advance(0.02)
        answer = busy.answer(b"GET")
        self.assertEqual((answer.body, answer.one(b"connection")), (b"ok", b"close"))
        self._settle(door, stopping)
        self.assertIn(b'"connections_cut":0', self.sink.lines[-1])

    def test_coding_sessions_end_with_it(self) -> None:
        """At the beginning of the drain, and the gateway is not gone before their last process is."""
        door = Door()
        stage = Stage(Path(self.mktemp()))
        gateway = self._gateway(door, sessions=stage.registry)
        gateway.startService()
        self.assertEqual(gateway.own_url, "http://127.0.0.1:8082")
        self.successResultOf(stage.registry.start("alice", Wish()))
        stopping = self._stop(door, gateway, 1.0)
        self.assertNoResult(stopping)
        assert stage.agent.stopping is not None
        stage.agent.stopping.callback(None)
        self._settle(door, stopping)
        self.assertEqual(stage.ledger.counts, [1, 0])

    def _settle(self, door: Door, stopping: Deferred[None], most: float = 5.0) -> None:
        done: list[None] = []
        stopping.addCallback(done.append)
        waited = 0.0
        while not done and waited < most:
            door.reactor.advance(0.02)
            door.reactor.settle()
            waited += 0.02
        self.assertTrue(done, f"not stopped after {most} s")

    def test_limit(self) -> None:
        """What is still in flight at the limit is ended with a reason."""
        self._cut(hurry=False)

    def test_hurry(self) -> None:
        """Told to hurry, it does not wait for the limit."""
        self._cut(hurry=True)

    def _cut(self, hurry: bool) -> None:
        ended: list[str] = []

        def wait(request: Request) -> int:
            def end(refusal: Refusal) -> None:
                ended.append(refusal.reason)
                request.on_interrupt = None
                request.interrupt(refusal)

            request.on_interrupt = end
            return hold(request)

        door = Door(Leaf(wait))
        gateway = self._gateway(door, drain=10.0)
        gateway.startService()
        caller = door.call().send(_GET)
        stopping = self._stop(door, gateway, 9.0)
        self.assertEqual(ended, [])
        if hurry:
            gateway.hurry()
            door.reactor.advance(0.02)
        else:
            door.reactor.advance(1.5)
        self.assertEqual(ended, ["drained"])
        self._settle(door, stopping)
        self.assertEqual(caller.answer(b"GET").status, 503)
        self.assertEqual(len(door.site.channels), 0)


class TerminationTests(SynchronousTestCase):
    """Signals."""

    def test_twice(self) -> None:
        """The first SIGTERM stops the reactor, the second hurries."""

        class Reactor:
            def __init__(self) -> None:
                self.stopped = 0

            def stop(self) -> None:
                self.stopped += 1

            def callFromThread(self, call: Any) -> None:  # noqa: N802
                call()

        hurried: list[int] = []
        reactor = Reactor()
        before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
        self.addCleanup(lambda: [signal.signal(number, handler) for number, handler in before.items()])
        Termination(reactor, lambda: hurried.append(1)).install()  # type: ignore[arg-type]
        os.kill(os.getpid(), signal.SIGTERM)
        self.assertEqual((reactor.stopped, hurried), (1, []))
        os.kill(os.getpid(), signal.SIGINT)
        self.assertEqual((reactor.stopped, hurried), (1, [1]))
