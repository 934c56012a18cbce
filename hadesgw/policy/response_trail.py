"""What a stream of the Responses API has said of itself, as far as the event that ends it must say it again.

A client library holds the parts of a response together by its id, and some hold the numbers of its events against each
other: a last event of ours without them is taken for one of another response.
"""

from __future__ import annotations

import re

_HEAD = 4096
"""Bytes in which the id is looked for; it stands at the beginning of the first event."""
_TAIL = 48
"""Bytes that may be the beginning of a number: its name, a space or two, and as many digits as are read."""
# Within a text a quotation mark has a backslash before it, so these find names of members only.
_ID = re.compile(rb'"response":[ \t]?\{\s?"id":[ \t]?"([A-Za-z0-9._:-]{1,128})"')
_NUMBER_NAME = b'"sequence_number":'
_NUMBER = re.compile(rb'"sequence_number":[ \t]?(\d{1,15})[,}\s]')


class ResponseTrail:
    """Watches the bytes of one such stream go by. Split the same bytes anywhere and the answers are the same.

    :ivar response_id: the response's id, or None where it is not known.
    :ivar next_number: the `sequence_number` of the event that would come next, or None where the events have none.
    """

    def __init__(self) -> None:
        self.response_id: str | None = None
        self.next_number: int | None = None
        self._head: bytes | None = b""  # until the id is found, or too far away
        self._tail = b""

    def feed(self, data: bytes) -> None:
        """Note `data`."""
        if self._head is not None:
            self._look_for_id(self._head + data[:_HEAD])
        data = self._tail + data
        self._tail = data[-_TAIL:]
        at = data.rfind(_NUMBER_NAME)
        while at >= 0:  # once, but where the last number is not whole yet
            found = _NUMBER.match(data, at)
            if found is not None:
                self.next_number = int(found.group(1)) + 1
                return
            at = data.rfind(_NUMBER_NAME, 0, at)

    def _look_for_id(self, head: bytes) -> None:
        found = _ID.search(head, 0, _HEAD)
        if found is not None:
            self.response_id = found.group(1).decode()
        self._head = head if found is None and len(head) < _HEAD else None
