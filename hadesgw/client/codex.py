"""A live view of one coding session: it asks, hears everything, comes back when cut off, and misses nothing."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, NoReturn

import msgspec
import treq
from twisted.internet.defer import Deferred, DeferredLock
from twisted.internet.error import ConnectError, ConnectionClosed
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.web.client import ResponseFailed
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IResponse

from hadesgw.client.events import EventReader
from hadesgw.http.client import BytesBody

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 15.0
_BUSY = ("in_turn", "waiting_for_approval")
_DEAD = ("idle", "stopping", "gone")
_PASSING = (429, 502, 503, 504)
"""Statuses of who is there again soon: a gateway that starts anew, or what stands before it meanwhile."""
_AT_ONCE = re.compile(r"\s*/(focus|add|drop)\b")

Message = dict[str, Any]
"""One message of the session: `type`, `content`, `seq`."""


class CodexError(Exception):
    """What was asked could not be done.

    :ivar code: the gateway's word for it; `unreachable`, `timeout`, `ended`, `failed` or `interrupted` if it is ours.
    :ivar output: what of the reply had come by then.
    :ivar passing: whether it may be otherwise soon.
    """

    def __init__(self, text: str, code: str, output: str = "", *, passing: bool = False) -> None:
        Exception.__init__(self, text)
        self.code = code
        self.output = output
        self.passing = passing or code == "unreachable"


class CodexClient:
    """One coding session of a gateway; a client of the gateway shares its default session with all it runs.

    :param url: of the gateway.
    :param token: a client's; None for a gateway that admits the anonymous client.
    :param clock: the reactor.
    :param agent: carries the requests, such as `twisted.web.client.Agent(reactor)`.
    :param random: a number from 0 to 1, so that many do not come back in step.
    :param session: a session's id; the default session if not said.
    :param hear: told every message, whoever caused it.
    """

    def __init__(
        self,
        url: str,
        token: str | None,
        *,
        clock: IReactorTime,
        agent: IAgent,
        random: Callable[[], float],
        session: str = "default",
        hear: Callable[[Message], None] = lambda message: None,
    ) -> None:
        self._url = url.rstrip("/")
        self._headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        self._clock = clock
        self._agent = agent
        self._random = random
        self._session = session
        self._hear = hear
        self._turn = DeferredLock()

    # -- Plain calls ---------------------------------------------------------------------------------------------------

    async def status(self) -> dict[str, Any]:
        """Whether coding sessions are to be had."""
        return await self._call(b"GET", "/api/codex/status")

    async def start(self, **options: object) -> dict[str, Any]:
        """Start the session, or see that it runs; `workspace`, `engine`, `model`, `restart`, `new`."""
        return await self._call(b"POST", "/api/codex/start", self._about(options))

    async def stop(self) -> dict[str, Any]:
        """End the session."""
        return await self._call(b"POST", "/api/codex/stop", self._about({}))

    async def input(self, text: str, **options: object) -> dict[str, Any]:
        """Give the session an input, and wait for nothing."""
        return await self._call(b"POST", "/api/codex/input", self._about({"text": text, **options}))

    async def interrupt(self) -> dict[str, Any]:
        """End the running turn."""
        return await self._call(b"POST", f"/api/codex/sessions/{self._session}/interrupt", {})

    async def approve(self, approval_id: str, decision: str) -> dict[str, Any]:
        """Answer a request for approval."""
        path = f"/api/codex/sessions/{self._session}/approvals/{approval_id}"
        return await self._call(b"POST", path, {"decision": decision})

    def _about(self, options: Mapping[str, object]) -> dict[str, object]:
        return {**({} if self._session == "default" else {"session_id": self._session}), **options}

    async def _call(self, method: bytes, path: str, body: Mapping[str, object] | None = None) -> dict[str, Any]:
        response = await self._ask(method, path, body, {})
        answer = _object(await treq.content(response))
        if response.code != 200:
            raise _refused(response.code, answer)
        return answer

    async def _ask(
        self, method: bytes, path: str, body: Mapping[str, object] | None, fields: Mapping[str, str]
    ) -> IResponse:
        content = {} if body is None else {"Content-Type": "application/json"}
        headers = Headers({name: [value] for name, value in {**self._headers, **content, **fields}.items()})
        sent = None if body is None else BytesBody(msgspec.json.encode(body))
        try:
            return await self._agent.request(method, (self._url + path).encode("ascii"), headers, sent)
        except (ConnectError, ConnectionClosed, ResponseFailed, OSError) as error:
            raise CodexError(f"the gateway at {self._url} cannot be reached: {error}", "unreachable") from None

    # -- Asking and hearing --------------------------------------------------------------------------------------------

    async def ask(self, text: str, *, seconds: float = 30.0, **options: object) -> str:
        """Give an input when the one before is done, and wait for the whole reply.

        :param seconds: how long to wait.
        :raises CodexError: if there is no whole reply by then, or never will be; what had come is in `output`.
        """
        pieces: list[str] = []
        whole = Deferred.fromCoroutine(self._gather(text, options, pieces))
        too_late = CodexError(f"no whole reply within {seconds:g} s", "timeout")
        try:
            await whole.addTimeout(seconds, self._clock, lambda result, timeout: _raise(too_late))
        except CodexError as error:
            error.output = "".join(pieces)
            raise
        return "".join(pieces)

    async def _gather(self, text: str, options: Mapping[str, object], pieces: list[str]) -> None:
        async for piece in self.stream(text, **options):
            pieces.append(piece)  # noqa: PERF401 - what has come survives what goes wrong

    async def stream(self, text: str, **options: object) -> AsyncIterator[str]:
        """Give an input when the one before is done, and have the pieces of the reply as they come.

        :raises CodexError: if the reply breaks off.
        """
        await self._turn.acquire()
        try:
            async for piece in self._stream(text, options):
                yield piece
        finally:
            self._turn.release()

    async def _stream(self, text: str, options: Mapping[str, object]) -> AsyncIterator[str]:
        if options:
            started = await self.start(**options)
            if options.get("new"):
                self._session = str(started["session_id"])
        question = _Question(text)
        heard = _Heard(self)
        try:
            await heard.begun()
            await self.input(text)
            async for message in heard:
                for piece in question.follow(message):
                    yield piece
                if question.over:
                    return
        finally:
            heard.close()

    async def listen(self) -> AsyncIterator[Message]:
        """Every message of the session from now on, without end; lost connections are taken up where they broke."""
        heard = _Heard(self)
        try:
            async for message in heard:
                yield message
        finally:
            heard.close()


class _Question:
    """Finds the pieces of one reply among all that a session tells.

    :ivar over: whether the reply is whole.
    """

    def __init__(self, text: str) -> None:
        self._text = text
        self._state = ""
        self._ahead: int | None = None  # turns that end before ours; None until the session has our input
        self._fault: CodexError | None = None
        self.over = False

    def follow(self, message: Message) -> list[str]:
        """The pieces in a message.

        :raises CodexError: if there will be no more, and the reply is not whole.
        """
        kind, content = message["type"], message.get("content", {})
        if kind == "session_status":
            self._state = content.get("state", "")
        if self._ahead is None:
            if kind == "input_received" and content["text"] == self._text and not content.get("steer"):
                self._taken(content.get("queued", 1) - 1)
            return []
        if kind == "gap":
            raise CodexError("part of the reply is lost", "gap")
        if kind == "session_status" and self._state in _DEAD:
            raise self._fault or CodexError("the session has ended", "ended")
        if kind == "input_request":
            self._turn_ended()
        return self._heard(kind, content) if self._ahead == 0 else []

    def _taken(self, waiting: int) -> None:
        busy = self._state in _BUSY
        self._ahead = waiting + busy
        self.over = busy and _AT_ONCE.match(self._text) is not None  # done beside the turn, and never prompted for

    def _turn_ended(self) -> None:
        assert self._ahead is not None
        self._ahead -= 1
        if self._ahead < 0:
            self.over = True
            if self._fault is not None:
                raise self._fault

    def _heard(self, kind: str, content: Any) -> list[str]:
        if kind == "output":
            return [content]
        if kind == "error":
            self._fault = CodexError(content, "failed")
        elif kind == "turn" and content["phase"] == "ended" and content["status"] != "completed":
            self._fault = self._fault or CodexError(f"the turn was {content['status']}", content["status"])
        return []


class _Heard:
    """The messages of a session as an iterator, over as many connections as it takes."""

    def __init__(self, client: CodexClient) -> None:
        self._client = client
        self._reader = EventReader()
        self._messages: deque[Message] = deque()
        self._waiting: Deferred[None] | None = None
        self._fault: CodexError | None = None
        self._response: Any = None
        self._first: Deferred[None] = Deferred()
        self._life = Deferred.fromCoroutine(self._live())
        self._life.addErrback(self._failed)

    async def begun(self) -> None:
        """Wait until something can be heard: what is asked from then on is not missed."""
        await self._first

    def close(self) -> None:
        """Hear no more."""
        self._fault = self._fault or CodexError("closed", "closed")
        self._life.cancel()

    def __aiter__(self) -> _Heard:
        return self

    async def __anext__(self) -> Message:
        while not self._messages:
            if self._fault is not None:
                raise self._fault
            self._waiting = Deferred()
            await self._waiting
        return self._messages.popleft()

    async def _live(self) -> None:
        pause = FIRST_PAUSE
        while True:
            try:
                await self._hear_one_connection()
                pause = FIRST_PAUSE
            except CodexError as error:
                if not error.passing or not self._first.called:
                    raise  # who was never there is not waited for
            await deferLater(self._client._clock, pause * (0.5 + self._client._random() / 2))
            pause = min(2 * pause, LONGEST_PAUSE)

    async def _hear_one_connection(self) -> None:
        client = self._client
        fields = {} if self._reader.last_id is None else {"Last-Event-ID": self._reader.last_id}
        reader = self._reader = _after(self._reader)
        path = f"/api/codex/sessions/{client._session}/events"
        response = await client._ask(b"GET", path, None, {"Accept": "text/event-stream", **fields})
        if response.code != 200:
            raise _refused(response.code, _object(await treq.content(response)))
        if not self._first.called:
            self._first.callback(None)
        try:
            await treq.collect(response, lambda data: self._take(reader, data))
        except (ConnectionClosed, ResponseFailed) as error:
            raise CodexError(f"the connection was lost: {error}", "unreachable") from None

    def _take(self, reader: EventReader, data: bytes) -> None:
        for message in reader.feed(data):
            self._messages.append(message)
            self._client._hear(message)
        self._wake()

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.callback(None)

    def _failed(self, failure: Any) -> None:
        """There will be no more."""
        error = failure.value
        self._fault = self._fault or (error if isinstance(error, CodexError) else CodexError(str(error), "failed"))
        if not self._first.called:
            self._first.errback(self._fault)
        self._wake()


def _after(reader: EventReader) -> EventReader:
    """A reader for the next connection: half an event of the last one is told again whole."""
    fresh = EventReader()
    fresh.last_id = reader.last_id
    return fresh


def _object(body: bytes) -> dict[str, Any]:
    """What an answer says; nothing, if it is none of the gateway's."""
    try:
        return msgspec.json.decode(body, type=dict)
    except (msgspec.DecodeError, RecursionError):
        return {}


def _refused(status: int, answer: Mapping[str, Any]) -> CodexError:
    """The gateway's own words, in either of its forms."""
    error = answer.get("error")
    inner: Mapping[str, Any] = error if isinstance(error, dict) else {}
    text = answer.get("message") or inner.get("message") or f"status {status}"
    code = answer.get("code") or inner.get("code") or status
    return CodexError(str(text), str(code), passing=status in _PASSING)


def _raise(error: CodexError) -> NoReturn:
    raise error
