"""Whose turn it is: slots are given back once, the queue is bounded, and nobody waits for anybody else's haste."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from random import Random
from traceback import walk_stack

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from twisted.trial.unittest import SynchronousTestCase

from hadesgw.policy.turns import Slots, State, Ticket, Visitor


def no_depth(depth: int) -> None:
    """Nobody watches the queue."""


def must(ticket: Ticket | None) -> Ticket:
    """A ticket that was given."""
    assert ticket is not None
    return ticket


class Crowd:
    """Visitors by their letters, and the order in which their turns came."""

    def __init__(self, slots: int, places: int, caps: dict[str, int] | None = None) -> None:
        self.slots = Slots(slots, places, no_depth)
        self.caps = caps or {}
        self.visitors: dict[str, Visitor] = {}
        self.turns: list[str] = []
        self.displaced: list[str] = []
        self.held: list[tuple[str, Ticket]] = []

    def visitor(self, letter: str) -> Visitor:
        """Who goes by that letter."""
        return self.visitors.setdefault(letter, Visitor(self.caps.get(letter, 1_000)))

    def ask(self, name: str) -> Ticket | None:
        """A request of the visitor whose letter `name` begins with."""
        ticket = self.slots.ask(self.visitor(name[0]), 0.0)
        if ticket is not None:
            if ticket.state is State.SERVED:
                self._served(name, ticket)
            else:
                ticket.on_turn = lambda: self._called(name, ticket)
        return ticket

    def _called(self, name: str, ticket: Ticket) -> None:
        if ticket.state is State.SERVED:
            self._served(name, ticket)
        else:
            self.displaced.append(name)
            ticket.give_back()

    def _served(self, name: str, ticket: Ticket) -> None:
        self.turns.append(name)
        self.held.append((name, ticket))

    def end_first(self) -> None:
        """The request served longest ago has ended."""
        self.held.pop(0)[1].give_back()

    def end_all(self) -> None:
        """Every request is served and ends, in order."""
        while self.held:
            self.end_first()


class OrderTests(SynchronousTestCase):
    """Who is next."""

    def test_whoever_comes_to_free_slots_is_served(self) -> None:
        """Exactly as many as there are."""
        crowd = Crowd(2, 9)
        self.assertEqual([must(crowd.ask(name)).state for name in ("a1", "a2")], [State.SERVED] * 2)
        self.assertEqual((crowd.slots.free, crowd.slots.depth), (0, 0))
        self.assertIs(must(crowd.ask("b1")).state, State.WAITING)
        self.assertEqual(crowd.slots.depth, 1)

    def test_turns_go_round_the_clients(self) -> None:
        """Not by arrival: who asked for five gets one, then the others theirs."""
        crowd = Crowd(1, 99)
        for name in ("a1", "a2", "a3", "a4", "a5", "b1", "b2", "c1"):
            crowd.ask(name)
        crowd.end_all()
        self.assertEqual(crowd.turns, ["a1", "b1", "c1", "a2", "b2", "a3", "a4", "a5"])

    def test_a_clients_own_requests_keep_their_order(self) -> None:
        """First come, first served, within one line."""
        crowd = Crowd(3, 99)
        for number in range(9):
            crowd.ask(f"a{number}")
        crowd.end_all()
        self.assertEqual(crowd.turns, [f"a{number}" for number in range(9)])

    def test_a_turn_is_remembered_when_the_line_runs_empty(self) -> None:
        """Who comes back at once stands behind those who have waited since."""
        crowd = Crowd(1, 99)
        for name in ("a1", "b1", "c1"):
            crowd.ask(name)
        crowd.end_first()  # b1's turn
        crowd.ask("a2")
        crowd.ask("b2")
        crowd.end_all()
        self.assertEqual(crowd.turns, ["a1", "b1", "c1", "a2", "b2"])

    def test_a_client_at_its_cap_waits_while_slots_are_free(self) -> None:
        """Exactly at its cap, for one of its own to end; others pass it meanwhile."""
        crowd = Crowd(9, 99, {"a": 2})
        states = [must(crowd.ask(name)).state for name in ("a1", "a2", "a3", "b1")]
        self.assertEqual(states, [State.SERVED, State.SERVED, State.WAITING, State.SERVED])
        self.assertEqual((crowd.slots.free, crowd.visitor("a").in_flight), (6, 2))
        crowd.end_first()
        self.assertEqual(crowd.turns, ["a1", "a2", "b1", "a3"])

    def test_a_client_at_its_cap_does_not_hold_up_the_queue(self) -> None:
        """When a slot is free and its turn would be next, the one behind it is taken."""
        crowd = Crowd(2, 99, {"a": 1})
        for name in ("b1", "a1", "a2", "b2"):
            crowd.ask(name)
        crowd.end_first()  # b1: a is at its cap
        self.assertEqual(crowd.turns, ["b1", "a1", "b2"])
        crowd.end_all()
        self.assertEqual(crowd.turns, ["b1", "a1", "b2", "a2"])

    def test_another_cap_holds_at_once(self) -> None:
        """A higher one lets those in who wait for it, a lower one takes nothing away."""
        crowd = Crowd(9, 99, {"a": 1})
        for name in ("a1", "a2", "a3"):
            crowd.ask(name)
        crowd.visitor("a").allow(2)
        self.assertEqual(crowd.turns, ["a1", "a2"])
        crowd.visitor("a").allow(1)
        crowd.end_first()
        self.assertEqual(crowd.turns, ["a1", "a2"])
        crowd.end_first()
        self.assertEqual(crowd.turns, ["a1", "a2", "a3"])

    def test_a_cap_counts_over_all_model_servers(self) -> None:
        """What ends at one lets the client's next go on at another."""
        visitor = Visitor(1)
        here, there = Slots(5, 5, no_depth), Slots(5, 5, no_depth)
        first, second = must(here.ask(visitor, 0.0)), must(there.ask(visitor, 0.0))
        self.assertEqual([first.state, second.state], [State.SERVED, State.WAITING])
        first.give_back()
        self.assertIs(second.state, State.SERVED)
        self.assertEqual((here.free, there.free, there.depth), (5, 4, 0))

    def test_a_client_that_used_its_room_elsewhere_is_passed_over(self) -> None:
        """Its turn comes when it has room again, and the next in the queue does not wait for that."""
        wide, narrow = Visitor(1), Visitor(9)
        here, there = Slots(1, 5, no_depth), Slots(5, 5, no_depth)
        held = must(here.ask(narrow, 0.0))
        passed_over, next_one = must(here.ask(wide, 0.0)), must(here.ask(narrow, 0.0))
        elsewhere = must(there.ask(wide, 0.0))
        held.give_back()
        self.assertEqual([passed_over.state, next_one.state], [State.WAITING, State.SERVED])
        elsewhere.give_back()
        next_one.give_back()
        self.assertIs(passed_over.state, State.SERVED)

    def test_the_longest_wait_is_the_oldest_tickets(self) -> None:
        """Whoever came first of those who are still there; never negative."""
        slots, visitor = Slots(1, 9, no_depth), Visitor(9)
        must(slots.ask(visitor, 0.0))
        self.assertEqual(slots.longest_wait(5.0), 0.0)
        oldest = must(slots.ask(visitor, 1.0))
        must(slots.ask(visitor, 3.0))
        self.assertEqual(slots.longest_wait(5.0), 4.0)
        self.assertEqual(slots.longest_wait(0.0), 0.0)
        oldest.give_back()
        self.assertEqual(slots.longest_wait(5.0), 2.0)


