"""``python -m benchmarks``: measure, print the table and the verdicts, keep the rounds."""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType

from benchmarks import machine
from benchmarks.contenders import PROJECT, Contender, all_contenders
from benchmarks.measurements import FULL, QUICK, Effort, Measurement, all_measurements
from benchmarks.report import (
    ANCHOR,
    LEGEND,
    OURS,
    YARDSTICK,
    circumstances,
    document,
    is_idle,
    page,
    plain,
    replaced,
    table,
    verdicts,
)
from benchmarks.rounds import Round, run
from benchmarks.stage import Failed, Stage
from benchmarks.toolchain import NoCompiler, Tools, compiled

_RESULTS = Path(__file__).parent / "results"
_PATIENCE_SECONDS = 1200
_FIRST = -15
_PAGE = PROJECT / "docs" / "performance.md"


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    names = [one.name for one in all_contenders()]
    measurements = [one.name for one in all_measurements()]
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="about a minute: fewer, shorter rounds and no optional peers"
    )
    parser.add_argument("--only", action="append", choices=measurements, metavar="NAME", help=", ".join(measurements))
    parser.add_argument("--contenders", nargs="+", choices=names, metavar="NAME", help=", ".join(names))
    parser.add_argument("--rounds", type=int, choices=range(1, 51), metavar="N", help="1 to 50 of each measurement")
    parser.add_argument("--no-pin", action="store_true", help="let the scheduler place the processes")
    parser.add_argument(
        "--first", action="store_true", help="run before others on a shared machine (nice -15; needs the right to)"
    )
    parser.add_argument(
        "--update-docs", action="store_true", help="write docs/performance.md and results/latest.json too"
    )
    parser.add_argument("--strict", action="store_true", help="exit with 1 when a promise is broken")
    return parser.parse_args(argv)


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _chosen(
    arguments: argparse.Namespace,
) -> tuple[list[Contender], dict[str, str], list[Measurement], Effort]:
    """Contenders, those absent with the reason, measurements, and effort."""
    named = arguments.contenders or ([ANCHOR, YARDSTICK, OURS] if arguments.quick else None)
    contenders = [one for one in all_contenders() if named is None or one.name in named]
    absent = {one.name: one.absence() for one in contenders if one.absence()}
    measurements = [one for one in all_measurements() if arguments.only is None or one.name in arguments.only]
    effort = QUICK if arguments.quick else FULL
    effort = Effort(arguments.rounds or effort.rounds, effort.scale)
    return [one for one in contenders if one.name not in absent], absent, measurements, effort


def _print(rounds: Sequence[Round], absent: Mapping[str, str], python: str, in_part: bool) -> bool:
    """The table and the verdicts (of a part only those seen); true when no binding promise is broken."""
    idle = is_idle(rounds)
    print(plain(table(rounds)))
    for name, why in absent.items():
        print(f"not measured: {name}, {why}")
    print(f"\n{LEGEND}\n{circumstances(rounds)} {OURS} ran on Python {python}.\n")
    judged = [one for one in verdicts(rounds) if one.holds is not None or not in_part]
    if judged:
        lines = [[one.promise, one.seen, one.word(idle)] for one in judged]
        print(plain([["promise", "seen", "verdict"], *lines]))
    return not any(one.broken(idle) for one in judged)


def _keep(run_document: Mapping[str, object], date: str, update_docs: bool) -> None:
    _RESULTS.mkdir(exist_ok=True)
    text = json.dumps(run_document, indent=1) + "\n"
    path = _RESULTS / f"{date.replace(':', '')}.json"
    path.write_text(text)
    _tell(f"written: {path}")
    if update_docs:
        _PAGE.write_text(replaced(_PAGE.read_text(), page(run_document)))
        (_RESULTS / "latest.json").write_text(text)
        _tell(f"written: {_PAGE} and {_RESULTS / 'latest.json'}")


def _end(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


def _measure(
    tools: Tools,
    placement: machine.Placement,
    contenders: list[Contender],
    measurements: list[Measurement],
    effort: Effort,
) -> list[Round]:
    with machine.alone(_PATIENCE_SECONDS, _tell), Stage(tools, placement) as stage:
        return run(stage, contenders, measurements, effort, _tell)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; 0 when it could be run (and, with ``--strict``, no promise is broken)."""
    arguments = _arguments(argv)
    contenders, absent, measurements, effort = _chosen(arguments)
    signal.signal(signal.SIGTERM, _end)  # so that every child is ended on the way out
    placement = machine.Placement.choose(not arguments.no_pin, _FIRST if arguments.first else 0)
    described = machine.describe(placement)
    try:
        tools = compiled()
        rounds = _measure(tools, placement, contenders, measurements, effort)
    except (NoCompiler, Failed, TimeoutError) as error:
        _tell(str(error))
        return 1
    versions = {one.name: one.version() for one in contenders} | {"compiler": tools.compiler}
    kept = _print(rounds, absent, str(described["python"]), in_part=arguments.only is not None)
    _keep(document(described, versions, absent, rounds), str(described["date"]), arguments.update_docs)
    return 0 if kept or not arguments.strict else 1


if __name__ == "__main__":
    sys.exit(main())
