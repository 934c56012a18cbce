"""Choosing a tool by its name, filling its arguments from its schema: the model's common sense."""

from __future__ import annotations

import json
import re
from typing import Any, Final

from hadesgw.demo.conversation import Call, Conversation, Tool

# Words of tool names that say nothing about what the tool is for.
_EMPTY: Final = frozenset(
    "a add and apply call create do exec execute fetch for get input list make of read run set tool".split()
)
_NAME_WORD: Final = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+")
_NUMBER: Final = re.compile(r"-?\d+(?:\.\d+)?")
_FILE: Final = re.compile(r"[\w.-]*(?:/[\w.-]+)+|\w[\w-]*\.[A-Za-z]\w{0,7}")
_PLACE: Final = re.compile(r"\b(?:in|at|for|of|from|to|near|about)\s+([A-Z][\w-]*(?:\s+[A-Z][\w-]*)*)")
_DEPTH: Final = 6


def _stem(word: str) -> str:
    """A word without the endings that a name and a sentence seldom share."""
    return re.sub(r"(?:ing|ed|es|e|s)$", "", word.lower())


def _score(tool: Tool, words: frozenset[str]) -> int:
    meant = {_stem(word) for word in _NAME_WORD.findall(tool.name) if word.lower() not in _EMPTY}
    return len(meant & words)


def fitting_tool(conversation: Conversation) -> Tool | None:
    """The tool the prompt seems to ask for: the one whose name shares most words with it, if any does.

    ``tool_choice`` is obeyed: none gives none, a named one that one, ``required`` the first if no name fits.
    """
    if conversation.named_tool:
        return conversation.tool(conversation.named_tool)
    if conversation.tool_choice == "none" or not conversation.tools:
        return None
    words = frozenset(_stem(word) for word in _NAME_WORD.findall(conversation.prompt))
    best = max(conversation.tools, key=lambda tool: _score(tool, words))
    return best if conversation.tool_choice == "required" or _score(best, words) else None


def _text_for(name: str, prompt: str) -> str:
    """A string argument's value: what the prompt has that fits the argument's name, else the prompt."""
    if re.search(r"path|file|dir", name, re.IGNORECASE):
        found = _FILE.search(prompt)
        return found.group() if found else "."
    if re.search(r"city|location|place|country|region|town", name, re.IGNORECASE):
        place = _PLACE.search(prompt)
        return place.group(1) if place else "Oslo"
    if re.search(r"idempotency|_rev$|uuid|(?:^|_)id$", name, re.IGNORECASE):
        return "rehearsal-1"
    return prompt.strip()[:200]


def _number_for(schema: dict[str, Any], prompt: str) -> float:
    found = _NUMBER.search(prompt)
    value = float(found.group()) if found else 1.0
    low, high = schema.get("minimum"), schema.get("maximum")
    if isinstance(low, int | float):
        value = max(value, low)
    if isinstance(high, int | float):
        value = min(value, high)
    return value


def _value(name: str, schema: object, prompt: str, depth: int) -> object:
    """A value for one schema; what the schema does not say is taken from the prompt or left small."""
    if not isinstance(schema, dict) or depth > _DEPTH:
        return None
    choices = schema.get("enum")
    if isinstance(choices, list) and choices:
        return next((choice for choice in choices if str(choice).lower() in prompt.lower()), choices[0])
    if "const" in schema or "default" in schema:
        return schema.get("const", schema.get("default"))
    kind = schema.get("type")
    kind = kind[0] if isinstance(kind, list) and kind else kind
    if kind == "object":
        return _fields(schema, prompt, depth + 1)
    if kind == "array":
        return [_value(name, schema["items"], prompt, depth + 1)] if "items" in schema else []
    if kind == "boolean":
        return True
    if kind in ("integer", "number"):
        value = _number_for(schema, prompt)
        return int(value) if kind == "integer" else value
    return None if kind == "null" else _text_for(name, prompt)


def _fields(schema: dict[str, Any], prompt: str, depth: int) -> dict[str, object]:
    """The required properties of an object schema; all of them if none is required."""
    properties = schema.get("properties")
    if not isinstance(properties, dict):
        return {}
    required = schema.get("required")
    wanted = [name for name in properties if not isinstance(required, list) or not required or name in required]
    return {name: _value(name, properties[name], prompt, depth) for name in wanted}


def arguments_for(tool: Tool, prompt: str) -> str:
    """The JSON text of arguments that satisfy the tool's schema as far as simple types go."""
    return json.dumps(_fields(tool.parameters, prompt, 0), ensure_ascii=False)


def call_of(tool: Tool, prompt: str) -> Call:
    """A sensible call of `tool`."""
    return Call(tool.name, arguments_for(tool, prompt))
