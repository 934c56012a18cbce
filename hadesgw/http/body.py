"""A request's body on its way in: counted, bounded, held in memory until someone asks for it."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred, fail, succeed
from twisted.python.failure import Failure

from hadesgw.http.framing import ChunkedBody
from hadesgw.policy import refusals
from hadesgw.policy.refusals import Refused

SMALL_BYTES = 1024
"""Pieces of a body that are smaller are kept together."""
UNASKED_BYTES = 64 * 1024
"""How much of a body nobody has asked for yet is kept before reading is paused."""


class MemoryShare:
    """How many bytes all request bodies together may hold.

    :param limit: bytes.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.held = 0

    def take(self, count: int) -> bool:
        """Hold `count` more bytes; False if that would be too many."""
        if self.held + count > self._limit:
            return False
        self.held += count
        return True

    def give_back(self, count: int) -> None:
        """Hold `count` bytes fewer."""
        self.held -= count

    @property
    def plentiful(self) -> bool:
        """Whether less than half of it is held, so that there is some for bodies that nobody waits for yet."""
        return self.held * 2 < self._limit


class RequestBody:
    """One request body.

    :param length: declared length in bytes; None when chunked.
    :param share: the memory it is counted against.
    :param wanted: called once when the body is asked for before it is complete: time to say `100 Continue`, to resume
        reading and to watch the clock.
    """

    def __init__(self, length: int | None, share: MemoryShare, wanted: Callable[[], None]) -> None:
        self.complete = length == 0
        self.received = 0
        self._length = length
        self._decoder = ChunkedBody() if length is None else None
        self._share = share
        self._wanted = wanted
        self._pieces: list[bytes | bytearray] = []
        self._cap: int | None = None
        self._gathering = False
        self._waiting: Deferred[bytes] | None = None
        self._released = False

    @property
    def awaited(self) -> int:
        """How many bytes are to come that someone waits for; 0 where nobody can tell."""
        return 0 if self._waiting is None or self._length is None else self._length - self.received

    @property
    def held_back(self) -> bool:
        """Whether enough has arrived that nobody asked for to stop reading."""
        if self.complete or self.received < UNASKED_BYTES:
            return False
        return not self._share.plentiful if self._gathering else self._cap is None

    def gather(self, cap: int) -> None:
        """See :meth:`hadesgw.interfaces.IGatewayRequest.gather_body`."""
        if max(self._length or 0, self.received) > cap:
            raise Refused(refusals.BODY_TOO_LARGE)
        self._cap = cap
        self._gathering = True

    def at_hand(self, cap: int) -> bytes | None:
        """The whole body if it is here and within `cap`: what :meth:`read` would give, without a Deferred."""
        if not self.complete or self.received > cap:
            return None
        return self._take()

    def read(self, cap: int) -> Deferred[bytes]:
        """See :meth:`hadesgw.interfaces.IGatewayRequest.read_body`."""
        self._cap = cap
        self._gathering = False
        if max(self._length or 0, self.received) > cap:
            return fail(Refused(refusals.BODY_TOO_LARGE))
        if self.complete:
            return succeed(self._take())
        self._waiting = Deferred()
        self._wanted()
        return self._waiting

    def feed(self, data: bytes) -> int:
        """Take what `data` brings of this body.

        :returns: how many bytes of `data` belong to it.
        :raises Refused: when it is not well formed, too large, or more than all bodies may hold.
        """
        if self._decoder is None:
            assert self._length is not None
            piece = data[: self._length - self.received]
            used = len(piece)
            self._keep(piece)
            self.complete = self.received == self._length
        else:
            pieces, used = self._decoder.feed(data)
            self._keep(b"".join(pieces))  # not piece by piece: tiny chunks would take many times their size in memory
            self.complete = self._decoder.complete
        if self.complete and self._waiting is not None:
            waiting, self._waiting = self._waiting, None
            waiting.callback(self._take())
        return used

    def _keep(self, piece: bytes) -> None:
        if self._cap is not None and self.received + len(piece) > self._cap:
            raise Refused(refusals.BODY_TOO_LARGE)
        if self._released:
            self.received += len(piece)
            return
        if not self._share.take(len(piece)):
            raise Refused(refusals.BODY_MEMORY)
        self.received += len(piece)
        if self._pieces and len(piece) < SMALL_BYTES:
            self._add_small(piece)
        else:
            self._pieces.append(piece)

    def _add_small(self, piece: bytes) -> None:
        """Keep `piece` with its kind: each by itself would take many times its size in memory."""
        last = self._pieces[-1]
        if isinstance(last, bytearray):
            last += piece
        else:
            self._pieces.append(bytearray(piece))

    def _take(self) -> bytes:
        pieces, self._pieces = self._pieces, []
        return bytes(pieces[0]) if len(pieces) == 1 else b"".join(pieces)

    def fail(self, reason: Failure) -> bool:
        """Tell whoever waits that the body will not come; False if nobody waits."""
        if self._waiting is None:
            return False
        waiting, self._waiting = self._waiting, None
        waiting.errback(reason)
        return True

    def release(self) -> None:
        """Nobody will read it: give the memory back, and keep nothing more. Calling it again changes nothing."""
        if not self._released:
            self._released = True
            self._pieces.clear()
            self._share.give_back(self.received)
