"""The rehearsal model's tokenizer and chat template: small, reversible, the same in every process.

A token is a word, a number, a run of punctuation or of blanks (a blank before a word belongs to the word),
cut into pieces of at most six bytes of UTF-8, never inside a character. There is no vocabulary to ship: a
token's id *is* its bytes, counted after the three special tokens, and stays below 2**53 so that JavaScript
reads it exactly.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from hadesgw.demo.conversation import Message, Tool

SPECIAL: Final = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
_LONGEST: Final = 6
_SPECIAL_IDS: Final = {name: number for number, name in enumerate(SPECIAL)}
_SPLIT: Final = re.compile("(" + "|".join(map(re.escape, SPECIAL)) + ")")
_WORD: Final = re.compile(r" ?[^\W\d_]+| ?\d+| ?_+| ?[^\w\s]+|\s+(?= \S)|\s+")

# The first id of the tokens that are 1, 2, ... bytes long; the last entry is the size of the vocabulary.
_FIRST: Final[tuple[int, ...]] = tuple(
    len(SPECIAL) + sum((1 << 8 * shorter) for shorter in range(1, length)) for length in range(1, 8)
)
VOCABULARY: Final = _FIRST[_LONGEST]


def _cut(word: str) -> Iterator[str]:
    """The pieces of one word, each at most `_LONGEST` bytes of UTF-8."""
    if word.isascii():
        yield from (word[start : start + _LONGEST] for start in range(0, len(word), _LONGEST))
        return
    piece, size = "", 0
    for character in word:
        width = len(character.encode())
        if size + width > _LONGEST:
            yield piece
            piece, size = "", 0
        piece, size = piece + character, size + width
    yield piece


def pieces(text: str) -> Iterator[str]:
    """The tokens of `text` as text; joined they are `text` again.

    :param text: any text that UTF-8 can carry (no lone surrogates).
    """
    for part in _SPLIT.split(text):
        if part in _SPECIAL_IDS:
            yield part
        else:
            for word in _WORD.finditer(part):
                yield from _cut(word.group())


def count(text: str, limit: int | None = None) -> int:
    """How many tokens `text` has; with `limit`, counting stops there."""
    return sum(1 for _ in islice(pieces(text), limit))


def number(piece: str) -> int:
    """The id of one piece as :func:`pieces` gives it."""
    if (special := _SPECIAL_IDS.get(piece)) is not None:
        return special
    data = piece.encode()
    return _FIRST[len(data) - 1] + int.from_bytes(data, "big")


def encode(text: str) -> list[int]:
    """The token ids of `text`."""
    return [number(piece) for piece in pieces(text)]


def _bytes_of(token: int) -> bytes:
    if token < len(SPECIAL):
        return SPECIAL[token].encode()
    length = next(size for size in range(1, _LONGEST + 1) if token < _FIRST[size])
    return (token - _FIRST[length - 1]).to_bytes(length, "big")


def decode(tokens: Iterable[int]) -> str:
    """The text of token ids; bytes that are no UTF-8 become U+FFFD. ``decode(encode(text)) == text``.

    :raises ValueError: for an id outside ``0 <= id < VOCABULARY``.
    """
    data = bytearray()
    for token in tokens:
        if not 0 <= token < VOCABULARY:
            raise ValueError(token)
        data += _bytes_of(token)
    return data.decode(errors="replace")


def template(messages: Sequence[Message], tools: Sequence[Tool], *, ask: bool) -> str:
    """The prompt of a chat in ChatML, as the tokenizer sees it.

    :param ask: whether the prompt ends with the opening of the assistant's turn.
    """
    turns = []
    if tools:
        listing = "\n".join(json.dumps(tool.described(), ensure_ascii=False) for tool in tools)
        turns.append(f"<|im_start|>system\n# Tools\n{listing}<|im_end|>\n")
    for message in messages:
        calls = "".join(
            f'\n<tool_call>{{"name": {json.dumps(call.name)}, "arguments": {call.arguments}}}</tool_call>'
            for call in message.calls
        )
        turns.append(f"<|im_start|>{message.role}\n{message.text}{calls}<|im_end|>\n")
    if ask:
        turns.append("<|im_start|>assistant\n")
    return "".join(turns)
