from __future__ import annotations

import json
import sys

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from benchmarks.figures import Departure, Figure, Values, abort_times, differences, percentile, ratios
from benchmarks.interpreter import Interpreter, asked, chosen, is_optimised
from benchmarks.layers import LAYERS, Grown, lines
from benchmarks.machine import CpuTimes, foreign_share
from benchmarks.report import (
    BEGIN,
    DIRECT,
    END,
    OURS,
    Row,
    cell,
    document,
    figure,
    is_idle,
    markdown,
    number,
    page,
    plain,
    replaced,
    table,
    verdicts,
)
from benchmarks.rounds import Round, values_of
from hadesgw.config import load


def _round(measurement: str, door: str, at: int, foreign: float = 0.0, error: str = "", **values: float) -> Round:
    return Round(measurement, door, at, values, foreign, error)


class PercentileTests(SynchronousTestCase):
    def test_nearest_rank(self) -> None:
        """A percentile is a sample that was seen, never one in between."""
        samples = [40.0, 10.0, 30.0, 20.0]
        for share, expected in ((0, 10), (0.25, 10), (0.26, 20), (0.5, 20), (0.75, 30), (0.99, 40), (1, 40)):
            self.assertEqual(percentile(samples, share), expected)

    @given(st.lists(st.floats(0, 1e9), min_size=1), st.floats(0, 1))
    def test_share_is_covered(self, samples: list[float], share: float) -> None:
        """At least the asked share of the samples is not above it, and less than that is below it."""
        found = percentile(samples, share)
        self.assertGreaterEqual(sum(one <= found for one in samples), share * len(samples))
        self.assertLessEqual(sum(one < found for one in samples), share * len(samples))

    def test_nothing_to_say(self) -> None:
        """Without samples, or for what is no share, there is no percentile."""
        for samples, share in (([], 0.5), ([1.0], 1.1), ([1.0], -0.1)):
            self.assertRaises(ValueError, percentile, samples, share)


class FigureTests(SynchronousTestCase):
    def test_median_and_spread(self) -> None:
        """A figure is the median of its rounds with the lowest and the highest."""
        self.assertEqual(Figure.of([5.0, 1.0, 3.0]), Figure(3.0, 1.0, 5.0, 3))

    def test_no_rounds(self) -> None:
        """No rounds give no figure."""
        self.assertIsNone(Figure.of([]))

    def test_pairs_of_one_round(self) -> None:
        """Differences and ratios compare only values of the same round."""
        mine: dict[int, Values] = {0: {"x": 5.0}, 1: {"x": 9.0}, 2: {"y": 1.0}, 3: {"x": 7.0}}
        base: dict[int, Values] = {0: {"x": 2.0}, 1: {"x": 3.0}, 2: {"x": 4.0}}
        self.assertEqual(differences(mine, base, "x"), [3.0, 6.0])
        self.assertEqual(ratios(mine, base, "x"), [2.5, 3.0])

    def test_ratio_to_nothing(self) -> None:
        """A base of zero makes no ratio."""
        self.assertEqual(ratios({0: {"x": 5.0}}, {0: {"x": 0.0}}, "x"), [])


class AbortTimeTests(SynchronousTestCase):
    def test_times(self) -> None:
        """The time from each leaving to the close that the backend saw is given in milliseconds."""
        left = [Departure(0, 1_000_000, early=False), Departure(1, 2_000_000, early=False)]
        values = abort_times(left, {0, 1}, {0: 4_000_000, 1: 3_000_000})
        self.assertEqual(values["noticed"], 2)
        self.assertEqual(values["unnoticed"], 0)
        self.assertEqual((values["p50_ms"], values["p99_ms"], values["max_ms"]), (1.0, 3.0, 3.0))

    def test_never_reached(self) -> None:
        """A request that never reached the backend leaves nothing to abort: it is noticed, but no time."""
        values = abort_times([Departure(0, 1, early=False)], set(), {})
        self.assertEqual(values, {"departures": 1, "noticed": 1, "unnoticed": 0})

    def test_not_noticed(self) -> None:
        """A leaving that the backend is not told of, or told too soon, or that came too late is unnoticed."""
        left = [Departure(0, 10, early=False), Departure(1, 10, early=False), Departure(2, 0, early=True)]
        values = abort_times(left, {0, 1, 2}, {1: 9})
        self.assertEqual(values, {"departures": 3, "noticed": 0, "unnoticed": 3})


