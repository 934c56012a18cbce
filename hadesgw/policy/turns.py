"""Whose turn it is: the slots of one model server, and a bounded queue before them that is fair between clients.

A client's requests wait in a line of their own, in the order they came. Of the clients with somebody waiting and fewer
requests in flight than they may have, the one served longest ago is next: that is a round robin which does not forget
who has just had a turn when a line runs empty for a moment. A request over its client's own cap waits as any other
does, only that its turn cannot come before one of that client's ends.

The queue has so many places over all clients. When they are taken, whoever would be served last of all has to go: the
last one of the longest line, and of equally long ones, of the client served most lately. So nobody is kept out because
somebody else fills the queue, nor because the ones inside come back sooner than the ones outside try again.

Nothing here knows time beyond carrying it. Callbacks come only from within :meth:`Slots.ask` and
:meth:`Ticket.give_back`, and never more than one deep: a request that ends while it is being called cannot make the
stack grow with the length of the queue.
"""

from __future__ import annotations

import enum
import heapq
from collections import OrderedDict
from collections.abc import Callable
from itertools import count


class State(enum.Enum):
    """What a ticket is good for."""

    WAITING = "waiting"
    SERVED = "served"
    """It holds a slot."""
    DISPLACED = "displaced"
    """It has lost its place in the queue to somebody whose turn comes first."""
    OVER = "over"


class Visitor:
    """One client, as far as turns go.

    :param cap: the most slots it may hold at one time, at all model servers together; more requests wait.
    :ivar in_flight: the slots it holds.
    :ivar waiting: how many of its requests wait for one.
    """

    __slots__ = ("_cap", "_lines", "in_flight", "waiting")

    def __init__(self, cap: int) -> None:
        self.in_flight = 0
        self.waiting = 0
        self._cap = cap
        self._lines: dict[Slots, _Line] = {}

    def allow(self, cap: int) -> None:
        """Let it hold so many slots from now on; what it holds already is not taken away."""
        self._cap = cap
        self._go_on()

    @property
    def has_room(self) -> bool:
        """Whether it may hold one more."""
        return self.in_flight < self._cap

    @property
    def idle(self) -> bool:
        """Whether it neither holds a slot nor waits for one."""
        return not self.in_flight and not self.waiting

    def _go_on(self) -> None:
        """Let its lines be called, wherever they stand, as far as it has room now."""
        for line in self._lines.values():
            line.slots._offer(line)
        for slots in tuple(self._lines):
            slots._call()


class _Line:
    """The requests of one visitor that wait for one model server, the first one first.

    :ivar turn: the number of its last turn; 0 if it had none.
    :ivar offered: whether it stands among those that are called next.
    """

    __slots__ = ("offered", "slots", "tickets", "turn", "visitor")

    def __init__(self, slots: Slots, visitor: Visitor) -> None:
        self.slots = slots
        self.visitor = visitor
        self.turn = 0
        self.offered = False
        self.tickets: OrderedDict[Ticket, None] = OrderedDict()

    @property
    def rank(self) -> tuple[int, int]:
        """The greater, the later its last ticket would be served."""
        return len(self.tickets), self.turn


def _nobody() -> None:
    """Who is called for a ticket that nobody waits for yet."""


class Ticket:
    """One request's claim to a slot. It is :meth:`given back <give_back>` at the request's end, whatever that end is.

    :ivar asked: monotonic seconds at which it was asked for.
    :ivar on_turn: called with nothing when it no longer waits, unless it was given back; `state` tells why.
    """

    __slots__ = ("_line", "asked", "on_turn", "state")

    def __init__(self, line: _Line, asked: float) -> None:
        self._line = line
        self.asked = asked
        self.state = State.WAITING
        self.on_turn: Callable[[], None] = _nobody

    def give_back(self) -> None:
        """Leave the slot to the next, or the queue. Calling it again changes nothing."""
        state, self.state = self.state, State.OVER
        self.on_turn = _nobody
        if state is State.WAITING:
            self._line.slots._remove(self)
        elif state is State.SERVED:
            self._line.slots._free_one(self._line.visitor)


