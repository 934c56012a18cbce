"""``POST /v1/responses``: items in, items out, and a stream of named, numbered events."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final

from hadesgw.demo import refusal
from hadesgw.demo.answer import Generation, Piece
from hadesgw.demo.conversation import Conversation, Message, Tool
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
from hadesgw.demo.refusal import Refusal, a_list, a_string, an_integer, anything
from hadesgw.demo.writing import ENGINE_MESSAGE, Reply, event

FIELDS: Final = {
    **{name: check for name, check in SAMPLING.items() if name not in ("n", "stop", "stream_options")},
    "input": anything,
    "instructions": a_string,
    "max_output_tokens": an_integer,
    "previous_response_id": a_string,
    "tools": a_list,
}


def _item(item: Mapping[str, Any], loc: str, house: House) -> Message | None:
    """One item of the input as a turn; None for kinds that say nothing to a model."""
    kind = item.get("type", "message")
    if kind == "message":
        return Message(str(item.get("role") or "user"), text_of(item.get("content"), f"{loc}.content", house))
    if kind == "function_call":
        return Message("assistant", "", (call_from(item.get("name"), item.get("arguments")),))
    if kind in ("function_call_output", "custom_tool_call_output"):
        return Message("tool", text_of(item.get("output"), f"{loc}.output", house))
    if kind == "custom_tool_call":
        return Message("assistant", "", (call_from(item.get("name"), item.get("input")),))
    return None


def read_input(document: Mapping[str, Any], house: House) -> tuple[Message, ...]:
    """The turns of a request: its instructions, then its input.

    :raises Refusal: for an input that is neither a string nor a list of items.
    """
    instructions = document.get("instructions")
    turns = [Message("system", instructions)] if instructions else []
    given = document["input"]
    if isinstance(given, str):
        return (*turns, Message("user", given))
    if not isinstance(given, list):
        raise refusal.wrong("string_type", "body.input", "Input should be a valid string", given)
    for index, item in enumerate(given):
        loc = f"body.input.{index}"
        if not isinstance(item, dict):
            raise refusal.wrong("dict_type", loc, "Input should be a valid dictionary", item)
        turn = _item(item, loc, house)
        turns += [turn] if turn else []
    return tuple(turns)


def read_tools(document: Mapping[str, Any]) -> tuple[Tool, ...]:
    """The functions offered; tools of other kinds are passed over.

    :raises Refusal: for a function without a name.
    """
    return tuple(
        tool_of(tool, f"body.tools.{index}")
        for index, tool in enumerate(document.get("tools") or [])
        if isinstance(tool, dict) and tool.get("type") == "function"
    )


def read(document: dict[str, Any], house: House) -> Order:
    """The order in a Responses request.

    :raises Refusal: as vLLM would refuse it.
    """
    refusal.check(document, FIELDS, ("input",))
    model = model_of(document, house)
    previous = document.get("previous_response_id")
    if previous:
        raise Refusal(404, f"Response with id '{previous}' not found.", param="response_id")
    messages, tools = read_input(document, house), read_tools(document)
    check_sampling(document)
    choice = document.get("tool_choice")
    named = str(choice.get("name")) if isinstance(choice, dict) else ""
    choice = choice if isinstance(choice, str) else "auto"
    form = document.get("text")
    schema = schema_of(form.get("format") if isinstance(form, dict) else None)
    one_call = document.get("parallel_tool_calls") is False
    prompt_tokens = measured(house, messages, tools)
    return Order(
        document=document,
        model=model,
        conversations=(Conversation(messages, tools, choice, named, schema, one_call),),
        prompt_tokens=prompt_tokens,
        limit=room(house, prompt_tokens, whole(document, "max_output_tokens"), param="max_output_tokens"),
        stream=bool(document.get("stream")),
        ignore_end=bool(document.get("ignore_eos")),
    )


def _number(document: Mapping[str, Any], name: str, default: float) -> float:
    value = document.get(name)
    return default if value is None else float(value)


class Writer:
    """Writes one response. What is open at a time is one item: reasoning, a message, or a call."""

    prefix: ClassVar = "resp_"
    opens_at_once: ClassVar = True

    def __init__(self, reply: Reply) -> None:
        self._reply = reply
        self._order = reply.order
        self._sequence = 0
        self._done: list[dict[str, Any]] = []
        self._open: Piece | None = None
        self._item_id = self._call_id = self._text = ""

    # -- The response object
    def _response(self, status: str, output: list[dict[str, Any]], usage: dict[str, Any] | None) -> dict[str, Any]:
        asked = self._order.document
        cut = status == "incomplete"
        has_tools = bool(self._order.conversation.tools)
        return {
            "id": self._reply.id,
            "created_at": self._reply.created,
            "incomplete_details": {"reason": "max_output_tokens"} if cut else None,
            "instructions": asked.get("instructions"),
            "metadata": asked.get("metadata"),
            "model": self._order.model,
            "object": "response",
            "output": output,
            "parallel_tool_calls": asked.get("parallel_tool_calls", True),
            "temperature": _number(asked, "temperature", 1.0),
            "tool_choice": asked.get("tool_choice") or ("auto" if has_tools else "none"),
            "tools": asked.get("tools") or [],
            "top_p": _number(asked, "top_p", 1.0),
            "background": False,
            "max_output_tokens": self._order.limit,
            "max_tool_calls": asked.get("max_tool_calls"),
            "previous_response_id": None,
            "prompt": None,
            "reasoning": asked.get("reasoning"),
            "service_tier": "auto",
            "status": status,
            "text": asked.get("text"),
            "top_logprobs": asked.get("top_logprobs"),
            "truncation": "disabled",
            "usage": usage,
            "user": asked.get("user"),
            "presence_penalty": _number(asked, "presence_penalty", 0.0),
            "frequency_penalty": _number(asked, "frequency_penalty", 0.0),
            "kv_transfer_params": None,
            "ec_transfer_params": None,
            "input_messages": None,
            "output_messages": None,
        }

    def _usage(self, generation: Generation) -> dict[str, Any]:
        return {
            "input_tokens": self._order.prompt_tokens,
            "input_tokens_details": {
                "cached_tokens": 0,
                "cache_write_tokens": 0,
                "input_tokens_per_turn": [],
                "cached_tokens_per_turn": [],
            },
            "output_tokens": generation.tokens,
            "output_tokens_details": {
                "reasoning_tokens": generation.reasoning_tokens,
                "tool_output_tokens": 0,
                "output_tokens_per_turn": [],
                "tool_output_tokens_per_turn": [],
            },
            "total_tokens": self._order.prompt_tokens + generation.tokens,
        }

    def _ended(self, generation: Generation) -> dict[str, Any]:
        status = "incomplete" if generation.finish == "length" else "completed"
        return self._response(status, self._done, self._usage(generation))

    def whole(self, generations: Sequence[Generation]) -> dict[str, Any]:
        """The body of an answer that is not streamed: the same items, made without their events."""
        generation = generations[0]
        for piece in generation.pieces:
            self.piece(0, piece, generation)
        self._close()
        return self._ended(generation)

    # -- Items
    def _part(self, *, done: bool) -> dict[str, Any]:
        """The part that holds an open item's text; what a delta will fill is announced with an empty list."""
        if self._open is not None and self._open.kind == "reasoning":
            return {"text": self._text, "type": "reasoning_text"}
        logprobs: list[Any] | None = None if done else []
        return {"annotations": [], "text": self._text, "type": "output_text", "logprobs": logprobs}

    def _item(self, *, done: bool) -> dict[str, Any]:
        """The open item as it stands."""
        status = "completed" if done else "in_progress"
        if self._open is None or self._open.kind == "text":
            content: list[dict[str, Any]] | None = [self._part(done=True)] if done else []
            message = {"id": self._item_id, "content": content, "role": "assistant", "status": status}
            return {**message, "type": "message", "phase": None}
        if self._open.kind == "reasoning":
            content = [self._part(done=True)] if done else None
            item = {"id": self._item_id, "summary": [], "type": "reasoning", "content": content}
            return {**item, "encrypted_content": None, "status": status}
        call = {
            "arguments": self._text,
            "call_id": self._call_id,
            "name": self._open.text,
            "type": "function_call",
        }
        return {**call, "id": self._item_id, "status": status}

    def _event(self, kind: str, **fields: object) -> str:
        """One numbered event, its fields in the order of the alphabet as vLLM's models have them."""
        fields |= {"sequence_number": self._sequence}
        self._sequence += 1
        return event({**dict(sorted(fields.items())), "type": kind}, kind)

    def _here(self, *, part: bool = True) -> dict[str, Any]:
        """Where the open item stands in the output."""
        place: dict[str, Any] = {"item_id": self._item_id, "output_index": len(self._done)}
        return {**place, "content_index": 0} if part else place

    def _begin(self, piece: Piece) -> list[str]:
        """Open the item that a piece belongs to."""
        self._open, self._text = piece, ""
        prefix = {"text": "msg_", "reasoning": "rs_"}.get(piece.kind, "fc_")
        self._item_id, self._call_id = prefix + self._reply.new_id(), f"call_{self._reply.new_id()}"
        added = self._event("response.output_item.added", item=self._item(done=False), output_index=len(self._done))
        if piece.kind == "call":
            return [added]
        part = self._part(done=False)
        return [added, self._event("response.content_part.added", part=part, **self._here())]

    def _close(self) -> list[str]:
        """Finish the open item, if there is one."""
        if self._open is None:
            return []
        if self._open.kind == "call":
            arguments = {"arguments": self._text, "name": self._open.text}
            events = [self._event("response.function_call_arguments.done", **arguments, **self._here(part=False))]
        else:
            said: dict[str, Any] = {"text": self._text}
            kind = "reasoning_text"
            if self._open.kind == "text":
                kind, said = "output_text", {"text": self._text, "logprobs": []}
            events = [
                self._event(f"response.{kind}.done", **said, **self._here()),
                self._event("response.content_part.done", part=self._part(done=True), **self._here()),
            ]
        item = self._item(done=True)
        events.append(self._event("response.output_item.done", item=item, output_index=len(self._done)))
        self._done.append(item)
        self._open = None
        return events

    # -- The stream
    def opening(self) -> list[str]:
        """The response is created and in progress."""
        return [
            self._event(f"response.{kind}", response=self._response("in_progress", [], None))
            for kind in ("created", "in_progress")
        ]

    def piece(self, choice: int, piece: Piece, generation: Generation) -> list[str]:
        """The events of one piece: perhaps an item's end and another's beginning, then the delta."""
        del choice, generation
        kind = "call" if piece.kind == "arguments" else piece.kind
        events = []
        if self._open is None or self._open.kind != kind or piece.kind == "call":
            events = [*self._close(), *self._begin(piece)]
        if piece.kind == "call":
            return events
        self._text += piece.text
        if piece.kind == "arguments":
            delta = self._event("response.function_call_arguments.delta", delta=piece.text, **self._here(part=False))
        elif piece.kind == "reasoning":
            delta = self._event("response.reasoning_text.delta", delta=piece.text, **self._here())
        else:
            delta = self._event("response.output_text.delta", delta=piece.text, logprobs=[], **self._here())
        return [*events, delta]

    def ended(self, choice: int, generation: Generation) -> list[str]:
        """The last item's end and the whole response; a length stop has the same event, another status."""
        del choice
        events = self._close()
        return [*events, self._event("response.completed", response=self._ended(generation))]

    def closing(self) -> list[str]:
        """This protocol has no further end."""
        return []

    def failure(self) -> list[str]:
        """The engine's death in mid-stream, told as the Responses protocol provides for."""
        response = self._response("failed", self._done, None)
        response["error"] = {"code": "server_error", "message": ENGINE_MESSAGE}
        return [self._event("response.failed", response=response)]
