"""Those who look on while requests run: nobody, most of the time, and then it costs one look at an attribute."""

from __future__ import annotations

from typing import Any

from twisted.logger import Logger

from hadesgw.http.site import Request
from hadesgw.interfaces import IFollower


class Followers:
    """Whoever follows the requests of this process; see :class:`IFollower` for what each is told.

    :ivar present: whether anybody follows. Who has something to tell looks here first, and makes no call otherwise.
    """

    _log = Logger()

    def __init__(self) -> None:
        self._all: tuple[IFollower, ...] = ()
        self.present = False

    def add(self, follower: IFollower) -> None:
        """Tell `follower` from now on; of requests that run already it hears what happens to them next."""
        self._all += (follower,)
        self.present = True

    def remove(self, follower: IFollower) -> None:
        """Tell `follower` no more; nothing happens if it does not follow."""
        self._all = tuple(other for other in self._all if other is not follower)
        self.present = bool(self._all)

    def begun(self, request: Request) -> None:
        """See :meth:`IFollower.begun`."""
        for follower in self._all:
            self._tell(follower, follower.begun, request)

    def learned(self, request: Request, fact: str, word: str | None) -> None:
        """See :meth:`IFollower.learned`."""
        for follower in self._all:
            self._tell(follower, follower.learned, request, fact, word)

    def ended(self, request: Request, completed: bool, now: float) -> None:
        """See :meth:`IFollower.ended`."""
        for follower in self._all:
            self._tell(follower, follower.ended, request, completed, now)

    def _tell(self, follower: IFollower, what: Any, *facts: object) -> None:
        """Whoever looks on must not be able to harm what it looks at."""
        try:
            what(*facts)
        except Exception:  # noqa: BLE001 - whatever it is, it is the follower's, and its last
            self._log.failure("A follower failed and is told no more")
            self.remove(follower)
