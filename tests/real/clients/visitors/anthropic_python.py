"""Acts of Anthropic's library for Python; see `visitor.py` for the manner.  Runs among that library's packages."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

from anthropic import Anthropic, APIStatusError

Heard = dict[str, Any]

REQUEST_ID = "x-request-id"
"""Where the library itself looks, in `request-id`, there is none: that header is Anthropic's own."""


def messages(client: Anthropic, heard: Heard, **order: Any) -> None:
    answer = client.messages.with_raw_response.create(**order)
    heard["request_id"] = answer.headers.get(REQUEST_ID)
    tell_message(answer.parse(), heard)


def messages_stream(client: Anthropic, heard: Heard, **order: Any) -> None:
    heard |= {"text": "", "pieces": 0, "finish": None}
    with client.messages.stream(**order) as stream:
        heard["request_id"] = stream.response.headers.get(REQUEST_ID)
        for text in stream.text_stream:
            heard["text"] += text
            heard["pieces"] += 1
        tell_message(stream.get_final_message(), heard)


def count_tokens(client: Anthropic, heard: Heard, **order: Any) -> None:
    heard["tokens"] = client.messages.count_tokens(**order).input_tokens


def tell_message(answer: Any, heard: Heard) -> None:
    heard["text"] = "".join(block.text for block in answer.content if block.type == "text")
    heard["calls"] = [
        {"name": block.name, "input": block.input} for block in answer.content if block.type == "tool_use"
    ]
    heard["finish"] = answer.stop_reason
    heard["tokens"] = answer.usage.output_tokens
    heard["asked_tokens"] = answer.usage.input_tokens


def told(problem: Exception) -> dict[str, Any]:
    """An exception as its catcher sees it."""
    return {
        "kinds": [kind.__name__ for kind in type(problem).__mro__],
        "status": getattr(problem, "status_code", None),
        "message": str(problem),
        "code": None,
        "type": getattr(problem, "type", None),
        "body": getattr(problem, "body", None),
        "request_id": problem.response.headers.get(REQUEST_ID) if isinstance(problem, APIStatusError) else None,
    }


ACTS: dict[str, Callable[..., None]] = {act.__name__: act for act in (messages, messages_stream, count_tokens)}


def perform(act: str, settings: dict[str, Any], arguments: dict[str, Any]) -> dict[str, Any]:
    heard: Heard = {}
    try:
        with Anthropic(**settings) as client:
            ACTS[act](client, heard, **arguments)
    except Exception as problem:  # noqa: BLE001 - which one it is, is what the test asks
        return {"heard": heard, "raised": told(problem)}
    return {"heard": heard, "raised": None}


for line in sys.stdin:
    print(json.dumps(perform(**json.loads(line))), flush=True)
