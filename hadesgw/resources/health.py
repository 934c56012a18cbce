"""Whether the gateway lives, and whether it can serve."""

from __future__ import annotations

import msgspec
from twisted.internet.defer import Deferred, DeferredList, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from hadesgw.http.client import UpstreamFailure, refusal_of
from hadesgw.http.questions import Reply, look_up
from hadesgw.http.site import Request
from hadesgw.interfaces import IReadinessObserver, IUpstream
from hadesgw.policy import refusals
from hadesgw.telemetry.conveyance import Conveyance

FRESH_SECONDS = 1.0
"""How long a probe's finding stands."""
PROBE_SECONDS = 5.0
"""How long an upstream may take to answer a probe: it has nothing to compute for it."""
_MOST_BYTES = 64 * 1024


class Health(Resource):
    """`/healthz`: the process answers. It says nothing of the model server, so that its death does not restart us."""

    isLeaf = True

    def render_GET(self, request: Request) -> bytes:
        """Alive."""
        request.setHeader(b"Content-Type", b"application/json")
        return b'{"status":"ok"}'


class Probe:
    """Asks one upstream for its health, at most once a second however many want to know.

    :param observer: told each finding.
    """

    _log = Logger()

    def __init__(self, upstream: IUpstream, clock: IReactorTime, observer: IReadinessObserver) -> None:
        self.name = upstream.name
        self._upstream = upstream
        self._clock = clock
        self._observer = observer
        self._finding = "unknown"
        self._fresh_until = float("-inf")
        self._waiting: list[Deferred[str]] = []

    def finding(self) -> Deferred[str]:
        """Fires with "ok", or with the slug of what is wrong."""
        if self._clock.seconds() < self._fresh_until:
            return succeed(self._finding)
        wanted: Deferred[str] = Deferred()
        self._waiting.append(wanted)
        if len(self._waiting) == 1:
            asked = look_up(self._upstream, b"/health", self._clock, seconds=PROBE_SECONDS, most_bytes=_MOST_BYTES)
            asked.addCallbacks(self._answered, self._failed).addCallback(self._found)
        return wanted

    def _answered(self, reply: Reply) -> str:
        return "ok" if reply.status == 200 else f"status_{reply.status}"

    def _failed(self, failure: Failure) -> str:
        if failure.check(UpstreamFailure):
            return refusal_of(failure).reason
        self._log.failure("Probing {name} failed", failure, name=self.name)
        return refusals.INTERNAL.reason

    def _found(self, finding: str) -> None:
        self._finding = finding
        self._fresh_until = self._clock.seconds() + FRESH_SECONDS
        self._observer.upstream_probed(self.name, finding == "ok")
        waiting, self._waiting = self._waiting, []
        for wanted in waiting:
            wanted.callback(finding)


class Readiness(Resource):
    """`/readyz`: every upstream answers its health probe, and the gateway is not on its way out.

    That nothing can be traced (`zero_propagation`) is said, and makes nobody unready: the gateway is configured so, or
    has a defect that a restart does not mend.
    """

    isLeaf = True

    def __init__(self, probes: list[Probe], conveyance: Conveyance) -> None:
        Resource.__init__(self)
        self._probes = probes
        self._conveyance = conveyance

    def render_GET(self, request: Request) -> int:
        """200 when ready, else 503, each with what was found."""
        findings = DeferredList([probe.finding() for probe in self._probes])
        findings.addCallback(self._answer, request)
        return NOT_DONE_YET

    def _answer(self, results: list[tuple[bool, str]], request: Request) -> None:
        if request.channel is None:
            return
        upstreams = {probe.name: finding for probe, (_, finding) in zip(self._probes, results, strict=True)}
        draining = request.channel.site.draining
        ready = not draining and all(finding == "ok" for finding in upstreams.values())
        status = "draining" if draining else "ready" if ready else "unready"
        told: dict[str, object] = {"status": status, "upstream": upstreams}
        if self._conveyance.reasons:
            told["zero_propagation"] = self._conveyance.reasons
        body = msgspec.json.encode(told)
        request.setResponseCode(200 if ready else 503)
        request.setHeader(b"Content-Type", b"application/json")
        request.setHeader(b"Content-Length", b"%d" % len(body))
        if not ready:
            request.setHeader(b"Retry-After", b"1")
        request.write(body)
        request.finish()
