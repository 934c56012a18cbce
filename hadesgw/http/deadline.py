"""Deadlines that move often and pass rarely."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime


def _nothing() -> None:
    """What passes when a deadline that was ended would have."""


class Deadline:
    """One moment after which `passed` is called, unless it was moved or lifted before.

    A connection moves its deadline with every request and every event. Cancelling and making a timer each time would
    cost more than the event; so the timer stays where it is, and looks again when it fires early.

    :param clock: gives the time and makes the timer.
    :param passed: called with nothing once the deadline has passed.
    """

    __slots__ = ("_at", "_clock", "_due", "_passed", "_timer")

    def __init__(self, clock: IReactorTime, passed: Callable[[], None]) -> None:
        self._clock = clock
        self._passed = passed
        self._at: float | None = None
        self._timer: IDelayedCall | None = None
        self._due = 0.0  # when the timer fires

    def set(self, seconds: float) -> None:
        """Let the deadline be `seconds` from now."""
        at = self._at = self._clock.seconds() + seconds
        if self._timer is None:
            self._timer = self._clock.callLater(seconds, self._fired)
            self._due = at
        elif at < self._due:
            self._timer.reset(seconds)
            self._due = at

    def lift(self) -> None:
        """Let there be no deadline for now. The timer may still run: use :meth:`end` for good."""
        self._at = None

    def end(self) -> None:
        """Let there be no deadline any more, no timer, and no way back to the owner."""
        self._at = None
        self._passed = _nothing
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _fired(self) -> None:
        self._timer = None
        if self._at is None:
            return
        left = self._at - self._clock.seconds()
        if left > 0:
            self._timer = self._clock.callLater(left, self._fired)
            self._due = self._at
        else:
            self._at = None
            self._passed()
