"""``POST /v1/chat/completions``: reading the request, writing the answer and its stream as vLLM does."""

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
    stop_strings,
    stream_options,
    text_of,
    tool_of,
    whole,
)
from hadesgw.demo.refusal import Refusal, an_integer, mappings
from hadesgw.demo.writing import ENGINE_DEATH, FINGERPRINT, Reply, event

FIELDS: Final = {
    **SAMPLING,
    "messages": mappings,
    "tools": mappings,
    "functions": mappings,
    "max_tokens": an_integer,
    "max_completion_tokens": an_integer,
}


def read_messages(document: Mapping[str, Any], house: House) -> tuple[Message, ...]:
    """The turns of a chat.

    :raises Refusal: for contents that are no text.
    """
    read = []
    for index, message in enumerate(document["messages"]):
        text = text_of(message.get("content"), f"body.messages.{index}.content", house)
        calls = message.get("tool_calls")
        functions = (
            [call.get("function") for call in calls if isinstance(call, dict)] if isinstance(calls, list) else []
        )
        made = [call_from(each.get("name"), each.get("arguments")) for each in functions if isinstance(each, dict)]
        role = str(message.get("role") or "user")
        read.append(Message("tool" if role == "function" else role, text, tuple(made)))
    if not read:
        raise Refusal(400, "Cannot apply chat template to an empty conversation. Provide at least one message.")
    return tuple(read)


def read_tools(document: Mapping[str, Any]) -> tuple[Tool, ...]:
    """The functions offered; in the older form too, which vLLM passes over and HADES still speaks.

    :raises Refusal: for one without a name.
    """
    tools, functions = document.get("tools") or [], document.get("functions") or []
    return (
        *(tool_of(tool.get("function"), f"body.tools.{at}.function") for at, tool in enumerate(tools)),
        *(tool_of(function, f"body.functions.{at}") for at, function in enumerate(functions)),
    )


def _choice(document: Mapping[str, Any], tools: tuple[Tool, ...]) -> tuple[str, str]:
    """The tool choice, and the name of the one tool if it names one.

    :raises Refusal: if that tool is not offered.
    """
    choice, older = document.get("tool_choice"), document.get("function_call")
    if choice is None:
        choice = {"function": older} if isinstance(older, dict) else older
    if isinstance(choice, str):
        return choice, ""
    if not isinstance(choice, dict):
        return "auto", ""
    function = choice.get("function")
    name = str(function.get("name")) if isinstance(function, dict) else ""
    if not any(tool.name == name for tool in tools):
        message = "The tool specified in `tool_choice` does not match any of the specified `tools`"
        raise Refusal(400, f"{message} (parameter=tool_choice)", param="tool_choice")
    return "required", name


def _schema(document: Mapping[str, Any]) -> dict[str, Any] | None:
    """The schema that the answer must fit.

    :raises Refusal: if the format asks for one and has none.
    """
    form = document.get("response_format")
    if isinstance(form, dict) and form.get("type") == "json_schema" and form.get("json_schema") is None:
        message = "When response_format type is 'json_schema', the 'json_schema' field must be provided."
        raise Refusal(400, f"{message} (parameter=response_format)", param="response_format")
    return schema_of(form)


def read(document: dict[str, Any], house: House) -> Order:
    """The order in a chat request.

    :raises Refusal: as vLLM would refuse it.
    """
    refusal.check(document, FIELDS, ("messages",))
    model = model_of(document, house)
    include_usage, continuous_usage = stream_options(document)
    messages, tools = read_messages(document, house), read_tools(document)
    choice, named = _choice(document, tools)
    check_sampling(document)
    asked = whole(document, "max_completion_tokens")
    asked = whole(document, "max_tokens") if asked is None else asked
    one_call = document.get("parallel_tool_calls") is False
    prompt_tokens = measured(house, messages, tools)
    return Order(
        document=document,
        model=model,
        conversations=(Conversation(messages, tools, choice, named, _schema(document), one_call),),
        prompt_tokens=prompt_tokens,
        limit=room(house, prompt_tokens, asked),
        stream=bool(document.get("stream")),
        stop=stop_strings(document),
        keep_stop=bool(document.get("include_stop_str_in_output")),
        ignore_end=bool(document.get("ignore_eos")),
        choices=whole(document, "n") or 1,
        include_usage=include_usage,
        continuous_usage=continuous_usage,
    )


def usage(prompt_tokens: int, tokens: int) -> dict[str, Any]:
    """The three counts, in vLLM's order."""
    return {
        "prompt_tokens": prompt_tokens,
        "total_tokens": prompt_tokens + tokens,
        "completion_tokens": tokens,
    }


