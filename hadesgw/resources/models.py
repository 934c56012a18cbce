"""The list of models, answered by the gateway: the names a client may use, and nothing of the server's own paths."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from hadesgw.http.client import Answer, UpstreamFailure, refusal_of
from hadesgw.http.site import Request
from hadesgw.interfaces import IUpstream
from hadesgw.policy import refusals

ANY = "*"
_FRESH_SECONDS = 5.0
_MOST_BYTES = 1 << 20


class _Model(msgspec.Struct):
    """What we keep of a model the upstream lists."""

    id: str
    created: int = 0
    owned_by: str = "vllm"
    max_model_len: int | None = None


class _Listing(msgspec.Struct):
    data: list[_Model]


class _Collector(Protocol):
    """Gathers a body up to a bound."""

    def __init__(self, done: Deferred[bytes]) -> None:
        self._done = done
        self._pieces: list[bytes] = []
        self._size = 0

    def dataReceived(self, data: bytes) -> None:
        self._size += len(data)
        self._pieces.append(data)
        if self._size > _MOST_BYTES:
            self.transport.loseConnection()  # type: ignore[union-attr]

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if reason.check(ResponseDone) and self._size <= _MOST_BYTES:
            self._done.callback(b"".join(self._pieces))
        else:
            self._done.errback(Failure(UpstreamFailure(refusals.UPSTREAM_GARBAGE)))


class Models(Resource):
    """`GET /v1/models`.

    The upstream is asked what it serves, at most every five seconds; of that, the configured names are listed. When it
    cannot be asked, the configured names alone are.

    :param allowed: names from the configuration; empty, or `*`, for all the upstream serves.
    """

    isLeaf = True

    def __init__(self, upstream: IUpstream, allowed: Sequence[str], clock: IReactorTime) -> None:
        Resource.__init__(self)
        self._upstream = upstream
        self._allowed = () if ANY in allowed else tuple(allowed)
        self._clock = clock
        self._served: list[_Model] = []
        self._fresh_until = float("-inf")

    def render_GET(self, request: Request) -> int:
        """The list, in OpenAI's form."""
        if self._clock.seconds() < self._fresh_until:
            self._answer(request)
        else:
            asked = self._upstream.ask(b"GET", b"/v1/models", [(b"host", b"localhost")], None, lambda: True)
            asked.addCallback(self._collect).addCallbacks(
                self._learned, self._unlearned, callbackArgs=(request,), errbackArgs=(request,)
            )
        return NOT_DONE_YET

    def _collect(self, answer: Answer) -> Deferred[bytes]:
        done: Deferred[bytes] = Deferred()
        answer.deliverBody(_Collector(done))
        return done

    def _learned(self, body: bytes, request: Request) -> None:
        try:
            self._served = msgspec.json.decode(body, type=_Listing).data
        except msgspec.DecodeError:
            self._unlearned(Failure(UpstreamFailure(refusals.UPSTREAM_GARBAGE)), request)
            return
        self._fresh_until = self._clock.seconds() + _FRESH_SECONDS
        self._answer(request)

    def _unlearned(self, failure: Failure, request: Request) -> None:
        refusal = refusal_of(failure)
        if self._allowed:
            self._served = [_Model(id=name) for name in self._allowed]
            self._answer(request)
        else:
            request.refuse(refusal)

    def _answer(self, request: Request) -> None:
        if request.channel is None:
            return
        listed = [model for model in self._served if not self._allowed or model.id in self._allowed]
        data = [
            {"id": model.id, "object": "model", "created": model.created, "owned_by": model.owned_by}
            | ({} if model.max_model_len is None else {"max_model_len": model.max_model_len})
            for model in listed
        ]
        body = msgspec.json.encode({"object": "list", "data": data})
        request.setHeader(b"Content-Type", b"application/json")
        request.setHeader(b"Content-Length", b"%d" % len(body))
        request.write(body)
        request.finish()
