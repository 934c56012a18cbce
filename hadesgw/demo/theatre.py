"""The resource that answers all routes: exact paths, vLLM's statuses, one coroutine a request."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, ClassVar, Final

import msgspec
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from hadesgw.demo import chat, completions, lookups, messages, refusal, responses
from hadesgw.demo.answer import Answer, perform
from hadesgw.demo.meters import Meters
from hadesgw.demo.order import House, Order
from hadesgw.demo.performance import Cut, Performance
from hadesgw.demo.refusal import Refusal, dump
from hadesgw.demo.scenes import Stage
from hadesgw.demo.script import Script, choose
from hadesgw.demo.writing import VERSION, Reply, Writer

_JSON: Final = "application/json"
_SSE: Final = "text/event-stream; charset=utf-8"
_METRICS: Final = "text/plain; version=1.0.0; charset=utf-8"
_PREFLIGHT: Final = b"access-control-request-method"

Handler = Callable[[Request], Awaitable[None]]


class Dialect(msgspec.Struct, frozen=True):
    """One generating protocol.

    :ivar read: the order in a document; ``writer`` writes the answers to it.
    :ivar refuse: how a refusal is said.
    :ivar takes_id: whether a client's ``X-Request-Id`` becomes the answer's id.
    """

    read: Callable[[dict[str, Any], House], Order]
    writer: type[Writer]
    refuse: Callable[[Refusal], str] = Refusal.body
    takes_id: bool = True


_DIALECTS: Final[Mapping[bytes, Dialect]] = {
    b"/v1/chat/completions": Dialect(chat.read, chat.Writer),
    b"/v1/completions": Dialect(completions.read, completions.Writer),
    b"/v1/responses": Dialect(responses.read, responses.Writer, takes_id=False),
    b"/v1/messages": Dialect(messages.read, messages.Writer, Refusal.anthropic_body),
}


def _field(request: Request, name: bytes) -> str:
    """The last value of a request's header field; "" without one."""
    return (request.getHeader(name) or b"").decode("latin-1")


def _document(request: Request) -> dict[str, Any]:
    """The JSON object in a request's body.

    :raises Refusal: if there is none.
    """
    body = request.content.read() if request.content is not None else b""
    return refusal.decode(body, _field(request, b"content-type"))


def _varied(answer: Answer, choice: int) -> Answer:
    """The answer of one choice among several, told apart by its number."""
    return answer if choice == 0 else msgspec.structs.replace(answer, text=f"(choice {choice + 1}) {answer.text}")


