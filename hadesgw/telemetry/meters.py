"""Prometheus meters: fixed names, labels bounded by the configuration, nothing counted by what was said."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry, Gauge
from zope.interface import implementer

from hadesgw import __version__
from hadesgw.http.site import Request
from hadesgw.interfaces import (
    IGuardObserver,
    ILimiterObserver,
    IListenerObserver,
    IMeter,
    IReadinessObserver,
    ISessionMeter,
    ISiteObserver,
    IValidationObserver,
    Record,
)
from hadesgw.policy.credentials import DenialReason
from hadesgw.policy.refusals import Refusal, catalogue
from hadesgw.telemetry.tally import Counts, Tallies
from hadesgw.telemetry.watch import Watch

_LATENCY_MS = (10, 50, 250, 1_000, 4_000, 15_000, 45_000, 300_000)
"""Few, for there are as many for each route; the last but one is when operators are woken."""
_GAP_MS = (10, 25, 50, 100, 250, 1_000, 5_000)
"""250 ms is the longest gap that buffering on the way may make."""
MOST_KINDS = 48
"""Kinds of request, by route, method and status, that are told apart for one client; more are counted together."""
OTHER = "other"
_METHODS = {b"GET": "GET", b"POST": "POST"}
_STATUSES = {
    int(status): status
    for status in "101 200 201 204 206 304 400 401 403 404 405 408 409 413 414 415 417 421 422 426 429 431 499"
    " 500 501 502 503 504 505".split()
}
"""Told apart; of others, which only a model server could invent, the first digit."""
UPSTREAM_ERROR = "upstream_error"
"""The reason and code of an answer in which the model server told of an error after its head."""
CLIENT_LEFT = "499"
"""The status a request is counted under when its client left before the end (nginx's convention)."""
SLOW_SECONDS = 45.0
"""From when on an answer counts as slow."""
NONE = "none"
"""The route of a request that came to none."""
NOBODY = "none"
"""The client label of a request that nobody was admitted for."""


@implementer(
    IMeter,
    IGuardObserver,
    ILimiterObserver,
    IListenerObserver,
    ISessionMeter,
    ISiteObserver,
    IReadinessObserver,
    IValidationObserver,
)
class Meters:
    """The gateway's meters.

    :param registry: where they are registered; one gateway has one.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self._requests = Counts(
            "hades_codex_requests",
            "Requests that have ended.",
            ["route", "method", "status", "client"],
            registry,
        )
        self._latency = Tallies(
            "hades_codex_request_latency_ms",
            "Milliseconds from a request's head to the answer's last byte.",
            ["route"],
            _LATENCY_MS,
            registry,
        )
        self._first_byte = Tallies(
            "hades_codex_first_byte_ms",
            "Milliseconds from a request's head to the first event of its streamed answer.",
            ["route"],
            _LATENCY_MS,
            registry,
        )
        self._stream_duration = Tallies(
            "hades_codex_stream_duration_ms",
            "Milliseconds from a streamed answer's first event to its last byte.",
            [],
            _LATENCY_MS,
            registry,
        ).labels()
        self.gap = (
            Tallies(
                "hades_codex_chunk_gap_ms",
                "Milliseconds between two reads of a streamed answer that brought events.",
                [],
                _GAP_MS,
                registry,
            )
            .labels()
            .observe
        )
        self._stream_bytes = Counts(
            "hades_codex_stream_bytes", "Bytes of streamed answers' bodies.", ["route"], registry
        )
        self._slow = Counts(
            "hades_codex_slow_responses",
            "Answers that took more than 45 s: until a stream's first event, or for the whole of another.",
            [],
            registry,
        ).labels()
        self._errors = Counts(
            "hades_codex_errors", "Answers with a status of 400 or more, and broken ones.", ["code"], registry
        )
        self._refusals = Counts(
            "hades_codex_refusals", "Answers the gateway made in the model's place.", ["reason"], registry
        )
        self._auth_failures = Counts(
            "hades_codex_auth_failures", "Requests without a credential that admits.", ["reason"], registry
        )
        self._begin_at_zero()
        in_flight = Gauge("hades_codex_in_flight", "Requests being served.", registry=registry)
        in_flight.set_function(lambda: self._serving)
        self._serving = 0
        self._queue_depth = Gauge(
            "hades_codex_queue_depth", "Requests waiting for a slot of the upstream.", ["upstream"], registry=registry
        )
        self._queue_wait = Tallies(
            "hades_codex_queue_wait_ms",
            "Milliseconds requests waited for a slot of the upstream, of those that had to.",
            ["upstream"],
            _LATENCY_MS,
            registry,
        )
        self._sessions = Gauge("hades_codex_sessions", "Coding sessions there are.", registry=registry)
        self._connections = Gauge("hades_codex_connections", "Client connections open.", registry=registry)
        self._unexpected_listeners = Gauge(
            "hades_codex_unexpected_listeners",
            "Sockets this process or a child listens on that the configuration does not name.",
            registry=registry,
        )
        self._upstream_up = Gauge(
            "hades_codex_upstream_up",
            "Whether the upstream answered its last health probe.",
            ["upstream"],
            registry=registry,
        )
        self._aborts = Counts(
            "hades_codex_upstream_aborts", "Upstream requests dropped before their answer's end.", [], registry
        ).labels()
        self._replaced = Counts(
            "hades_codex_replaced_ids", "Correlation headers whose value was unusable.", ["header"], registry
        )
        self._missing = Counts(
            "hades_codex_missing_correlation", "Answers about to leave without their ids: a defect.", [], registry
        ).labels()
        self._mismatches = Counts(
            "hades_codex_correlation_mismatches",
            "Answers of the upstream with another id than it was sent.",
            ["header"],
            registry,
        )
        self._budget_estimates = Counts(
            "hades_codex_budget_estimates",
            "Prompts whose length was estimated, because nobody could count it.",
            [],
            registry,
        ).labels()
        self._tool_calls = Counts(
            "hades_codex_tool_calls",
            "Tool calls in the model's answers, by configured name.",
            ["tool"],
            registry,
        )
        self._tool_faults = Counts(
            "hades_codex_tool_call_faults",
            "Tool calls whose arguments are no JSON object: cut off, broken, or too long to tell.",
            ["fault"],
            registry,
        )
        self._memory_events = Counts(
            "hades_codex_memory_events",
            "Calls of memory tools, and memory events in conversations and answers, by configured kind.",
            ["kind"],
            registry,
        )
        self._tokens = Counts(
            "hades_codex_tokens",
            "Tokens, as the model server counts them; completion_counted: as seen to pass, where it did not say.",
            ["kind"],
            registry,
        )
        self._unreadable = Counts(
            "hades_codex_unreadable_events",
            "Events, and answers in one piece, that could not be understood and were passed on all the same.",
            [],
            registry,
        ).labels()
        self._log_dropped = Counts(
            "hades_codex_log_dropped", "Log lines dropped because the log's sink was slow.", [], registry
        ).labels()
        self._zero_propagation = Gauge(
            "hades_codex_zero_propagation",
            "1 when requests cannot be traced to a sender: TCP without credentials, or ids missing; else 0.",
            registry=registry,
        )
        build = Gauge("hades_codex_build_info", "The version running.", ["version"], registry=registry)
        build.labels(__version__).set(1)
        self._usuals: dict[tuple[str, str, bytes, str, str], tuple[Callable[..., None], ...]] = {}
        self._kinds: dict[str, int] = {}

    def _begin_at_zero(self) -> None:
        """Show what operators are woken for before it happens: to Prometheus a series that begins is no increase."""
        for refusal in catalogue().values():
            if refusal.status >= 500:
                self._errors.labels(refusal.code)
        self._errors.labels(UPSTREAM_ERROR)
        for reason in DenialReason:
            self._auth_failures.labels(reason.value)

    def _usual(
        self, route: str, timed: str, method: bytes, status: str, client: str
    ) -> tuple[Callable[..., None], ...]:
        """What every request moves, found by one look-up."""
        key = (route, timed, method, status, client)
        usual = self._usuals.get(key)
        if usual is None:
            usual = self._usuals[key] = (
                self._count_of(route, _METHODS.get(method, OTHER), status, client),
                self._latency.labels(timed).observe_request,
            )
        return usual

    def _count_of(self, route: str, method: str, status: str, client: str) -> Callable[..., None]:
        """What counts one kind of request: who sends one of every kind shall not make a series of each."""
        kinds = self._kinds.setdefault(client, 0)
        if kinds >= MOST_KINDS:
            route, method, status = OTHER, OTHER, f"{status[0]}xx"
        else:
            self._kinds[client] = kinds + 1
        counter: Callable[..., None] = self._requests.labels(route, method, status, client).inc
        return counter

    # -- IMeter --------------------------------------------------------------------------------------------------------

    def begun(self) -> None:
        """See :meth:`IMeter.begun`."""
        self._serving += 1

    def finished(self, request: Request, completed: bool, now: float) -> None:
        """See :meth:`IMeter.finished`."""
        record = request.record
        route = record.route or NONE
        left = record.reason == "client_left"
        status = CLIENT_LEFT if left else _STATUSES.get(request.code) or f"{request.code // 100}xx"
        self._serving -= 1
        timed = route if record.upstream is not None else record.mount or route  # the model's work, route by route
        count, observe_latency = self._usual(route, timed, request.method, status, record.client or NOBODY)
        count()
        request_id = request.correlation.request_id
        observe_latency((now - record.started) * 1_000, request_id)
        waited_until = now
        if record.stream and record.first_byte is not None:
            waited_until = record.first_byte
            self._first_byte.labels(timed).observe_request((record.first_byte - record.started) * 1_000, request_id)
            self._stream_duration.observe_request((now - record.first_byte) * 1_000, request_id)
        if record.stream and request.sentLength:
            self._stream_bytes.labels(route).inc(request.sentLength)
        if waited_until - record.started > SLOW_SECONDS:
            self._slow.inc()
        if request.code >= 400 or (record.reason is not None and not left):
            self._errors.labels(record.code or status).inc()
        if record.code is not None and record.reason is not None and record.reason != UPSTREAM_ERROR:
            self._refusals.labels(record.reason).inc()

    def answer_watched(self, record: Record, watch: Watch, whole: bool) -> None:
        """An answer of the model has ended, and the watch over it; `record` has been brought up to date.

        :param whole: whether it came to its end in good order.
        """
        if record.prompt_tokens:
            self._tokens.labels("prompt").inc(record.prompt_tokens)
        if record.completion_tokens:
            kind = "completion" if record.tokens_from == "upstream" else "completion_counted"
            self._tokens.labels(kind).inc(record.completion_tokens)
        if watch.unreadable:
            self._unreadable.inc(watch.unreadable)
        for name, count in watch.tools.items():
            self._tool_calls.labels(name).inc(count)
        for kind, count in watch.memory.items():
            self._memory_events.labels(kind).inc(count)
        if watch.tools:
            for state, count in watch.states(whole).items():
                if state != "whole":
                    self._tool_faults.labels(state).inc(count)

    def memory_event(self, kind: str) -> None:
        """A conversation brought a memory event of that (configured) kind."""
        self._memory_events.labels(kind).inc()

    # -- ISessionMeter -------------------------------------------------------------------------------------------------

    def sessions(self, count: int) -> None:
        """See :meth:`ISessionMeter.sessions`."""
        self._sessions.set(count)

    # -- ISiteObserver -------------------------------------------------------------------------------------------------

    def connections(self, count: int) -> None:
        """See :meth:`ISiteObserver.connections`."""
        self._connections.set(count)

    def refused_early(self, refusal: Refusal, request_id: bytes, session_id: bytes) -> None:
        """See :meth:`ISiteObserver.refused_early`."""
        self._requests.labels(NONE, OTHER, str(refusal.status), NOBODY).inc()
        self._refusals.labels(refusal.reason).inc()
        self._errors.labels(refusal.code).inc()

    def ids_replaced(self, names: Iterable[bytes]) -> None:
        """See :meth:`ISiteObserver.ids_replaced`."""
        for name in names:
            self._replaced.labels(name.decode("ascii").lower()).inc()

    def correlation_missing(self) -> None:
        """See :meth:`ISiteObserver.correlation_missing`."""
        self._missing.inc()

    # -- What ProxyWitness tells; IReadinessObserver, IGuardObserver, ILimiterObserver ---------------------------------

    def correlation_mismatch(self, header: bytes) -> None:
        """See :meth:`IProxyObserver.correlation_mismatch`."""
        self._mismatches.labels(header.decode("ascii")).inc()

    def upstream_abandoned(self) -> None:
        """See :meth:`IProxyObserver.upstream_abandoned`."""
        self._aborts.inc()

    def upstream_probed(self, name: str, healthy: bool) -> None:
        """See :meth:`IReadinessObserver.upstream_probed`."""
        self._upstream_up.labels(name).set(healthy)

    def credential_refused(self, reason: str) -> None:
        """See :meth:`IGuardObserver.credential_refused`."""
        self._auth_failures.labels(reason).inc()

    def queue_depth(self, upstream: str, depth: int) -> None:
        """See :meth:`ILimiterObserver.queue_depth`."""
        self._queue_depth.labels(upstream).set(depth)

    def queue_waited(self, upstream: str, seconds: float) -> None:
        """See :meth:`ILimiterObserver.queue_waited`."""
        self._queue_wait.labels(upstream).observe(seconds * 1_000)

    def unexpected_listeners(self, count: int) -> None:
        """See :meth:`IListenerObserver.unexpected_listeners`."""
        self._unexpected_listeners.set(count)

    def certificate_shown(self, seconds_left: Callable[[], float]) -> None:
        """TLS is spoken: begin to tell for how long its certificate counts.

        Without TLS there is no such gauge, for none of its values would be true.
        """
        Gauge(
            "hades_codex_certificate_expiry_seconds",
            "Seconds until the certificate of the TLS listeners, or one of its chain, expires.",
            registry=self.registry,
        ).set_function(seconds_left)

    def budget_estimated(self) -> None:
        """See :meth:`IValidationObserver.budget_estimated`."""
        self._budget_estimates.inc()

    def zero_propagation(self, zero: bool) -> None:
        """Whether C is 0."""
        self._zero_propagation.set(zero)

    def lines_dropped(self, count: int) -> None:
        """`count` log lines were dropped."""
        self._log_dropped.inc(count)
