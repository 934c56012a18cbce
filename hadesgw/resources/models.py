"""The models there are: what each upstream serves of what the configuration admits, and the list of them all.

The list is answered by the gateway: the names a client may use, and nothing of the servers' own paths.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any
from urllib.parse import unquote_to_bytes

import msgspec
from twisted.internet.defer import Deferred, DeferredList, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from hadesgw.http.client import UpstreamFailure, refusal_of
from hadesgw.http.questions import Reply, look_up
from hadesgw.http.site import Request
from hadesgw.interfaces import IUpstream
from hadesgw.policy import refusals
from hadesgw.resources.reading import end_by_defect

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


def _everything(client: str | None) -> None:
    """Nobody has models of their own."""


class Models:
    """What others must know of the models of one upstream.

    The upstream is asked what it serves, at most every five seconds, and once however many want to know; of that, the
    configured names are listed. When it cannot be asked, the configured names alone are.

    :param allowed: names from the configuration; empty for all the upstream serves, `*` for any name at all.
    :param own: the only models that the client of that name may use, or None for all.
    :ivar open: whether any name is admitted.
    :ivar learned: whether only the upstream can say which are.
    :ivar rank: of several that may have a model it is the lowest's: names that are configured go before those that are
        learned, and these before any name at all.
    """

    def __init__(
        self,
        upstream: IUpstream,
        allowed: Sequence[str],
        clock: IReactorTime,
        own: Callable[[str | None], Collection[str] | None] = _everything,
    ) -> None:
        self.open = ANY in allowed
        self.learned = not allowed
        self.rank = 2 if self.open else int(self.learned)
        self._upstream = upstream
        self._allowed = () if self.open else tuple(allowed)
        self._clock = clock
        self._own = own
        self._served: list[_Model] = []
        self._waiting: list[Deferred[None]] = []
        self._asking = False
        self._fresh_until = float("-inf")

    def admits(self, name: str, client: str | None) -> bool | None:
        """Whether this client's request may name this model; None if :meth:`refreshed` must be waited for to know."""
        own = self._own(client)
        if own is not None and name not in own:
            return False
        if self.open or self._allowed:
            return self.open or name in self._allowed
        return self.knows(name) if self.fresh else None

    def knows(self, name: str) -> bool:
        """Whether the name stands in the configuration, or stood in the upstream's last list."""
        return name in self._allowed or any(name == model.id for model in self._served)

    @property
    def fresh(self) -> bool:
        """Whether the list is no older than it may be."""
        return self._clock.seconds() < self._fresh_until

    def listed(self, client: str | None) -> list[_Model]:
        """Those of the list that this client may use."""
        own = self._own(client)
        return [
            model
            for model in self._served
            if (not self._allowed or model.id in self._allowed) and (own is None or model.id in own)
        ]

    def refreshed(self) -> Deferred[None]:
        """Fires when the list is :attr:`fresh`; fails with :class:`UpstreamFailure` if there is none."""
        if self.fresh:
            return succeed(None)
        wanted: Deferred[None] = Deferred()
        self._waiting.append(wanted)
        if not self._asking:
            self._asking = True
            asked = look_up(self._upstream, MODELS_ROUTE, self._clock, seconds=LOOK_UP_SECONDS, most_bytes=_MOST_BYTES)
            asked.addCallback(self._learn).addErrback(self._make_do).addBoth(self._tell)
        return wanted

    def _learn(self, reply: Reply) -> None:
        try:
            self._served = msgspec.json.decode(reply.body, type=_Listing).data
        except msgspec.DecodeError as error:
            raise UpstreamFailure(refusals.UPSTREAM_GARBAGE) from error
        self._fresh_until = self._clock.seconds() + FRESH_SECONDS

    def _make_do(self, failure: Failure) -> Failure | None:
        """The upstream could not be asked: with the configured names, if there are any."""
        if not failure.check(UpstreamFailure) or not self._allowed:
            return failure
        self._served = [_Model(id=name) for name in self._allowed]
        return None

    def _tell(self, outcome: Failure | None) -> None:
        self._asking = False
        waiting, self._waiting = self._waiting, []
        for wanted in waiting:
            if not wanted.called:  # it was cancelled
                wanted.callback(outcome)  # a Failure fails it


class Catalogue(Resource):
    """`GET /v1/models`, and below it each of them by its name.

    What one upstream cannot say the others do not wait for: only when none can be asked, that is the answer.

    :param models: of all upstreams; of those that list the same name, that one's is told which requests go to.
    """

    isLeaf = True

    def __init__(self, models: Sequence[Models]) -> None:
        Resource.__init__(self)
        self._models = sorted(models, key=lambda each: each.rank)

    def render_GET(self, request: Request) -> int:
        """The list, or the one that is named, in OpenAI's form."""
        asked: Deferred[Any] = DeferredList([models.refreshed() for models in self._models], consumeErrors=True)
        asked.addCallback(self._answer, request).addErrback(end_by_defect, request)
        return NOT_DONE_YET

    def _answer(self, outcomes: list[tuple[bool, Any]], request: Request) -> None:
        failures = [refusal_of(told) for good, told in outcomes if not good]
        if request.channel is None:
            return
        if len(failures) == len(outcomes):
            request.refuse(failures[0])
            return
        told: dict[str, dict[str, object]] = {}
        for models in self._models:
            for model in models.listed(request.record.client):
                told.setdefault(model.id, _told(model))
        if request.path == MODELS_ROUTE:
            _say({"object": "list", "data": list(told.values())}, request)
        elif (name := _name(request.path)) in told:
            _say(told[name], request)
        else:
            request.refuse(refusals.MODEL_NOT_FOUND)


def _name(path: bytes) -> str:
    """The name that a path ends in; it may have slashes, as they are or escaped."""
    return unquote_to_bytes(path[len(MODELS_ROUTE) + 1 :]).decode("utf-8", "replace")


def _told(model: _Model) -> dict[str, object]:
    told: dict[str, object] = {
        "id": model.id,
        "object": "model",
        "created": model.created,
        "owned_by": model.owned_by,
    }
    if model.max_model_len is not None:
        told["max_model_len"] = model.max_model_len
    return told


def _say(document: object, request: Request) -> None:
    body = msgspec.json.encode(document)
    request.setHeader(b"Content-Type", b"application/json")
    request.setHeader(b"Content-Length", b"%d" % len(body))
    request.write(body)
    request.finish()
