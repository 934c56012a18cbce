"""What a session has told, kept for whoever comes back: bounded by number and by bytes."""

from __future__ import annotations

from typing import Any

from hadesgw.sessions.messages import Message

_SNAPSHOTS = frozenset(("active_files", "diff", "plan", "session_status", "token_usage"))
"""Messages that tell a state whole: only the newest of each is worth keeping, and an older one is no loss."""


class ReplayLog:
    """Numbers messages and keeps the newest.

    :param messages: the most that are kept.
    :param size: the most bytes of JSON that are kept; the newest message is kept even if it is longer.
    """

    def __init__(self, messages: int, size: int) -> None:
        self._most = messages
        self._size = size
        self._kept: dict[int, Message] = {}  # in order, because seqs rise
        self._bytes = 0
        self._snapshots: dict[str, int] = {}
        self._lost = 0  # seq of the newest message that is not kept and was no superseded snapshot
        self.last_seq = 0

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def size(self) -> int:
        """Bytes kept."""
        return self._bytes

    def append(self, kind: str, content: Any) -> Message:
        """Keep a new message, and forget what there is no more room for."""
        self.last_seq += 1
        message = Message.of(self.last_seq, kind, content)
        if kind in _SNAPSHOTS:
            self._forget(self._snapshots.get(kind, 0))
            self._snapshots[kind] = message.seq
        self._kept[message.seq] = message
        self._bytes += len(message.encoded)
        while len(self._kept) > self._most or (self._bytes > self._size and len(self._kept) > 1):
            oldest = next(iter(self._kept))
            self._lost = oldest
            self._forget(oldest)
        return message

    def _forget(self, seq: int) -> None:
        message = self._kept.pop(seq, None)
        if message is not None:
            self._bytes -= len(message.encoded)

    def since(self, after: int) -> list[Message]:
        """What followed the message with that seq, in order.

        When some of it is lost, or such a message has never been, a `gap` stands first, with the seq it follows on.
        """
        if after > self.last_seq or after < 0:
            after, found, gap = max(after, 0), list(self._kept.values()), True
        else:
            found = [message for message in self._kept.values() if message.seq > after]
            gap = after < self._lost
        if not gap:
            return found
        following = found[0].seq if found else self.last_seq + 1
        return [Message.of(following - 1, "gap", {"after": after, "next": following}), *found]
