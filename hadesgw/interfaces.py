"""What the parts of the gateway agree on: interfaces at the seams, and the values that cross them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from twisted.web.iweb import IBodyProducer, IRequest
from zope.interface import Attribute, Interface

from hadesgw.policy.refusals import Refusal


class Record:
    """What is known of one request so far. Layers note facts in it; `metered` reads it when the request has ended.

    Nothing a client or a model *said* is ever put here: only ids, names from the configuration, counts and times.

    :ivar started: monotonic seconds at which the head was complete.
    :ivar first_byte: monotonic seconds at which the answer's first byte was written, or None.
    :ivar client: name of the admitted client, or None.
    :ivar mount: the configured path that the request came to.
    :ivar route: that path, or what is below it and known by name; never the raw target.
    :ivar reason: slug of the refusal or broken end, or None when all went well.
    :ivar code: the code word told to the client, or None.
    :ivar stream: whether the answer is a stream; before there is one, whether the client asked for that.
    :ivar quiet: whether the request leaves no line in the log, because it is told of in one that stands for many.
    :ivar tokens_from: who counted `completion_tokens`: "upstream", "count" (we did, on their way), or None.
    :ivar settle: brings the record up to date, for whoever reads it at the request's end; or None.
    """

    __slots__ = (
        "bytes_in",
        "client",
        "code",
        "completion_tokens",
        "first_byte",
        "memory_events",
        "model",
        "mount",
        "prompt_tokens",
        "quiet",
        "reason",
        "response_id",
        "route",
        "settle",
        "started",
        "stream",
        "tokens_from",
        "tool_calls",
        "upstream",
    )

    def __init__(self, started: float) -> None:
        self.started = started
        self.first_byte: float | None = None
        self.client: str | None = None
        self.mount: str | None = None
        self.route: str | None = None
        self.model: str | None = None
        self.upstream: str | None = None
        self.response_id: str | None = None
        self.stream = False
        self.reason: str | None = None
        self.code: str | None = None
        self.quiet = False
        self.bytes_in = 0
        self.prompt_tokens: int | None = None
        self.completion_tokens: int | None = None
        self.tool_calls = 0
        self.memory_events = 0
        self.tokens_from: str | None = None
        self.settle: Callable[[], None] | None = None


class IGatewayRequest(IRequest):
    """A request as the gateway's own resources see it: Twisted's, and what follows."""

    head = Attribute("The :class:`hadesgw.http.framing.RequestHead`.")
    correlation = Attribute("The :class:`hadesgw.policy.correlation.Correlation` every answer carries.")
    record = Attribute("The :class:`Record` of this request.")
    dialect = Attribute("The :class:`hadesgw.policy.dialects.Dialect` the caller speaks.")
    certificate = Attribute(
        "The :class:`hadesgw.policy.credentials.ClientCertificate` that the client has proved by TLS to be, or None."
    )

    warrant = Attribute(
        "By what the client has come for the ticket that it has shown, a"
        " :data:`hadesgw.policy.credentials.Warrant`; None where it has shown none."
    )

    relayed = Attribute("(lower-cased name, value) fields of the answer, beside those of `responseHeaders`.")
    standing = Attribute(
        "Such fields again, that are in the answer whoever makes it: in place of any of their names, `vary` beside any."
    )

    on_tokens = Attribute(
        "Called with the number of tokens, prompt and output, that the request asks for, by whoever has counted them"
        " before the request is sent on; False when it has been refused for that. None when nobody wants to know."
    )

    hides_usage = Attribute(
        "Whether the event that tells a stream's usage is to be kept from the client, who did not ask for it (bool)."
    )

    trace_fields = Attribute(
        "The (name, value) fields that tell the model server its place in a trace, instead of those the client brought;"
        " None where nobody traces."
    )

    body = Attribute("The whole body as it is to be sent on (bytes), when a layer has read it; else None.")

    def at_end(ended: Callable[[bool], None]) -> None:
        """Call `ended` once, with True when the answer has been written to its end, with False when the client left.

        It is `notifyFinish` without a Deferred: on the hot path two of those cost more than parsing the request.
        """

    def read_body(cap: int) -> Deferred[bytes]:
        """The whole request body.

        Sends `100 Continue` if the client waits for it. May be called once.

        :param cap: the most bytes this route allows.
        :returns: fires with the body, or fails with :class:`hadesgw.policy.refusals.Refused` (too large, too late, not
            well formed), or with the connection's loss.
        """

    def gather_body(cap: int) -> None:
        """Let the body come while the request waits for its turn, so that its client is seen to leave.

        As long as bodies' memory is plentiful; else, and without this, 64 KiB come before reading is paused. Does not
        send `100 Continue`. :meth:`read_body` or :meth:`body_at_hand` may follow.

        :param cap: the most bytes this route allows; a body that turns out larger is answered with the refusal.
        :raises hadesgw.policy.refusals.Refused: when a larger one is announced.
        """

    def body_at_hand(cap: int) -> bytes | None:
        """The whole request body, if it has arrived already and is no larger than `cap`; else use :meth:`read_body`."""

    def discard_body() -> None:
        """Keep nothing of the body, neither of what has come nor of what comes: the request is going to be refused."""

    on_drain = Attribute(
        "Called with nothing when the gateway begins to stop; set by whoever makes an answer without an end; or None."
    )

    on_late = Attribute("Called with nothing when the time given to :meth:`watch` is over; or None.")

    def watch(seconds: float) -> None:
        """Have `on_late` called after so long; calling this again moves the moment. Costs no timer of its own."""

    def refuse(refusal: Refusal, fields: Iterable[tuple[bytes, bytes]] = ()) -> int:
        """Answer with `refusal` in the caller's dialect and finish.

        :param fields: further header fields of the answer.
        :returns: `NOT_DONE_YET`, so that a resource may return what this returns.
        """

    def cut(last: bytes = b"") -> None:
        """End an answer that has begun but will not come to its end, so that it cannot look complete.

        :param last: a last piece of body, such as a dialect's error event.
        """


class IHeir(Interface):
    """Takes a connection over from HTTP, after a 101."""

    def received(data: bytes) -> None:
        """Bytes have come from the client."""


class ISocketUser(Interface):
    """Uses one WebSocket. What it raises ends the socket."""

    def opened(socket: Any) -> None:
        """The socket is open.

        :param socket: a :class:`hadesgw.http.websocket.WebSocket`.
        """

    def received(text: str) -> None:
        """The client has sent a message."""

    def resumed() -> None:
        """The client has taken everything that was sent: more may be sent now."""

    def closed() -> None:
        """There is no socket any more, whoever ended it. Nothing else is called after this."""


class ISiteObserver(Interface):
    """Told by the site what no resource can see."""

    def connections(count: int) -> None:
        """The number of open connections is now `count`."""

    def refused_early(refusal: Refusal, request_id: bytes, session_id: bytes) -> None:
        """A request was refused before it reached a resource."""

    def ids_replaced(names: Iterable[bytes]) -> None:
        """Correlation headers with these names were unusable and replaced."""

    def correlation_missing() -> None:
        """An answer was about to leave without its ids. This is a defect."""


class IUpstream(Interface):
    """One model server."""

    name = Attribute("Its name in the configuration (str).")

    def ask(
        method: bytes,
        target: bytes,
        fields: list[tuple[bytes, bytes]],
        body: IBodyProducer | None,
        may_resend: Callable[[], bool],
    ) -> Deferred[Any]:
        """Send a request.

        :param fields: all but those that frame the body.
        :param may_resend: whether sending it twice is harmless; asked only when the question arises.
        :returns: fires with a :class:`hadesgw.http.client.Answer` when the answer's head is there; fails with
            :class:`hadesgw.http.client.UpstreamFailure`. Cancelling it closes the connection.
        """

    def send(
        method: bytes,
        target: bytes,
        fields: list[tuple[bytes, bytes]],
        body: IBodyProducer | None,
        may_resend: Callable[[], bool],
        asker: Any,
    ) -> Any:
        """Send a request, as :meth:`ask`, for an :class:`IAsker`.

        It is :meth:`ask` without a Deferred: on the hot path one of those costs more than sending the request.

        :returns: an object whose `cancel()` closes the connection and has the asker told nothing more.
        """


class IAsker(Interface):
    """Told what came of a request that was sent to a model server: one of the two, once, and maybe at once."""

    def answered(answer: Any) -> None:
        """The head of the answer is there.

        :param answer: a :class:`hadesgw.http.client.Answer`.
        """

    def unanswered(failure: Failure) -> None:
        """There is no answer; `failure` tells why, by a :class:`hadesgw.http.client.UpstreamFailure`."""


class IServing(Interface):
    """A gateway that listens."""

    addresses = Attribute("The addresses that are listened on (list of IAddress).")


class IReadinessObserver(Interface):
    """Told what probes find."""

    def upstream_probed(name: str, healthy: bool) -> None:
        """The upstream called `name` was asked for its health."""


class IListenerObserver(Interface):
    """Told by who watches what this process listens on."""

    def unexpected_listeners(count: int) -> None:
        """So many sockets are listened on now that the configuration does not name."""


class IGuardObserver(Interface):
    """Told by the guard."""

    def credential_refused(reason: str) -> None:
        """A request's credential did not admit it, for this (bounded) reason."""


