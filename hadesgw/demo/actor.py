"""Answering the generating routes: read the order, choose what to say, say it in the protocol of the route."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec
from twisted.internet.interfaces import IReactorTime
from twisted.web.server import Request

from hadesgw.demo import chat, completions, messages, responses
from hadesgw.demo.answer import Answer, Generation, as_written, perform
from hadesgw.demo.meters import Meters
from hadesgw.demo.order import House, Order
from hadesgw.demo.performance import Cut, Performance
from hadesgw.demo.refusal import Refusal
from hadesgw.demo.replies import Replies, document, field
from hadesgw.demo.scenes import Stage
from hadesgw.demo.script import Script, choose
from hadesgw.demo.writing import Reply, Writer

_SSE: Final = "text/event-stream; charset=utf-8"


class Dialect(msgspec.Struct, frozen=True):
    """One generating protocol.

    :ivar read: the order in a document; ``writer`` writes the answers to it.
    :ivar refuse: how a refusal is said.
    :ivar takes_id: whether a client's ``X-Request-Id`` becomes the answer's id.
    :ivar apart: whether thoughts and calls have a place of their own; else they stay in the text.
    """

    read: Callable[[dict[str, Any], House], Order]
    writer: type[Writer]
    refuse: Callable[[Refusal], str] = Refusal.body
    takes_id: bool = True
    apart: bool = True


DIALECTS: Final[Mapping[bytes, Dialect]] = {
    b"/v1/chat/completions": Dialect(chat.read, chat.Writer),
    b"/v1/completions": Dialect(completions.read, completions.Writer, apart=False),
    b"/v1/responses": Dialect(responses.read, responses.Writer, takes_id=False),
    b"/v1/messages": Dialect(messages.read, messages.Writer, Refusal.anthropic_body),
}


def _generation(answer: Answer, order: Order, choice: int) -> Generation:
    """One choice of an answer; those after the first are told apart by their number."""
    if choice:
        answer = msgspec.structs.replace(answer, text=f"(choice {choice + 1}) {answer.text}")
    return perform(answer, limit=order.limit, stop=order.stop, keep_stop=order.keep_stop, ignore_end=order.ignore_end)


class Actor:
    """The rehearsal model itself.

    :param house: the models' names and the context's length.
    :param script: what is played.
    :param clock: for pace and dates.
    :param tokens_per_second: the usual pace; 0 is as fast as the reader takes it.
    :param new_id: makes the random part of an id.
    :param meters: counts what is done.
    """

    def __init__(
        self,
        house: House,
        script: Script,
        clock: IReactorTime,
        tokens_per_second: float,
        new_id: Callable[[], str],
        meters: Meters,
    ) -> None:
        self._house = house
        self._script = script
        self._clock = clock
        self._pace = tokens_per_second
        self._new_id = new_id
        self._meters = meters
        self._replies = Replies(clock)

    async def act(self, request: Request) -> None:
        """Answer a request of one of the :data:`DIALECTS`."""
        dialect = DIALECTS[request.path]
        try:
            order = dialect.read(document(request), self._house)
            answers = self._answers(order)
            if not dialect.apart:
                answers = [as_written(answer) for answer in answers]
        except Refusal as refused:
            await self._replies.refuse(request, refused, dialect.refuse(refused))
            return
        generations = [_generation(answer, order, choice) for choice, answer in enumerate(answers)]
        given = field(request, b"x-request-id") if dialect.takes_id else ""
        identity = dialect.writer.prefix + (given or self._new_id())
        writer = dialect.writer(Reply(order, identity, int(self._clock.seconds()), self._new_id))
        play = Performance(request, self._clock, answers[0], generations, self._pace, self._meters)
        finishes: list[str] = []
        self._meters.began(order.prompt_tokens)
        try:
            if order.stream:
                alive = await self._stream(request, play, writer)
            else:
                alive = await self._whole(request, play, writer, dialect)
            finishes = [generation.finish for generation in generations] if alive else ["error"]
        except Cut:
            finishes = ["error"]
            request.loseConnection()
        finally:
            self._meters.ended(finishes)

    def _answers(self, order: Order) -> list[Answer]:
        """What each choice will say.

        :raises Refusal: if the script refuses the request.
        """
        answers = []
        for choice in range(order.choices):
            stage = Stage(order.asked(choice), order.prompt_tokens, self._house.context_tokens)
            answer = choose(self._script, stage)
            if answer.status:
                literal, retry_after = answer.body or None, answer.retry_after
                raise Refusal(answer.status, answer.message, retry_after=retry_after, literal=literal)
            answers.append(answer)
        return answers

    async def _stream(self, request: Request, play: Performance, writer: Writer) -> bool:
        """Send a stream; False if the engine died in it."""
        await self._replies.begin(request, _SSE)
        alive = await play.stream(writer)
        request.finish()
        return alive

    async def _whole(self, request: Request, play: Performance, writer: Writer, dialect: Dialect) -> bool:
        """Send an answer in one piece; False if the engine died over it."""
        try:
            body = await play.whole(writer)
        except Refusal as refused:
            await self._replies.refuse(request, refused, dialect.refuse(refused))
            return False
        await self._replies.send(request, 200, body)
        return True
