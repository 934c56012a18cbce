"""Small pieces of text that come fast, told as few larger ones, in the order of everything else that is told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from hadesgw.sessions.engine import AgentEvent, Item, Output

_PIECE = 32 << 10
"""Characters that are not held back any longer, however young they are."""


class Coalescer:
    """Tells events on; pieces of one text that come within a moment are joined.

    The first piece after a pause is told at once: nobody waits for output that comes slowly.

    :param clock: provides IReactorTime.
    :param seconds: how long a piece may be held back.
    :param tell: is told.
    """

    def __init__(self, clock: IReactorTime, seconds: float, tell: Callable[[AgentEvent], Any]) -> None:
        self._clock = clock
        self._seconds = seconds
        self._tell = tell
        self._pieces: list[str] = []
        self._length = 0
        self._kind: tuple[str, str] | None = None
        self._late: IDelayedCall | None = None

    def add(self, event: AgentEvent) -> None:
        """Tell this, now or soon, and after everything that was added before."""
        piece = _piece(event)
        if piece is None:
            self.flush()
            self._tell(event)
            return
        kind, text = piece
        if kind != self._kind:
            self._flush_pieces()
        self._kind = kind
        self._pieces.append(text)
        self._length += len(text)
        if self._late is None or self._length >= _PIECE:
            self._flush_pieces()
            self._rest()

    def flush(self) -> None:
        """Tell what is held back; nothing is, when this returns."""
        self._cancel()
        self._flush_pieces()

    def _flush_pieces(self) -> None:
        if not self._pieces:
            return
        text = "".join(self._pieces)
        assert self._kind is not None
        item_id, item_kind = self._kind
        self._pieces, self._length, self._kind = [], 0, None
        self._tell(Output(text) if not item_id else Item("delta", item_id, item_kind, {"text": text}))

    def _rest(self) -> None:
        """Hold back what comes in the next moment."""
        self._cancel()
        self._late = self._clock.callLater(self._seconds, self._rested)

    def _rested(self) -> None:
        self._late = None
        if self._pieces:
            self._flush_pieces()
            self._rest()

    def _cancel(self) -> None:
        late, self._late = self._late, None
        if late is not None and late.active():
            late.cancel()


def _piece(event: AgentEvent) -> tuple[tuple[str, str], str] | None:
    """What an event is a piece of (an item's id and kind; empty for the reply), and its text; None for other events."""
    if isinstance(event, Output):
        return ("", ""), event.text
    if isinstance(event, Item) and event.phase == "delta":
        return (event.item_id, event.kind), event.body["text"]
    return None