class CpuTimesTests(SynchronousTestCase):
    before = CpuTimes.parse("cpu  100 0 50 800 10 0 0 40 0 0\ncpu0 1 2 3", 100)

    def test_parse(self) -> None:
        """The first line of /proc/stat is read in clock ticks; waiting and stolen time is not busy time."""
        self.assertEqual(self.before, CpuTimes(busy=1.5, stolen=0.4, total=10.0))

    def test_foreign_share(self) -> None:
        """What is neither idle nor ours was somebody else's, the hypervisor's other guests among them."""
        after = CpuTimes(busy=4.5, stolen=0.9, total=20.0)
        self.assertAlmostEqual(foreign_share(self.before, after, ours_seconds=2.5), 0.1)

    def test_ours_alone(self) -> None:
        """Rounding in our favour is no negative load of others."""
        after = CpuTimes(busy=2.5, stolen=0.4, total=20.0)
        self.assertEqual(foreign_share(self.before, after, ours_seconds=1.2), 0.0)


BOTH_STEPS = {"PGO_PROF_GEN_FLAG": "-fprofile-generate", "PGO_PROF_USE_FLAG": "-fprofile-use -fprofile-correction"}


class InterpreterTests(SynchronousTestCase):
    def test_asked_for(self) -> None:
        """Who asks `configure` for optimisation gets it; who does not has the flags of both steps in the record."""
        self.assertTrue(is_optimised({**BOTH_STEPS, "CONFIG_ARGS": "'--with-lto' '--enable-optimizations'"}))
        self.assertFalse(is_optimised({**BOTH_STEPS, "CONFIG_ARGS": "'--enable-shared'"}))

    def test_struck_out(self) -> None:
        """A record of which only the second step's flags are missing had them struck out after they were used."""
        self.assertTrue(is_optimised({**BOTH_STEPS, "PGO_PROF_USE_FLAG": "", "CONFIG_ARGS": "'--prefix=/usr'"}))

    def test_no_record(self) -> None:
        """Nothing known is nothing promised."""
        self.assertFalse(is_optimised({}))
        self.assertFalse(is_optimised({"CONFIG_ARGS": None, "PGO_PROF_GEN_FLAG": None, "PGO_PROF_USE_FLAG": None}))

    def test_chosen(self) -> None:
        """The first that is optimised and new enough, else the first that is new enough, else none."""
        plain, other = Interpreter("plain", (3, 13), False), Interpreter("other", (3, 12), False)
        fast, old = Interpreter("fast", (3, 11), True), Interpreter("old", (3, 10), True)
        for interpreters, expected in (
            ([old, plain, other, fast], fast),
            ([old, plain, other], plain),
            ([old], None),
            ([], None),
        ):
            self.assertEqual(chosen(interpreters), expected)

    def test_asked(self) -> None:
        """A Python tells its version; what is no Python tells nothing."""
        found = asked(sys.executable)
        assert found is not None
        self.assertEqual((found.path, found.version), (sys.executable, sys.version_info[:2]))
        self.assertIsNone(asked("/nowhere/python3"))
        self.assertIsNone(asked("/bin/true"))


