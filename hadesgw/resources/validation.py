"""The layer that judges what is asked of the model: the body's form, the model named, and the tokens it would take.

What can be judged at once is: no Deferred is made for a request whose body is at hand and whose length is clear. Only a
prompt that is neither surely short nor surely long has its tokens counted, by the model server; and only when the
configuration names no models must that be asked which it serves.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure
from twisted.web.resource import IResource
from twisted.web.server import NOT_DONE_YET

from hadesgw.http.client import refusal_of
from hadesgw.http.framing import Fields
from hadesgw.http.questions import submit
from hadesgw.http.site import Request
from hadesgw.interfaces import IUpstream, IValidationObserver
from hadesgw.policy import refusals
from hadesgw.policy.budget import Budget, Verdict, counted, judge, prompt_estimate, told
from hadesgw.policy.counting import Question, count_in, questions
from hadesgw.policy.refusals import Refused
from hadesgw.policy.request_body import ROUTES, Asked, BodyLimits, BodyReader, is_json, with_output
from hadesgw.policy.usage import with_usage
from hadesgw.resources.layer import Layer
from hadesgw.resources.models import Models
from hadesgw.resources.reading import when_read

BUDGET_FIELD = b"X-Hades-Token-Budget"
"""The field of a refusal that says by how much."""
ABSENT_SECONDS = 60.0
"""How long a model server that could not count is not asked again."""
_NO_COUNTER = (404, 405, 501)
FREE = Verdict(True, 0)
"""What is found about a request that makes the model write nothing."""


class TokenCounter:
    """Has tokens counted by a model server.

    :param seconds: how long it may take for one prompt.
    """

    def __init__(self, upstream: IUpstream, clock: IReactorTime, seconds: float) -> None:
        self.name = upstream.name
        self._upstream = upstream
        self._clock = clock
        self._seconds = seconds
        self._absent_until: dict[bytes, float] = {}

    async def count(self, question: Question, fields: Fields) -> int | None:
        """The tokens of one prompt; None if the model server does not say.

        :param fields: that go with the question.
        :raises hadesgw.http.client.UpstreamFailure: if it cannot be asked.
        """
        if self._clock.seconds() < self._absent_until.get(question.target, float("-inf")):
            return None
        reply = await submit(
            self._upstream,
            question.target,
            fields,
            question.body,
            self._clock,
            seconds=self._seconds,
            most_bytes=32 * len(question.body) + 65_536,  # vLLM lists every token it has counted
        )
        count = count_in(reply.body) if reply.status == 200 else None
        if reply.status in _NO_COUNTER or (reply.status == 200 and count is None):
            self._absent_until[question.target] = self._clock.seconds() + ABSENT_SECONDS
        return count


class Validation(Layer):
    """Lets requests through that the model server should be asked.

    :param models: which there are.
    :param counter: counts tokens where they are near the limit.
    :param limits: on bodies.
    :param budget: on tokens.
    :param cap: the most bytes a body may have, by path.
    :param ask_usage: whether streams are asked for their usage whose clients do not ask.
    :param observer: told what is not known exactly.
    """

    def __init__(
        self,
        inner: IResource,
        models: Models,
        counter: TokenCounter,
        limits: BodyLimits,
        budget: Budget,
        cap: Callable[[bytes], int],
        ask_usage: bool,
        observer: IValidationObserver,
    ) -> None:
        Layer.__init__(self, inner)
        self.models = models
        self.counter = counter
        self.budget = budget
        self.observer = observer
        self._ask_usage = ask_usage
        self._routes = {
            path: (path.decode("ascii"), BodyReader(route, limits), cap(path)) for path, route in ROUTES.items()
        }

    def render(self, request: Request) -> bytes | int:
        """Let through, refuse, or find out."""
        found = self._routes.get(request.path)
        if found is None or request.method != b"POST":
            return self.pass_on(request)
        request.record.route, reader, cap = found
        if not is_json(request.head.values(b"content-type")):
            return request.refuse(refusals.UNSUPPORTED_TYPE, [(b"Accept", b"application/json")])
        body = request.body if request.body is not None else request.body_at_hand(cap)
        if body is not None:
            return self.pass_on(request) if self._admits(body, reader, request) else NOT_DONE_YET
        return when_read(request, cap, lambda body: self._have_read(body, reader, request))

    def _have_read(self, body: bytes, reader: BodyReader, request: Request) -> None:
        if self._admits(body, reader, request):
            self.pass_on_late(request)

    # -- Judging -------------------------------------------------------------------------------------------------------

    def _admits(self, body: bytes, reader: BodyReader, request: Request) -> bool:
        """Whether the request goes on now; if not it has been refused, or will go on or be refused later."""
        try:
            asked = reader.read(body)
        except Refused as refused:
            request.refuse(refused.refusal)
            return False
        known = self.models.admits(asked.model, request.record.client)
        if known is False:
            request.refuse(refusals.MODEL_NOT_FOUND)
            return False
        verdict = judge(asked, body, self.budget) if asked.route.output else FREE
        if known is None or verdict.fits is None:
            _Inquiry(self, request, asked, body, verdict).begin()
            return False
        return self.settle(asked, body, verdict, request)

    def settle(self, asked: Asked, body: bytes, verdict: Verdict, request: Request) -> bool:
        """Act on what was found out; True if the request goes on."""
        if self.models.knows(asked.model):
            request.record.model = asked.model
        if not verdict.fits:
            request.refuse(refusals.TOKEN_BUDGET, [(BUDGET_FIELD, told(verdict, self.budget))])
            return False
        request.record.stream = asked.stream
        if verdict is FREE:
            request.body = body
            return True
        prompts = len(asked.prompts) or 1
        if verdict.how == "exact" and prompts == 1:
            request.record.prompt_tokens = verdict.prompt
        if request.on_tokens is not None:
            read = prompt_estimate(asked, body) if verdict.prompt is None else prompts * verdict.prompt
            if not request.on_tokens(read + prompts * asked.choices * verdict.output):
                return False
        request.body = body if asked.output is not None else with_output(asked, body, verdict.output)
        if self._ask_usage and (asking := with_usage(asked, request.body)) is not None:
            request.body = asking
            request.hides_usage = True
        return True


class _Inquiry:
    """One request that waits for what the model server says about it."""

    def __init__(self, layer: Validation, request: Request, asked: Asked, body: bytes, verdict: Verdict) -> None:
        self._layer = layer
        self._request = request
        self._asked = asked
        self._body = body
        self._verdict = verdict
        self._over = False

    def begin(self) -> None:
        """Find out; let the request go on then, or refuse it."""
        request = self._request
        request.record.upstream = self._layer.counter.name
        finding = Deferred.fromCoroutine(self._find_out())
        request.at_end(lambda completed: self._ended(finding))
        finding.addCallback(self._found).addErrback(self._unanswered).addErrback(self._failed)

    def _ended(self, finding: Deferred[bool]) -> None:
        """Nobody waits any more, neither here nor there."""
        self._over = True
        finding.cancel()

    async def _find_out(self) -> bool:
        """Whether the model is there; `_verdict` says about the tokens."""
        models, client, name = self._layer.models, self._request.record.client, self._asked.model
        known = models.admits(name, client)
        if known is None:
            await models.refreshed()
            known = models.admits(name, client)
        if known and self._verdict.fits is None:
            self._verdict = await self._count()
        return bool(known)

    async def _count(self) -> Verdict:
        budget, output = self._layer.budget, self._verdict.output
        counts = []
        for question in questions(self._asked, self._body):
            count = await self._layer.counter.count(question, self._fields())
            if count is None:
                break
            counts.append(count)
        else:
            if counts:
                return counted(max(counts), output, budget)
        self._layer.observer.budget_estimated()
        return counted(prompt_estimate(self._asked, self._body), output, budget, "estimate")

    def _fields(self) -> Fields:
        correlation = self._request.correlation
        correlator = self._request.channel.site.correlator  # type: ignore[union-attr]
        return [
            (b"host", b"localhost"),
            (b"content-type", b"application/json"),
            (correlator.request_name, correlation.request_id),
            (correlator.session_name, correlation.session_id),
        ]

    def _found(self, known: bool) -> None:
        if not known:
            self._request.refuse(refusals.MODEL_NOT_FOUND)
        elif self._layer.settle(self._asked, self._body, self._verdict, self._request):
            self._layer.pass_on_late(self._request)

    def _unanswered(self, failure: Failure) -> None:
        """The model server cannot be asked: neither could it be asked for the answer."""
        if failure.check(CancelledError) and self._over:
            return
        refusal = refusal_of(failure)
        if not self._over:
            self._request.refuse(refusal)

    def _failed(self, failure: Failure) -> None:
        """A defect of ours: it is logged, and the client does not wait for ever because of it."""
        self._request.processingFailed(failure)
