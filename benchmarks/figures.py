"""The arithmetic: percentiles, medians with their spread, what one door adds to another."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

Values = Mapping[str, float]
"""What one round of one measurement gave, by name; the name ends in the unit."""


def percentile(samples: Sequence[float], share: float) -> float:
    """The nearest-rank percentile: the smallest sample that at least `share` (0 to 1) of all do not exceed.

    :raises ValueError: without samples, or when `share` is no share.
    """
    if not samples or not 0 <= share <= 1:
        raise ValueError("a percentile needs samples and a share from 0 to 1")
    return sorted(samples)[max(0, math.ceil(share * len(samples)) - 1)]


@dataclass(frozen=True)
class Figure:
    """A median over rounds, the lowest and highest of them, and how many there were."""

    median: float
    low: float
    high: float
    rounds: int

    @classmethod
    def of(cls, values: Iterable[float]) -> Figure | None:
        """None when no round gave a value."""
        known = list(values)
        return cls(median(known), min(known), max(known), len(known)) if known else None


def differences(rounds: Mapping[int, Values], base: Mapping[int, Values], name: str) -> list[float]:
    """`name` less its value in the same round of `base`, for the rounds that both have.

    Neighbours in time see the same machine, so this is steadier than the difference of medians.
    """
    return [
        values[name] - base[number][name]
        for number, values in rounds.items()
        if name in values and name in base.get(number, {})
    ]


def ratios(rounds: Mapping[int, Values], base: Mapping[int, Values], name: str) -> list[float]:
    """`name` as a multiple of its value in the same round of `base`, for the rounds where both have one."""
    return [
        values[name] / base[number][name]
        for number, values in rounds.items()
        if name in values and base.get(number, {}).get(name, 0) > 0
    ]


@dataclass(frozen=True)
class Departure:
    """A client that left: when, on the clock of `Abort`."""

    number: int
    left_ns: int
    early: bool
    """The answer ended before the client could leave."""


def abort_times(departures: Iterable[Departure], arrived: set[int], aborted: Mapping[int, int]) -> Values:
    """How long after each departure the backend saw its connection close.

    A request that never reached the backend needs no abort and counts as noticed. One that was answered
    before its client left, or of which the backend was never told, does not. Nor does one that was closed
    before the leaving, for the door then had cut an answer that its client still wanted.

    :param arrived: numbers of the requests that the backend got.
    :param aborted: when the backend noticed, by number, in nanoseconds.
    """
    times, count, noticed = [], 0, 0
    for departure in departures:
        count += 1
        if departure.early:
            continue
        if departure.number not in arrived:
            noticed += 1
            continue
        seen = aborted.get(departure.number)
        if seen is not None and seen >= departure.left_ns:
            times.append((seen - departure.left_ns) / 1e6)
            noticed += 1
    values = {"departures": float(count), "noticed": float(noticed), "unnoticed": float(count - noticed)}
    if times:
        values |= {f"p{share}_ms": percentile(times, share / 100) for share in (50, 95, 99)}
        values["max_ms"] = max(times)
    return values
