"""Sockets: where they are opened, what is refused before anybody can connect, and what becomes of inherited ones."""

from __future__ import annotations

import errno
import os
import socket
import stat
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from twisted.internet.protocol import Factory
from twisted.trial.unittest import SynchronousTestCase

from hadesgw.policy.exposure import Address, Exposed, Wanted
from hadesgw.service.listeners import (
    BACKLOG,
    ListenerRefused,
    SocketListener,
    StreamListener,
    judge_unopened,
    make_listener,
    wanted_places,
)
from hadesgw.service.tls import TlsServer
from tests.authority import Authority
from tests.service.test_tls import NOW, credentials

LOCALHOST = Address.of("127.0.0.1", 0).host


class _Reactor:
    """Adopts sockets, as reactors do: by a duplicate. Time does not pass."""

    def __init__(self) -> None:
        self.adopted: list[tuple[socket.socket, Any]] = []
        self.unix: dict[str, Any] = {}
        self.readers: list[object] = []
        self._later: list[Callable[[], object]] = []

    def addReader(self, reader: object) -> None:  # noqa: N802
        self.readers.append(reader)

    def removeReader(self, reader: object) -> None:  # noqa: N802
        if reader in self.readers:
            self.readers.remove(reader)

    removeWriter = removeReader  # noqa: N815

    def adoptStreamPort(self, descriptor: int, family: socket.AddressFamily, factory: Factory) -> socket.socket:
        duplicate = socket.fromfd(descriptor, family, socket.SOCK_STREAM)
        self.adopted.append((duplicate, factory))
        return duplicate

    def listenUNIX(self, path: str, factory: Factory, **options: Any) -> None:
        self.unix = {"path": path, **options}

    def seconds(self) -> float:
        return 0.0

    def callLater(self, seconds: float, act: Callable[..., object], *arguments: object) -> None:
        assert seconds == 0, seconds
        self._later.append(partial(act, *arguments))

    def pass_time(self) -> None:
        """Call what waits for its turn."""
        while self._later:
            self._later.pop(0)()