class Theatre(Resource):
    """Everything the rehearsal model serves.

    :param house: the models' names and the context's length.
    :param script: what is played.
    :param clock: for pace, ids' dates and waits.
    :param tokens_per_second: the usual pace; 0 is as fast as the reader takes it.
    :param new_id: makes the random part of an id.
    """

    isLeaf = True
    _log: ClassVar = Logger()

    def __init__(
        self,
        house: House,
        script: Script,
        clock: IReactorTime,
        tokens_per_second: float,
        new_id: Callable[[], str],
    ) -> None:
        super().__init__()
        self._house = house
        self._script = script
        self._clock = clock
        self._pace = tokens_per_second
        self._new_id = new_id
        self.meters = Meters(house.models[0])
        self._routes: Mapping[bytes, Mapping[bytes, Handler]] = {
            **{path: {b"POST": self._generate} for path in _DIALECTS},
            b"/v1/messages/count_tokens": {b"POST": self._lookup(messages.counted, Refusal.anthropic_body)},
            b"/tokenize": {b"POST": self._lookup(lookups.tokenized)},
            b"/detokenize": {b"POST": self._lookup(lookups.detokenized)},
            b"/v1/embeddings": {b"POST": self._embed},
            b"/v1/models": {b"GET": self._models},
            b"/version": {b"GET": self._version},
            b"/load": {b"GET": self._load},
            b"/metrics": {b"GET": self._metrics},
            b"/health": {b"GET": self._empty},
            b"/ping": {b"GET": self._empty, b"POST": self._empty},
        }

    def render(self, request: Request) -> int:
        """Find the route, and answer in time."""
        request.setHeader("server", "uvicorn")
        task = Deferred.fromCoroutine(self._serve(request))
        request.notifyFinish().addErrback(lambda _gone: task.cancel())
        task.addErrback(self._failed, request)
        return NOT_DONE_YET

    def _failed(self, failure: Failure, request: Request) -> None:
        """The last net: a client that left is no failure; a fault of ours breaks the connection."""
        if not failure.check(CancelledError):
            self._log.failure("a rehearsed request failed", failure)
            request.loseConnection()

    async def _serve(self, request: Request) -> None:
        methods = self._routes.get(request.path)
        if request.method == b"OPTIONS" and _field(request, b"origin") and _field(request, _PREFLIGHT):
            await self._forbid_origin(request)
        elif methods is None:
            await self._send(request, 404, '{"detail":"Not Found"}')
        elif request.method not in methods:
            request.setHeader("allow", b", ".join(sorted(methods)))
            await self._send(request, 405, '{"detail":"Method Not Allowed"}')
        else:
            await methods[request.method](request)

    # -- Answers without generation
    async def _send(self, request: Request, status: int, body: str, kind: str = _JSON) -> None:
        """Send a whole answer: the head, then the body in a write of its own."""
        data = body.encode()
        request.setResponseCode(status)
        request.setHeader("content-length", str(len(data)))
        if kind:
            request.setHeader("content-type", kind)
        if not request.responseHeaders.hasHeader("vary"):
            request.setHeader("vary", "Origin")
        await self._begin(request)
        if data:
            request.write(data)
        request.finish()

    async def _begin(self, request: Request) -> None:
        """Send the head, and let it leave before anything follows."""
        request.write(b"")
        # The reactor runs timed calls before it writes: only the second turn finds the head gone.
        await deferLater(self._clock, 0)
        await deferLater(self._clock, 0)

    async def _refuse(self, request: Request, refused: Refusal, body: str) -> None:
        if refused.retry_after is not None:
            request.setHeader("retry-after", str(refused.retry_after))
        await self._send(request, refused.status, body)

    async def _forbid_origin(self, request: Request) -> None:
        """A browser asks whether it may; vLLM allows no origin unless told to."""
        asked = _field(request, b"access-control-request-headers")
        vary = ("Origin", "Method", "Headers", "Private-Network")
        request.setHeader("vary", ", ".join([vary[0], *(f"Access-Control-Request-{name}" for name in vary[1:])]))
        request.setHeader("access-control-allow-methods", "DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT, QUERY")
        request.setHeader("access-control-max-age", "600")
        if asked:
            request.setHeader("access-control-allow-headers", asked)
        await self._send(request, 400, "Disallowed CORS origin", "text/plain; charset=utf-8")

    def _lookup(
        self,
        answer: Callable[[dict[str, Any], House], dict[str, Any]],
        refuse: Callable[[Refusal], str] = Refusal.body,
    ) -> Handler:
        """The handler of a route that is a function from a document to a body."""

        async def handle(request: Request) -> None:
            try:
                body = dump(answer(_document(request), self._house))
            except Refusal as refused:
                await self._refuse(request, refused, refuse(refused))
            else:
                await self._send(request, 200, body)

        return handle

    async def _embed(self, request: Request) -> None:
        identity, created = _field(request, b"x-request-id") or self._new_id(), int(self._clock.seconds())
        try:
            body, tokens = lookups.embedded(_document(request), self._house, identity=identity, created=created)
        except Refusal as refused:
            await self._refuse(request, refused, refused.body())
            return
        self.meters.began(tokens)
        self.meters.ended(["stop"])
        await self._send(request, 200, dump(body))

    async def _models(self, request: Request) -> None:
        listing = lookups.models(self._house, created=int(self._clock.seconds()), new_id=self._new_id)
        await self._send(request, 200, dump(listing))

    async def _version(self, request: Request) -> None:
        await self._send(request, 200, dump({"version": VERSION}))

    async def _load(self, request: Request) -> None:
        await self._send(request, 200, dump({"server_load": self.meters.running}))

    async def _metrics(self, request: Request) -> None:
        await self._send(request, 200, self.meters.text(), _METRICS)

    async def _empty(self, request: Request) -> None:
        await self._send(request, 200, "", "")

    # -- Generation
    def _answers(self, order: Order) -> list[Answer]:
        """What each choice will say.

        :raises Refusal: if the script refuses the request.
        """
        answers = []
        for choice in range(order.choices):
            stage = Stage(order.asked(choice), order.prompt_tokens, self._house.context_tokens)
            answer = choose(self._script, stage)
            if answer.status:
                literal = answer.body or None
                retry = answer.retry_after
                raise Refusal(answer.status, answer.message, retry_after=retry, literal=literal)
            answers.append(_varied(answer, choice))
        return answers

    async def _generate(self, request: Request) -> None:
        dialect = _DIALECTS[request.path]
        try:
            order = dialect.read(_document(request), self._house)
            answers = self._answers(order)
        except Refusal as refused:
            await self._refuse(request, refused, dialect.refuse(refused))
            return
        generations = [
            perform(
                each,
                limit=order.limit,
                stop=order.stop,
                keep_stop=order.keep_stop,
                ignore_end=order.ignore_end,
            )
            for each in answers
        ]
        given = _field(request, b"x-request-id") if dialect.takes_id else ""
        identity = dialect.writer.prefix + (given or self._new_id())
        writer = dialect.writer(Reply(order, identity, int(self._clock.seconds()), self._new_id))
        play = Performance(request, self._clock, answers[0], generations, self._pace, self.meters)
        self.meters.began(order.prompt_tokens)
        finishes: list[str] = []
        try:
            alive = await (
                self._stream(request, play, writer) if order.stream else self._whole(request, play, writer, dialect)
            )
            finishes = [generation.finish for generation in generations] if alive else ["error"]
        except Cut:
            finishes = ["error"]
            request.loseConnection()
        finally:
            self.meters.ended(finishes)

    async def _stream(self, request: Request, play: Performance, writer: Writer) -> bool:
        """Send a stream; False if the engine died in it."""
        request.setHeader("content-type", _SSE)
        request.setHeader("vary", "Origin")
        await self._begin(request)
        alive = await play.stream(writer)
        request.finish()
        return alive

    async def _whole(self, request: Request, play: Performance, writer: Writer, dialect: Dialect) -> bool:
        """Send an answer in one piece; False if the engine died over it."""
        try:
            body = await play.whole(writer)
        except Refusal as refused:
            await self._refuse(request, refused, dialect.refuse(refused))
            return False
        await self._send(request, 200, body)
        return True