class Slots:
    """One model server's slots and the queue before them.

    :param slots: how many requests it works on at one time.
    :param places: how many may wait; 0: none.
    :param depth_changed: called with the number that wait when that has changed.
    """

    def __init__(self, slots: int, places: int, depth_changed: Callable[[int], None]) -> None:
        self._free = slots
        self._places = places
        self._depth_changed = depth_changed
        self._waiting: OrderedDict[Ticket, None] = OrderedDict()  # in the order of their coming
        self._lines: dict[_Line, None] = {}  # those with tickets
        self._offers: list[tuple[int, int, _Line]] = []  # a heap: the line served longest ago is the first
        self._turns = count(1)
        self._order = count()
        self._calling = False

    @property
    def free(self) -> int:
        """How many slots nobody holds."""
        return self._free

    @property
    def depth(self) -> int:
        """How many wait."""
        return len(self._waiting)

    def longest_wait(self, now: float) -> float:
        """Seconds the first of those who wait has waited; 0.0 if nobody does."""
        for ticket in self._waiting:
            return max(now - ticket.asked, 0.0)
        return 0.0

    def ask(self, visitor: Visitor, now: float) -> Ticket | None:
        """Ask for a slot.

        :param now: monotonic seconds.
        :returns: a ticket that is served or waits, or None if there is no place to wait.
        """
        line = visitor._lines.get(self)
        if line is None:
            line = visitor._lines[self] = _Line(self, visitor)
        ticket = Ticket(line, now)
        if self._free and visitor.has_room and not self._offers:
            self._serve(ticket, line)
            return ticket
        displaced = None
        if len(self._waiting) >= self._places:
            displaced = self._last_after(line)
            if displaced is None:
                return None
            self._remove(displaced)
            displaced.state = State.DISPLACED
        self._enqueue(ticket, line)
        if displaced is not None:
            displaced.on_turn()
        return ticket

    # -- The queue -----------------------------------------------------------------------------------------------------

    def _enqueue(self, ticket: Ticket, line: _Line) -> None:
        line.tickets[ticket] = None
        line.visitor.waiting += 1
        self._lines[line] = None
        self._waiting[ticket] = None
        self._offer(line)
        self._depth_changed(len(self._waiting))

    def _remove(self, ticket: Ticket) -> None:
        line = ticket._line
        del line.tickets[ticket]
        line.visitor.waiting -= 1
        if not line.tickets:
            del self._lines[line]
        del self._waiting[ticket]
        self._depth_changed(len(self._waiting))

    def _last_after(self, newcomer: _Line) -> Ticket | None:
        """The ticket that would be served last of all, if that is not the one `newcomer` is about to get.

        Looks at every line; of those there are no more than the queue has places, and it is done only when it is full.
        """
        last = max(self._lines, key=_rank, default=None)
        if last is None or last.rank <= (len(newcomer.tickets) + 1, newcomer.turn):
            return None
        return next(reversed(last.tickets))

    # -- Turns ---------------------------------------------------------------------------------------------------------

    def _serve(self, ticket: Ticket, line: _Line) -> None:
        self._free -= 1
        line.visitor.in_flight += 1
        line.turn = next(self._turns)
        ticket.state = State.SERVED

    def _free_one(self, visitor: Visitor) -> None:
        """A slot of `visitor` is free: anybody's line may go on here, and its own everywhere."""
        self._free += 1
        visitor.in_flight -= 1
        if visitor.waiting:
            visitor._go_on()
        if self._offers:
            self._call()

    def _offer(self, line: _Line) -> None:
        """Let `line` be called in its turn, if it can be."""
        if line.tickets and line.visitor.has_room and not line.offered:
            line.offered = True
            heapq.heappush(self._offers, (line.turn, next(self._order), line))

    def _call(self) -> None:
        """Serve as many as there are slots for."""
        if self._calling:
            return  # whoever calls goes on
        self._calling = True
        try:
            while self._free and self._offers:
                line = heapq.heappop(self._offers)[2]
                line.offered = False
                if line.tickets and line.visitor.has_room:  # or all have left, or had their turns elsewhere
                    ticket = next(iter(line.tickets))
                    self._remove(ticket)
                    self._serve(ticket, line)
                    self._offer(line)
                    ticket.on_turn()
        finally:
            self._calling = False


def _rank(line: _Line) -> tuple[int, int]:
    return line.rank