class TableTests(SynchronousTestCase):
    def test_number(self) -> None:
        """Figures have three digits, or all that stand before the point."""
        for value, text in ((0, "0"), (0.5, "0.50"), (9.994, "9.99"), (9.996, "10.0"), (99.96, "100")):
            self.assertEqual(number(value), text)
        self.assertEqual(number(12345.6), "12,346")
        self.assertEqual(number(-12.34), "-12.3")

    def test_cell(self) -> None:
        """A cell shows the spread where there is one to see."""
        self.assertEqual(cell(None), "–")
        self.assertEqual(cell(Figure(5.0, 5.0, 5.001, 3)), "5.00")
        self.assertEqual(cell(Figure(5.0, 4.0, 6.0, 3)), "5.00 (4.00 to 6.00)")

    def test_failed_rounds_have_no_values(self) -> None:
        """A round that failed counts for nothing, whatever it had measured by then."""
        rounds = [
            _round("m", OURS, 0, x=1.0),
            _round("m", OURS, 1, error="cut", x=99.0),
            _round("n", OURS, 0, x=2.0),
        ]
        self.assertEqual(values_of(rounds, "m", OURS), {0: {"x": 1.0}})

    def test_added_values(self) -> None:
        """What a door adds is counted from "direct" round by round; "direct" shows what it is added to."""
        rounds = [
            _round("m", DIRECT, 0, x=10.0),
            _round("m", OURS, 0, x=15.0),
            _round("m", DIRECT, 1, x=20.0),
            _round("m", OURS, 1, x=27.0),
        ]
        row = Row("", "us", "m", "x", added=True)
        self.assertEqual(figure(rounds, row, OURS), Figure(6.0, 5.0, 7.0, 2))
        self.assertEqual(figure(rounds, row, DIRECT), Figure(15.0, 10.0, 20.0, 2))

    def test_lines(self) -> None:
        """The table has a column for each door with a figure, "direct" first, and no line without one."""
        rounds = [
            _round("departures", OURS, 0, p50_ms=1.5),
            _round("departures", "caddy", 0, error="did not start"),
            _round("departures", DIRECT, 0, p50_ms=0.25),
        ]
        self.assertEqual(
            table(rounds),
            [["", "unit", DIRECT, OURS], ["client leaves to upstream closed, p50", "ms", "0.25", "1.50"]],
        )

    def test_forms(self) -> None:
        """The same lines become columns of even width, and a table of Markdown with figures to the right."""
        lines = [["", "unit", "a"], ["first", "us", "1.00"]]
        self.assertEqual(plain(lines), "       unit  a\nfirst  us    1.00")
        self.assertEqual(markdown(lines), "|  | unit | a |\n| --- | --- | ---: |\n| first | us | 1.00 |")


class VerdictTests(SynchronousTestCase):
    def _word(self, promise: str, rounds: list[Round], idle: bool) -> str:
        return next(one.word(idle) for one in verdicts(rounds) if one.promise.startswith(promise))

    def test_unseen(self) -> None:
        """Without rounds no promise is kept or broken."""
        self.assertEqual({one.holds for one in verdicts([])}, {None})
        self.assertFalse(any(one.broken(idle=True) for one in verdicts([])))

    def test_edge(self) -> None:
        """A figure at the limit keeps the promise, one past it does not."""
        for cpu_us, word in ((110.0, "pass"), (110.1, "FAIL")):
            rounds = [_round("requests_1k_16", OURS, 0, cpu_us=cpu_us)]
            self.assertEqual(self._word("CPU per 1 KB request <= 110 us", rounds, idle=True), word)

    def test_busy_machine(self) -> None:
        """On a busy machine times do not bind; ratios to a neighbour measured beside it do."""
        rounds = [
            _round("requests_1k_16", OURS, 0, cpu_us=800.0),
            _round("requests_1k_16", "nginx", 0, cpu_us=100.0),
        ]
        self.assertEqual(
            self._word("CPU per 1 KB request <= 110 us", rounds, idle=False),
            "fail, not binding: the machine is busy",
        )
        self.assertEqual(self._word("CPU per 1 KB request <= 7 x nginx", rounds, idle=False), "FAIL")
        self.assertEqual(
            [one.promise for one in verdicts(rounds) if one.broken(idle=False)],
            ["CPU per 1 KB request <= 7 x nginx"],
        )

    def test_share_of_direct(self) -> None:
        """Throughput is judged as a share of the same load straight on the socket."""
        for ours, word in ((90.0, "pass"), (89.0, "FAIL")):
            rounds = [
                _round("unpaced_64", DIRECT, 0, megabytes_per_second=100.0),
                _round("unpaced_64", OURS, 0, megabytes_per_second=ours),
            ]
            self.assertEqual(self._word("64 unpaced streams >= 90 %", rounds, idle=False), word)

    def test_every_departure(self) -> None:
        """One departure of a thousand that the upstream never noticed breaks the promise."""
        rounds = [_round("departures", OURS, 0, unnoticed=1.0, p99_ms=3.0)]
        self.assertEqual(self._word("every departure noticed", rounds, idle=False), "FAIL")

    def test_idle_machine(self) -> None:
        """The machine counts as idle when the median round had hardly any stranger on it."""
        self.assertTrue(is_idle([_round("m", OURS, at, foreign=share) for at, share in enumerate((0.0, 0.01, 0.9))]))
        self.assertFalse(is_idle([_round("m", OURS, at, foreign=share) for at, share in enumerate((0.0, 0.2, 0.9))]))