class PlaceTests(SynchronousTestCase):
    """The queue's places."""

    def test_places_are_exact(self) -> None:
        """So many wait, one more does not."""
        crowd = Crowd(1, 3)
        for name in ("a1", "a2", "a3", "a4"):
            crowd.ask(name)
        self.assertEqual(crowd.slots.depth, 3)
        self.assertIsNone(crowd.ask("a5"))
        self.assertEqual(crowd.slots.depth, 3)

    def test_no_places_means_that_nobody_waits(self) -> None:
        """Neither for a slot nor for a client's own."""
        crowd = Crowd(2, 0, {"a": 1})
        crowd.ask("a1")
        self.assertIsNone(crowd.ask("a2"))
        crowd.ask("b1")
        self.assertIsNone(crowd.ask("b2"))
        crowd.end_all()
        self.assertIsNotNone(crowd.ask("a2"))

    def test_who_fills_the_queue_makes_place(self) -> None:
        """The last of the longest line goes, until nobody has more places than the newcomer."""
        crowd = Crowd(1, 4)
        for name in ("a1", "a2", "a3", "a4", "a5"):
            crowd.ask(name)
        for name in ("b1", "b2", "b3"):
            crowd.ask(name)
        self.assertEqual(crowd.displaced, ["a5", "a4"])
        self.assertEqual(crowd.slots.depth, 4)
        crowd.end_all()
        self.assertEqual(crowd.turns, ["a1", "b1", "a2", "b2", "a3"])

    def test_who_was_served_gives_way_to_who_was_not(self) -> None:
        """Of equally long lines the one served most lately loses its place: those outside get their turn."""
        crowd = Crowd(1, 2)
        for name in ("a1", "b1", "a2"):
            crowd.ask(name)
        self.assertIsNotNone(crowd.ask("c1"))
        self.assertEqual(crowd.displaced, ["a2"])
        self.assertIsNone(crowd.ask("a3"))
        crowd.end_all()
        self.assertEqual(crowd.turns, ["a1", "b1", "c1"])

    def test_a_newcomer_does_not_displace_its_equals(self) -> None:
        """Where each has one place and nobody had a turn, who is there stays."""
        crowd = Crowd(1, 2)
        for name in ("a1", "b1", "c1"):
            crowd.ask(name)
        self.assertIsNone(crowd.ask("d1"))
        self.assertEqual(crowd.displaced, [])

    def test_a_displaced_ticket_has_nothing_to_give_back(self) -> None:
        """It neither frees a slot nor a place."""
        slots = Slots(1, 1, no_depth)
        greedy, modest = Visitor(9), Visitor(9)
        held = must(slots.ask(greedy, 0.0))
        waiting = must(slots.ask(greedy, 0.0))
        must(slots.ask(modest, 0.0))
        self.assertIs(waiting.state, State.DISPLACED)
        waiting.give_back()
        waiting.give_back()
        self.assertEqual((slots.free, slots.depth), (0, 1))
        held.give_back()
        self.assertEqual((slots.free, slots.depth), (0, 0))

    def test_the_depth_is_told(self) -> None:
        """Each time it changes, by whatever cause."""
        depths: list[int] = []
        slots, visitor = Slots(1, 2, depths.append), Visitor(9)
        held, first, second = (must(slots.ask(visitor, 0.0)) for _ in range(3))
        first.give_back()
        held.give_back()
        second.give_back()
        self.assertEqual(depths, [1, 2, 1, 0])


