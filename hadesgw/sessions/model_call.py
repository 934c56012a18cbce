"""One call of a model over `/v1/responses`, streamed: an agent's side of the protocol."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol as ByteProtocol
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone, readBody
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IBodyProducer
from zope.interface import implementer

_LONGEST_EVENT = 4 << 20


class CallFailed(Exception):
    """The model gave no answer; the text is one line."""


@dataclass(frozen=True, slots=True)
class FunctionCall:
    """A tool that the model wants called."""

    call_id: str
    name: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole answer of the model.

    :ivar items: as they are to be sent back with the next question.
    :ivar usage: tokens, by the protocol's names.
    """

    text: str
    calls: Sequence[FunctionCall]
    items: Sequence[Mapping[str, Any]]
    usage: Mapping[str, Any]


class Model(Protocol):
    """Whoever answers an agent."""

    def ask(
        self, history: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]], heard: Callable[[str], None]
    ) -> Deferred[Reply]:
        """Ask.

        :param history: items of the conversation so far.
        :param heard: called with each piece of text as it comes.
        :returns: fails with :class:`CallFailed`; cancelling it gives the call up.
        """


class GatewayModel:
    """The model behind a gateway.

    :param agent: sends the requests.
    :param base_url: ends with `/v1`.
    :param fields: the token, and the session's header.
    :param instructions: what the agent is for.
    """

    def __init__(
        self, agent: IAgent, base_url: str, model: str, fields: Mapping[str, str], instructions: str, output_tokens: int
    ) -> None:
        self._agent = agent
        self._url = f"{base_url}/responses".encode("ascii")
        self._model = model
        self._fields = Headers({name: [value] for name, value in fields.items()})
        self._fields.addRawHeader(b"Content-Type", b"application/json")
        self._instructions = instructions
        self._output_tokens = output_tokens

    def ask(
        self, history: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]], heard: Callable[[str], None]
    ) -> Deferred[Reply]:
        """See :class:`Model`."""
        question = {
            "model": self._model,
            "instructions": self._instructions,
            "input": history,
            "tools": tools,
            "stream": True,
            "store": False,
            "max_output_tokens": self._output_tokens,
        }
        return Deferred.fromCoroutine(self._ask(msgspec.json.encode(question), heard))

    async def _ask(self, body: bytes, heard: Callable[[str], None]) -> Reply:
        response = await self._agent.request(b"POST", self._url, self._fields, _Body(body))
        if response.code != 200:
            raise CallFailed(_refusal(response.code, await readBody(response)))
        events = _Events(heard)
        response.deliverBody(events)
        return await events.reply


def _refusal(code: int, body: bytes) -> str:
    """What an error's body says, in any of the dialects, or its status."""
    try:
        error = json.loads(body[:10_000]).get("error")
    except (ValueError, AttributeError, RecursionError):
        error = None
    word = error.get("message") if isinstance(error, dict) else error
    return f"the model cannot be asked: {word if isinstance(word, str) else f'status {code}'}"[:300]


@implementer(IBodyProducer)
class _Body:
    """A request's body that is there as a whole."""

    def __init__(self, body: bytes) -> None:
        self.length = len(body)
        self._body = body

    def startProducing(self, consumer: Any) -> Deferred[None]:
        consumer.write(self._body)
        written: Deferred[None] = Deferred()
        written.callback(None)
        return written

    def pauseProducing(self) -> None: ...

    def resumeProducing(self) -> None: ...

    def stopProducing(self) -> None: ...


class _Events(ByteProtocol):
    """Reads the stream of an answer.

    :ivar reply: fires with it; cancelling it closes the connection.
    """

    def __init__(self, heard: Callable[[str], None]) -> None:
        self.reply: Deferred[Reply] = Deferred(lambda _: self._leave())
        self._heard = heard
        self._rest = b""
        self._text: list[str] = []
        self._items: list[Mapping[str, Any]] = []
        self._ended = False

    def _leave(self) -> None:
        self._ended = True
        if self.transport is not None:
            self.transport.loseConnection()

    def dataReceived(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > _LONGEST_EVENT:
            self._fail("the model's answer cannot be read")
        for line in lines:
            if line.startswith(b"data:") and not self._ended:
                self._read(line[5:].strip())

    def _read(self, data: bytes) -> None:
        try:
            event = json.loads(data) if data != b"[DONE]" else {}
            self._note(event)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            self._fail("the model's answer cannot be read")

    def _note(self, event: Mapping[str, Any]) -> None:
        kind = event.get("type")
        if kind == "response.output_text.delta":
            self._text.append(event["delta"])
            self._heard(event["delta"])
        elif kind == "response.output_item.done":
            self._items.append(event["item"])
        elif kind == "response.completed":
            self._finish(event["response"].get("usage") or {})
        elif kind in ("response.failed", "response.incomplete", "error"):
            error = (event.get("response") or {}).get("error") or event
            self._fail(f"the model did not finish: {error.get('message') or kind}"[:300])

    def _finish(self, usage: Mapping[str, Any]) -> None:
        calls = [_call(item) for item in self._items if item.get("type") == "function_call"]
        self._ended = True
        self.reply.callback(Reply("".join(self._text), calls, self._items, usage))

    def _fail(self, why: str) -> None:
        if not self._ended:
            self._leave()
            self.reply.errback(CallFailed(why))

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if not self._ended:
            whole = reason.check(ResponseDone) is not None
            self._fail("the model's answer has no end" if whole else "the model's answer broke off")


def _call(item: Mapping[str, Any]) -> FunctionCall:
    arguments = json.loads(item["arguments"])
    if not isinstance(arguments, dict):
        raise TypeError("arguments are an object")
    return FunctionCall(item["call_id"], item["name"], arguments)
