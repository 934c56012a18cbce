"""``POST /v1/messages`` and its token count: Anthropic's protocol, which vLLM serves by way of its chat."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final

from hadesgw.demo import refusal
from hadesgw.demo.answer import Generation, Piece
from hadesgw.demo.conversation import Call, Conversation, Message, Tool
from hadesgw.demo.order import (
    SAMPLING,
    House,
    Order,
    call_from,
    check_sampling,
    measured,
    model_of,
    room,
    schema_of,
    text_of,
    tool_of,
    whole,
)
from hadesgw.demo.refusal import Refusal, a_list, an_integer, anything, mappings
from hadesgw.demo.writing import ENGINE_MESSAGE, Reply, event

COUNT_FIELDS: Final = {"model": refusal.a_string, "messages": mappings, "system": anything, "tools": mappings}
FIELDS: Final = {
    **{name: check for name, check in SAMPLING.items() if name not in ("n", "stop", "stream_options")},
    **COUNT_FIELDS,
    "max_tokens": an_integer,
    "stop_sequences": a_list,
}
_STOP_REASONS: Final = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}


def _blocks(content: object) -> tuple[list[Any], list[dict[str, Any]], list[dict[str, Any]]]:
    """A message's blocks apart: what is text, what a tool gave back, what tool was used."""
    if not isinstance(content, list):
        return [content], [], []
    kinds: dict[str, list[dict[str, Any]]] = {"tool_result": [], "tool_use": []}
    rest: list[Any] = []
    for block in content:
        kind = block.get("type") if isinstance(block, dict) else None
        kinds.get(str(kind), rest).append(block)
    return [rest] if rest else [], kinds["tool_result"], kinds["tool_use"]


def read_messages(document: Mapping[str, Any], house: House) -> tuple[Message, ...]:
    """The turns, the system prompt first; a tool's result becomes a turn of its own.

    :raises Refusal: for contents that are no text.
    """
    system = text_of(document.get("system"), "body.system", house)
    turns = [Message("system", system)] if system else []
    for index, message in enumerate(document["messages"]):
        loc = f"body.messages.{index}.content"
        texts, results, uses = _blocks(message.get("content"))
        turns += [Message("tool", text_of(result.get("content"), loc, house)) for result in results]
        calls: tuple[Call, ...] = tuple(call_from(use.get("name"), use.get("input")) for use in uses)
        if texts or calls:
            text = text_of(texts[0], loc, house) if texts else ""
            turns.append(Message(str(message.get("role") or "user"), text, calls))
    if not document["messages"]:
        raise Refusal(400, "Cannot apply chat template to an empty conversation. Provide at least one message.")
    return tuple(turns)


def read_tools(document: Mapping[str, Any]) -> tuple[Tool, ...]:
    """The tools offered.

    :raises Refusal: for one without a name.
    """
    tools = document.get("tools") or []
    return tuple(tool_of(tool, f"body.tools.{at}", schema="input_schema") for at, tool in enumerate(tools))


def counted(document: dict[str, Any], house: House) -> dict[str, Any]:
    """The answer of ``/v1/messages/count_tokens``.

    :raises Refusal: as vLLM would refuse it.
    """
    refusal.check(document, COUNT_FIELDS, ("model", "messages"))
    model_of(document, house)
    tokens = measured(house, read_messages(document, house), read_tools(document))
    return {"input_tokens": tokens, "context_management": {"original_input_tokens": tokens}}


def read(document: dict[str, Any], house: House) -> Order:
    """The order in a Messages request.

    :raises Refusal: as vLLM would refuse it.
    """
    refusal.check(document, FIELDS, ("model", "messages", "max_tokens"))
    model = model_of(document, house)
    messages, tools = read_messages(document, house), read_tools(document)
    check_sampling(document)
    wish = document.get("tool_choice")
    wish = wish if isinstance(wish, dict) else {}
    choice = {"any": "required", "tool": "required", "none": "none"}.get(str(wish.get("type")), "auto")
    named = str(wish.get("name")) if wish.get("type") == "tool" else ""
    form = document.get("output_config")
    schema = schema_of(form.get("format") if isinstance(form, dict) else None)
    one_call = wish.get("disable_parallel_tool_use") is True
    prompt_tokens = measured(house, messages, tools)
    return Order(
        document=document,
        model=model,
        conversations=(Conversation(messages, tools, choice, named, schema, one_call),),
        prompt_tokens=prompt_tokens,
        limit=room(house, prompt_tokens, whole(document, "max_tokens")),
        stream=bool(document.get("stream")),
        stop=tuple(word for word in document.get("stop_sequences") or [] if isinstance(word, str)),
        ignore_end=bool(document.get("ignore_eos")),
    )


