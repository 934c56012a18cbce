"""``python -m benchmarks.layers``: what each layer of the default tree costs, in CPU time for a request of 1 KB.

The gateways measured differ in their trees only: the proxy alone, then with one layer more each, until the tree is the
default one.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack

from benchmarks import machine
from benchmarks.contenders import PROJECT, Hadesgw, Nginx
from benchmarks.figures import Figure, Values, differences, ratios
from benchmarks.machine import CpuTimes
from benchmarks.measurements import SMALL, Effort, Requests
from benchmarks.report import markdown, number, plain, replaced
from benchmarks.rounds import order
from benchmarks.stage import Door, Failed, Stage
from benchmarks.toolchain import NoCompiler, compiled

LAYERS = ("metered", "cors", "guard", "limiter", "validation")
"""Of the default tree before its proxy, the outermost first."""
BEGIN, END = "<!-- layers: begin -->", "<!-- layers: end -->"
_FIGURE = "cpu_us"
_PATIENCE_SECONDS = 1200
_PAGE = PROJECT / "docs" / "performance.md"

Rounds = dict[str, dict[int, Values]]
"""Values by the door's name and the round's number."""


class Grown(Hadesgw):
    """A gateway with the first of the layers.

    :param count: how many.
    """

    def __init__(self, count: int) -> None:
        layers = [*LAYERS[:count], "proxy"]
        self.name = "-".join(layers)
        self.tree = "" if count == len(LAYERS) else f'\n[tree]\n"/v1" = {json.dumps(layers)}\n'


def _measured(stage: Stage, rounds: int, seconds: float) -> tuple[Rounds, list[float]]:
    """The values, and the shares of the CPUs that others had in the rounds."""
    load = Requests("requests_1k_16", 16, SMALL)
    effort = Effort(rounds, seconds / 2)
    values: Rounds = {}
    shares: list[float] = []
    with ExitStack() as stack:
        contenders = [Nginx(), *(Grown(count) for count in range(len(LAYERS) + 1))]
        doors: list[Door] = [stack.enter_context(stage.door(one)) for one in contenders]
        for at in range(rounds):
            before, used = CpuTimes.now(), stage.used_cpu_ns(doors)
            for door in order(doors, at):
                values.setdefault(door.name, {})[at] = load.take(stage, door, effort)
            ours = (stage.used_cpu_ns(doors) - used) / 1e9
            shares.append(machine.foreign_share(before, CpuTimes.now(), ours))
    return values, shares


def _cell(found: Sequence[float]) -> str:
    figure = Figure.of(found)
    assert figure is not None
    return f"{number(figure.median)} ({number(figure.low)} to {number(figure.high)})"


def lines(values: Mapping[str, Mapping[int, Values]]) -> list[list[str]]:
    """The table's, the first one its head.

    :param values: of nginx, the proxy alone, and each tree that has a layer more, in this order.
    """
    (_, anchor), *grown = values.items()
    told = [["tree", "CPU per request, us", "added by its last layer, us", "times nginx"]]
    last: Mapping[int, Values] | None = None
    for name, rounds in grown:
        added = "–" if last is None else _cell(differences(rounds, last, _FIGURE))
        label = name if last is None else f"+ {name.split('-')[-2]}"
        times = Figure.of(ratios(rounds, anchor, _FIGURE))
        assert times is not None
        told.append([label, _cell([one[_FIGURE] for one in rounds.values()]), added, f"{times.median:.2f}"])
        last = rounds
    told.append(["nginx", _cell([one[_FIGURE] for one in anchor.values()]), "–", "1"])
    return told


def main(argv: Sequence[str] | None = None) -> int:
    """0 when it could be measured."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.layers", description=__doc__)
    parser.add_argument("--rounds", type=int, choices=range(1, 51), default=10, metavar="N", help="1 to 50")
    parser.add_argument("--seconds", type=float, default=0.8, metavar="S", help="of each load, at least 0.3")
    parser.add_argument("--first", action="store_true", help="run before others on a shared machine (nice -15)")
    parser.add_argument("--update-docs", action="store_true", help="write docs/performance.md too")
    arguments = parser.parse_args(argv)
    placement = machine.Placement.choose(True, -15 if arguments.first else 0)
    try:
        with machine.alone(_PATIENCE_SECONDS, print), Stage(compiled(), placement) as stage:
            values, shares = _measured(stage, arguments.rounds, arguments.seconds)
    except (NoCompiler, Failed, TimeoutError) as error:
        print(error, file=sys.stderr)
        return 1
    described = machine.describe(placement)
    share = Figure.of(shares)
    assert share is not None
    told = (
        f"{described['date']}, Python {described['python']}, {arguments.rounds} rounds;"
        f" in the median round others had {share.median:.0%} of the CPUs."
    )
    print(f"{plain(lines(values))}\n\n{told}")
    if arguments.update_docs:
        _PAGE.write_text(replaced(_PAGE.read_text(), f"{markdown(lines(values))}\n\n{told}", BEGIN, END))
    return 0


if __name__ == "__main__":
    sys.exit(main())