class ILimiterObserver(Interface):
    """Told by the limiter about the queue before a model server."""

    def queue_depth(upstream: str, depth: int) -> None:
        """So many requests wait for the upstream of that name now."""

    def queue_waited(upstream: str, seconds: float) -> None:
        """A request has waited so long, whatever ended its wait."""


class IValidationObserver(Interface):
    """Told by the layer that judges what is asked."""

    def budget_estimated() -> None:
        """A prompt's length was estimated, because nobody could count it."""


class IProxyObserver(Interface):
    """Told by the proxy what happens between a client and the model server."""

    def correlation_mismatch(header: bytes) -> None:
        """The upstream answered with this (lower-cased) correlation header twice, or another value than it was sent."""

    def ids_echoed(headers: tuple[bytes, ...]) -> None:
        """The upstream answered with these (lower-cased) correlation headers, rightly or not."""

    def upstream_abandoned() -> None:
        """A request was dropped before its answer's end."""

    def request_sent(request: Any, body: bytes) -> None:
        """`request`, an :class:`IGatewayRequest`, is on its way to the model server, with this body."""

    def answer_begun(request: Any, code: int, events: bool) -> IAnswerObserver | None:
        """The head of its answer has come.

        :param code: the answer's status.
        :param events: whether a stream of Server-Sent Events follows.
        :returns: who wants to see the body, or None.
        """


