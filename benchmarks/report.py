"""What is told of a run: the table, the verdicts on what the project promises, the JSON file, the page."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median

from benchmarks.figures import Figure, differences, ratios
from benchmarks.machine import IDLE_SHARE
from benchmarks.rounds import Round, values_of

LEGEND = (
    'Medians over the rounds (lowest to highest). "Direct" is the backend\'s socket itself; in lines of what'
    " a door adds to it, that column shows what it is added to."
)
DIRECT, ANCHOR, YARDSTICK, OURS = "direct", "nginx", "raw Twisted", "hadesgw"
BEGIN, END = "<!-- benchmarks: begin -->", "<!-- benchmarks: end -->"
ABSENT = "–"

# ---- the table ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """A line of the table: one value of one measurement; an added one is given less that of "direct"."""

    label: str
    unit: str
    measurement: str
    value: str
    added: bool = False


def _rows() -> Iterator[Row]:
    yield Row("CPU per request, 1 KB, 16 connections", "us", "requests_1k_16", "cpu_us")
    yield Row("CPU per request, 560 KB, 16 connections", "us", "requests_560k_16", "cpu_us")
    for streams in (50, 256, 512):
        yield Row(f"CPU per SSE event, {streams} streams", "us", f"streams_{streams}", "cpu_us")
    for connections in (1, 16):
        for share in ("p50", "p95", "p99"):
            label = f"added latency {share}, 1 KB, {connections} connection{'s'[: connections - 1]}"
            yield Row(label, "us", f"requests_1k_{connections}", f"{share}_us", added=True)
    yield Row("requests a second, 1 KB, 16 connections", "1/s", "requests_1k_16", "per_second")
    for share in ("p50", "p95", "p99"):
        yield Row(f"added time to first byte {share}", "us", "first_byte", f"{share}_us", added=True)
    for name, words in (
        ("streams_50", "50 streams"),
        ("streams_256", "256 streams"),
        ("streams_512", "512 streams"),
        ("streams_256_in_step", "256 streams in step"),
    ):
        for share in ("p50", "p99"):
            yield Row(f"added delay per event {share}, {words}", "us", name, f"{share}_us", added=True)
        yield Row(f"largest gap put between two events, {words}", "ms", name, "largest_added_gap_ms")
        yield Row(f"events lost, {words}", "", name, "lost")
    yield Row("64 unpaced streams, payload", "MB/s", "unpaced_64", "megabytes_per_second")
    yield Row(
        "64 unpaced streams, payload, client on the contender's CPU",
        "MB/s",
        "unpaced_64",
        "apart_megabytes_per_second",
    )
    yield Row("64 unpaced streams, CPU per event", "us", "unpaced_64", "cpu_us")
    yield Row("64 unpaced streams, largest gap between two events", "ms", "unpaced_64", "largest_gap_ms")
    for value in ("p50_ms", "p99_ms", "max_ms"):
        yield Row(f"client leaves to upstream closed, {value[:3]}", "ms", "departures", value)
    yield Row("departures the upstream never noticed", "", "departures", "unnoticed")
    yield Row("start to first answer", "ms", "memory", "start_ms")
    yield Row("resident at rest", "MB", "memory", "rest_mb")
    yield Row("1,000 idle connections add", "MB", "memory", "idle_mb")
    yield Row("200 stalled readers add", "MB", "memory", "stalled_mb")


ROWS = tuple(_rows())


def figure(rounds: Sequence[Round], row: Row, door: str) -> Figure | None:
    """What `row` says of `door`; of the direct socket always its own value."""
    own = values_of(rounds, row.measurement, door)
    if row.added and door != DIRECT:
        return Figure.of(differences(own, values_of(rounds, row.measurement, DIRECT), row.value))
    return Figure.of(values[row.value] for values in own.values() if row.value in values)


def number(value: float) -> str:
    """Three significant digits, but every digit before the point."""
    if value == 0:
        return "0"
    if abs(value) >= 99.95:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 9.995 else f"{value:.2f}"


def cell(found: Figure | None) -> str:
    """The median, and in brackets the lowest and highest round when they read differently."""
    if found is None:
        return ABSENT
    low, high = number(found.low), number(found.high)
    return number(found.median) if low == high else f"{number(found.median)} ({low} to {high})"


def table(rounds: Sequence[Round]) -> list[list[str]]:
    """Header and lines as text; rows of which nobody has a figure are left out."""
    seen = {one.door for one in rounds if not one.error}
    doors = [door for door in dict.fromkeys((DIRECT, *(one.door for one in rounds))) if door in seen]
    lines = [["", "unit", *doors]]
    for row in ROWS:
        found = [figure(rounds, row, door) for door in doors]
        if any(found):
            lines.append([row.label, row.unit, *map(cell, found)])
    return lines


def plain(lines: Sequence[Sequence[str]]) -> str:
    """For a terminal."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def markdown(lines: Sequence[Sequence[str]]) -> str:
    """For a page."""
    head, *body = (f"| {' | '.join(line)} |" for line in lines)
    rule = "| --- | --- |" + " ---: |" * (len(lines[0]) - 2)
    return "\n".join([head, rule, *body])