class CallTests(SynchronousTestCase):
    """What may happen while somebody is called."""

    def test_the_stack_does_not_grow_with_the_queue(self) -> None:
        """A thousand requests that end as soon as they are called are called one after another, not within another."""
        slots, visitor = Slots(1, 1_000, no_depth), Visitor(9)
        held = must(slots.ask(visitor, 0.0))
        depths: list[int] = []
        tickets = [must(slots.ask(visitor, 0.0)) for _ in range(1_000)]

        def end(ticket: Ticket) -> Callable[[], None]:
            def called() -> None:
                depths.append(sum(1 for _ in walk_stack(None)))
                ticket.give_back()

            return called

        for ticket in tickets:
            ticket.on_turn = end(ticket)
        held.give_back()
        self.assertEqual((len(depths), slots.free, slots.depth), (1_000, 1, 0))
        self.assertEqual(len(set(depths)), 1)

    def test_who_asks_while_another_is_called_does_not_pass_those_who_wait(self) -> None:
        """Although at that moment a slot is free."""
        crowd = Crowd(2, 99)
        for name in ("a1", "a2", "b1", "c1"):
            crowd.ask(name)
        waiting = next(iter(crowd.slots._waiting))

        def called() -> None:
            crowd.turns.append("b1")
            crowd.held.pop(0)[1].give_back()  # one more slot is free, and c1 waits for it
            crowd.ask("d1")

        waiting.on_turn = called
        crowd.end_first()
        self.assertEqual(crowd.turns, ["a1", "a2", "b1", "c1"])
        crowd.end_all()
        self.assertEqual(crowd.turns, ["a1", "a2", "b1", "c1", "d1"])

    def test_a_callback_that_fails_holds_up_nobody(self) -> None:
        """The next one who ends calls on."""
        slots, visitor = Slots(2, 9, no_depth), Visitor(9)
        first, second = must(slots.ask(visitor, 0.0)), must(slots.ask(visitor, 0.0))
        failing, waiting = must(slots.ask(visitor, 0.0)), must(slots.ask(visitor, 0.0))

        def fail() -> None:
            raise ZeroDivisionError

        failing.on_turn = fail
        self.assertRaises(ZeroDivisionError, first.give_back)
        second.give_back()
        self.assertIs(waiting.state, State.SERVED)

    def test_nobody_is_called_after_giving_back(self) -> None:
        """Who has left is not told of a turn."""
        crowd = Crowd(1, 9)
        crowd.ask("a1")
        left = must(crowd.ask("b1"))
        left.give_back()
        crowd.end_all()
        self.assertEqual(crowd.turns, ["a1"])
        self.assertIs(left.state, State.OVER)


