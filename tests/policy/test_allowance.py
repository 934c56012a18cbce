"""How much a client may take: never more than was granted, whatever the clock and the order of things."""

from __future__ import annotations

from fractions import Fraction
from itertools import accumulate

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from hadesgw.policy.allowance import (
    FEWEST_KEPT,
    Accounts,
    Bucket,
    Rate,
    Reservation,
    TokenMinute,
    Verdict,
    estimated_tokens,
)
from hadesgw.policy.credentials import Client, Role
from hadesgw.policy.turns import Slots

SECOND = 1_000_000_000

RATES = st.floats(0.001, 1_000_000, allow_nan=False) | st.sampled_from([0.1, 1.0, 3.0, 5.0, 7.0, 1e6])
STEPS = st.lists(st.integers(0, 3 * SECOND) | st.sampled_from([0, 1, SECOND]), max_size=60)
"""Nanoseconds between two requests: a machine's monotonic clock counts in them."""


def client(name: str = "alice", **limits: object) -> Client:
    """A client as the clients file has it."""
    return Client(name=name, roles=frozenset((Role.USER,)), **limits)  # type: ignore[arg-type]


class RateTests(SynchronousTestCase):
    """The generic cell rate algorithm."""

    def test_a_burst_is_exact(self) -> None:
        """After a rest exactly `burst` requests are admitted at once, and one more each time an interval has passed."""
        bucket = Bucket(Rate(5, 10))
        verdicts = [bucket.take(100.0) for _ in range(11)]
        self.assertEqual([verdict.admitted for verdict in verdicts], [True] * 10 + [False])
        self.assertFalse(bucket.take(100.199999999).admitted)
        self.assertTrue(bucket.take(100.2).admitted)
        self.assertFalse(bucket.take(100.2).admitted)

    def test_a_verdict_tells_how_things_stand(self) -> None:
        """Limit, what remains, and the whole seconds until nothing is missing and until the next is admitted."""
        bucket = Bucket(Rate(0.5, 3))
        found = [bucket.take(now) for now in (10.0, 10.0, 10.5, 11.0, 12.0)]
        self.assertEqual(
            found,
            [
                Verdict(admitted=True, limit=3, remaining=2, reset=2, retry_after=1),
                Verdict(admitted=True, limit=3, remaining=1, reset=4, retry_after=1),
                Verdict(admitted=True, limit=3, remaining=0, reset=6, retry_after=1),
                Verdict(admitted=False, limit=3, remaining=0, reset=5, retry_after=1),
                Verdict(admitted=True, limit=3, remaining=0, reset=6, retry_after=1),
            ],
        )
        self.assertEqual(bucket.take(12.0).retry_after, 2)

    def test_a_refused_request_costs_nothing(self) -> None:
        """Who asks too often is not put off any further by it."""
        bucket = Bucket(Rate(1, 1))
        bucket.take(0.0)
        for tenth in range(1, 10):
            self.assertFalse(bucket.take(tenth / 10).admitted)
        self.assertTrue(bucket.take(1.0).admitted)

    @given(RATES, st.integers(1, 20), STEPS)
    def test_no_window_ever_sees_too_many(self, per_second: float, burst: int, steps: list[int]) -> None:
        """In every window of length t at most burst + rate * t are admitted, computed without rounding."""
        bucket = Bucket(Rate(per_second, burst))
        times = list(accumulate(steps, initial=3_600 * SECOND))
        admitted = [time for time in times if bucket.take(time / SECOND).admitted]
        rate = Fraction(per_second) / SECOND
        for first, begin in enumerate(admitted):
            for last, end in enumerate(admitted[first:], first):
                self.assertLessEqual(last - first + 1, burst + rate * (end - begin))

    @given(RATES)
    def test_an_interval_is_never_shorter_than_its_rate_says(self, per_second: float) -> None:
        """A third of a second is 333,333,334 nanoseconds: whoever asks as soon as he may gets no more for it."""
        self.assertGreaterEqual(Rate(per_second, 1).interval * Fraction(per_second), SECOND)

    @given(RATES, st.integers(1, 20), STEPS)
    def test_no_request_is_refused_that_could_be_admitted(
        self, per_second: float, burst: int, steps: list[int]
    ) -> None:
        """A refused one would have made some window see too many, but for the nanoseconds lost to rounding."""
        bucket = Bucket(Rate(per_second, burst))
        admitted: list[int] = []
        rate = Fraction(per_second) / SECOND
        for time in accumulate(steps, initial=3_600 * SECOND):
            if bucket.take(time / SECOND).admitted:
                admitted.append(time)
            else:
                spare = [
                    burst + rate * (time - begin) - (len(admitted) - first + 1) for first, begin in enumerate(admitted)
                ]
                self.assertLess(min(spare), rate * len(admitted))

    @given(RATES, st.integers(1, 5), st.lists(st.floats(0, 1e7), max_size=40))
    def test_a_clock_that_goes_back_stands_still(self, per_second: float, burst: int, times: list[float]) -> None:
        """Whatever times are given, it is as if each was the latest so far."""
        jumping, rising = Bucket(Rate(per_second, burst)), Bucket(Rate(per_second, burst))
        self.assertEqual([jumping.take(time) for time in times], [rising.take(time) for time in accumulate(times, max)])

    @given(RATES, st.integers(1, 20), STEPS)
    def test_whoever_waits_as_told_is_admitted(self, per_second: float, burst: int, steps: list[int]) -> None:
        """`retry_after` is a whole number of at least 1, long enough, and no second longer than needed."""
        bucket = Bucket(Rate(per_second, burst))
        for time in accumulate(steps, initial=0):
            verdict = bucket.take(time / SECOND)
            self.assertGreaterEqual(verdict.retry_after, 1)
            if not verdict.admitted:
                if verdict.retry_after > 1:
                    self.assertFalse(bucket.take(time / SECOND + verdict.retry_after - 1).admitted)
                self.assertTrue(bucket.take(time / SECOND + verdict.retry_after).admitted)
                return

    def test_any_rate_a_file_may_say_works(self) -> None:
        """The least number there is, and the greatest: at most one in a lifetime, and as many as anybody can send."""
        slow, fast = Bucket(Rate(5e-324, 1)), Bucket(Rate(1_000_000, 1_000_000))
        self.assertTrue(slow.take(1.0).admitted)
        self.assertFalse(slow.take(1e8).admitted)
        self.assertTrue(all(fast.take(1.0).admitted for _ in range(1000)))

    def test_another_rate_holds_at_once(self) -> None:
        """A client that was slow to come back owes an empty bucket of the new rate at the most."""
        bucket = Bucket(Rate(0.001, 10))
        for _ in range(10):
            bucket.take(5.0)
        bucket.change(Rate(5, 2), 5.0)
        self.assertFalse(bucket.take(5.0).admitted)
        self.assertTrue(bucket.take(5.2).admitted)
        bucket.change(Rate(5, 20), 5.2)
        self.assertEqual([bucket.take(5.2).admitted for _ in range(19)], [True] * 18 + [False])


