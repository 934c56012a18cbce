"""What the writers of all protocols share: the answer's identity, SSE events, the writer's interface."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Final, Protocol

import msgspec

from hadesgw.demo.answer import Generation, Piece
from hadesgw.demo.order import Order
from hadesgw.demo.refusal import dump

FINGERPRINT: Final = "rehearsal-0.32.0"
VERSION: Final = "0.32.0+rehearsal"
ENGINE_MESSAGE: Final = "EngineCore encountered an issue. See stack trace (above) for the root cause."
# vLLM writes this one object with blanks, unlike all others.
ENGINE_DEATH: Final = (
    f'{{"error": {{"message": "{ENGINE_MESSAGE}", "type": "InternalServerError", "param": null, "code": 500}}}}'
)


class Reply(msgspec.Struct, frozen=True):
    """The identity of one answer.

    :ivar id: its id, prefix included.
    :ivar created: seconds since the epoch.
    :ivar new_id: makes the ids inside it.
    """

    order: Order
    id: str
    created: int
    new_id: Callable[[], str]


class Writer(Protocol):
    """Turns generations into one protocol's words. A stream is the opening, then every piece, then each
    choice's end, then the closing; or a failure at any time. Every event goes out as one HTTP chunk.

    :cvar prefix: what the answer's id begins with.
    :cvar opens_at_once: whether the opening goes out with the head, or only with the first token.
    """

    prefix: ClassVar[str]
    opens_at_once: ClassVar[bool]

    def __init__(self, reply: Reply) -> None: ...

    def whole(self, generations: Sequence[Generation]) -> dict[str, Any]:
        """The body of an answer that is not streamed."""

    def opening(self) -> list[str]:
        """The events before the first token."""

    def piece(self, choice: int, piece: Piece, generation: Generation) -> list[str]:
        """The events of one piece of one choice."""

    def ended(self, choice: int, generation: Generation) -> list[str]:
        """The events when a choice has no more pieces."""

    def closing(self) -> list[str]:
        """The events after the last choice ended."""

    def failure(self) -> list[str]:
        """The events of an engine that died in mid-stream."""


def event(data: object, name: str = "") -> str:
    """One SSE event."""
    head = f"event: {name}\n" if name else ""
    return f"{head}data: {dump(data)}\n\n"
