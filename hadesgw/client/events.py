"""Reading a stream of Server-Sent Events (WHATWG HTML 9.2.6) from a source that is trusted to be JSON. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

MOST_BYTES = 4 << 20
"""Of one event: far more than a gateway makes one."""


class Overlong(Exception):
    """An event without an end."""


class EventReader:
    """Makes events of bytes, however they are cut.

    :ivar last_id: of the last event that had one, for `Last-Event-ID`.
    """

    def __init__(self) -> None:
        self.last_id: str | None = None
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[dict[str, Any]]:
        """The messages that are whole with these bytes; comments and other fields are passed over.

        :raises Overlong: if one has no end.
        """
        *events, self._rest = (self._rest + data).split(b"\n\n")
        if len(self._rest) > MOST_BYTES:
            raise Overlong
        for event in events:
            told = []
            for line in event.split(b"\n"):
                name, _, value = line.partition(b":")
                value = value.removeprefix(b" ")
                if name == b"data":
                    told.append(value)
                elif name == b"id":
                    self.last_id = value.decode("latin-1")
            if told:
                yield msgspec.json.decode(b"\n".join(told), type=dict)
