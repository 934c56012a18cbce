"""Counters and histograms for the reactor's thread alone: a count costs an addition or two, and no lock.

prometheus_client's own serve any number of threads, and take a lock or two for each of them.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence

from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.samples import Exemplar

_Bucket = tuple[str, float] | tuple[str, float, Exemplar]
LONGEST_EXEMPLAR = 128 - len("request_id")
"""Characters that an exemplar's value may have (OpenMetrics 1.0, "Exemplars": 128 with the label's name)."""


class Count:
    """What was counted under one set of labels."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0

    def inc(self, amount: int = 1) -> None:
        """Count `amount` more."""
        self.value += amount


class Counts(Collector):
    """A counter.

    :param name: without the `_total` that it is shown with.
    :param labels: names of its labels.
    """

    def __init__(self, name: str, text: str, labels: Sequence[str], registry: CollectorRegistry) -> None:
        self._name = name
        self._text = text
        self._labels = labels
        self._counts: dict[tuple[str, ...], Count] = {}
        registry.register(self)

    def labels(self, *labels: str) -> Count:
        """What was counted under these labels."""
        count = self._counts.get(labels)
        if count is None:
            count = self._counts[labels] = Count()
        return count

    def describe(self) -> list[Metric]:
        """For the registry, which sees that no two have one name."""
        return [CounterMetricFamily(self._name, self._text, labels=self._labels)]

    def collect(self) -> Iterator[Metric]:
        """What is shown at a scrape."""
        family = CounterMetricFamily(self._name, self._text, labels=self._labels)
        for labels, count in self._counts.items():
            family.add_metric(labels, count.value)
        yield family


class Tally:
    """One histogram's counts under one set of labels.

    :param bounds: the buckets' upper bounds, in rising order; one more takes what is above.
    """

    __slots__ = ("_bounds", "counts", "examples", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0
        self.examples: dict[int, tuple[bytes, float]] = {}

    def observe(self, value: float) -> None:
        """Count `value`."""
        self.counts[bisect_left(self._bounds, value)] += 1
        self.total += value

    def observe_request(self, value: float, request_id: bytes) -> None:
        """Count `value`, and keep the request it was measured on as its bucket's example."""
        bucket = bisect_left(self._bounds, value)
        self.counts[bucket] += 1
        self.total += value
        self.examples[bucket] = (request_id, value)


class Tallies(Collector):
    """A histogram.

    :param labels: names of its labels.
    :param bounds: see :class:`Tally`.
    """

    def __init__(
        self, name: str, text: str, labels: Sequence[str], bounds: Sequence[float], registry: CollectorRegistry
    ) -> None:
        self._name = name
        self._text = text
        self._labels = labels
        self._bounds = bounds
        self._tallies: dict[tuple[str, ...], Tally] = {}
        registry.register(self)

    def labels(self, *labels: str) -> Tally:
        """The counts under these labels."""
        tally = self._tallies.get(labels)
        if tally is None:
            tally = self._tallies[labels] = Tally(self._bounds)
        return tally

    def describe(self) -> list[Metric]:
        """For the registry, which sees that no two have one name."""
        return [HistogramMetricFamily(self._name, self._text, labels=self._labels)]

    def collect(self) -> Iterator[Metric]:
        """What is shown at a scrape."""
        family = HistogramMetricFamily(self._name, self._text, labels=self._labels)
        for labels, tally in self._tallies.items():
            family.add_metric(labels, self._buckets(tally), tally.total)
        yield family

    def _buckets(self, tally: Tally) -> list[_Bucket]:
        buckets: list[_Bucket] = []
        reached = 0
        for place, count in enumerate(tally.counts):
            reached += count
            bound = f"{float(self._bounds[place])}" if place < len(self._bounds) else "+Inf"
            exemplar = _exemplar(tally.examples.get(place))
            buckets.append((bound, reached) if exemplar is None else (bound, reached, exemplar))
        return buckets


def _exemplar(example: tuple[bytes, float] | None) -> Exemplar | None:
    if example is None or len(example[0]) > LONGEST_EXEMPLAR:
        return None
    request_id, value = example
    return Exemplar({"request_id": request_id.decode("ascii")}, value)
