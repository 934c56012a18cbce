"""The control socket: what an operator on this machine asks a running gateway, and is told as it happens.

One request a line, one JSON object each way: `{"do": "status"}` is answered by one line, `{"do": "follow"}` by a line
for everything that happens to a request until the asker hangs up. The socket's mode, 0600, is its guard.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
from twisted.application.service import Service
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IAddress, IListeningPort, IPushProducer
from twisted.internet.protocol import Factory
from twisted.protocols.basic import LineOnlyReceiver
from zope.interface import implementer

from hadesgw.interfaces import IRequestLog
from hadesgw.service.following import Following
from hadesgw.service.gateway import refuse_start
from hadesgw.telemetry.followers import Followers

SYSTEM_PATH = "/run/hadesgw/control.sock"
MODE = 0o600
MOST_BYTES = 1024
"""Of a request's line."""
ANSWER_SECONDS = 10.0
"""How long an asker waits for an answer that is not a stream."""


def control_path(configured: str, environ: Mapping[str, str]) -> str:
    """Where the control socket of a gateway is.

    :param configured: `server.control`; "" for the usual place.
    """
    runtime = environ.get("XDG_RUNTIME_DIR", "")
    return configured or (str(Path(runtime) / "hadesgw.sock") if runtime else SYSTEM_PATH)


class ControlRefused(Exception):
    """The control socket cannot be had, or what was asked of it not be done; the text says why."""


# -- The gateway's side ------------------------------------------------------------------------------------------------

Command = Callable[[], Mapping[str, object]]
"""Answers a request; raises :class:`ControlRefused` if it cannot be carried out."""


class Order(msgspec.Struct):
    """What is asked."""

    do: str


class Control(Service):
    """Listens on the control socket while the gateway serves.

    :param reactor: of type IReactorUNIX.
    :param demanded: whether the configuration names the place, so that not having it is an error. The usual place may
        be missing, or another gateway's: then this one goes without, and says so in its log.
    :param commands: what can be asked, but for `follow`.
    """

    def __init__(
        self,
        reactor: Any,
        path: str,
        commands: Mapping[str, Command],
        followers: Followers,
        log: IRequestLog,
        *,
        demanded: bool,
    ) -> None:
        self._reactor = reactor
        self._path = path
        self._factory = _Askers(commands, followers)
        self._log = log
        self._demanded = demanded
        self._port: IListeningPort | None = None

    def startService(self) -> None:
        """Listen; ends the process if the place was demanded and cannot be had."""
        Service.startService(self)
        try:
            self._port = self._reactor.listenUNIX(self._path, self._factory, mode=MODE, wantPID=True)
        except (CannotListenError, OSError) as error:
            reason = getattr(getattr(error, "socketError", error), "strerror", None) or str(error)
            if self._demanded:
                refuse_start(f"server.control: cannot listen on {self._path}: {reason}")
            self._log.event("control_absent", path=self._path, reason=reason)

    def stopService(self) -> Deferred[None]:
        """Listen no more, and hang up."""
        Service.stopService(self)
        for asker in list(self._factory.present):
            asker.transport.loseConnection()
        port, self._port = self._port, None
        stopping = None if port is None else port.stopListening()
        return succeed(None) if stopping is None else stopping


class _Askers(Factory):
    """Those who are connected."""

    noisy = False

    def __init__(self, commands: Mapping[str, Command], followers: Followers) -> None:
        self.commands = commands
        self.followers = followers
        self.present: set[Asker] = set()

    def buildProtocol(self, address: IAddress | None) -> Asker:
        """A new one."""
        return Asker(self)


@implementer(IPushProducer)
class Asker(LineOnlyReceiver):
    """One connection to the control socket."""

    delimiter = b"\n"
    MAX_LENGTH = MOST_BYTES

    transport: Any

    def __init__(self, askers: _Askers) -> None:
        self._askers = askers
        self._following: Following | None = None
        self._full = False
        self._dropped = 0

    def connectionMade(self) -> None:
        """Be among those present."""
        self._askers.present.add(self)

    def connectionLost(self, reason: object = None) -> None:
        """Follow nothing any more."""
        self._askers.present.discard(self)
        if self._following is not None:
            self._askers.followers.remove(self._following)

    def lineReceived(self, line: bytes) -> None:
        """Carry out what is asked, or say why not."""
        try:
            wanted = msgspec.json.decode(line, type=Order).do
            if wanted == "follow":
                self._follow()
                return
            if wanted not in self._askers.commands:
                raise ControlRefused(f"do: expected one of {', '.join(sorted([*self._askers.commands, 'follow']))}")
            self._send(self._askers.commands[wanted]())
        except (msgspec.MsgspecError, UnicodeDecodeError):
            self._send({"error": 'expected a line such as {"do": "status"}'})
        except ControlRefused as refused:
            self._send({"error": str(refused)})

    def lineLengthExceeded(self, line: bytes) -> None:  # noqa: N802
        """Nobody has that much to ask."""
        self.transport.loseConnection()

    def _follow(self) -> None:
        if self._following is None:
            self.transport.registerProducer(self, True)
            self._following = Following(self._tell)
            self._askers.followers.add(self._following)
            self._send({"event": "following"})

    def _send(self, answer: Mapping[str, object]) -> None:
        self.transport.write(msgspec.json.encode(answer) + b"\n")

    # -- A reader who is slower than what happens misses some of it, and is told how much ------------------------------

    def _tell(self, news: Mapping[str, object]) -> None:
        if self._full:
            self._dropped += 1
        else:
            self._send(news)

    def pauseProducing(self) -> None:
        """See IPushProducer."""
        self._full = True

    def resumeProducing(self) -> None:
        """See IPushProducer."""
        self._full = False
        if self._dropped:
            dropped, self._dropped = self._dropped, 0
            self._send({"event": "missed", "lines": dropped})

    def stopProducing(self) -> None:
        """See IPushProducer."""


# -- The operator's side: blocking, for commands -----------------------------------------------------------------------


def ask(path: str, wanted: str) -> dict[str, Any]:
    """Ask the gateway at `path` for one answer.

    :raises ControlRefused: if nobody answers there, or refuses.
    """
    with closing(_connected(path)) as connection:
        connection.settimeout(ANSWER_SECONDS)
        answer = next(_lines(connection, path, wanted), None)
    if answer is None:
        raise ControlRefused(f"the gateway at {path} hung up without an answer")
    if "error" in answer:
        raise ControlRefused(str(answer["error"]))
    return answer


def follow(path: str) -> Iterator[dict[str, Any]]:
    """What happens to the requests of the gateway at `path`, until it stops.

    :raises ControlRefused: if nobody answers there.
    """
    with closing(_connected(path)) as connection:
        yield from _lines(connection, path, "follow")


def _connected(path: str) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.connect(path)
    except OSError as error:
        connection.close()
        raise ControlRefused(
            f"no gateway answers at {path} ({error.strerror or error}); start one, run this as its user, or name its"
            " socket by --socket, or its configuration by --config"
        ) from None
    return connection


def _lines(connection: socket.socket, path: str, wanted: str) -> Iterator[dict[str, Any]]:
    try:
        connection.sendall(msgspec.json.encode({"do": wanted}) + b"\n")
        with connection.makefile("rb") as answers:
            for line in answers:
                yield msgspec.json.decode(line, type=dict)
    except TimeoutError:
        raise ControlRefused(f"the gateway at {path} does not answer within {ANSWER_SECONDS:g} s") from None
    except (OSError, msgspec.MsgspecError) as error:
        raise ControlRefused(f"what answers at {path} is no gateway: {error}") from None

