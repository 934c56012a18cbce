"""Counters and histograms of our own: what a scraper reads of them is what prometheus_client's would have shown."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from twisted.trial.unittest import SynchronousTestCase

from hadesgw.telemetry.tally import LONGEST_EXEMPLAR, Counts, Tallies

BOUNDS = (1, 2.5, 10, 1_000)
VALUES = st.lists(st.sampled_from([0.0, 0.5, 1, 1.5, 2.5, 2.6, 10, 999.5, 1_000, 1_000.5]), max_size=20)


class CountTests(SynchronousTestCase):
    """Counters, with labels and without."""

    @given(st.lists(st.tuples(st.sampled_from(["a", 'b"\n']), st.integers(0, 1 << 40)), max_size=20))
    def test_as_prometheus_client_would(self, counted: list[tuple[str, int]]) -> None:
        """To the byte, in both formats."""
        ours, theirs = CollectorRegistry(), CollectorRegistry()
        count, plain = Counts("x", "What was.", ["route"], ours), Counts("y", "All.", [], ours).labels()
        their_count = Counter("x", "What was.", ["route"], registry=theirs)
        their_plain = Counter("y", "All.", registry=theirs)
        for route, amount in counted:
            count.labels(route).inc(amount)
            their_count.labels(route).inc(amount)
            plain.inc()
            their_plain.inc()
        for generate in (generate_latest, generate_openmetrics):
            shown = [line for line in generate(theirs).splitlines() if b"_created" not in line]
            self.assertEqual(generate(ours).splitlines(), shown)

    def test_no_two_of_one_name(self) -> None:
        """The registry sees to that."""
        registry = CollectorRegistry()
        Counts("x", "", [], registry)
        self.assertRaises(ValueError, Counts, "x", "", [], registry)


class TallyTests(SynchronousTestCase):
    """Buckets, sums, labels, exemplars."""

    def setUp(self) -> None:
        self.registry = CollectorRegistry()
        self.tallies = Tallies("x_ms", "Milliseconds.", ["route"], BOUNDS, self.registry)

    @given(VALUES)
    def test_as_prometheus_client_would(self, values: list[float]) -> None:
        """To the byte."""
        self.setUp()
        registry = CollectorRegistry()
        theirs = Histogram("x_ms", "Milliseconds.", ["route"], buckets=BOUNDS, registry=registry)
        for route in ("/a", "/b"):
            theirs.labels(route)
            self.tallies.labels(route)
        for value in values:
            theirs.labels("/a").observe(value)
            self.tallies.labels("/a").observe(value)
            self.tallies.labels("/b").observe_request(value, b"id")
            theirs.labels("/b").observe(value)
        shown = [line for line in generate_latest(registry).splitlines() if b"_created" not in line]
        self.assertEqual(generate_latest(self.registry).splitlines(), shown)

    def test_an_example_for_each_bucket(self) -> None:
        """The last request of each; one whose id is too long for the format is none."""
        tally = self.tallies.labels("/a")
        tally.observe_request(0.5, b"first")
        tally.observe_request(0.75, b"second")
        tally.observe_request(5, b"x" * (LONGEST_EXEMPLAR + 1))
        tally.observe_request(2_000, b"y" * LONGEST_EXEMPLAR)
        (family,) = read_openmetrics(generate_openmetrics(self.registry).decode())
        examples = {sample.labels["le"]: sample.exemplar for sample in family.samples if sample.exemplar}
        self.assertEqual(examples["1.0"].labels, {"request_id": "second"})
        self.assertEqual((examples["1.0"].value, len(examples)), (0.75, 2))
        self.assertEqual(examples["+Inf"].labels, {"request_id": "y" * LONGEST_EXEMPLAR})

    def test_no_two_of_one_name(self) -> None:
        """The registry sees to that."""
        self.assertRaises(ValueError, Tallies, "x_ms", "", [], BOUNDS, self.registry)

    def test_one_tally_for_the_same_labels(self) -> None:
        """However often it is asked for."""
        self.assertIs(self.tallies.labels("/a"), self.tallies.labels("/a"))
        self.assertIsNot(self.tallies.labels("/a"), self.tallies.labels("/b"))