class PageTests(SynchronousTestCase):
    def test_replaced(self) -> None:
        """Only what stands between the markers changes, and doing it twice is doing it once."""
        text = f"before\n{BEGIN}\nold\n{END}\nafter\n"
        once = replaced(text, "new")
        self.assertEqual(once, f"before\n{BEGIN}\n\nnew\n\n{END}\nafter\n")
        self.assertEqual(replaced(once, "new"), once)

    def test_markers(self) -> None:
        """A page without its two markers in order, or with more of them, is left alone."""
        for text in ("", BEGIN, END, f"{END}{BEGIN}", f"{BEGIN}{BEGIN}{END}", f"{BEGIN}{END}{END}"):
            self.assertRaises(ValueError, replaced, text, "new")

    def test_document(self) -> None:
        """A run can be kept as JSON, and the page made from what was kept."""
        rounds = [
            _round("departures", OURS, 0, p99_ms=3.0, unnoticed=0.0),
            _round("start", "caddy", 0, error="no"),
        ]
        machine = {
            "date": "2026-01-02T03:04:05Z",
            "cpu": "C",
            "cpus": 2,
            "kernel": "6",
            "python": "3",
            "commit": "",
        }
        kept = json.loads(json.dumps(document(machine, {"nginx": "1.22"}, {"haproxy": "not installed"}, rounds)))
        self.assertEqual(len(kept["rounds"]), 2)
        generated = page(kept)
        for words in (
            "2 x C",
            "tree unknown, nice 0. The machine was idle",
            "nginx: 1.22",
            "haproxy (not installed)",
            "| 3.00 |",
            "| pass |",
        ):
            self.assertIn(words, generated)


class LayerTests(SynchronousTestCase):
    def test_trees_grow_into_the_default_one(self) -> None:
        """By a layer each, from the proxy alone; the last is not written down, so that it is what anybody gets."""
        trees = [Grown(count) for count in range(len(LAYERS) + 1)]
        self.assertEqual([tree.name.count("-") for tree in trees], [0, 1, 2, 3, 4, 5])
        self.assertEqual(trees[1].tree, '\n[tree]\n"/v1" = ["metered", "proxy"]\n')
        self.assertEqual(trees[-1].tree, "")
        self.assertEqual((*LAYERS, "proxy"), load(None).tree["/v1"])

    def test_a_layer_costs_what_it_adds_in_the_same_round(self) -> None:
        """Not the difference of medians, between which the machine may have changed."""
        values = {
            "nginx": {0: {"cpu_us": 10.0}, 1: {"cpu_us": 20.0}},
            "proxy": {0: {"cpu_us": 20.0}, 1: {"cpu_us": 40.0}},
            "metered-proxy": {0: {"cpu_us": 22.0}, 1: {"cpu_us": 44.0}},
        }
        self.assertEqual(
            lines(values)[1:],
            [
                ["proxy", "30.0 (20.0 to 40.0)", "–", "2.00"],
                ["+ metered", "33.0 (22.0 to 44.0)", "3.00 (2.00 to 4.00)", "2.20"],
                ["nginx", "15.0 (10.0 to 20.0)", "–", "1"],
            ],
        )
