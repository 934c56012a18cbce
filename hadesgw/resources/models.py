"""The list of models, answered by the gateway: the names a client may use, and nothing of the server's own paths."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from hadesgw.http.client import UpstreamFailure, refusal_of
from hadesgw.http.questions import Reply, look_up
from hadesgw.http.site import Request
from hadesgw.interfaces import IUpstream
from hadesgw.policy import refusals
from hadesgw.policy.refusals import Refusal

ANY = "*"
MODELS_ROUTE = b"/v1/models"
"""Where the list is, here and there."""
FRESH_SECONDS = 5.0
"""How long a list that was learned stands."""
LOOK_UP_SECONDS = 5.0
"""How long the upstream may take to give its list."""
_MOST_BYTES = 1 << 20


class _Model(msgspec.Struct):
    """What we keep of a model the upstream lists."""

    id: str
    created: int = 0
    owned_by: str = "vllm"
    max_model_len: int | None = None


class _Listing(msgspec.Struct):
    data: list[_Model]


class Models(Resource):
    """`GET /v1/models`.

    The upstream is asked what it serves, at most every five seconds, and once however many want to know; of that, the
    configured names are listed. When it cannot be asked, the configured names alone are.

    :param allowed: names from the configuration; empty, or `*`, for all the upstream serves.
    """

    isLeaf = True

    def __init__(self, upstream: IUpstream, allowed: Sequence[str], clock: IReactorTime) -> None:
        Resource.__init__(self)
        self._upstream = upstream
        self._allowed = () if ANY in allowed else tuple(allowed)
        self._clock = clock
        self._served: list[_Model] = []
        self._waiting: list[Request] = []
        self._fresh_until = float("-inf")

    def render_GET(self, request: Request) -> int:
        """The list, in OpenAI's form."""
        if self._clock.seconds() < self._fresh_until:
            self._answer(request)
            return NOT_DONE_YET
        self._waiting.append(request)
        if len(self._waiting) == 1:
            asked = look_up(self._upstream, MODELS_ROUTE, self._clock, seconds=LOOK_UP_SECONDS, most_bytes=_MOST_BYTES)
            asked.addCallback(self._learn).addErrback(self._make_do).addCallbacks(self._answer_all, self._fail_all)
        return NOT_DONE_YET

    def _learn(self, reply: Reply) -> None:
        try:
            self._served = msgspec.json.decode(reply.body, type=_Listing).data
        except msgspec.DecodeError as error:
            raise UpstreamFailure(refusals.UPSTREAM_GARBAGE) from error
        self._fresh_until = self._clock.seconds() + FRESH_SECONDS

    def _make_do(self, failure: Failure) -> Refusal | None:
        """The upstream could not be asked: with the configured names, if there are any."""
        refusal = refusal_of(failure)
        self._served = [_Model(id=name) for name in self._allowed]
        return None if self._allowed else refusal

    def _answer_all(self, refusal: Refusal | None) -> None:
        waiting, self._waiting = self._waiting, []
        for request in waiting:
            if refusal is None:
                self._answer(request)
            else:
                request.refuse(refusal)

    def _fail_all(self, failure: Failure) -> None:
        """A defect of ours: nobody waits for ever because of it."""
        waiting, self._waiting = self._waiting, []
        for request in waiting:
            request.processingFailed(failure)

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
