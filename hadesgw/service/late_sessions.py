"""The coding sessions of a gateway, made when somebody first comes to them: most gateways have none."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred, succeed

if TYPE_CHECKING:
    from hadesgw.sessions.registry import SessionRegistry


class LateSessions:
    """Called, it gives the sessions.

    :param make: makes them.
    """

    def __init__(self, make: Callable[[], SessionRegistry]) -> None:
        self._make = make
        self._made: SessionRegistry | None = None
        self._closed = False

    def __call__(self) -> SessionRegistry:
        if self._made is None:
            self._made = self._make()
            if self._closed:  # whoever comes now is told so by them
                self._made.close()
        return self._made

    def close(self) -> Deferred[None]:
        """End them all; fires when that is done."""
        self._closed = True
        return succeed(None) if self._made is None else self._made.close()