# ---- the verdicts -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Verdict:
    """What the project promises, what was seen, and whether that holds; None when nothing could be seen."""

    promise: str
    seen: str
    holds: bool | None
    idle_only: bool
    """A figure in absolute time, which another's load on the machine would spoil."""

    def word(self, idle: bool) -> str:
        if self.holds is None:
            return "unseen"
        if self.holds:
            return "pass"
        return "FAIL" if idle or not self.idle_only else "fail, not binding: the machine is busy"

    def broken(self, idle: bool) -> bool:
        return self.holds is False and (idle or not self.idle_only)


class _Judge:
    """Looks figures of this project up and compares them."""

    def __init__(self, rounds: Sequence[Round]) -> None:
        self._rounds = rounds

    def value(self, measurement: str, value: str, added: bool = False) -> float | None:
        found = figure(self._rounds, Row("", "", measurement, value, added), OURS)
        return found.median if found else None

    def ratio(self, measurement: str, value: str, base: str) -> float | None:
        mine, theirs = (values_of(self._rounds, measurement, door) for door in (OURS, base))
        found = ratios(mine, theirs, value)
        return median(found) if found else None

    def at_most(self, promise: str, limit: float, seen: float | None, unit: str, idle_only: bool) -> Verdict:
        return self._verdict(promise, seen, unit, lambda value: value <= limit, idle_only)

    def at_least(self, promise: str, limit: float, seen: float | None, unit: str, idle_only: bool) -> Verdict:
        return self._verdict(promise, seen, unit, lambda value: value >= limit, idle_only)

    def _verdict(
        self, promise: str, seen: float | None, unit: str, good: Callable[[float], bool], idle_only: bool
    ) -> Verdict:
        if seen is None:
            return Verdict(promise, ABSENT, None, idle_only)
        return Verdict(promise, f"{number(seen)} {unit}".strip(), good(seen), idle_only)


def verdicts(rounds: Sequence[Round]) -> list[Verdict]:
    """What the project promises of its cost, judged on the medians of the run."""
    judge = _Judge(rounds)
    value, ratio = judge.value, judge.ratio
    times_nginx = "x nginx"
    found = [
        judge.at_most("CPU per 1 KB request <= 110 us", 110, value("requests_1k_16", "cpu_us"), "us", True),
        judge.at_most(
            "CPU per 1 KB request <= 7 x nginx",
            7,
            ratio("requests_1k_16", "cpu_us", ANCHOR),
            times_nginx,
            False,
        ),
        judge.at_most("CPU per 560 KB request <= 1,200 us", 1200, value("requests_560k_16", "cpu_us"), "us", True),
    ]
    for streams in (50, 256, 512):
        seen = ratio(f"streams_{streams}", "cpu_us", ANCHOR)
        found.append(judge.at_most(f"CPU per SSE event <= 2 x nginx, {streams} streams", 2, seen, times_nginx, False))
    share = ratio("unpaced_64", "megabytes_per_second", DIRECT)
    gap = value("unpaced_64", "largest_gap_ms", added=True)
    delay = value("streams_256", "p99_us", added=True)
    latency = value("requests_1k_1", "p95_us", added=True)
    percent = None if share is None else share * 100
    found += [
        judge.at_most("added latency p95, one connection <= 1,000 us", 1000, latency, "us", True),
        judge.at_least("64 unpaced streams >= 90 % of direct", 90, percent, "%", False),
        judge.at_most("64 unpaced streams, largest gap added < 50 ms", 49.999, gap, "ms", True),
        judge.at_most("256 streams of 50 events/s: nothing lost", 0, value("streams_256", "lost"), "lost", False),
        judge.at_most("256 streams of 50 events/s: added p99 <= 5,000 us", 5000, delay, "us", True),
        judge.at_most("abort after the client leaves p99 <= 50 ms", 50, value("departures", "p99_ms"), "ms", True),
        judge.at_most("every departure noticed", 0, value("departures", "unnoticed"), "unnoticed", False),
    ]
    return found