class TokenTests(SynchronousTestCase):
    """Tokens of a minute: set aside before, settled after."""

    def reserve(self, minute: TokenMinute, tokens: int, now: float) -> Reservation:
        """A reservation that is granted."""
        reservation, verdict = minute.reserve(tokens, now)
        self.assertTrue(verdict.admitted)
        self.assertEqual(verdict, minute.verdict(now))
        return reservation

    def refused(self, minute: TokenMinute, tokens: int, now: float) -> Verdict:
        """The verdict on a reservation that is not granted."""
        before = minute.verdict(now)
        reservation, verdict = minute.reserve(tokens, now)
        self.assertFalse(verdict.admitted)
        reservation.settle(None, now)
        self.assertEqual(minute.verdict(now), before)
        return verdict

    def test_the_limit_is_exact(self) -> None:
        """To the token."""
        minute = TokenMinute(1000)
        self.reserve(minute, 999, 0.0)
        self.refused(minute, 2, 0.0)
        self.reserve(minute, 1, 0.0)
        self.refused(minute, 1, 0.0)

    def test_used_tokens_count_for_a_minute(self) -> None:
        """From the request's end, in whole seconds, rounded up."""
        minute = TokenMinute(100)
        self.reserve(minute, 60, 0.0).settle(60, 10.5)
        verdict = self.refused(minute, 41, 10.5)
        self.assertEqual((verdict.remaining, verdict.retry_after, verdict.reset), (40, 61, 61))
        self.refused(minute, 41, 70.9)
        self.reserve(minute, 41, 71.0)

    def test_what_was_not_used_is_there_at_once(self) -> None:
        """Settling gives the rest back."""
        minute = TokenMinute(100)
        reservation = self.reserve(minute, 100, 0.0)
        reservation.settle(30, 1.0)
        self.assertEqual(minute.verdict(1.0).remaining, 70)

    def test_a_refused_request_costs_nothing(self) -> None:
        """Settled with nothing used it leaves no trace."""
        minute = TokenMinute(100)
        self.reserve(minute, 100, 0.0).settle(0, 0.0)
        self.assertTrue(minute.empty(0.0))
        self.assertEqual(minute.verdict(0.0), Verdict(True, 100, 100, 0, 1))

    def test_unknown_use_counts_as_what_was_set_aside(self) -> None:
        """Nobody gets tokens for nothing by hiding what they used."""
        minute = TokenMinute(100)
        self.reserve(minute, 70, 0.0).settle(None, 0.0)
        self.assertEqual(minute.verdict(0.0).remaining, 30)

    def test_more_use_than_was_said_is_owed(self) -> None:
        """It counts in full, and nothing is left until it is a minute old."""
        minute = TokenMinute(100)
        self.reserve(minute, 10, 0.0).settle(250, 0.0)
        self.assertEqual(minute.verdict(0.0).remaining, 0)
        self.refused(minute, 1, 59.0)
        self.reserve(minute, 100, 60.0)

    def test_settling_twice_changes_nothing(self) -> None:
        """The first end counts."""
        minute = TokenMinute(100)
        reservation = self.reserve(minute, 50, 0.0)
        reservation.settle(20, 0.0)
        reservation.settle(0, 0.0)
        reservation.settle(None, 0.0)
        self.assertEqual(minute.verdict(0.0).remaining, 80)

    def test_a_better_count_takes_the_place_of_the_estimate(self) -> None:
        """Up if there is so much, down always; a refused one leaves all as it was."""
        minute = TokenMinute(100)
        first, second = self.reserve(minute, 50, 0.0), self.reserve(minute, 30, 0.0)
        self.assertTrue(first.restate(70, 0.0).admitted)
        self.assertFalse(second.restate(31, 0.0).admitted)
        self.assertEqual((first.tokens, second.tokens), (70, 30))
        minute.limit = 10
        self.assertTrue(second.restate(20, 0.0).admitted)
        self.assertEqual(minute.verdict(0.0).remaining, 0)

    def test_retry_after_tells_when_enough_is_a_minute_old(self) -> None:
        """The second in which the last of what stands in the way goes; what is in flight has no known end."""
        minute = TokenMinute(60)
        for now in (0.0, 10.0, 20.0):
            self.reserve(minute, 20, now).settle(20, now)
        self.assertEqual(self.refused(minute, 20, 20.0).retry_after, 40)
        self.assertEqual(self.refused(minute, 21, 20.0).retry_after, 50)
        self.assertEqual(self.refused(minute, 60, 20.0).retry_after, 60)
        held = TokenMinute(60)
        self.reserve(held, 60, 0.0)
        self.assertEqual(self.refused(held, 1, 0.0).retry_after, 1)
        self.assertEqual(self.refused(held, 7, 0.0).retry_after, 7)
        self.assertEqual(self.refused(held, 600, 0.0).retry_after, 60)
        self.assertEqual(held.verdict(0.0).reset, 60)

    @given(
        st.integers(1, 1000),
        st.lists(
            st.tuples(
                st.integers(0, 300),  # tokens asked
                st.integers(0, 100),  # per cent of them used
                st.integers(0, 200 * SECOND),  # when it comes
                st.integers(1, 90 * SECOND),  # how long it lasts
            ),
            max_size=60,
        ),
    )
    def test_no_minute_sees_more_than_the_limit(self, limit: int, plan: list[tuple[int, int, int, int]]) -> None:
        """However many are in flight together, and whenever within its life each makes its tokens."""
        minute = TokenMinute(limit)
        asked = [tokens for tokens, _, _, _ in plan]
        used = [tokens * share // 100 for tokens, share, _, _ in plan]
        begins = [begin for _, _, begin, _ in plan]
        ends = [begin + length for _, _, begin, length in plan]
        admitted: dict[int, Reservation] = {}
        for time, number in sorted((time, number) for times in (begins, ends) for number, time in enumerate(times)):
            if number in admitted:
                admitted[number].settle(used[number], time / SECOND)
            elif time == begins[number]:
                reservation, verdict = minute.reserve(asked[number], time / SECOND)
                if verdict.admitted:
                    admitted[number] = reservation
        for time in ends:
            seen = [number for number in admitted if begins[number] <= time and ends[number] > time - 60 * SECOND]
            self.assertLessEqual(sum(used[number] for number in seen), limit)

    @given(st.integers(100, 100_000), st.lists(st.integers(1, 5_000), min_size=100, max_size=100))
    def test_a_hundred_at_once_do_not_overshoot(self, limit: int, asked: list[int]) -> None:
        """Of a hundred that ask before the first has ended, as many are admitted as fit, and not a token more."""
        minute = TokenMinute(limit)
        admitted = [tokens for tokens in asked if minute.reserve(tokens, 1.0)[1].admitted]
        self.assertLessEqual(sum(admitted), limit)
        self.assertEqual(minute.verdict(1.0).remaining, limit - sum(admitted))

    def test_memory_is_bounded(self) -> None:
        """Ten thousand requests in two minutes leave at most an entry a second."""
        minute = TokenMinute(1_000_000)
        for number in range(10_000):
            self.reserve(minute, 10, number * 0.012).settle(10, number * 0.012)
        self.assertLessEqual(len(minute._used_by_second), 61)

    def test_a_clock_that_goes_back_stands_still(self) -> None:
        """Nothing is forgotten early by it."""
        minute = TokenMinute(10)
        self.reserve(minute, 10, 100.0).settle(10, 100.0)
        self.refused(minute, 1, 10.0)
        self.refused(minute, 1, 159.0)
        self.reserve(minute, 1, 160.0)


class EstimateTests(SynchronousTestCase):
    """What a request is taken to ask when nobody has counted."""

    def test_bytes_and_output_up_to_the_context(self) -> None:
        """A token for three bytes, rounded up, and all the output there may be; never more than the context."""
        self.assertEqual(estimated_tokens(0, 100, 1000), 100)
        self.assertEqual(estimated_tokens(1, 100, 1000), 101)
        self.assertEqual(estimated_tokens(3, 100, 1000), 101)
        self.assertEqual(estimated_tokens(2700, 100, 1000), 1000)
        self.assertEqual(estimated_tokens(2701, 100, 1000), 1000)

    def test_an_unstated_length_is_the_worst(self) -> None:
        """A chunked body may be as long as the context."""
        self.assertEqual(estimated_tokens(None, 100, 1000), 1000)


class AccountTests(SynchronousTestCase):
    """What is kept of clients, and for how long."""

    def setUp(self) -> None:
        self.file: dict[str, Client] = {}
        self.accounts = Accounts(5, 10, 4, self.file.get)

    def test_a_client_is_the_same_each_time(self) -> None:
        """What it took is remembered, whichever path it comes by."""
        self.assertIs(self.accounts.of("alice", 0.0), self.accounts.of("alice", 0.0))
        self.assertIsNot(self.accounts.of("alice", 0.0), self.accounts.of("bob", 0.0))

    def test_own_limits_go_before_those_of_all(self) -> None:
        """Each by itself: a client with its own burst has the rate of all."""
        self.file["alice"] = client(burst=3, max_in_flight=1, tokens_per_minute=70)
        self.file["bob"] = client("bob", requests_per_second=1.0)
        alice, bob, nobody = (self.accounts.of(name, 0.0) for name in ("alice", "bob", "nobody"))
        rates = [(account.requests.rate.burst, account.requests.rate.interval) for account in (alice, bob, nobody)]
        self.assertEqual(rates, [(3, SECOND // 5), (10, SECOND), (10, SECOND // 5)])
        assert alice.tokens is not None
        self.assertEqual(alice.tokens.limit, 70)
        self.assertIsNone(bob.tokens)
        slots = Slots(9, 9, lambda depth: None)
        for account, cap in ((alice, 1), (bob, 4), (nobody, 4)):
            for _ in range(cap):
                self.assertTrue(account.visitor.has_room)
                slots.ask(account.visitor, 0.0)
            self.assertFalse(account.visitor.has_room)

    def test_limits_written_anew_hold_from_the_next_request(self) -> None:
        """And what was taken stays taken."""
        account = self.accounts.of("alice", 0.0)
        for _ in range(10):
            account.requests.take(0.0)
        self.file["alice"] = client(burst=12, tokens_per_minute=50)
        self.assertIs(self.accounts.of("alice", 0.0), account)
        self.assertEqual([account.requests.take(0.0).admitted for _ in range(3)], [True, True, False])
        assert account.tokens is not None
        tokens = account.tokens
        tokens.reserve(40, 0.0)
        self.file["alice"] = client(tokens_per_minute=60)
        self.accounts.of("alice", 0.0)
        self.assertIs(account.tokens, tokens)
        self.assertEqual(tokens.verdict(0.0).remaining, 20)
        del self.file["alice"]
        self.accounts.of("alice", 0.0)
        self.assertIsNone(account.tokens)

    def test_idle_clients_are_forgotten(self) -> None:
        """However many names come by, only those are kept that took something lately."""
        for number in range(100 * FEWEST_KEPT):
            self.accounts.of(f"c{number}", float(number)).requests.take(float(number))
        self.assertLessEqual(len(self.accounts), FEWEST_KEPT)

    def test_who_owes_or_waits_is_not_forgotten(self) -> None:
        """Missing requests, a slot, a place in the queue, tokens: each keeps an account."""
        self.file["tokens"] = client("tokens", tokens_per_minute=10)
        kept = {name: self.accounts.of(name, 0.0) for name in ("requests", "slot", "place", "tokens")}
        kept["requests"].requests.change(Rate(0.001, 1), 0.0)
        kept["requests"].requests.take(0.0)
        slots = Slots(1, 9, lambda depth: None)
        slots.ask(kept["slot"].visitor, 0.0)
        slots.ask(kept["place"].visitor, 0.0)
        assert kept["tokens"].tokens is not None
        kept["tokens"].tokens.reserve(1, 0.0)
        for number in range(4 * FEWEST_KEPT):
            self.accounts.of(f"c{number}", 100.0)
        for name, account in kept.items():
            self.assertIs(self.accounts.of(name, 100.0), account, name)

    def test_a_crowd_is_kept_whole(self) -> None:
        """As many as are not idle are kept, and looked through no more often than they double."""
        for number in range(5 * FEWEST_KEPT):
            self.accounts.of(f"c{number}", 0.0).requests.take(0.0)
        self.assertEqual(len(self.accounts), 5 * FEWEST_KEPT)
        first = self.accounts.of("c0", 0.0)
        self.assertEqual([first.requests.take(0.0).admitted for _ in range(10)], [True] * 9 + [False])
