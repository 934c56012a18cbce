"""Choosing a tool by its name, filling its arguments from its schema: the model's common sense."""

from __future__ import annotations

import re
from typing import Final

from hadesgw.demo.conversation import Call, Conversation, Tool
from hadesgw.demo.specimen import specimen_object

# Words of tool names that say nothing about what the tool is for.
_EMPTY: Final = frozenset(
    "a add and apply call create do exec execute fetch for get input list make of read run set tool".split()
)
_NAME_WORD: Final = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+")


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


def arguments_for(tool: Tool, prompt: str) -> str:
    """The JSON text of arguments that satisfy the tool's schema as far as simple types go."""
    return specimen_object(tool.parameters, prompt)


def call_of(tool: Tool, prompt: str) -> Call:
    """A sensible call of `tool`."""
    return Call(tool.name, arguments_for(tool, prompt))
