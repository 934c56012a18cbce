"""Server-Sent Events, as far as a relay must know them (WHATWG HTML 9.2): borders and comments, never contents."""

from __future__ import annotations

import re
from collections.abc import Callable

LONGEST_HELD = 64 * 1024
"""Bytes of an event that are held back to see whether it is wanted; a longer one is."""
_BORDER = re.compile(rb"(?>\r\n|\n|\r)(?>\r\n|\n|\r)")
_LINE_ENDS = (b"\n", b"\r")


class EventScanner:
    """Watches the bytes of one stream go by and answers two questions about them.

    Split the same bytes anywhere and the answers are the same.
    """

    def __init__(self) -> None:
        self._tail = b"\n\n"  # the last bytes seen, enough to tell a border; a stream begins at one
        self._in_comment = False  # whether the line at hand began with a colon

    def feed(self, data: bytes) -> bool:
        """Note `data`; true if it brought more than comments and blank lines: the stream is alive."""
        at_line_start = self._tail.endswith(_LINE_ENDS)
        if at_line_start and data.startswith((b"data:", b"event:")) and b"\r" not in data:  # nearly every read
            alive = True
            self._in_comment = data.rpartition(b"\n")[2].startswith(b":")
        else:
            alive = self._scan(data, at_line_start)
        self._tail = (self._tail + data)[-4:] if len(data) < 4 else data[-4:]
        return alive

    def _scan(self, data: bytes, at_line_start: bool) -> bool:
        alive = False
        for line in data.splitlines(keepends=True):
            if at_line_start:
                self._in_comment = line.startswith(b":")
            if not self._in_comment and line.strip(b"\r\n"):
                alive = True
            at_line_start = line.endswith(_LINE_ENDS)
        return alive

    @property
    def at_border(self) -> bool:
        """Whether the stream stands between two events, so that another may begin here."""
        return self._tail.endswith((b"\n\n", b"\r\n\r\n", b"\r\r"))


class EventCutter:
    """Takes unwanted events out of a stream; all others pass byte for byte, each as soon as it is whole.

    :param unwanted: judges one event, given with the border behind it.
    """

    def __init__(self, unwanted: Callable[[bytes], bool]) -> None:
        self._unwanted = unwanted
        self._held = b""
        self._long = False  # whether what is held is the end of an event whose beginning has been let go
        self._passed: bool | None = None  # with a carriage return as its last byte, the last event passed, or did not

    def feed(self, data: bytes) -> bytes:
        """What may pass now that `data` has come."""
        passing: list[bytes] = []
        if self._passed is not None and data:
            if data.startswith(b"\n"):  # that return's: it goes the same way
                data = data[1:]
                passing += [b"\n"] * self._passed
            self._passed = None
        held = self._held + data
        begin = 0
        for border in _BORDER.finditer(held):
            event = held[begin : border.end()]
            wanted = self._long or not self._unwanted(event)
            if wanted:
                passing.append(event)
            self._long = False
            begin = border.end()
            if begin == len(held) and event.endswith(b"\r"):
                self._passed = wanted
        self._held = held[begin:]
        if self._long or len(self._held) > LONGEST_HELD:
            self._long = True
            passing.append(self._held[:-3])  # three bytes are the most of a border that is not complete
            self._held = self._held[-3:]
        return b"".join(passing)

    def rest(self) -> bytes:
        """What is held of an event that will not come to its end."""
        held, self._held = self._held, b""
        return held
