"""The watch over answers in the manner of OpenAI's chat completions, which completions and embeddings share.

A field that another server could give another type is `Any`: one odd member must not hide the others.
"""

from __future__ import annotations

import re
from collections.abc import Hashable
from typing import Any

import msgspec
from msgspec import Raw, Struct

from hadesgw.telemetry.watch import NOTHING, Extras, Watch


class _Function(Struct, gc=False):
    name: Any = None
    arguments: Any = None


class _ToolCall(Struct, gc=False):
    index: Any = None
    id: Any = None
    function: _Function | None = None


_NO_FUNCTION = _Function()


class _Delta(Struct, gc=False):
    content: Any = None
    reasoning: Any = None
    reasoning_content: Any = None
    refusal: Any = None
    tool_calls: list[_ToolCall] | None = None
    function_call: _Function | None = None


class _Logprobs(Struct, gc=False):
    content: list[Raw] | None = None
    tokens: list[Raw] | None = None


_NO_LOGPROBS = _Logprobs()


class _Choice(Struct, gc=False):
    index: Any = 0
    delta: _Delta | None = None
    message: _Delta | None = None
    text: Any = None
    finish_reason: Any = None
    token_ids: Any = None
    logprobs: _Logprobs | None = None


class _Chunk(Extras, gc=False):
    id: Any = None
    choices: list[_Choice] | None = None
    usage: Any = None


_CHUNK = msgspec.json.Decoder(_Chunk).decode


_LONGEST_SHAPE = 1024
_CONTENT = b'"content":"'
_TEXT = re.compile(rb'(?=[^"])[ !#-\[\]-z|-~]*+(?:\\["\\/bfnrt][ !#-\[\]-z|-~]*+)*+')
"""What a model wrote, as it stands in an event: ASCII, escapes that cannot be wrong, and nothing that begins an object,
which could be a memory event."""
_TEXTS = re.compile(rb"%b(?:\0%b)*+" % (_TEXT.pattern, _TEXT.pattern.replace(b'[^"]', b'[^"\\0]')))
"""Such texts, with zero bytes between them."""


class ChatWatch(Watch):
    """An answer to `/v1/chat/completions`, `/v1/completions` or `/v1/embeddings`.

    Nearly all events of a stream are the same but for the text in them. So the bytes around it are kept of one that has
    a text and nothing else that counts: another one with the same bytes around a text means the same.
    """

    _shape: tuple[bytes, bytes] | None = None

    def _event(self, data: bytes) -> None:
        if self._shape is not None and not self._text.begun and self._has_shape(data, *self._shape):
            self.counted_tokens += 1
        elif data == b"[DONE]":
            self.done = True
        else:
            self._chunk(_CHUNK(data), data)

    def _know(self, blocks: list[bytes]) -> bool:
        """See :meth:`Watch._know`: texts with the same bytes around each of them."""
        if self._shape is None or self._text.begun or not blocks:
            return False
        before, behind = b"data: " + self._shape[0], self._shape[1]
        begin, end = len(before), -len(behind)
        texts = [block[begin:end] for block in blocks if block.startswith(before) and block.endswith(behind)]
        together = b"\0".join(texts)
        if len(texts) < len(blocks) or together.count(b"\0") >= len(texts) or _TEXTS.fullmatch(together) is None:
            return False
        self.counted_tokens += len(texts)
        return True

    def _chunk(self, chunk: _Chunk, data: bytes) -> None:
        """An event that is not known already."""
        if self.response_id is None:
            self._note_id(chunk.id)
        for choice in chunk.choices or ():
            self._note_choice(choice)
        if chunk.usage is not None:
            self._note_usage(chunk.usage, "prompt_tokens", "completion_tokens")
        if len(data) <= _LONGEST_SHAPE and self.response_id is not None:
            self._note_shape(chunk, data)
        if chunk.error is not None:
            self.failed = True
        elif chunk.choices is None or chunk.memory_events is not NOTHING or chunk.memory_event is not NOTHING:
            self._note_extras(chunk)

    def _note_choice(self, choice: _Choice) -> None:
        """What one event has of one of the answers."""
        delta = choice.delta
        seen: object = choice.text
        if delta is not None:
            seen = delta.content or delta.reasoning or delta.reasoning_content or delta.refusal
            if delta.content:
                self._note_text(delta.content)
            if delta.tool_calls is not None or delta.function_call is not None:
                seen = self._note_calls(choice.index, delta) or seen
        if choice.token_ids is not None or choice.logprobs is not None:
            self.counted_tokens += _tokens_listed(choice)
        elif seen:
            self.counted_tokens += 1
        if choice.finish_reason is not None:
            self._note_finish(choice.finish_reason)

    @staticmethod
    def _has_shape(data: bytes, before: bytes, behind: bytes) -> bool:
        """Whether there is a text, and nothing else, between these bytes."""
        if not data.startswith(before) or not data.endswith(behind):
            return False
        return _TEXT.fullmatch(data, len(before), len(data) - len(behind)) is not None

    def _note_shape(self, chunk: _Chunk, data: bytes) -> None:
        """Keep what is around the text of an event, if it has one and nothing else."""
        at = data.find(_CONTENT) + len(_CONTENT)
        text = _TEXT.match(data, at) if at >= len(_CONTENT) else None
        if text is None or not chunk.choices or chunk.choices[0].delta is None:
            return
        only = _Choice(index=chunk.choices[0].index, delta=_Delta(content=chunk.choices[0].delta.content))
        if chunk == _Chunk(id=chunk.id, choices=[only]) and data.count(_CONTENT) == 1:
            self._shape = data[:at], data[text.end() :]

    def _answer(self, data: bytes) -> None:
        chunk = _CHUNK(data)
        self._note_id(chunk.id)
        for choice in chunk.choices or ():
            if choice.message is not None:
                self._note_text(choice.message.content)
                self._note_calls(choice.index, choice.message)
            self._note_finish(choice.finish_reason)
        self._note_usage(chunk.usage, "prompt_tokens", "completion_tokens")
        self._note_extras(chunk)
        self.failed = chunk.error is not None
        self.done = True

    def _note_calls(self, choice: object, delta: _Delta) -> bool:
        """Whether there was something of a call."""
        choice = choice if type(choice) is int else 0
        for part in delta.tool_calls or ():
            function = part.function or _NO_FUNCTION
            name = function.name
            key = (choice, part.index) if type(part.index) is int else self._key(choice, name)
            self._add_arguments(self._find_call(key, part.id, name), function.arguments)
        legacy = delta.function_call  # as it was before there were tools: one in each answer, without an id
        if legacy is not None:
            self._add_arguments(self._find_call((choice, "function"), None, legacy.name), legacy.arguments)
        return bool(delta.tool_calls) or legacy is not None

    def _key(self, choice: int, name: object) -> Hashable:
        """Which call a part without an index belongs to: a name begins one, and what has none follows it."""
        if name or self._last_call is None:
            return choice, "next", len(self._calls)
        return self._last_call


def _tokens_listed(choice: _Choice) -> int:
    """The tokens of an event that lists them, as it does for clients that ask for their ids or probabilities."""
    logprobs = choice.logprobs or _NO_LOGPROBS
    for tokens in (choice.token_ids, logprobs.content, logprobs.tokens):
        if isinstance(tokens, list):
            return len(tokens)
    return int(bool(choice.delta or choice.text))
