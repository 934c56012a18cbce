"""Requests, answers and notifications as Codex's app-server writes them: JSON-RPC 2.0 without its version member."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from hadesgw.sessions.jsonl import Name

METHOD_NOT_FOUND = -32601
Id = int | Name


class Complaint(msgspec.Struct, frozen=True):
    """Why a request was not carried out."""

    message: str = ""
    code: int = 0


class Envelope(msgspec.Struct, frozen=True):
    """Any message: a request has `id` and `method`, a notification `method` alone, an answer `id` alone."""

    id: Id | None = None
    method: str | None = None
    params: msgspec.Raw = msgspec.Raw(b"{}")
    result: msgspec.Raw = msgspec.Raw(b"null")
    error: Complaint | None = None


class Refused(Exception):
    """The other side did not carry a request out; the text is its word."""


class Unanswered(Exception):
    """The other side took too long."""


class Silent(Exception):
    """The other side has gone."""


class Peer:
    """The other end of a conversation: requests go there, answers come back in any order.

    :param clock: provides IReactorTime.
    :param write: takes a message as JSON values.
    :param seconds: how long an answer may take.
    """

    def __init__(self, clock: IReactorTime, write: Callable[[dict[str, Any]], None], seconds: float) -> None:
        self._clock = clock
        self._write = write
        self._seconds = seconds
        self._number = 0
        self._waiting: dict[Id, tuple[Deferred[msgspec.Raw], IDelayedCall]] = {}

    def call(self, method: str, params: dict[str, Any]) -> Deferred[msgspec.Raw]:
        """Ask something.

        :returns: fires with the result, or fails with Refused, Unanswered or Silent. Cancelling it forgets the answer.
        """
        self._number += 1
        number = self._number
        answer: Deferred[msgspec.Raw] = Deferred(lambda _: self._cancelled(number))
        late = self._clock.callLater(self._seconds, self._give_up, number, method)
        self._waiting[number] = (answer, late)
        self._write({"id": number, "method": method, "params": params})
        return answer

    def notify(self, method: str) -> None:
        """Tell something that has no answer."""
        self._write({"method": method})

    def answer(self, request: Id, result: dict[str, Any]) -> None:
        """Carry a request of the other side's out."""
        self._write({"id": request, "result": result})

    def refuse(self, request: Id, text: str) -> None:
        """Do not carry a request of the other side's out."""
        self._write({"id": request, "error": {"code": METHOD_NOT_FOUND, "message": text}})

    def answered(self, message: Envelope) -> None:
        """Here is an answer; one that nobody waits for is ignored."""
        waits = self._forget(message.id)
        if waits is None:
            return
        if message.error is not None:
            waits.errback(Refused(message.error.message))
        else:
            waits.callback(message.result)

    def lost(self) -> None:
        """The other side has gone: nothing that was asked will be answered."""
        for number in list(self._waiting):
            if waits := self._forget(number):
                waits.errback(Silent("it has gone"))

    def _give_up(self, number: Id, method: str) -> None:
        answer, _ = self._waiting.pop(number)
        answer.errback(Unanswered(f"no answer to {method} within {self._seconds:g} s"))

    def _cancelled(self, number: Id) -> None:
        self._forget(number)

    def _forget(self, number: Id | None) -> Deferred[msgspec.Raw] | None:
        if number is None or number not in self._waiting:
            return None
        answer, late = self._waiting.pop(number)
        late.cancel()
        return answer