class _Case(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor = _Reactor()
        self.made: list[StreamListener] = []
        self.addCleanup(self._close)
        self.site: Any = Factory()

    def make(self, description: str, tls: TlsServer | None = None, *, anonymous: bool = False) -> StreamListener:
        listener = make_listener(description, self.reactor, tls, anonymous=anonymous)
        self.made.append(listener)
        return listener

    def _close(self) -> None:
        for adopted, _ in self.reactor.adopted:
            adopted.close()
        for listener in self.made:
            if isinstance(listener, SocketListener) and listener._socket is not None:
                listener._socket.close()

    def refused(self, kind: type[Exception], expected: str, description: str, **options: Any) -> None:
        listener = self.make(description, **options)
        error = self.assertRaises(kind, listener.bind)
        self.assertIn(expected, str(error))

    def connects(self, listener: StreamListener) -> bool:
        assert listener.address is not None
        with socket.socket(socket.AF_INET6 if listener.address.host.version == 6 else socket.AF_INET) as client:
            return client.connect_ex((str(listener.address.host), listener.address.port)) == 0

    def inherited(self, host: str = "127.0.0.1", *, listens: bool = True) -> tuple[int, Address]:
        """A descriptor as it comes from another program, and where its socket is."""
        opened = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        opened.bind((host, 0))
        if listens:
            opened.listen()
        os.set_inheritable(opened.fileno(), True)
        address = Address.of(*opened.getsockname()[:2])
        return opened.detach(), address


class OwnTests(_Case):
    """Sockets that we open."""

    def test_nobody_connects_before_it_listens(self) -> None:
        """A bound socket has its address, and the kernel sends away who comes; afterwards one gets through."""
        for description in ("tcp:0:interface=127.0.0.1", r"tcp:0:interface=\:\:1", "tcp:0:interface=localhost"):
            listener = self.make(description)
            listener.bind()
            self.assertFalse(self.connects(listener), description)
            listener.listen(self.site)
            self.assertTrue(self.connects(listener), description)

    def test_what_the_reactor_is_given(self) -> None:
        """A socket that does not block and is nobody else's, and the site itself where there is no TLS."""
        listener = self.make("tcp:0:interface=127.0.0.1")
        listener.bind()
        listener.listen(self.site)
        ((adopted, factory),) = self.reactor.adopted
        self.assertIs(factory, self.site)
        self.assertFalse(os.get_blocking(adopted.fileno()))
        self.assertEqual(str(listener), f"tcp:127.0.0.1:{adopted.getsockname()[1]}")
        adopted.close()
        self.assertFalse(self.connects(listener))  # there was no other copy of it

    def test_off_loopback_without_tls(self) -> None:
        """Judged on what was bound, however it was written: everything, a network's address, names and short forms."""
        for interface in ("", ":interface=0.0.0.0", ":interface=0", ":interface=0x0", r":interface=\:\:"):
            self.refused(Exposed, "without TLS", f"tcp:0{interface}")

    def test_a_socket_that_was_refused_never_listened(self) -> None:
        """Not even for a moment."""
        listener = self.make("tcp:0")
        self.assertRaises(Exposed, listener.bind)
        assert listener.address is not None
        with socket.socket() as client:
            self.assertNotEqual(client.connect_ex(("127.0.0.1", listener.address.port)), 0)

    def test_loopback_in_other_words(self) -> None:
        """Short forms, other addresses of its network, and IPv4 in IPv6."""
        for interface in ("127.1", "127.8.9.10", "0x7f000001", "localhost", r"\:\:ffff\:127.0.0.1"):
            listener = self.make(f"tcp:0:interface={interface}")
            listener.bind()
            assert listener.address is not None
            self.assertTrue(listener.address.local, interface)

    def test_off_loopback_with_tls(self) -> None:
        """Admitted, unless whoever presents nothing is somebody."""
        tls = TlsServer(credentials(Authority(NOW).issue("localhost")))
        for description in ("tls:0", r"tls:0:interface=\:\:"):
            self.make(description, tls).bind()
            self.refused(Exposed, "clients.anonymous", description, tls=tls, anonymous=True)
        self.make("tls:0:interface=127.0.0.1", tls, anonymous=True).bind()

    def test_tls_is_put_before_the_site(self) -> None:
        """Only where the listener says so."""
        tls = TlsServer(credentials(Authority(NOW).issue("localhost")))
        for description, wrapped in (("tls:0:interface=127.0.0.1", True), ("tcp:0:interface=127.0.0.1", False)):
            listener = self.make(description, tls)
            listener.bind()
            listener.listen(self.site)
            factory = self.reactor.adopted[-1][1]
            self.assertEqual(factory is not self.site and factory.wrappedFactory is self.site, wrapped)
            self.assertTrue(str(listener).startswith(description[:4]))

    def test_a_place_that_cannot_be_had(self) -> None:
        """Taken, not of this machine, or no name that anybody knows; the entry is named."""
        with socket.create_server(("127.0.0.1", 0)) as taken:
            description = f"tcp:{taken.getsockname()[1]}:interface=127.0.0.1"
            self.refused(ListenerRefused, f"cannot listen on {description}: Address already in use", description)
        self.refused(ListenerRefused, "Cannot assign", "tcp:0:interface=203.0.113.1")
        self.refused(ListenerRefused, "cannot listen on tcp:0:interface=no.invalid: ", "tcp:0:interface=no.invalid")

    def test_a_place_that_is_lost_between_the_steps(self) -> None:
        """Two may have bound it; only the first may listen."""
        first = self.make("tcp:0:interface=127.0.0.1")
        first.bind()
        assert first.address is not None
        second = self.make(f"tcp:{first.address.port}:interface=127.0.0.1")
        second.bind()
        first.listen(self.site)
        error = self.assertRaises(ListenerRefused, second.listen, self.site)
        self.assertIn("Address already in use", str(error))


class InheritedTests(_Case):
    """Sockets that others have opened."""

    def test_a_listening_socket_is_taken_over(self) -> None:
        """Whatever its family, and no child of ours will have it."""
        for host in ("127.0.0.1", "::1"):
            descriptor, address = self.inherited(host)
            listener = self.make(f"fd:{descriptor}")
            listener.bind()
            self.assertEqual(listener.address, address)
            self.assertRaises(OSError, os.fstat, descriptor)
            listener.listen(self.site)
            self.assertTrue(self.connects(listener))
            self.assertFalse(os.get_inheritable(self.reactor.adopted[-1][0].fileno()))

    def test_it_is_judged_like_our_own(self) -> None:
        """Off loopback only with TLS, which it can have."""
        descriptor, _ = self.inherited("0.0.0.0")
        self.refused(Exposed, "without TLS", f"fd:{descriptor}")
        descriptor, _ = self.inherited("0.0.0.0")
        tls = TlsServer(credentials(Authority(NOW).issue("localhost")))
        listener = self.make(f"fd:{descriptor}:tls=yes", tls)
        listener.bind()
        self.assertTrue(str(listener).startswith("tls:0.0.0.0:"))

    def test_its_family_is_found_out(self) -> None:
        """To call an open socket a UNIX one does not let it in."""
        descriptor, _ = self.inherited("0.0.0.0")
        self.refused(ListenerRefused, "a socket of the domain INET", f"fd:{descriptor}:domain=UNIX")

    def test_a_unix_socket(self) -> None:
        """Has no address to judge, and a name that is not ours: it keeps its mode, and stays when we go."""
        path = Path(self.mktemp())
        opened = socket.socket(socket.AF_UNIX)
        opened.bind(os.path.relpath(path))
        path.chmod(0o600)
        opened.listen()
        listener = self.make(f"fd:{opened.detach()}:domain=UNIX")
        listener.bind()
        self.assertIsNone(listener.address)
        port = listener.listen(self.site)
        (reader,) = self.reactor.readers
        self.assertEqual((reader, stat.S_IMODE(path.stat().st_mode)), (port, 0o600))
        stopping = port.stopListening()
        self.reactor.pass_time()
        assert stopping is not None
        self.successResultOf(stopping)
        self.assertEqual((self.reactor.readers, path.is_socket()), ([], True))

    def test_what_is_no_such_socket(self) -> None:
        """Closed, a file, a datagram socket, one that does not listen."""
        number = os.open(os.devnull, os.O_RDONLY)
        os.close(number)
        self.refused(ListenerRefused, "Bad file descriptor", f"fd:{number}")
        self.refused(ListenerRefused, "Socket operation on non-socket", f"fd:{os.open(os.devnull, os.O_RDONLY)}")
        datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM).detach()
        self.refused(ListenerRefused, "no socket that listens", f"fd:{datagrams}")
        silent, _ = self.inherited(listens=False)
        self.refused(ListenerRefused, "no socket that listens", f"fd:{silent}")

    def test_systemd_has_given_nothing(self) -> None:
        """By index or by name; tests/real/test_listeners.py has the case that it has."""
        for which in ("index=0", "name=web"):
            self.refused(ListenerRefused, "systemd has given us no such socket", f"systemd:{which}")


