"""JSON messages one to a line, cut from a stream of bytes that somebody else fills: no line is held beyond a limit."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

Name = Annotated[str, msgspec.Meta(max_length=256)]
"""What the other side calls something: no longer than we may keep it."""
_NEWLINE = 10


class Lines:
    """Lines out of a stream that comes in pieces.

    :param limit: the most bytes a line may have, its end not counted; longer ones are left out.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._begun = bytearray()
        self._leaving_out = False

    def feed(self, data: bytes) -> list[bytes | None]:
        """The lines that end in this piece, without their ends; None stands for one that was too long.

        Empty lines are no lines. What the last newline is followed by waits for the next piece.
        """
        lines: list[bytes | None] = []
        start = 0
        while (end := data.find(b"\n", start)) >= 0:
            lines += self._ended(data[start:end])
            start = end + 1
        self._hold(data[start:])
        return lines

    def _ended(self, rest: bytes) -> list[bytes | None]:
        self._hold(rest)
        line, left_out = bytes(self._begun), self._leaving_out
        self._begun.clear()
        self._leaving_out = False
        if left_out:
            return [None]
        return [line] if line.strip() else []

    def _hold(self, data: bytes) -> None:
        if self._leaving_out:
            return
        if len(self._begun) + len(data) > self._limit:
            self._begun.clear()
            self._leaving_out = True
        else:
            self._begun += data


def line(message: Any) -> bytes:
    """A message as a line of its own, its end included."""
    return msgspec.json.encode(message) + bytes((_NEWLINE,))
