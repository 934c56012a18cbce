"""Acts of OpenAI's library for Python; see `visitor.py` for the manner.  Runs among that library's packages."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterable
from datetime import date
from typing import Any

from openai import OpenAI
from pydantic import BaseModel

Heard = dict[str, Any]


def models(client: OpenAI, heard: Heard) -> None:
    heard["ids"] = [model.id for model in client.models.list()]


def files(client: OpenAI, heard: Heard) -> None:
    heard["ids"] = [file.id for file in client.files.list()]


def embeddings(client: OpenAI, heard: Heard, model: str, texts: list[str]) -> None:
    answer = client.embeddings.create(model=model, input=texts)
    heard["vectors"] = [item.embedding for item in answer.data]
    heard["tokens"] = answer.usage.prompt_tokens


def chat(client: OpenAI, heard: Heard, **order: Any) -> None:
    answer = client.chat.completions.create(**order)
    choice = answer.choices[0]
    heard["request_id"] = answer._request_id
    heard["text"] = choice.message.content or ""
    heard["calls"] = [
        {"name": call.function.name, "arguments": call.function.arguments} for call in choice.message.tool_calls or []
    ]
    heard["finish"] = choice.finish_reason
    heard["tokens"] = answer.usage.completion_tokens


def chat_stream(client: OpenAI, heard: Heard, leave_after: int = 0, **order: Any) -> None:
    heard |= {"text": "", "calls": [], "finish": None, "tokens": None, "pieces": 0}
    with client.chat.completions.create(stream=True, **order) as stream:
        heard["request_id"] = stream.response.headers["x-request-id"]
        for chunk in timed(stream, heard):
            if chunk.usage:
                heard["tokens"] = chunk.usage.completion_tokens
            for choice in chunk.choices:
                heard["text"] += choice.delta.content or ""
                heard["finish"] = choice.finish_reason or heard["finish"]
                for call in choice.delta.tool_calls or []:
                    add_call(heard["calls"], call)
            if heard["pieces"] == leave_after:
                return


def add_call(calls: list[dict[str, Any]], delta: Any) -> None:
    if delta.index == len(calls):
        calls.append({"name": delta.function.name, "arguments": "", "pieces": 0})
    if delta.function.arguments:
        calls[delta.index]["arguments"] += delta.function.arguments
        calls[delta.index]["pieces"] += 1


def responses(client: OpenAI, heard: Heard, **order: Any) -> None:
    answer = client.responses.create(**order)
    heard["request_id"] = answer._request_id
    tell_response(answer, heard)


def responses_stream(client: OpenAI, heard: Heard, **order: Any) -> None:
    heard |= {"text": "", "types": [], "pieces": 0}
    with client.responses.create(stream=True, **order) as stream:
        heard["request_id"] = stream.response.headers["x-request-id"]
        for event in timed(stream, heard):
            heard["types"].append(event.type)
            if event.type == "response.output_text.delta":
                heard["text"] += event.delta
            elif event.type == "response.completed":
                tell_response(event.response, heard)
            elif event.type == "response.failed":
                heard["failure"] = event.response.error.message


def responses_helper(client: OpenAI, heard: Heard, **order: Any) -> None:
    """The library's own reader of such streams, which holds their events against each other."""
    heard |= {"text": "", "types": []}
    with client.responses.stream(**order) as stream:
        for event in stream:
            heard["types"].append(event.type)
            if event.type == "response.output_text.delta":
                heard["text"] += event.delta
            elif event.type == "response.failed":
                heard["failure"] = event.response.error.message
        heard["parsed"] = stream.get_final_response().output_parsed


class Person(BaseModel):
    """What :func:`parsed` asks for."""

    name: str
    born: date
    parents: list[Person]
    height: float | None


def parsed(client: OpenAI, heard: Heard, model: str, prompt: str) -> None:
    messages: Any = [{"role": "user", "content": prompt}]
    choice = client.chat.completions.parse(model=model, messages=messages, response_format=Person).choices[0]
    answer = client.responses.parse(model=model, input=prompt, text_format=Person)
    heard["names"] = [person and person.name for person in (choice.message.parsed, answer.output_parsed)]


def tell_response(answer: Any, heard: Heard) -> None:
    heard["text"] = answer.output_text
    heard["calls"] = [
        {"name": item.name, "arguments": item.arguments} for item in answer.output if item.type == "function_call"
    ]
    heard["finish"] = answer.status
    heard["tokens"] = answer.usage.output_tokens


def timed(stream: Iterable[Any], heard: Heard) -> Iterable[Any]:
    """The pieces of a stream, counted, and the seconds between the first and the last."""
    began = 0.0
    for piece in stream:
        began = began or time.monotonic()
        heard["pieces"] += 1
        heard["seconds"] = time.monotonic() - began
        yield piece


def told(problem: Exception) -> dict[str, Any]:
    """An exception as its catcher sees it."""
    return {
        "kinds": [kind.__name__ for kind in type(problem).__mro__],
        "status": getattr(problem, "status_code", None),
        "message": str(problem),
        "code": getattr(problem, "code", None),
        "type": getattr(problem, "type", None),
        "body": getattr(problem, "body", None),
        "request_id": getattr(problem, "request_id", None),
    }


ACTS: dict[str, Callable[..., None]] = {
    act.__name__: act
    for act in (models, files, embeddings, chat, chat_stream, responses, responses_stream, responses_helper, parsed)
}


def perform(act: str, settings: dict[str, Any], arguments: dict[str, Any]) -> dict[str, Any]:
    heard: Heard = {}
    try:
        with OpenAI(**settings) as client:
            ACTS[act](client, heard, **arguments)
    except Exception as problem:  # noqa: BLE001 - which one it is, is what the test asks
        return {"heard": heard, "raised": told(problem)}
    return {"heard": heard, "raised": None}


for line in sys.stdin:
    print(json.dumps(perform(**json.loads(line))), flush=True)