class Writer:
    """Writes one chat answer.

    :param reply: the answer's identity and order.
    """

    prefix: ClassVar = "chatcmpl-"
    opens_at_once: ClassVar = False

    def __init__(self, reply: Reply) -> None:
        self._reply = reply
        self._order = reply.order
        self._tokens = 0
        self._call_ids: dict[tuple[int, int], str] = {}

    def _finish(self, generation: Generation) -> str:
        """The finish reason; a named tool choice ends in ``stop``."""
        named = self._order.conversation.named_tool
        return "stop" if named and generation.finish == "tool_calls" else generation.finish

    def _call_id(self, choice: int, call: int) -> str:
        return self._call_ids.setdefault((choice, call), f"chatcmpl-tool-{self._reply.new_id()}")

    # -- The whole answer
    def _message(self, index: int, generation: Generation) -> dict[str, Any]:
        text, calls = generation.joined("text"), generation.calls()
        forced = self._order.conversation.tool_choice == "required"
        message: dict[str, Any] = {
            "role": "assistant",
            "content": text if text or forced or not calls else None,
            "refusal": None,
            "annotations": None,
            "audio": None,
            "function_call": None,
        }
        if calls:
            message["tool_calls"] = [
                {
                    "id": self._call_id(index, number),
                    "type": "function",
                    "function": {"name": call.name, "arguments": call.arguments},
                }
                for number, call in enumerate(calls)
            ]
        return {**message, "reasoning": generation.joined("reasoning") or None}

    def whole(self, generations: Sequence[Generation]) -> dict[str, Any]:
        """The body of an answer that is not streamed."""
        choices = [
            {
                "index": index,
                "message": self._message(index, generation),
                "logprobs": None,
                "finish_reason": self._finish(generation),
                "stop_reason": generation.stop_string,
                "token_ids": None,
                "routed_experts": None,
            }
            for index, generation in enumerate(generations)
        ]
        counts = usage(self._order.prompt_tokens, sum(generation.tokens for generation in generations))
        return {
            "id": self._reply.id,
            "object": "chat.completion",
            "created": self._reply.created,
            "model": self._order.model,
            "choices": choices,
            "service_tier": None,
            "system_fingerprint": FINGERPRINT,
            "usage": {**counts, "prompt_tokens_details": None, "completion_tokens_details": None},
            "prompt_logprobs": None,
            "prompt_token_ids": None,
            "prompt_text": None,
            "kv_transfer_params": None,
            "ec_transfer_params": None,
            "metrics": None,
        }

    # -- The stream
    def _chunk(self, choices: list[dict[str, Any]], **more: object) -> str:
        chunk: dict[str, Any] = {
            "id": self._reply.id,
            "object": "chat.completion.chunk",
            "created": self._reply.created,
            "model": self._order.model,
            "choices": choices,
        }
        if self._order.continuous_usage and choices:
            chunk["usage"] = {
                **usage(self._order.prompt_tokens, self._tokens),
                "completion_tokens_details": None,
            }
        return event({**chunk, **more})

    def opening(self) -> list[str]:
        """The role events, one a choice."""
        return [
            self._chunk(
                [
                    {
                        "index": index,
                        "delta": {"role": "assistant", "content": ""},
                        "logprobs": None,
                        "finish_reason": None,
                    }
                ],
                prompt_token_ids=None,
                prompt_text=None,
            )
            for index in range(self._order.choices)
        ]

    def _delta(self, choice: int, piece: Piece) -> dict[str, Any]:
        if piece.kind == "text":
            return {"content": piece.text}
        if piece.kind == "reasoning":
            return {"reasoning": piece.text}
        if piece.kind == "arguments":
            call: dict[str, Any] = {"index": piece.call, "function": {"arguments": piece.text}}
        else:
            identity = self._call_id(choice, piece.call)
            call = {"id": identity, "type": "function", "index": piece.call, "function": {"name": piece.text}}
        return {"content": None, "tool_calls": [call]}

    def piece(self, choice: int, piece: Piece, generation: Generation) -> list[str]:
        """The event of one piece; a ``length`` stop is told in the last piece itself."""
        self._tokens += piece.tokens
        delta = self._delta(choice, piece)
        if piece is generation.pieces[-1] and generation.finish == "length":
            return [self._end(choice, delta, generation)]
        step = {"index": choice, "delta": delta, "logprobs": None, "finish_reason": None, "token_ids": None}
        return [self._chunk([step])]

    def _end(self, choice: int, delta: dict[str, Any], generation: Generation) -> str:
        step = {
            "index": choice,
            "delta": delta,
            "logprobs": None,
            "finish_reason": self._finish(generation),
            "stop_reason": generation.stop_string,
            "token_ids": None,
        }
        more = {} if self._order.include_usage else {"system_fingerprint": FINGERPRINT}
        return self._chunk([step], **more)

    def ended(self, choice: int, generation: Generation) -> list[str]:
        """The event that ends one choice, unless its last piece did."""
        if generation.finish == "length" and generation.pieces:
            return []
        return [self._end(choice, {}, generation)]

    def closing(self) -> list[str]:
        """The usage if it was asked for, and the end."""
        events = []
        if self._order.include_usage:
            counts = usage(self._order.prompt_tokens, self._tokens)
            events.append(self._chunk([], usage=counts, system_fingerprint=FINGERPRINT))
        return [*events, "data: [DONE]\n\n"]

    def failure(self) -> list[str]:
        """The engine's death in mid-stream: an error event, then an end as if all were well."""
        return [f"data: {ENGINE_DEATH}\n\n", "data: [DONE]\n\n"]