class IAnswerObserver(Interface):
    """Sees the body of one answer, as the model server sent it, after it has been passed on."""

    def passed(data: bytes) -> None:
        """Some more of it has been sent to the client. Must be quick, and raise nothing."""

    def completed() -> None:
        """It has come to its end in good order. Not called for one that broke off, or whose client left."""


class ISessionMeter(Interface):
    """Told how many coding sessions there are."""

    def sessions(count: int) -> None:
        """So many now, from their start to the end of their last process."""


class IMeter(Interface):
    """Counts requests."""

    def begun() -> None:
        """A metered request has begun; :meth:`finished` will follow."""

    def finished(request: Any, completed: bool, now: float) -> None:
        """A metered request has ended.

        :param request: an :class:`IGatewayRequest` provider that is a `twisted.web.server.Request`.
        :param completed: False when the client left before the end.
        :param now: monotonic seconds.
        """


class IFollower(Interface):
    """Looks on while metered requests run, in the reactor's thread; see :class:`hadesgw.telemetry.followers.Followers`.

    It must be quick, keep nothing of a request beyond its end, and change nothing. One that raises is told no more.
    """

    def begun(request: Any) -> None:
        """A metered request has begun: its ids, path and method are known, nothing has been decided.

        :param request: an :class:`IGatewayRequest` provider that is a `twisted.web.server.Request`.
        """

    def learned(request: Any, fact: str, word: str | None) -> None:
        """`request.record` has grown.

        :param fact: "first_byte" (of the model's answer), "tool_call", "memory_event" or "finish".
        :param word: the tool's name, the event's kind, or why the model finished: a configured or a fixed word, never
            what a client or a model wrote; None for "first_byte".
        """

    def ended(request: Any, completed: bool, now: float) -> None:
        """A metered request has ended; same arguments as :meth:`IMeter.finished`. Nothing more comes of it."""


class IRequestLog(Interface):
    """Takes the one line each request leaves."""

    def request(request: Any, completed: bool, now: float) -> None:
        """Write the line of a request that has ended; same arguments as :meth:`IMeter.finished`."""

    def event(name: str, level: str = "info", **facts: object) -> None:
        """Write the line of something else that happened to the service.

        :param level: debug, info, warn, error or critical.
        """
