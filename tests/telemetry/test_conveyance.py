"""Whether C is 0: the gauge, the log and the reasons agree."""

from __future__ import annotations

from prometheus_client import CollectorRegistry
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from hadesgw.interfaces import IRequestLog
from hadesgw.telemetry.conveyance import MISSING, Conveyance
from hadesgw.telemetry.meters import Meters


@implementer(IRequestLog)
class Lines:
    """What the log was told."""

    def __init__(self) -> None:
        self.events: list[tuple[str, str, object]] = []

    def request(self, request: object, completed: bool, now: float) -> None:
        """There is none."""

    def event(self, name: str, level: str = "info", **facts: object) -> None:
        self.events.append((name, level, list(facts["reasons"])))  # type: ignore[call-overload]


class ConveyanceTests(SynchronousTestCase):
    """From the start, and from the first defect on."""

    def begin(self, *reasons: str) -> Conveyance:
        self.registry = CollectorRegistry()
        self.lines = Lines()
        return Conveyance(reasons, Meters(self.registry), self.lines)

    @property
    def gauge(self) -> float | None:
        return self.registry.get_sample_value("hades_codex_zero_propagation")

    def test_a_gateway_that_traces(self) -> None:
        """Says nothing."""
        self.begin().announce()
        self.assertEqual((self.gauge, self.lines.events), (0, []))

    def test_by_the_configuration(self) -> None:
        """The gauge stands before the first request, and the line is loud."""
        self.begin("anonymous").announce()
        self.assertEqual((self.gauge, self.lines.events), (1, [("zero_propagation", "warn", ["anonymous"])]))

    def test_by_a_defect(self) -> None:
        """The first answer without ids is told once; it does not become untrue again."""
        conveyance = self.begin("anonymous")
        conveyance.headers_missing()
        conveyance.headers_missing()
        self.assertEqual(conveyance.reasons, ["anonymous", MISSING])
        self.assertEqual(self.lines.events, [("zero_propagation", "warn", ["anonymous", MISSING])])
        conveyance = self.begin()
        self.assertEqual(self.gauge, 0)
        conveyance.headers_missing()
        self.assertEqual(self.gauge, 1)
