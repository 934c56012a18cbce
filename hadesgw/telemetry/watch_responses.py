"""The watch over answers of the Responses API, as OpenAI and vLLM speak it."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw, Struct

from hadesgw.telemetry.watch import NOTHING, Extras, Watch


class _Item(Struct, gc=False):
    type: Any = None
    id: Any = None
    call_id: Any = None
    name: Any = None
    arguments: Any = None
    content: Any = None


class _Response(Extras, gc=False):
    id: Any = None
    status: Any = None
    usage: Any = None
    output: Raw = NOTHING


class _ResponseEvent(Extras, gc=False):
    response: _Response | None = None
    item: _Item | None = None
    output_index: Any = None
    delta: Any = None


_RESPONSE = msgspec.json.Decoder(_Response).decode
_RESPONSE_EVENT = msgspec.json.Decoder(_ResponseEvent).decode
_ITEMS = msgspec.json.Decoder(list[_Item]).decode
_CALL_ITEMS = frozenset(("function_call", "custom_tool_call", "mcp_call"))
_ENDS = frozenset(("completed", "incomplete", "failed", "cancelled"))


class ResponsesWatch(Watch):
    """An answer to `/v1/responses`."""

    def _event(self, data: bytes) -> None:
        if data == b"[DONE]":
            return  # no part of this protocol, but some send it
        event = _RESPONSE_EVENT(data)
        kind = event.type if isinstance(event.type, str) else ""
        if kind.endswith(".delta"):
            self.counted_tokens += 1
            if kind == "response.output_text.delta":
                self._note_text(event.delta)
            elif kind == "response.function_call_arguments.delta":
                self._add_arguments(self._find_call(str(event.output_index), None, None), event.delta)
        elif event.item is not None:
            if kind == "response.output_item.added":
                self._note_item(str(event.output_index), event.item, streamed=True)
            else:
                self._note_complete(str(event.output_index), event.item)
        elif event.response is not None:
            self._note_response(event.response, kind.removeprefix("response."))
        elif event.error is not None or (kind == "error" and event.agent_id is None):
            self.failed = True
        else:
            self._note_extras(event)

    def _answer(self, data: bytes) -> None:
        response = _RESPONSE(data)
        if response.output is not NOTHING:
            for place, item in enumerate(_ITEMS(bytes(response.output))):
                self._note_item(str(place), item, streamed=False)
                for part in item.content if isinstance(item.content, list) else ():
                    self._note_text(part.get("text") if isinstance(part, dict) else None)
        self._note_response(response, response.status)

    def _note_response(self, response: _Response, state: object) -> None:
        self._note_id(response.id)
        self._note_usage(response.usage, "input_tokens", "output_tokens")
        self._note_extras(response)
        if response.error is not None or state == "failed":
            self.failed = True
        if state in _ENDS:
            self.done = True
            self._note_finish("incomplete" if response.status == "incomplete" else state)

    def _note_complete(self, key: str, item: _Item) -> None:
        """An item again, with all that came of it: new is what a server tells only when it is complete."""
        call = self._calls.get(key)
        if call is None:
            self._note_item(key, item, streamed=False)
        elif call.silent:
            self._add_arguments(call, item.arguments)

    def _note_item(self, key: str, item: _Item, *, streamed: bool) -> None:
        """One item of the output, if it is a call.

        :param streamed: whether its arguments follow piece by piece.
        """
        if item.type not in _CALL_ITEMS:
            return
        call = self._find_call(key, item.call_id or item.id, item.name)
        if item.type == "custom_tool_call":  # its input is text of any form
            self._add_arguments(call, {})
        elif not streamed:
            self._add_arguments(call, item.arguments)
