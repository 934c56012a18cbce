"""Server-Sent Events, as far as a relay must know them (WHATWG HTML 9.2): borders and comments, never contents."""

from __future__ import annotations

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
