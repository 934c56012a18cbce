"""Playing an answer on a connection: its pace, its faults, its readers' slowness and their leaving."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import zip_longest

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer, IReactorTime
from twisted.internet.task import deferLater
from twisted.web.server import Request
from zope.interface import implementer

from hadesgw.demo.answer import Answer, Generation, Piece
from hadesgw.demo.meters import Meters
from hadesgw.demo.refusal import Refusal, dump
from hadesgw.demo.writing import ENGINE_MESSAGE, Writer


class Cut(Exception):
    """The connection is to break without an end."""


@implementer(IPushProducer)
class Gate:
    """Closed while the reader is behind, so that nothing is generated which nobody reads.

    :ivar _opened: what waits for the gate to open, or None while it is open.
    """

    def __init__(self) -> None:
        self._opened: Deferred[None] | None = None

    def pauseProducing(self) -> None:
        """The reader is behind."""
        if self._opened is None:
            self._opened = Deferred()

    def resumeProducing(self) -> None:
        """The reader has caught up."""
        opened, self._opened = self._opened, None
        if opened is not None and not opened.called:
            opened.callback(None)

    def stopProducing(self) -> None:
        """The connection is gone; the request's own notice ends the performance."""

    async def passed(self) -> None:
        """Wait until the gate is open."""
        if self._opened is not None:
            await self._opened


def _steps(generations: Sequence[Generation]) -> Iterator[tuple[int, list[tuple[int, Piece]]]]:
    """The choices side by side: how many tokens are made by then, and the next piece of each that has one."""
    made = 0
    for row in zip_longest(*(generation.pieces for generation in generations)):
        made += max(piece.tokens for piece in row if piece is not None)
        yield made, [(choice, piece) for choice, piece in enumerate(row) if piece is not None]


class Performance:
    """One answer on one connection.

    :param clock: tells the time of each token.
    :param tokens_per_second: the pace; 0 is as fast as the reader takes it.
    :param meters: counts the tokens as they are made.
    """

    def __init__(
        self,
        request: Request,
        clock: IReactorTime,
        answer: Answer,
        generations: Sequence[Generation],
        tokens_per_second: float,
        meters: Meters,
    ) -> None:
        self._request = request
        self._clock = clock
        self._answer = answer
        self._generations = generations
        self._pace = tokens_per_second if answer.tokens_per_second is None else answer.tokens_per_second
        self._meters = meters
        self._start = clock.seconds() + answer.wait_seconds
        self._gate = Gate()

    async def _sleep(self, seconds: float) -> None:
        await deferLater(self._clock, max(0.0, seconds))

    async def _due(self, tokens: int) -> None:
        """Wait until so many tokens are made; at the least, let the reactor turn once."""
        lead = tokens / self._pace if self._pace else 0.0
        await self._sleep(self._start + lead - self._clock.seconds())

    async def _stall(self, *, comments: bool) -> None:
        """Be silent for the time of the script, but for comments."""
        began = self._clock.seconds()
        pause = self._answer.comment_seconds if comments else 0
        end = began + self._answer.stall_seconds if self._answer.stall_seconds else math.inf
        while (left := end - self._clock.seconds()) > 0:
            if not pause and left == math.inf:
                await Deferred()  # until the client leaves
            await self._sleep(min(left, pause or left))
            if pause:
                await self._send([": keep-alive\n\n"])
        self._start += self._clock.seconds() - began

    async def _fault(self, *, comments: bool) -> None:
        """What the script does to this answer.

        :raises Cut: if the connection is to break.
        :raises Refusal: if the engine is to die.
        """
        if self._answer.fault == "cut":
            raise Cut
        if self._answer.fault == "engine-death":
            raise Refusal(500, ENGINE_MESSAGE)
        await self._stall(comments=comments)

    async def _send(self, events: list[str]) -> None:
        for text in events:
            await self._gate.passed()
            self._request.write(text.encode())

    # -- Not streamed
    async def whole(self, writer: Writer) -> str:
        """The body, when it is made.

        :raises Cut: if the script breaks the connection.
        :raises Refusal: if the script's engine dies, or the protocol has no words for the answer.
        """
        tokens = max(generation.tokens for generation in self._generations)
        if self._answer.fault:
            await self._due(min(tokens, self._answer.after_tokens))
            await self._fault(comments=False)
        await self._due(tokens)
        self._meters.generated_tokens += sum(generation.tokens for generation in self._generations)
        return dump(writer.whole(self._generations))

    # -- Streamed
    async def stream(self, writer: Writer) -> bool:
        """Send the events, one a chunk, each when its token is made. The head has been sent.

        :return: False if the script's engine died in mid-stream.
        :raises Cut: if the connection is to break.
        """
        self._request.registerProducer(self._gate, True)
        try:
            await self._play(writer)
        except Refusal:
            await self._send(writer.failure())
            return False
        finally:
            if self._request.channel is not None:  # else the client left, and its connection with the producer
                self._request.unregisterProducer()
        return True

    async def _play(self, writer: Writer) -> None:
        opened = writer.opens_at_once
        if opened:
            await self._send(writer.opening())
        sent, faulty = 0, bool(self._answer.fault)
        for made, row in _steps(self._generations):
            if faulty and sent >= self._answer.after_tokens:
                await self._fault(comments=True)
                faulty = False
            await self._due(made)
            if not opened:
                await self._send(writer.opening())
                opened = True
            for choice, piece in row:
                self._meters.generated_tokens += piece.tokens
                await self._send(writer.piece(choice, piece, self._generations[choice]))
            sent = made
        if faulty:
            await self._fault(comments=True)
        if not opened:
            await self._due(0)
            await self._send(writer.opening())
        for choice, generation in enumerate(self._generations):
            await self._send(writer.ended(choice, generation))
        await self._send(writer.closing())
