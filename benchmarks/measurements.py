"""What is measured: each measurement is one kind of load and the values that are taken from it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from benchmarks.figures import Departure, Values, abort_times
from benchmarks.stage import Door, Failed, Stage

SMALL, LARGE = 1024, 560 * 1024
"""Bodies: a short question, and the median request of a coding agent with its history."""
PACE = 50
"""Events a second of a paced stream."""
ENDLESS = 20_000_000
"""Events of a stream that nobody hears to its end."""


@dataclass(frozen=True)
class Effort:
    """How long a run may take."""

    rounds: int
    scale: float
    """Of the lengths of the loads; 1 is a full run."""

    def seconds(self, full: float) -> float:
        """At least 0.3, below which nothing settles."""
        return max(0.3, round(full * self.scale, 2))


FULL = Effort(rounds=5, scale=1.0)
QUICK = Effort(rounds=2, scale=0.15)


class Measurement(ABC):
    """One kind of load."""

    name: str
    of_direct = True
    """Whether it says something about the socket itself."""

    @abstractmethod
    def take(self, stage: Stage, door: Door, effort: Effort) -> Values:
        """One round at `door`, which serves.

        :raises Failed: when no figure can be taken.
        """


def _spread(result: Mapping[str, Any], name: str, prefix: str = "") -> dict[str, float]:
    """The percentiles that the client gives as ``NAME_ns``, in microseconds."""
    samples = result[f"{name}_ns"]
    if samples is None:
        raise Failed(f"no sample of {name} fell into the window")
    return {f"{prefix}{key}_us": samples[key] / 1000 for key in ("p50", "p95", "p99", "max")}


def _megabytes_per_second(result: Mapping[str, Any]) -> float:
    return float(result["bytes"] / (result["window_ns"] / 1e9) / 1e6)


def _cpu_us(result: Mapping[str, Any], door: Door, count: int) -> dict[str, float]:
    return {"cpu_us": result["cpu_ns"] / 1000 / count} if door.server and count else {}


@dataclass(frozen=True)
class Requests(Measurement):
    """A closed loop of requests with answers of 1 KB."""

    name: str
    connections: int
    body_bytes: int

    def take(self, stage: Stage, door: Door, effort: Effort) -> Values:
        options = {
            "connections": self.connections,
            "body-bytes": self.body_bytes,
            "seconds": effort.seconds(2),
            "warm-up": 0.2,
        }
        result = stage.load("requests", door, options)
        count = result["answers"]
        rate = {"per_second": count / (result["window_ns"] / 1e9)}
        return _spread(result, "latency") | _cpu_us(result, door, count) | rate


@dataclass(frozen=True)
class FirstByte(Measurement):
    """Short streams one after the other: from the request to the first byte of the answer's body."""

    name: str = "first_byte"

    def take(self, stage: Stage, door: Door, effort: Effort) -> Values:
        options = {"stream": True, "events": 8, "seconds": effort.seconds(2), "warm-up": 0.2}
        return _spread(stage.load("requests", door, options), "first_byte")


@dataclass(frozen=True)
class PacedStreams(Measurement):
    """Streams of 50 events a second, heard to their end."""

    name: str
    streams: int
    in_step: bool = False
    """All emit at the same instants, as the steps of one engine make them do, instead of evenly spread."""

    def take(self, stage: Stage, door: Door, effort: Effort) -> Values:
        seconds = effort.seconds(4)
        # The window is what all streams have in common, and a slow door begins them one after the other.
        events = int((seconds + 0.5 + self.streams / 512) * PACE)
        options: dict[str, object] = {
            "connections": self.streams,
            "rate": PACE,
            "events": events,
            "seconds": seconds,
        }
        if self.in_step:
            options["in-step"] = True
        result = stage.load("streams", door, options, seconds=seconds + 40)
        return (
            _spread(result, "delay")
            | _cpu_us(result, door, result["events"])
            | {
                "lost": float(result["lost"] + result["out_of_order"]),
                "largest_gap_ms": result["largest_gap_ns"] / 1e6,
                "largest_added_gap_ms": result["largest_added_gap_ns"] / 1e6,
            }
        )