def foreign_share(rounds: Sequence[Round]) -> float:
    """What others had of the machine's CPUs in the median round."""
    return median(one.foreign_share for one in rounds) if rounds else 0.0


def is_idle(rounds: Sequence[Round]) -> bool:
    """Whether the machine was ours."""
    return foreign_share(rounds) <= IDLE_SHARE


def circumstances(rounds: Sequence[Round]) -> str:
    """What others did meanwhile, as a sentence."""
    state = "idle" if is_idle(rounds) else "busy"
    return f"The machine was {state}: in the median round others had {foreign_share(rounds):.0%} of its CPUs."


# ---- the files ----------------------------------------------------------------------------------------


def document(
    machine: Mapping[str, object],
    versions: Mapping[str, str],
    absent: Mapping[str, str],
    rounds: Sequence[Round],
) -> dict[str, object]:
    """The run as JSON: where, of what, every round, and what follows from them."""
    idle = is_idle(rounds)
    return {
        "machine": dict(machine),
        "versions": dict(versions),
        "absent": dict(absent),
        "idle": idle,
        "circumstances": circumstances(rounds),
        "rounds": [asdict(one) for one in rounds],
        "table": table(rounds),
        "verdicts": [asdict(one) | {"word": one.word(idle)} for one in verdicts(rounds)],
    }


def page(run: Mapping[str, object]) -> str:
    """The generated part of the page: the table, and the circumstances of the run it is from."""
    machine, versions, absent = run["machine"], run["versions"], run["absent"]
    assert isinstance(machine, Mapping) and isinstance(versions, Mapping) and isinstance(absent, Mapping)
    rounds, lines, judged = run["rounds"], run["table"], run["verdicts"]
    assert isinstance(rounds, list) and isinstance(lines, list) and isinstance(judged, list)
    tree, niceness = machine["commit"] or "unknown", machine.get("niceness", 0)
    measured = (
        f"Measured {machine['date']} on {machine['cpus']} x {machine['cpu']}, Linux {machine['kernel']},"
        f" Python {machine['python']}, tree {tree}, nice {niceness}. {run['circumstances']}"
    )
    parts = [
        measured,
        "; ".join(f"{name}: {text}" for name, text in versions.items()) + ".",
        *([f"Not measured: {'; '.join(f'{name} ({why})' for name, why in absent.items())}."] if absent else []),
        markdown(lines),
        LEGEND,
        markdown([["promise", "seen", "verdict"], *([one["promise"], one["seen"], one["word"]] for one in judged)]),
    ]
    return "\n\n".join(parts)


def replaced(text: str, generated: str, first: str = BEGIN, last: str = END) -> str:
    """`text` with `generated` between its two markers.

    :raises ValueError: unless each marker stands there once, in order.
    """
    before, begin, rest = text.partition(first)
    _, end, after = rest.partition(last)
    if not begin or not end or first in rest or last in after or last in before:
        raise ValueError(f"the page needs one {first} and, after it, one {last}")
    return f"{before}{first}\n\n{generated}\n\n{last}{after}"
