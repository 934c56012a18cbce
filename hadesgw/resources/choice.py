"""Where the ways to several model servers part: each request goes to the one that has the model it names.

It stands in front of everything that is one upstream's own (its slots, its budget, its models), and behind what is the
client's. It is there only if there are several: with one there is nothing to choose, and no body to read for it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from twisted.internet.defer import Deferred, DeferredList
from twisted.python.failure import Failure
from twisted.web.resource import IResource, Resource
from twisted.web.server import NOT_DONE_YET

from hadesgw.http.client import UpstreamFailure, refusal_of
from hadesgw.http.site import Request
from hadesgw.policy import refusals
from hadesgw.resources.models import Models
from hadesgw.resources.proxy import ROUTES
from hadesgw.resources.reading import end_by_defect, when_read


class _Naming(msgspec.Struct):
    """What is looked at here of a body; all else is for those who judge it."""

    model: str = ""


_NAMING = msgspec.json.Decoder(_Naming)


def model_named(body: bytes) -> str:
    """The model a body names; "" if it names none, or is not as it must be."""
    try:
        return _NAMING.decode(body).model
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return ""


def _leave(failure: Failure) -> None:
    """Whoever is sent there will be told."""
    failure.trap(UpstreamFailure)


class Way:
    """The way to one model server.

    :param models: what is there.
    :param entrance: takes the requests that go there; its `render` is all that is called.
    """

    def __init__(self, models: Models, entrance: IResource) -> None:
        self.models = models
        self.entrance = entrance


class Choice(Resource):
    """Lets each request go the way of its model.

    Of ways that have the same model by the same right, it goes the first. Whoever names none goes the first of all,
    where that is refused or answered.

    :param ways: in the order of the configuration; :attr:`Models.rank` goes before that.
    :param cap: the most bytes a request's body may have, by route.
    """

    isLeaf = True

    def __init__(self, ways: Sequence[Way], cap: Callable[[bytes], int]) -> None:
        Resource.__init__(self)
        self._first = ways[0]
        self._naming = sorted((way for way in ways if not way.models.open), key=lambda way: way.models.rank)
        self._learned = [way.models for way in self._naming if way.models.learned]
        self._open = next((way for way in ways if way.models.open), None)
        self._caps = {route: cap(route) for route in ROUTES}

    def render(self, request: Request) -> bytes | int:
        """Choose, now or when the body is there."""
        cap = self._caps.get(request.path)
        if cap is None or request.method != b"POST":
            return self._enter(self._first, request)
        request.record.route = request.path.decode("ascii")
        request.body = request.body_at_hand(cap)
        if request.body is not None:
            way = self._found(model_named(request.body), request)
            return NOT_DONE_YET if way is None else self._enter(way, request)
        return when_read(request, cap, lambda body: self._have_read(body, request))

    def _enter(self, way: Way, request: Request) -> bytes | int:
        answer: bytes | int = way.entrance.render(request)
        return answer

    def _have_read(self, body: bytes, request: Request) -> None:
        request.body = body
        way = self._found(model_named(body), request)
        if way is not None:
            request.render(way.entrance)

    # -- Choosing ------------------------------------------------------------------------------------------------------

    def _found(self, model: str, request: Request) -> Way | None:
        """The way to `model`; None if that must be asked for, or there is none: then the request is answered later."""
        if not model:
            return self._first
        way = self._known(model)
        if way is None:
            if all(models.fresh for models in self._learned):
                way = self._open
                if way is None:
                    request.refuse(refusals.MODEL_NOT_FOUND)
            else:
                self._ask(model, request)
        elif way.models.learned and not way.models.fresh:
            way.models.refreshed().addErrback(_leave)  # it may be elsewhere next time
        return way

    def _known(self, model: str) -> Way | None:
        """Who has it, as far as is known: a list may have grown old, and whoever goes by it is told so there."""
        return next((way for way in self._naming if way.models.knows(model)), None)

    def _ask(self, model: str, request: Request) -> None:
        asked: Deferred[Any] = DeferredList([models.refreshed() for models in self._learned], consumeErrors=True)
        asked.addCallback(self._asked, model, request).addErrback(end_by_defect, request)

    def _asked(self, outcomes: list[tuple[bool, Any]], model: str, request: Request) -> None:
        troubles = [refusal_of(told) for good, told in outcomes if not good]
        if request.channel is None:
            return
        way = self._known(model) or self._open
        if way is not None:
            request.render(way.entrance)
        else:  # who cannot be asked might have had it
            request.refuse(troubles[0] if troubles else refusals.MODEL_NOT_FOUND)