class QueueMachine(RuleBasedStateMachine):
    """Random comings, departures and ends, at two model servers, with clients of small caps."""

    CAPS = (1, 2, 3, 100)

    def __init__(self) -> None:
        super().__init__()
        self.told = [0, 0]
        self.sizes = ((3, 4), (1, 2))
        self.slots = [
            Slots(slots, places, lambda depth, at=at: self.tell(at, depth))  # type: ignore[misc]
            for at, (slots, places) in enumerate(self.sizes)
        ]
        self.visitors = [Visitor(cap) for cap in self.CAPS]
        self.tickets: list[tuple[int, int, Ticket]] = []
        self.over: list[Ticket] = []
        self.called: Counter[Ticket] = Counter()

    def tell(self, at: int, depth: int) -> None:
        self.told[at] = depth

    @rule(at=st.sampled_from((0, 0, 0, 1)), who=st.integers(0, len(CAPS) - 1), ends_at_once=st.booleans())
    def come(self, at: int, who: int, ends_at_once: bool) -> None:
        ticket = self.slots[at].ask(self.visitors[who], 0.0)
        if ticket is None:
            assert self.slots[at].depth == self.sizes[at][1], "refused although there was a place"
            return
        assert ticket.state in (State.WAITING, State.SERVED)
        if ticket.state is State.SERVED:
            self.called[ticket] = 1
        self.tickets.append((at, who, ticket))

        def called() -> None:
            self.called[ticket] += 1
            assert ticket.state in (State.SERVED, State.DISPLACED)
            if ends_at_once or ticket.state is State.DISPLACED:
                self.end(ticket)

        ticket.on_turn = called

    def end(self, ticket: Ticket) -> None:
        self.tickets = [entry for entry in self.tickets if entry[2] is not ticket]
        self.over.append(ticket)
        ticket.give_back()

    @precondition(lambda self: self.tickets)
    @rule(data=st.data())
    def go(self, data: st.DataObject) -> None:
        self.end(data.draw(st.sampled_from(self.tickets))[2])

    @precondition(lambda self: self.over)
    @rule(data=st.data())
    def give_back_again(self, data: st.DataObject) -> None:
        data.draw(st.sampled_from(self.over)).give_back()

    @rule(who=st.integers(0, len(CAPS) - 1), cap=st.integers(1, 4))
    def change_cap(self, who: int, cap: int) -> None:
        self.visitors[who].allow(cap)

    @invariant()
    def slots_are_held_by_those_who_are_served(self) -> None:
        for at, slots in enumerate(self.slots):
            served = [ticket for place, _, ticket in self.tickets if place == at and ticket.state is State.SERVED]
            waiting = [ticket for place, _, ticket in self.tickets if place == at and ticket.state is State.WAITING]
            assert slots.free == self.sizes[at][0] - len(served) >= 0
            assert slots.depth == len(waiting) == self.told[at] <= self.sizes[at][1]

    @invariant()
    def visitors_hold_what_they_hold(self) -> None:
        for who, visitor in enumerate(self.visitors):
            own = [ticket for _, whose, ticket in self.tickets if whose == who]
            assert visitor.in_flight == sum(ticket.state is State.SERVED for ticket in own)
            assert visitor.idle == (not own)

    @invariant()
    def nobody_waits_who_could_be_served(self) -> None:
        for at, who, ticket in self.tickets:
            if ticket.state is State.WAITING:
                assert not self.slots[at].free or not self.visitors[who].has_room

    @invariant()
    def nobody_is_called_twice(self) -> None:
        assert all(times <= 1 for times in self.called.values())

    def teardown(self) -> None:
        for _, _, ticket in list(self.tickets):
            self.end(ticket)
        assert [slots.free for slots in self.slots] == [slots for slots, _ in self.sizes]
        assert not any(visitor.in_flight for visitor in self.visitors)


