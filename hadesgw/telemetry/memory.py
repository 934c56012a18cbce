"""The names by which tools and memory events are told apart, and where texts tell of the latter.

HADES' memory events and Letta's are JSON objects. Warnings of memory pressure are put into the conversation, so that a
request brings them, as the whole text of a message; a conversation is sent again with every turn, and new in it is what
came since the model spoke. In an answer they stand within its text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

import msgspec
from msgspec import Raw, Struct

from hadesgw.telemetry.tool_call import UNREADABLE


class Vocabulary(Struct, frozen=True):
    """The names that are told apart; they bound what metrics and logs can contain.

    :ivar tools: tools counted under their own names, beside the memory tools.
    :ivar memory_tools: tools whose calls are memory events too.
    :ivar memory_events: values of `type` by which HADES' memory events and Letta's packed messages are known.
    """

    tools: frozenset[str]
    memory_tools: frozenset[str]
    memory_events: frozenset[str]


_ABSENT = Raw()
_MARK = b'\\"type\\"'
"""How the member `type` of such an object looks in a request's body: within a text."""
MOST_MESSAGES = 32
"""Messages at the end of a conversation that are looked at."""


class _Packed(Struct, gc=False):
    type: Any = None


class _Said(Struct, gc=False):
    role: Any = None
    type: Any = None
    content: Any = None
    output: Any = None


class _Conversation(Struct, gc=False):
    messages: Raw = _ABSENT
    input: Raw = _ABSENT


_PACKED = msgspec.json.Decoder(_Packed).decode
_CONVERSATION = msgspec.json.Decoder(_Conversation).decode
_RAWS = msgspec.json.Decoder(list[Raw]).decode
_SAID = msgspec.json.Decoder(_Said).decode
_TEXT = msgspec.json.Decoder(str).decode


def memory_events_in(body: bytes, words: Vocabulary) -> list[str]:
    """The kinds of memory event that are new in the conversation of a request; in its order.

    :param body: of a request to the model.
    """
    if body.rfind(_MARK) < 0:  # looking from the end costs half of what looking from the beginning does
        return []
    try:
        conversation = _CONVERSATION(body)
        told = bytes(conversation.messages if conversation.messages is not _ABSENT else conversation.input)
        if told.startswith(b'"'):  # an input that is one text
            return list(_packed_kind(_TEXT(told), words))
        said = _RAWS(told) if told.startswith(b"[") else []
        return [kind for text in _new_texts(said) for kind in _packed_kind(text, words)]
    except UNREADABLE:
        return []


def _new_texts(said: list[Raw]) -> Iterable[str]:
    """What was said since the model spoke last."""
    new: list[_Said] = []
    for raw in reversed(said[-MOST_MESSAGES:]):
        message = _SAID(bytes(raw))
        if message.role == "assistant" or message.type in ("function_call", "reasoning"):
            break
        new.append(message)
    for message in reversed(new):
        yield from _texts(message.content)
        yield from _texts(message.output)


def _texts(content: object) -> Iterable[str]:
    """The texts of what was said; a tool's result may be part of it, with texts of its own (Messages API)."""
    if isinstance(content, str):
        yield content
    elif isinstance(content, list):
        for part in content:
            if isinstance(part, dict):
                text = part.get("text")
                yield from _texts(text if isinstance(text, str) else part.get("content"))


def _packed_kind(text: str, words: Vocabulary) -> Iterable[str]:
    """The kind of memory event that a text consists of: none or one."""
    if text.lstrip()[:1] == "{":
        try:
            kind = _PACKED(text).type
        except UNREADABLE:
            return
        if isinstance(kind, str) and kind in words.memory_events:
            yield kind


# -- What an answer's text says of memory ------------------------------------------------------------------------------

LONGEST_OBJECT = 4_096
"""Characters that an event in a text may have."""
MOST_OBJECTS = 64
"""Objects that may be one and are looked at, in one piece of a text."""
_BEGINNING = re.compile(r'\{\s*"type"\s*:\s*"')
_PART_OF_ONE = re.compile(r'\{\s*(?:"(?:t(?:y(?:p(?:e(?:"(?:\s*(?::\s*)?)?)?)?)?)?)?)?\Z')
_DECODE_AT = json.JSONDecoder().raw_decode


class TextReader:
    """Finds memory events in a text that comes in pieces: objects that begin with a type and have an agent or a time.

    :ivar begun: whether one may have begun; else a piece without a brace need not be given.
    """

    def __init__(self, words: Vocabulary) -> None:
        self._words = words
        self._held = ""

    @property
    def begun(self) -> bool:
        """See the class."""
        return bool(self._held)

    def feed(self, text: str) -> list[str]:
        """The kinds of the events that are complete with this piece."""
        kinds: list[str] = []
        held = self._held + text
        at = 0
        for _ in range(MOST_OBJECTS):
            begun = _BEGINNING.search(held, at)
            if begun is None:
                break
            start = begun.start()
            event, length = _first_object(held[start : start + LONGEST_OBJECT])
            if not length and len(held) - start < LONGEST_OBJECT:
                self._held = held[start:]  # more of it may come
                return kinds
            kinds += self._kind(event)
            at = start + (length or 1)
        rest = _PART_OF_ONE.search(held[-64:], max(0, at - max(0, len(held) - 64)))
        self._held = rest[0] if rest is not None else ""
        return kinds

    def _kind(self, event: dict[str, Any]) -> list[str]:
        kind = event.get("type")
        if isinstance(kind, str) and kind in self._words.memory_events and ("agent_id" in event or "time" in event):
            return [kind]
        return []


def _first_object(text: str) -> tuple[dict[str, Any], int]:
    """The object at the beginning, and its length; nothing while it has not come to its end."""
    try:
        event, length = _DECODE_AT(text)
    except (ValueError, RecursionError):
        return {}, 0
    return event, length
