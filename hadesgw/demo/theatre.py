"""The resource that answers all routes: exact paths, vLLM's statuses, one coroutine a request."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, ClassVar, Final

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from hadesgw.demo import lookups, messages
from hadesgw.demo.actor import DIALECTS, Actor
from hadesgw.demo.meters import Meters
from hadesgw.demo.order import House
from hadesgw.demo.refusal import Refusal, dump
from hadesgw.demo.replies import Replies, document, field
from hadesgw.demo.script import Script
from hadesgw.demo.writing import VERSION

_METRICS: Final = "text/plain; version=1.0.0; charset=utf-8"
_PLAIN: Final = "text/plain; charset=utf-8"
_PREFLIGHT: Final = b"access-control-request-method"
_METHODS: Final = "DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT, QUERY"
_VARY: Final = ", ".join(
    ["Origin", *(f"Access-Control-Request-{it}" for it in ("Method", "Headers", "Private-Network"))]
)

Handler = Callable[[Request], Awaitable[None]]


class Theatre(Resource):
    """Everything the rehearsal model serves.

    :param house: the models' names and the context's length.
    :param script: what is played.
    :param clock: for pace, dates and waits.
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
        self._clock = clock
        self._new_id = new_id
        self._replies = Replies(clock)
        self.meters = Meters(house.models[0])
        actor = Actor(house, script, clock, tokens_per_second, new_id, self.meters)
        self._routes: Mapping[bytes, Mapping[bytes, Handler]] = {
            **{path: {b"POST": actor.act} for path in DIALECTS},
            b"/v1/messages/count_tokens": {b"POST": self._lookup(messages.counted, Refusal.anthropic_body)},
            b"/v1/embeddings": {b"POST": self._lookup(self._embedded)},
            b"/tokenize": {b"POST": self._lookup(lookups.tokenized)},
            b"/detokenize": {b"POST": self._lookup(lookups.detokenized)},
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
        if request.method == b"OPTIONS" and field(request, b"origin") and field(request, _PREFLIGHT):
            await self._forbid_origin(request)
        elif methods is None:
            await self._replies.send(request, 404, '{"detail":"Not Found"}')
        elif request.method not in methods:
            request.setHeader("allow", b", ".join(sorted(methods)))
            await self._replies.send(request, 405, '{"detail":"Method Not Allowed"}')
        else:
            await methods[request.method](request)

    async def _forbid_origin(self, request: Request) -> None:
        """A browser asks whether it may; vLLM allows no origin unless told to."""
        request.setHeader("vary", _VARY)
        request.setHeader("access-control-allow-methods", _METHODS)
        request.setHeader("access-control-max-age", "600")
        asked = field(request, b"access-control-request-headers")
        if asked:
            request.setHeader("access-control-allow-headers", asked)
        await self._replies.send(request, 400, "Disallowed CORS origin", _PLAIN)

    def _lookup(
        self,
        answer: Callable[[dict[str, Any], House], dict[str, Any]],
        refuse: Callable[[Refusal], str] = Refusal.body,
    ) -> Handler:
        """The handler of a route that is a function from a document to a body."""

        async def handle(request: Request) -> None:
            try:
                body = dump(answer(document(request), self._house))
            except Refusal as refused:
                await self._replies.refuse(request, refused, refuse(refused))
            else:
                await self._replies.send(request, 200, body)

        return handle

    def _embedded(self, asked: dict[str, Any], house: House) -> dict[str, Any]:
        body = lookups.embedded(asked, house, identity=self._new_id(), created=int(self._clock.seconds()))
        self.meters.began(body["usage"]["prompt_tokens"])
        self.meters.ended(["stop"])
        return body

    async def _models(self, request: Request) -> None:
        listing = lookups.models(self._house, created=int(self._clock.seconds()), new_id=self._new_id)
        await self._replies.send(request, 200, dump(listing))

    async def _version(self, request: Request) -> None:
        await self._replies.send(request, 200, dump({"version": VERSION}))

    async def _load(self, request: Request) -> None:
        await self._replies.send(request, 200, dump({"server_load": self.meters.running}))

    async def _metrics(self, request: Request) -> None:
        await self._replies.send(request, 200, self.meters.text(), _METRICS)

    async def _empty(self, request: Request) -> None:
        await self._replies.send(request, 200, "", "")
