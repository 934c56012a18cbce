"""The control socket, both of its sides."""

from __future__ import annotations

import errno
import json
import os
import socket
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from twisted.internet.error import CannotListenError
from twisted.internet.testing import MemoryReactor, StringTransport
from twisted.trial.unittest import SynchronousTestCase

from hadesgw.service.control import Asker, Control, ControlRefused, ask, control_path, follow
from hadesgw.telemetry.followers import Followers


class Notes:
    """Remembers events."""

    def __init__(self) -> None:
        self.events: list[tuple[str, dict[str, object]]] = []

    def event(self, name: str, level: str = "info", **facts: object) -> None:
        """See IRequestLog."""
        self.events.append((name, facts))


def refuse() -> Mapping[str, object]:
    """A command that cannot be carried out."""
    raise ControlRefused("not today")


class NowhereReactor:
    """Has no such place."""

    def listenUNIX(self, path: str, factory: object, **options: object) -> object:
        """See IReactorUNIX."""
        raise CannotListenError(None, path, FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT)))


class ConversationTests(SynchronousTestCase):
    """What is said on one connection."""

    def setUp(self) -> None:
        self.followers = Followers()
        reactor = MemoryReactor()
        log: Any = Notes()
        commands = {"status": lambda: {"pid": 7}, "refuse": refuse}
        self.control = Control(reactor, "/run/c.sock", commands, self.followers, log, demanded=True)
        self.control.startService()
        _, self.factory, self.backlog, self.mode, _ = reactor.unixServers[0]
        self.asker: Asker = self.factory.buildProtocol(None)
        self.transport = StringTransport()
        self.asker.makeConnection(self.transport)

    def said(self) -> list[dict[str, Any]]:
        """What came back since the last look."""
        lines = self.transport.value().splitlines()
        self.transport.clear()
        return [json.loads(line) for line in lines]

    def test_a_question_is_answered_by_a_line(self) -> None:
        """Questions may come in pieces and together; each has its line."""
        for piece in (b'{"do": "sta', b'tus"}\n{"do": "refuse"}\n'):
            self.asker.dataReceived(piece)
        self.assertEqual(self.said(), [{"pid": 7}, {"error": "not today"}])

    def test_what_is_not_understood_is_told(self) -> None:
        """No JSON, no order, an unknown one: one line says what was expected, and the connection stays."""
        for line, expected in (
            (b"status", '{"do": "status"}'),
            (b'{"d": 1}', '{"do": "status"}'),
            (b'{"do": "\xff"}', '{"do": "status"}'),
            (b'{"do": "dance"}', "follow, refuse, status"),
        ):
            self.asker.dataReceived(line + b"\n")
            (answer,) = self.said()
            self.assertIn(expected, answer["error"])
        self.assertFalse(self.transport.disconnecting)

    def test_an_endless_question_ends_the_conversation(self) -> None:
        """Nothing is gathered beyond a kibibyte."""
        self.asker.dataReceived(b"x" * 2_000)
        self.assertTrue(self.transport.disconnecting)

    def test_following_begins_and_ends_with_the_connection(self) -> None:
        """Nobody is told of requests while nobody follows."""
        self.assertFalse(self.followers.present)
        self.asker.dataReceived(b'{"do": "follow"}\n{"do": "follow"}\n')
        self.assertEqual(self.said(), [{"event": "following"}])
        self.assertTrue(self.followers.present)
        self.asker.connectionLost()
        self.assertFalse(self.followers.present)

    def test_a_slow_reader_misses_news_and_learns_how_much(self) -> None:
        """What cannot be written is counted, not kept."""
        self.asker.dataReceived(b'{"do": "follow"}\n')
        self.said()
        self.asker.pauseProducing()
        for number in range(3):
            self.asker._tell({"number": number})
        self.assertEqual(self.said(), [])
        self.asker.resumeProducing()
        self.asker._tell({"number": 3})
        self.assertEqual(self.said(), [{"event": "missed", "lines": 3}, {"number": 3}])

    def test_stopping_hangs_up(self) -> None:
        """Whoever follows sees the end."""
        self.control.stopService()
        self.assertTrue(self.transport.disconnecting)

    def test_only_the_owner_may_connect(self) -> None:
        """The socket is made with mode 600."""
        self.assertEqual(self.mode, 0o600)


class PlaceTests(SynchronousTestCase):
    """Where the control socket is."""

    def test_the_configured_place_comes_first(self) -> None:
        """Then the user's own runtime folder, then the system's."""
        self.assertEqual(control_path("/x/c.sock", {"XDG_RUNTIME_DIR": "/run/user/1"}), "/x/c.sock")
        self.assertEqual(control_path("", {"XDG_RUNTIME_DIR": "/run/user/1"}), "/run/user/1/hadesgw.sock")
        self.assertEqual(control_path("", {}), "/run/hadesgw/control.sock")

    def test_a_demanded_place_that_cannot_be_had_refuses_the_start(self) -> None:
        """The usual place may be missing: the log says so, and the gateway serves without it."""
        log: Any = Notes()
        for demanded in (False, True):
            control = Control(NowhereReactor(), "/no/c.sock", {}, Followers(), log, demanded=demanded)
            if demanded:
                self.assertRaises(SystemExit, control.startService)
            else:
                control.startService()
                control.stopService()
        (event,) = log.events
        self.assertEqual(event[0], "control_absent")
        self.assertEqual(event[1]["reason"], "No such file or directory")


class AskingTests(SynchronousTestCase):
    """The operator's side, with a listener that says what a test wants."""

    def listen(self, said: bytes) -> str:
        """Where one asker is answered that."""
        path = f"/tmp/hgw-{os.getpid()}-{threading.get_ident()}.sock"
        listener = socket.socket(socket.AF_UNIX)
        self.addCleanup(Path(path).unlink)
        self.addCleanup(listener.close)
        listener.bind(path)
        listener.listen()

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(1024)
                connection.sendall(said)

        thread = threading.Thread(target=serve)
        thread.start()
        self.addCleanup(thread.join)
        return path

    def test_an_answer_comes_back(self) -> None:
        """As what it says."""
        self.assertEqual(ask(self.listen(b'{"pid": 7}\n'), "status"), {"pid": 7})

    def test_a_refusal_is_an_error(self) -> None:
        """With the gateway's own words; so is an end without an answer, and what is no gateway."""
        for said, words in (
            (b'{"error": "not today"}\n', "not today"),
            (b"", "hung up"),
            (b"HTTP/1.1 400 Bad Request\r\n", "no gateway"),
        ):
            with self.subTest(said=said):
                self.assertIn(words, str(self.assertRaises(ControlRefused, ask, self.listen(said), "status")))
                self.doCleanups()

    def test_nobody_there_is_told_with_what_to_do(self) -> None:
        """One line that names the place."""
        refused = self.assertRaises(ControlRefused, ask, "/nonexistent/c.sock", "status")
        self.assertIn("/nonexistent/c.sock", str(refused))
        self.assertIn("--config", str(refused))

    def test_news_is_given_as_it_comes(self) -> None:
        """Until the gateway hangs up."""
        self.assertEqual(list(follow(self.listen(b'{"n": 1}\n{"n": 2}\n'))), [{"n": 1}, {"n": 2}])


