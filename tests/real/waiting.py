"""Waiting for something to become true, by looking again until a deadline."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

Found = TypeVar("Found")


class NeverHappened(AssertionError):
    """What was waited for did not come in time."""


def wait_for(look: Callable[[], Found | None], what: str, seconds: float, pause: float = 0.02) -> Found:
    """The first true value that `look` answers.

    :param what: the event in words, for the error.
    :param seconds: how long to look at most.
    :param pause: seconds between two looks.
    :raises NeverHappened: when the time is over.
    """
    deadline = time.monotonic() + seconds
    while True:
        found = look()
        if found:
            return found
        if time.monotonic() > deadline:
            raise NeverHappened(f"not within {seconds:g} s: {what}")
        time.sleep(pause)
