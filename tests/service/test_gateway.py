"""The service: it binds, refuses to start where it must not, drains, and cuts when told to hurry."""

from __future__ import annotations

import os
import signal
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort, IStreamServerEndpoint
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from hadesgw.http.site import Request
from hadesgw.interfaces import IServing
from hadesgw.policy.refusals import Refusal
from hadesgw.service.gateway import Gateway, Termination
from hadesgw.telemetry.log import Log, Sink
from tests.wire.door import Door, Leaf, hold

_GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


@implementer(IListeningPort)
class _Port:
    def __init__(self, host: str) -> None:
        self._host = host
        self.listening = True

    def getHost(self) -> IPv4Address:
        return IPv4Address("TCP", self._host, 8082)

    def startListening(self) -> None:
        self.listening = True

    def stopListening(self) -> None:
        self.listening = False


@implementer(IStreamServerEndpoint)
class _Endpoint:
    def __init__(self, port: _Port | None) -> None:
        self._port = port

    def listen(self, factory: object) -> Deferred[Any]:
        if self._port is None:
            return fail(CannotListenError("127.0.0.1", 8082, OSError(98, "Address already in use")))
        return succeed(self._port)


class _Lines(Sink):
    """A sink that remembers."""

    def __init__(self) -> None:
        Sink.__init__(self, os.open(os.devnull, os.O_WRONLY))
        self.lines: list[bytes] = []

    def write(self, line: bytes) -> None:
        self.lines.append(line)


class GatewayTests(SynchronousTestCase):
    """One gateway, its whole life."""

    def _gateway(self, door: Door, endpoint: _Endpoint, drain: float = 300.0) -> Gateway:
        self.sink = _Lines()
        self.addCleanup(os.close, self.sink._descriptor)
        log = Log(self.sink, lambda: 0.0, text=False, level="info")
        return Gateway(door.site.clock, door.site, [("tcp:8082", endpoint)], [], log, drain)

    def test_starts(self) -> None:
        """It says where it listens, also where nobody starts it privileged."""
        door, port = Door(), _Port("127.0.0.1")
        gateway = self._gateway(door, _Endpoint(port))
        verifyObject(IServing, gateway)
        gateway.startService()
        self.assertEqual([str(address.port) for address in gateway.addresses], ["8082"])  # type: ignore[attr-defined]
        self.assertIn(b'"event":"listening","address":"tcp:127.0.0.1:8082"', self.sink.lines[-1])
        self._stop(door, gateway)

    def _stop(self, door: Door, gateway: Gateway, seconds: float = 0.0) -> Deferred[None]:
        stopping = gateway.stopService()
        waited = 0.0
        while waited < seconds:
            door.reactor.advance(0.02)
            door.reactor.settle()
            waited += 0.02
        return stopping

    def test_refuses_to_start(self) -> None:
        """A port that is taken, or one that others can reach without TLS, ends the process with one line."""
        for endpoint in (_Endpoint(None), _Endpoint(_Port("192.0.2.1"))):
            gateway = self._gateway(Door(), endpoint)
            stopped = self.assertRaises(SystemExit, gateway.privilegedStartService)
            self.assertEqual(stopped.code, 1)

    def test_drains(self) -> None:
        """Stopping, it takes no more, closes who is idle, and waits for what is in flight."""
        door, port = Door(Leaf(hold)), _Port("127.0.0.1")
        gateway = self._gateway(door, _Endpoint(port))
        gateway.startService()
        idle, busy = door.call(), door.call().send(_GET)
        stopping = self._stop(door, gateway, 1.0)
        self.assertFalse(port.listening)
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
        gateway = self._gateway(door, _Endpoint(_Port("127.0.0.1")), drain=10.0)
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
