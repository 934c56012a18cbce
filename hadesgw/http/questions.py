"""The gateway's own questions to a model server: small answers, taken whole and within a time."""

from __future__ import annotations

from typing import NamedTuple, NoReturn

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone

from hadesgw.http.client import Answer, BytesBody, UpstreamFailure
from hadesgw.http.framing import Fields
from hadesgw.interfaces import IUpstream
from hadesgw.policy import refusals


class Reply(NamedTuple):
    """A whole answer."""

    status: int
    body: bytes


def look_up(
    upstream: IUpstream, target: bytes, clock: IReactorTime, *, seconds: float, most_bytes: int
) -> Deferred[Reply]:
    """GET `target`.

    :param seconds: how long the whole answer may take.
    :param most_bytes: how long its body may be.
    :returns: fires with the answer whatever its status; fails with :class:`UpstreamFailure`. Cancelling it closes the
        connection, as does every failure.
    """
    asked = upstream.ask(b"GET", target, [(b"host", b"localhost")], None, lambda: True)
    return _take_whole(asked, clock, seconds, most_bytes)


def submit(
    upstream: IUpstream,
    target: bytes,
    fields: Fields,
    body: bytes,
    clock: IReactorTime,
    *,
    seconds: float,
    most_bytes: int,
) -> Deferred[Reply]:
    """POST `body` to `target`, where that changes nothing; else as :func:`look_up`.

    :param fields: all but those that frame the body.
    """
    asked = upstream.ask(b"POST", target, fields, BytesBody(body), lambda: True)
    return _take_whole(asked, clock, seconds, most_bytes)


def _take_whole(asked: Deferred[Answer], clock: IReactorTime, seconds: float, most_bytes: int) -> Deferred[Reply]:
    return asked.addCallback(_gather, most_bytes).addTimeout(seconds, clock, _too_late)


def _too_late(failure: object, seconds: float) -> NoReturn:
    raise UpstreamFailure(refusals.UPSTREAM_SILENT)


def _gather(answer: Answer, most_bytes: int) -> Deferred[Reply]:
    done: Deferred[Reply] = Deferred(lambda _: answer.abortConnection())
    answer.deliverBody(_Gatherer(answer.code, most_bytes, done))
    return done


class _Gatherer(Protocol):
    """Takes a body up to a bound."""

    def __init__(self, status: int, most_bytes: int, done: Deferred[Reply]) -> None:
        self._status = status
        self._room = most_bytes
        self._done = done
        self._pieces: list[bytes] = []

    def dataReceived(self, data: bytes) -> None:
        """Some of it."""
        self._room -= len(data)
        self._pieces.append(data)
        if self._room < 0:
            self._settle(Failure(UpstreamFailure(refusals.UPSTREAM_GARBAGE)))
            self.transport.abortConnection()  # type: ignore[union-attr]

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The end of it, for good or ill."""
        self._settle(Reply(self._status, b"".join(self._pieces)) if reason.check(ResponseDone) else reason)

    def _settle(self, outcome: Reply | Failure) -> None:
        if not self._done.called:  # it is, when it was cancelled
            self._done.callback(outcome)