@dataclass(frozen=True)
class UnpacedStreams(Measurement):
    """Streams as fast as they go, one event a chunk and one chunk a send.

    Straight on the socket there are two answers: with the CPU that the load has in every case, which is the
    same load without a contender, and with the contender's CPU too, which is the most this machine could do.
    """

    name: str = "unpaced_64"
    streams: int = 64

    def take(self, stage: Stage, door: Door, effort: Effort) -> Values:
        options = {"connections": self.streams, "rate": 0, "events": ENDLESS, "seconds": effort.seconds(3)}
        result = stage.load("streams", door, options)
        values = {
            "megabytes_per_second": _megabytes_per_second(result),
            "lost": float(result["lost"] + result["out_of_order"]),
            "largest_gap_ms": result["largest_gap_ns"] / 1e6,
        }
        if not door.server:
            spread = stage.load("streams", door, options, apart=True)
            values["apart_megabytes_per_second"] = _megabytes_per_second(spread)
        return values | _cpu_us(result, door, result["events"])


@dataclass(frozen=True)
class Departures(Measurement):
    """Clients that leave at a random point: before the answer, in mid-stream; by close, reset, half close."""

    name: str = "departures"
    full_count: int = 1000

    def take(self, stage: Stage, door: Door, effort: Effort) -> Values:
        stage.forget_aborts()
        count = self.full_count if effort.scale >= 1 else self.full_count // 5
        options = {"count": count, "connections": 32, "rate": PACE, "events": ENDLESS, "leave-within": 150}
        result = stage.load("departures", door, options, seconds=120)
        arrived, aborted = stage.aborts(patience=3)
        left = [Departure(one["id"], one["left_ns"], one["early"]) for one in result["departures"]]
        return abort_times(left, arrived, aborted)


@dataclass(frozen=True)
class Memory(Measurement):
    """A fresh process: how soon it serves, its memory at rest, with idle clients, with stalled readers."""

    name: str = "memory"
    of_direct = False
    idle: int = 1000
    stalled: int = 200

    def take(self, stage: Stage, door: Door, effort: Effort) -> Values:
        assert door.contender is not None
        with stage.door(door.contender) as fresh:
            started_ms, at_rest, held = fresh.started_ms, *self._held(stage, fresh, "idle", self.idle, {})
        with stage.door(door.contender) as fresh:
            options = {"events": ENDLESS, "rate": 0, "warm-up": effort.seconds(3)}
            before, stalled = self._held(stage, fresh, "stall", self.stalled, options)
        return {
            "start_ms": started_ms,
            "rest_mb": at_rest / 1e6,
            "idle_mb": (held - at_rest) / 1e6,
            "stalled_mb": (stalled - before) / 1e6,
        }

    def _held(self, stage: Stage, door: Door, mode: str, count: int, options: Mapping[str, object]) -> tuple[int, int]:
        """Resident bytes before and while `count` connections are held."""
        assert door.server is not None
        before = door.server.resident_bytes()
        with stage.hold(mode, door, {"connections": count, **options}) as held:
            if held < count:
                raise Failed(f"only {held} of {count} connections stood")
            return before, door.server.resident_bytes()


def all_measurements() -> tuple[Measurement, ...]:
    """In the order of a round."""
    return (
        Requests("requests_1k_1", 1, SMALL),
        Requests("requests_1k_16", 16, SMALL),
        Requests("requests_560k_16", 16, LARGE),
        FirstByte(),
        PacedStreams("streams_50", 50),
        PacedStreams("streams_256", 256),
        PacedStreams("streams_512", 512),
        PacedStreams("streams_256_in_step", 256, in_step=True),
        UnpacedStreams(),
        Departures(),
        Memory(),
    )
