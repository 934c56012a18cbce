"""What the rehearsal model will say and do, as a value: before any protocol sees it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain, cycle, islice
from typing import Annotated, Literal

import msgspec

from hadesgw.demo import tokenizer
from hadesgw.demo.conversation import Call

Count = Annotated[int, msgspec.Meta(ge=0, le=1_000_000)]
Seconds = Annotated[float, msgspec.Meta(ge=0, le=86_400)]
Rate = Annotated[float, msgspec.Meta(ge=0, le=100_000)]
Status = Literal[0, 400, 401, 403, 404, 408, 413, 422, 429, 500, 502, 503, 504, 529]


class Answer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One answer. Its fields are also the keys of a rule's ``answer`` table in a script.

    :ivar text: what is said; ``reasoning`` what is thought before it; ``calls`` the tools called after it.
    :ivar tokens: if not 0, the text goes on (prose is added) or is cut to have exactly that many tokens.
    :ivar whole_arguments: whether a call's arguments come in one piece instead of token by token.
    :ivar tokens_per_second: the pace; None is the server's own, 0 as fast as the reader takes it.
    :ivar tokens_per_event: how many tokens share one delta.
    :ivar wait_seconds: silence before the first token.
    :ivar status: if not 0, the request is refused with this status, ``message`` or ``body``, and
        ``retry_after``.
    :ivar fault: what happens after ``after_tokens`` tokens; "" is nothing. A stall lasts ``stall_seconds`` (0
        is for ever), with an SSE comment every ``comment_seconds`` (0 is none).
    """

    text: str = ""
    reasoning: str = ""
    calls: tuple[Call, ...] = ()
    tokens: Count = 0
    whole_arguments: bool = False
    tokens_per_second: Rate | None = None
    tokens_per_event: Annotated[int, msgspec.Meta(ge=1, le=1_000)] = 1
    wait_seconds: Seconds = 0
    status: Status = 0
    message: str = ""
    body: str = ""
    retry_after: Count | None = None
    fault: Literal["", "stall", "cut", "engine-death"] = ""
    after_tokens: Count = 0
    stall_seconds: Seconds = 0
    comment_seconds: Seconds = 0


class Piece(msgspec.Struct, frozen=True):
    """What one delta carries.

    :ivar kind: ``reasoning``, ``text``, ``call`` (the text is the tool's name) or ``arguments``.
    :ivar call: the number of the call it belongs to.
    :ivar tokens: how many tokens it stands for.
    """

    kind: Literal["reasoning", "text", "call", "arguments"]
    text: str
    call: int
    tokens: int


class Generation(msgspec.Struct, frozen=True):
    """One choice, made out to the last token.

    :ivar finish: ``stop``, ``length`` or ``tool_calls``.
    :ivar stop_string: the client's stop string that ended it, or None.
    """

    pieces: tuple[Piece, ...]
    finish: str
    stop_string: str | None

    @property
    def tokens(self) -> int:
        """How many tokens were generated."""
        return sum(piece.tokens for piece in self.pieces)

    @property
    def reasoning_tokens(self) -> int:
        """How many of them were thought and not said."""
        return sum(piece.tokens for piece in self.pieces if piece.kind == "reasoning")

    def joined(self, kind: str) -> str:
        """All text of one kind."""
        return "".join(piece.text for piece in self.pieces if piece.kind == kind)

    def calls(self) -> tuple[Call, ...]:
        """The tool calls as far as they were written."""
        names = [piece for piece in self.pieces if piece.kind == "call"]
        arguments = {piece.call: "" for piece in names}
        for piece in self.pieces:
            if piece.kind == "arguments":
                arguments[piece.call] += piece.text
        return tuple(Call(piece.text, arguments[piece.call]) for piece in names)


def as_written(answer: Answer) -> Answer:
    """The answer as a model writes it, for a protocol in which nobody takes that apart: all of it is text."""
    thoughts = f"<think>\n{answer.reasoning}\n</think>\n\n" if answer.reasoning else ""
    calls = [
        f'<tool_call>\n{{"name": "{call.name}", "arguments": {call.arguments}}}\n</tool_call>' for call in answer.calls
    ]
    text = "\n".join([thoughts + answer.text, *calls] if thoughts or answer.text else calls)
    return msgspec.structs.replace(answer, text=text, reasoning="", calls=())


