"""How a model server is asked how many tokens a prompt has: the request it shall count, in a form it counts.

vLLM counts what it is shown on `/tokenize`, through the model's own chat template, and a whole request of Anthropic's
on `/v1/messages/count_tokens`. A request of the Responses API it counts nowhere; but it serves one by making a chat of
it first, and so do we, for counting only. What cannot be asked has no question: then it is estimated.

There are three known differences. vLLM builds the prompts of gpt-oss without a template when it serves, with it when it
counts. `tool_choice: "none"` hides the tools from the prompt under a flag (`--exclude-tools-when-tool-choice-none`)
that we cannot see; they are counted. And the calls in a response have their name before their arguments when it is
served, behind them when it is counted: a template that prints the whole object may make another token of that.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
from msgspec import Raw, Struct

from hadesgw.policy.request_body import CHAT, COMPLETIONS, MESSAGES, RESPONSES, Asked

_COUNT_ROUTE = b"/tokenize"
_MESSAGES_COUNT_ROUTE = b"/v1/messages/count_tokens"
_NULL = Raw(b"null")
_FALSE, _TRUE = Raw(b"false"), Raw(b"true")


class Question(Struct, frozen=True):
    """A request to the model server that is answered with a count."""

    target: bytes
    body: bytes


class Uncountable(Exception):
    """There is something in the request that no question can be made of."""


def questions(asked: Asked, body: bytes) -> list[Question]:
    """What to ask: one question a prompt; none where it cannot be asked.

    :param body: what `asked` was read from.
    """
    try:
        if asked.route is MESSAGES:
            return [Question(_MESSAGES_COUNT_ROUTE, body)]
        return [Question(_COUNT_ROUTE, _encoded(document)) for document in _documents(asked)]
    except (Uncountable, msgspec.DecodeError, RecursionError):
        return []


class _Count(Struct):
    """An answer of either route."""

    count: int | None = None
    input_tokens: int | None = None


def count_in(answer: bytes) -> int | None:
    """The number in a model server's answer, or None if it is no answer to such a question."""
    try:
        found = msgspec.json.decode(answer, type=_Count)
    except (msgspec.DecodeError, RecursionError):
        return None
    count = found.input_tokens if found.count is None else found.count
    return None if count is None or count < 0 else count


def _documents(asked: Asked) -> Iterator[dict[str, Any]]:
    if asked.route is COMPLETIONS:
        same = _kept(asked.members, "model", "add_special_tokens")
        yield from ({**same, "prompt": prompt} for prompt in asked.prompts)
    elif asked.route is CHAT:
        yield _chat(asked.members)
    elif asked.route is RESPONSES:
        yield _chat_of_response(asked.members)


_encoded = msgspec.json.Encoder().encode


def _kept(members: Mapping[str, Raw], *names: str) -> dict[str, Any]:
    return {name: members[name] for name in names if name in members}


# -- Chat --------------------------------------------------------------------------------------------------------------

_CHAT_FIELDS = (
    "model",
    "messages",
    "tools",
    "add_generation_prompt",
    "add_special_tokens",
    "chat_template",
    "continue_final_message",
    "media_io_kwargs",
    "mm_processor_kwargs",
)


def _chat(members: Mapping[str, Raw]) -> dict[str, Any]:
    """A chat as `/tokenize` takes it. Two fields it does not know reach the template all the same, as arguments."""
    effort = members.get("reasoning_effort")
    arguments = _template_arguments(members, effort, documents=members.get("documents"))
    return {**_kept(members, *_CHAT_FIELDS), **arguments}


def _template_arguments(members: Mapping[str, Raw], effort: Raw | None, **more: Raw | None) -> dict[str, Any]:
    """What the template is given besides the conversation, as vLLM merges it: an effort to reason turns thinking on."""
    given = {name: value for name, value in more.items() if not _is_null(value)}
    own = members.get("chat_template_kwargs", _NULL)
    arguments = msgspec.json.decode(own, type=dict[str, Raw] | None) or {}
    if effort is not None and not _is_null(effort):
        given["reasoning_effort"] = effort
        arguments.setdefault("enable_thinking", _FALSE if bytes(effort) == b'"none"' else _TRUE)
    arguments.update(given)  # type: ignore[arg-type]
    return {"chat_template_kwargs": arguments} if arguments else {}


def _is_null(value: Raw | None) -> bool:
    return value is None or bytes(value) == b"null"


# -- The Responses API, as vLLM makes a chat of it ---------------------------------------------------------------------


class _Reasoning(Struct):
    effort: Raw = _NULL


