"""The watch over answers of the Messages API, as Anthropic and vLLM speak it."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw, Struct

from hadesgw.telemetry.watch import NOTHING, Extras, Watch


class _Block(Struct, gc=False):
    type: Any = None
    id: Any = None
    name: Any = None
    input: Any = None
    text: Any = None


class _Message(Extras, gc=False):
    id: Any = None
    content: Raw = NOTHING
    stop_reason: Any = None
    usage: Any = None


class _BlockDelta(Struct, gc=False):
    type: Any = None
    text: Any = None
    partial_json: Any = None
    stop_reason: Any = None


class _MessageEvent(Extras, gc=False):
    index: Any = None
    message: _Message | None = None
    content_block: _Block | None = None
    delta: _BlockDelta | None = None
    usage: Any = None


_MESSAGE = msgspec.json.Decoder(_Message).decode
_MESSAGE_EVENT = msgspec.json.Decoder(_MessageEvent).decode
_BLOCKS = msgspec.json.Decoder(list[_Block]).decode


class MessagesWatch(Watch):
    """An answer to `/v1/messages`."""

    def _event(self, data: bytes) -> None:
        event = _MESSAGE_EVENT(data)
        kind = event.type
        if kind == "content_block_delta":
            self.counted_tokens += 1
            if event.delta is not None and event.delta.type == "text_delta":
                self._note_text(event.delta.text)
            elif event.delta is not None and event.delta.type == "input_json_delta":
                self._add_arguments(self._find_call(str(event.index), None, None), event.delta.partial_json)
        elif kind == "content_block_start" and event.content_block is not None:
            self._note_block(str(event.index), event.content_block, streamed=True)
        elif kind == "message_start" and event.message is not None:
            self._note_message(event.message)
        elif kind == "message_delta":
            self._note_usage(event.usage, "input_tokens", "output_tokens")
            self._note_finish(None if event.delta is None else event.delta.stop_reason)
        elif kind == "message_stop":
            self.done = True
        elif event.error is not None:
            self.failed = True
        else:
            self._note_extras(event)

    def _answer(self, data: bytes) -> None:
        message = _MESSAGE(data)
        if message.content is not NOTHING:
            for place, block in enumerate(_BLOCKS(bytes(message.content))):
                self._note_block(str(place), block, streamed=False)
        self._note_message(message)
        self.done = True

    def _note_message(self, message: _Message) -> None:
        self._note_id(message.id)
        self._note_usage(message.usage, "input_tokens", "output_tokens")
        self._note_finish(message.stop_reason)
        self._note_extras(message)
        if message.error is not None:
            self.failed = True

    def _note_block(self, key: str, block: _Block, *, streamed: bool) -> None:
        if block.type == "text":
            self._note_text(block.text)
        elif block.type == "tool_use":
            call = self._find_call(key, block.id, block.name)
            if not streamed or block.input:
                self._add_arguments(call, block.input)