def _input(arguments: str) -> object:
    """The arguments of a finished call as JSON; vLLM cannot answer with those that are not.

    :raises Refusal: 500 in that case.
    """
    try:
        return json.loads(arguments)
    except ValueError as error:
        raise Refusal(500, str(error)) from None


class Writer:
    """Writes one message. One content block is open at a time: thinking, text, or a tool's use."""

    prefix: ClassVar = "chatcmpl-"
    opens_at_once: ClassVar = False

    def __init__(self, reply: Reply) -> None:
        self._reply = reply
        self._order = reply.order
        self._block = 0
        self._open: Piece | None = None

    def _stop_reason(self, generation: Generation) -> str:
        return "stop_sequence" if generation.stop_string is not None else _STOP_REASONS[generation.finish]

    def _usage(self, tokens: int) -> dict[str, Any]:
        return {"input_tokens": self._order.prompt_tokens, "output_tokens": tokens}

    def whole(self, generations: Sequence[Generation]) -> dict[str, Any]:
        """The body of an answer that is not streamed.

        :raises Refusal: if a call's arguments are not JSON.
        """
        generation = generations[0]
        content: list[dict[str, Any]] = []
        if thinking := generation.joined("reasoning"):
            content.append({"type": "thinking", "thinking": thinking, "signature": self._reply.new_id()})
        if text := generation.joined("text"):
            content.append({"type": "text", "text": text})
        for call in generation.calls():
            identity = f"chatcmpl-tool-{self._reply.new_id()}"
            content.append({"type": "tool_use", "id": identity, "name": call.name, "input": _input(call.arguments)})
        return {
            "id": self._reply.id,
            "type": "message",
            "role": "assistant",
            "content": content,
            "model": self._order.model,
            "stop_reason": self._stop_reason(generation),
            **({} if generation.stop_string is None else {"stop_sequence": generation.stop_string}),
            "usage": self._usage(generation.tokens),
        }

    def _event(self, kind: str, **fields: object) -> str:
        return event({"type": kind, **fields}, kind)

    def opening(self) -> list[str]:
        """The message begins, empty."""
        message: dict[str, Any] = {
            "id": self._reply.id,
            "type": "message",
            "role": "assistant",
            "content": [],
            "model": self._order.model,
            "stop_reason": None,
            "stop_sequence": None,
            "usage": self._usage(0),
        }
        return [self._event("message_start", message=message)]

    def _begin(self, piece: Piece) -> list[str]:
        self._open = piece
        if piece.kind == "call":
            identity = f"chatcmpl-tool-{self._reply.new_id()}"
            block: dict[str, Any] = {"type": "tool_use", "id": identity, "name": piece.text, "input": {}}
        elif piece.kind == "reasoning":
            block = {"type": "thinking", "thinking": ""}
        else:
            block = {"type": "text", "text": ""}
        return [self._event("content_block_start", content_block=block, index=self._block)]

    def _delta(self, kind: str, key: str, text: str) -> str:
        return self._event("content_block_delta", delta={"type": kind, key: text}, index=self._block)

    def _close(self) -> list[str]:
        if self._open is None:
            return []
        signed = self._open.kind == "reasoning"
        events = [self._delta("signature_delta", "signature", self._reply.new_id())] if signed else []
        events.append(self._event("content_block_stop", index=self._block))
        self._open = None
        self._block += 1
        return events

    def piece(self, choice: int, piece: Piece, generation: Generation) -> list[str]:
        """The events of one piece: perhaps a block's end and another's beginning, then the delta."""
        del choice, generation
        kind = "call" if piece.kind == "arguments" else piece.kind
        events = []
        if self._open is None or self._open.kind != kind or piece.kind == "call":
            events = [*self._close(), *self._begin(piece)]
        if piece.kind == "text":
            events.append(self._delta("text_delta", "text", piece.text))
        elif piece.kind == "reasoning":
            events.append(self._delta("thinking_delta", "thinking", piece.text))
        elif piece.kind == "arguments":
            events.append(self._delta("input_json_delta", "partial_json", piece.text))
        return events

    def ended(self, choice: int, generation: Generation) -> list[str]:
        """The last block's end, why the message ended and what it cost."""
        del choice
        delta = {"stop_reason": self._stop_reason(generation), "stop_sequence": generation.stop_string}
        return [
            *self._close(),
            self._event("message_delta", delta=delta, usage=self._usage(generation.tokens)),
        ]

    def closing(self) -> list[str]:
        """The message ends."""
        return [self._event("message_stop")]

    def failure(self) -> list[str]:
        """The engine's death in mid-stream: an error event and nothing after it."""
        return [self._event("error", error={"type": "internal_error", "message": ENGINE_MESSAGE})]