def _chat_of_response(members: Mapping[str, Raw]) -> dict[str, Any]:
    for name in ("previous_response_id", "previous_input_messages", "prompt"):
        if not _is_null(members.get(name)):
            raise Uncountable
    instructions = _value(members, "instructions")
    given = _value(members, "input")
    items = [{"role": "user", "content": given}] if isinstance(given, str) else given
    if not isinstance(items, list):
        raise Uncountable
    messages: list[dict[str, Any]] = [{"role": "system", "content": instructions}] if instructions else []
    for item in items:
        _add(messages, item)
    reasoning = msgspec.json.decode(members.get("reasoning", _NULL), type=_Reasoning | None) or _Reasoning()
    last = items[-1] if items else {}
    goes_on = last.get("type", "message") in ("message", "reasoning") and last.get("status") in _UNFINISHED
    return {
        **_kept(members, "model"),
        "messages": messages,
        "tools": list(_functions(_value(members, "tools") or [])) or None,
        "add_generation_prompt": not goes_on,
        "continue_final_message": goes_on,
        "add_special_tokens": True,
        **_template_arguments(members, reasoning.effort),
    }


_UNFINISHED = ("in_progress", "incomplete")


def _value(members: Mapping[str, Raw], name: str) -> Any:
    return msgspec.json.decode(members.get(name, _NULL))


def _add(messages: list[dict[str, Any]], item: dict[str, Any]) -> None:
    """Add an item to the chat: as a message, or to the assistant's last one, which may be told in several items."""
    last = messages[-1] if messages and messages[-1]["role"] == "assistant" else None
    kind = item.get("type", "message")
    if kind in ("function_call", "custom_tool_call"):
        call = {"id": item.get("call_id"), "type": "function", "function": _call(item)}
        if last is None:
            messages.append({"role": "assistant", "tool_calls": [call]})
        else:
            last.setdefault("tool_calls", []).append(call)
    elif kind in ("function_call_output", "custom_tool_call_output"):
        output = _content(item.get("output"))
        messages.append({"role": "tool", "content": output, "tool_call_id": item.get("call_id")})
    elif kind == "reasoning":
        _say(messages, last, "reasoning", _thought(item))
    elif kind == "message" and item.get("role") == "assistant":
        _say(messages, last, "content", _first_text(item.get("content")))
    elif kind == "message" and isinstance(item.get("role"), str):
        messages.append({"role": item["role"], "content": _content(item.get("content"))})
    else:
        raise Uncountable


def _say(messages: list[dict[str, Any]], last: dict[str, Any] | None, how: str, text: str) -> None:
    if last is None or last.get(how) is not None:
        messages.append({"role": "assistant", how: text})
    else:
        last[how] = text


def _call(item: dict[str, Any]) -> dict[str, Any]:
    if item["type"] == "custom_tool_call":
        return {"name": item.get("name"), "arguments": _encoded({"input": item.get("input") or ""}).decode()}
    space = item.get("namespace")
    name = f"{space}__{item.get('name')}" if space else item.get("name")
    return {"name": name, "arguments": item.get("arguments")}


def _thought(item: dict[str, Any]) -> str:
    if item.get("encrypted_content"):
        raise Uncountable
    return _first_text(item.get("content") or item.get("summary") or "")


def _first_text(content: Any) -> str:
    """The text of a content; of several parts vLLM takes the first."""
    if isinstance(content, list) and content:
        content = content[0].get("text")
    if not isinstance(content, str):
        raise Uncountable
    return content


def _content(content: Any) -> Any:
    if not isinstance(content, list):
        return content
    return [_part(part) for part in content]


def _part(part: dict[str, Any]) -> dict[str, Any]:
    """A part of a content in the chat's words."""
    if part.get("type") in ("input_text", "output_text", "text"):
        return {"type": "text", "text": part.get("text")}
    if part.get("type") == "input_image" and part.get("image_url"):
        return {"type": "image_url", "image_url": {"url": part["image_url"]}}
    raise Uncountable


def _functions(tools: Any) -> Iterator[dict[str, Any]]:
    """The functions among the tools; the model is shown no other kind."""
    for tool in tools if isinstance(tools, list) else ():
        if not isinstance(tool, dict):
            raise Uncountable
        if tool.get("type") == "function":
            yield _function(tool, tool.get("name"))
        elif tool.get("type") == "namespace":
            for inner in _functions(tool.get("tools")):
                function = inner["function"]
                yield {"type": "function", "function": {**function, "name": f"{tool.get('name')}__{function['name']}"}}
        elif tool.get("type") == "custom":
            raise Uncountable


def _function(tool: dict[str, Any], name: Any) -> dict[str, Any]:
    known = {key: tool[key] for key in ("description", "parameters", "strict", "defer_loading") if key in tool}
    return {"type": "function", "function": {"name": name, **known}}