_PROSE = (
    "A gateway in rehearsal passes every token on as it comes.",
    "Nothing is held back, nothing is joined, nothing is lost on the way.",
    "If the reader slows down, so does the stage; if the reader leaves, the play stops.",
    "Grüße aus dem Souffleurkasten, 你好, and a wave 👋 from the wings.",
)


def _prose() -> Iterator[str]:
    """Endless text, in tokens."""
    for turn, line in enumerate(cycle(_PROSE), start=1):
        ending = "\n\n" if turn % len(_PROSE) == 0 else ""
        yield from tokenizer.pieces(f" {line}{ending}")


def _text(answer: Answer, *, for_ever: bool) -> Iterator[str]:
    spoken = tokenizer.pieces(answer.text)
    if for_ever:
        return chain(spoken, _prose())
    return islice(chain(spoken, _prose()), answer.tokens) if answer.tokens else spoken


def _script(answer: Answer, *, for_ever: bool) -> Iterator[Piece]:
    """The answer token by token."""
    for part in tokenizer.pieces(answer.reasoning):
        yield Piece("reasoning", part, 0, 1)
    for part in _text(answer, for_ever=for_ever):
        yield Piece("text", part, 0, 1)
    for index, call in enumerate(answer.calls):
        yield Piece("call", call.name, index, tokenizer.count(call.name))
        for part in tokenizer.pieces(call.arguments):
            yield Piece("arguments", part, index, 1)


def _within(pieces: Iterable[Piece], limit: int) -> tuple[list[Piece], bool]:
    """As many pieces as `limit` tokens allow, and whether that is all of them."""
    kept: list[Piece] = []
    for piece in pieces:
        limit -= piece.tokens
        if limit < 0:
            return kept, False
        kept.append(piece)
    return kept, True


def _until(pieces: list[Piece], stop: tuple[str, ...], *, keep: bool) -> tuple[list[Piece], str | None]:
    """The pieces up to the earliest stop string in the text, which goes too unless `keep`."""
    said = "".join(piece.text for piece in pieces if piece.kind == "text")
    hits = [(said.find(word), word) for word in stop if word and word in said]
    if not hits:
        return pieces, None
    at, word = min(hits)
    room = at + len(word) if keep else at
    kept: list[Piece] = []
    for piece in pieces:
        if piece.kind == "reasoning":
            kept.append(piece)
        elif room > 0:
            kept.append(Piece("text", piece.text[:room], 0, 1))
            room -= len(piece.text)
    return kept, word


def _grouped(pieces: Iterable[Piece], size: int, *, whole_arguments: bool) -> Iterator[Piece]:
    """Neighbours of one kind joined, `size` tokens at a time, or a call's arguments all together."""
    held: Piece | None = None
    for piece in pieces:
        alike = held is not None and (held.kind, held.call) == (piece.kind, piece.call) and piece.kind != "call"
        most = tokenizer.VOCABULARY if whole_arguments and piece.kind == "arguments" else size
        if held is not None and alike and held.tokens + piece.tokens <= most:
            held = Piece(piece.kind, held.text + piece.text, piece.call, held.tokens + piece.tokens)
            continue
        if held is not None:
            yield held
        held = piece
    if held is not None:
        yield held


def perform(
    answer: Answer,
    *,
    limit: int,
    stop: tuple[str, ...] = (),
    keep_stop: bool = False,
    ignore_end: bool = False,
) -> Generation:
    """Make an answer out to its last token.

    :param limit: the most tokens that may be generated; reaching it in the middle of the answer is a
        ``length`` stop.
    :param stop: strings that end the text where they first appear; with `keep_stop` they stay in it.
    :param ignore_end: go on to `limit` (vLLM's ``ignore_eos``), which drops the tool calls.
    """
    pieces, complete = _within(_script(answer, for_ever=ignore_end), limit)
    pieces, stop_string = _until(pieces, stop, keep=keep_stop)
    if stop_string is None and not complete:
        finish = "length"
    else:
        finish = "tool_calls" if any(piece.kind == "call" for piece in pieces) else "stop"
    grouped = _grouped(pieces, answer.tokens_per_event, whole_arguments=answer.whole_arguments)
    return Generation(tuple(grouped), finish, stop_string)
