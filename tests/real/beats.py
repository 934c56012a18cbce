"""How long this process's reactor is held at a time: a thread asks it for a sign of life again and again."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

PAUSE_SECONDS = 0.005
_PATIENCE = 30.0


class Beats:
    """Measures from :meth:`start` to :meth:`stop`, both of which are called in the reactor's thread.

    Time for which a thread could have gone on and the machine had no CPU for it (proc(5), `schedstat`) does not count:
    it says nothing of what was done in the reactor's.

    :param reactor: provides IReactorFromThreads.
    """

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._ask, daemon=True)
        self._longest = 0.0

    def start(self) -> None:
        self._held = threading.get_native_id()
        self._thread.start()

    def stop(self) -> None:
        self._over.set()

    def take(self) -> float:
        """Seconds for which the reactor was held, at the most, since this was last asked."""
        longest, self._longest = self._longest, 0.0
        return longest

    def _ask(self) -> None:
        own = threading.get_native_id()
        while not self._over.wait(PAUSE_SECONDS):
            answered = threading.Event()
            late, begun = _waited(own), time.monotonic() - _waited(self._held)
            self._reactor.callFromThread(self._answer, begun, answered, lambda late=late: _waited(own) - late)
            answered.wait(_PATIENCE)

    def _answer(self, begun: float, answered: threading.Event, late: Callable[[], float]) -> None:
        self._longest = max(self._longest, time.monotonic() - _waited(self._held) - begun - late())
        answered.set()


def _waited(thread: int) -> float:
    """Seconds for which a thread of this process has waited for a CPU so far."""
    return int(Path(f"/proc/self/task/{thread}/schedstat").read_text().split()[1]) / 1e9
