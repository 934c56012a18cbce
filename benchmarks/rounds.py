"""The run: every measurement at every door, in interleaved rounds, one neighbour after the other."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from benchmarks.contenders import Contender
from benchmarks.figures import Values
from benchmarks.machine import CpuTimes, foreign_share
from benchmarks.measurements import Effort, Measurement
from benchmarks.stage import Door, Failed, Stage


@dataclass(frozen=True)
class Round:
    """One measurement at one door, once. A failed one has no values and says why."""

    measurement: str
    door: str
    number: int
    values: Values
    foreign_share: float
    """The share of the machine's CPUs that others had meanwhile."""
    error: str = ""


ByNumber = Mapping[int, Values]


def values_of(rounds: Sequence[Round], measurement: str, door: str) -> ByNumber:
    """The values of the rounds that succeeded, by number."""
    return {
        one.number: one.values for one in rounds if (one.measurement, one.door) == (measurement, door) and not one.error
    }


def order(doors: Sequence[Door], number: int) -> Sequence[Door]:
    """A B C, then C B A: a slow change of the machine favours nobody."""
    return doors if number % 2 == 0 else doors[::-1]


def _one(stage: Stage, doors: list[Door], measurement: Measurement, door: Door, number: int, effort: Effort) -> Round:
    values: Values = {}
    error = ""
    before, used = CpuTimes.now(), stage.used_cpu_ns(doors)
    try:
        values = measurement.take(stage, door, effort)
    except Failed as failure:
        error = str(failure)
    ours = (stage.used_cpu_ns(doors) - used) / 1e9
    return Round(measurement.name, door.name, number, values, foreign_share(before, CpuTimes.now(), ours), error)


def run(
    stage: Stage,
    contenders: Sequence[Contender],
    measurements: Sequence[Measurement],
    effort: Effort,
    tell: Callable[[str], None],
) -> list[Round]:
    """All rounds in their order. A contender that does not start is one failed round named "start".

    :param tell: is told what goes on, a line at a time.
    """
    doors, rounds = [stage.direct()], []
    with ExitStack() as stack:
        for contender in contenders:
            try:
                doors.append(stack.enter_context(stage.door(contender)))
            except Failed as failure:
                rounds.append(Round("start", contender.name, 0, {}, 0.0, str(failure)))
                tell(str(failure))
        for measurement in measurements:
            tell(f"{measurement.name}, {effort.rounds} rounds")
            for number in range(effort.rounds):
                for door in order(doors, number):
                    if door.server or measurement.of_direct:
                        rounds.append(_one(stage, doors, measurement, door, number, effort))
                        if rounds[-1].error:
                            tell(f"  {door.name}, round {number + 1}: {rounds[-1].error}")
    return rounds