class QueueTests(SynchronousTestCase):
    """The queue as a whole."""

    def test_slots_are_given_back_exactly_once(self) -> None:
        """Whatever happens in whatever order: see the machine's invariants."""
        run_state_machine_as_test(QueueMachine, settings=settings(max_examples=100, stateful_step_count=60))


class FairnessTests(SynchronousTestCase):
    """Nobody's share depends on anybody else's haste."""

    @given(
        st.integers(1, 5),
        st.lists(st.integers(1, 30), min_size=2, max_size=8),
        st.randoms(use_true_random=False),
    )
    def test_who_waits_gets_as_many_turns_as_anybody(self, slots: int, wants: list[int], dice: Random) -> None:
        """Between two turns of one who waits nobody else has two, however long lines and requests are."""
        crowd = Crowd(slots, 1_000)
        left = {chr(ord("a") + at): want for at, want in enumerate(wants)}
        names = [letter for letter, want in left.items() for _ in range(want)]
        dice.shuffle(names)
        for name in names:
            crowd.ask(name)
        at_once = Counter(crowd.turns)
        while crowd.held:
            crowd.held.pop(dice.randrange(len(crowd.held)))[1].give_back()
        for letter, want in left.items():
            turns = [at for at, name in enumerate(crowd.turns) if name == letter and at >= sum(at_once.values())]
            for one, other in pairwise(turns):
                between = Counter(crowd.turns[one + 1 : other])
                self.assertLessEqual(max(between.values(), default=0), 1, (letter, want))

    def test_who_tries_again_gets_in(self) -> None:
        """With more clients than there is room for, each of them hasty, all get the same number of turns."""
        crowd = Crowd(4, 8)
        letters = [chr(ord("a") + at) for at in range(24)]
        for _ in range(3_000):
            waiting = {ticket._line.visitor for ticket in crowd.slots._waiting}
            held = {letter for letter, _ in crowd.held}
            for letter in letters:
                if letter not in held and crowd.visitor(letter) not in waiting:
                    crowd.ask(letter)
            crowd.end_first()
        turns = Counter(crowd.turns)
        self.assertLessEqual(max(turns.values()) - min(turns[letter] for letter in letters), 2)