class UnixTests(_Case):
    """UNIX sockets."""

    def test_our_defaults(self) -> None:
        """Not everybody's, with our backlog, and with a lock."""
        listener = self.make("unix:/run/a.sock")
        listener.bind()
        listener.listen(self.site)
        expected = {"path": "/run/a.sock", "backlog": BACKLOG, "mode": 0o660, "wantPID": True}
        self.assertEqual((self.reactor.unix, str(listener)), (expected, "unix:/run/a.sock"))

    def test_as_configured(self) -> None:
        """What the entry says goes before."""
        self.make("unix:/run/a.sock:mode=600:backlog=5:lockfile=0").listen(self.site)
        expected = {"path": "/run/a.sock", "backlog": 5, "mode": stat.S_IRUSR | stat.S_IWUSR, "wantPID": False}
        self.assertEqual(self.reactor.unix, expected)

    def test_a_place_that_cannot_be_had(self) -> None:
        """Neither for the socket nor for the lock that comes before it: said in a line."""

        def fail(path: str, factory: Factory, **options: Any) -> None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)

        self.reactor.listenUNIX = fail  # type: ignore[method-assign]
        error = self.assertRaises(ListenerRefused, self.make("unix:/nowhere/a.sock").listen, self.site)
        self.assertEqual(str(error), "cannot listen on unix:/nowhere/a.sock: No such file or directory")


class UnopenedTests(SynchronousTestCase):
    """What can be said about an entry without opening it."""

    def test_addresses_are_judged(self) -> None:
        """As they would be at the start."""
        for description in (
            "tcp:80",
            "tcp:80:interface=0.0.0.0",
            r"tcp:80:interface=\:\:",
            "tcp:80:interface=192.0.2.1",
            "tcp:80:interface=0",
            "tcp:80:interface=0x0",
            r"tcp:80:interface=\:\:ffff\:0.0.0.0",
        ):
            self.assertRaises(Exposed, judge_unopened, description, anonymous=False)
        self.assertRaises(Exposed, judge_unopened, "tls:80", anonymous=True)
        for description in (
            "tls:80",
            "tcp:80:interface=127.0.0.1",
            "tcp:80:interface=127.1",
            r"tcp:80:interface=\:\:1",
            r"tcp:80:interface=\:\:ffff\:127.0.0.1",
        ):
            judge_unopened(description, anonymous=False)

    def test_names_and_inherited_sockets_have_their_turn_later(self) -> None:
        """Nothing is looked up, nothing is opened."""
        for description in ("tcp:80:interface=host.example", "fd:3", "systemd:index=0", "unix:/run/a.sock"):
            judge_unopened(description, anonymous=True)

    def test_where_a_running_gateway_may_listen(self) -> None:
        """Names are looked up for that; a UNIX socket is no TCP listener, an inherited one may be anywhere."""
        for description, host, port in (
            ("tcp:80:interface=localhost", LOCALHOST, 80),
            ("tls:0:interface=127.0.0.1", LOCALHOST, 0),
            ("tls:443", Address.of("0.0.0.0", 0).host, 443),
            (r"tcp:80:interface=\:\:1", Address.of("::1", 0).host, 80),
            ("fd:3", None, 0),
        ):
            self.assertEqual(wanted_places(description), [Wanted(description, host, port)])
        self.assertEqual(wanted_places("unix:/run/a.sock"), [])
        self.assertRaises(ListenerRefused, wanted_places, "tcp:80:interface=no.invalid")
