"""What a request says, whatever protocol it came in: messages, tools, and the question they end in."""

from __future__ import annotations

from typing import Any, Final

import msgspec

# Codex tells the model about its surroundings in messages of the user's role; they are not what the person
# asked.
_SURROUNDINGS: Final = (
    "<environment_context",
    "<user_instructions",
    "<turn_aborted",
    "# AGENTS.md instructions",
)


_READ: Final = 2_000


def _ends(text: str) -> str:
    """The beginning and the end of a text, where people say what they want: patterns see no more."""
    return text if len(text) <= 2 * _READ else f"{text[:_READ]}\n{text[-_READ:]}"


class Call(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A tool call as the model writes it.

    :ivar name: the tool's name.
    :ivar arguments: the arguments' JSON text, which need not be well formed.
    """

    name: str
    arguments: str


class Tool(msgspec.Struct, frozen=True):
    """A function the model may call.

    :ivar parameters: the JSON Schema of its arguments.
    """

    name: str
    description: str
    parameters: dict[str, Any]

    def described(self) -> dict[str, Any]:
        """The tool as the chat template shows it to the model."""
        function = {"name": self.name, "description": self.description, "parameters": self.parameters}
        return {"type": "function", "function": function}


class Message(msgspec.Struct, frozen=True):
    """One turn.

    :ivar role: ``system``, ``developer``, ``user``, ``assistant``, ``tool`` or anything else the client
        invented.
    :ivar calls: the tool calls of an assistant's turn.
    """

    role: str
    text: str
    calls: tuple[Call, ...] = ()


class Conversation(msgspec.Struct, frozen=True):
    """A whole request.

    :ivar tool_choice: ``auto``, ``none`` or ``required``.
    :ivar named_tool: the one tool the client insists on, or "".
    :ivar schema: the JSON Schema that the answer's text must fit, or None.
    :ivar one_call: whether the client takes one tool call in an answer, and no more.
    """

    messages: tuple[Message, ...]
    tools: tuple[Tool, ...] = ()
    tool_choice: str = "auto"
    named_tool: str = ""
    schema: dict[str, Any] | None = None
    one_call: bool = False

    def _question(self) -> int:
        """The index of the last message a person wrote; -1 without one."""
        for index in range(len(self.messages) - 1, -1, -1):
            message = self.messages[index]
            if message.role == "user" and not message.text.lstrip().startswith(_SURROUNDINGS):
                return index
        return -1

    @property
    def prompt(self) -> str:
        """What the person asked last, the middle of a long text left out; "" if nobody did."""
        index = self._question()
        return _ends(self.messages[index].text) if index >= 0 else ""

    @property
    def since(self) -> tuple[Message, ...]:
        """The messages after the person's last one: the assistant's calls and the tools' results."""
        return self.messages[self._question() + 1 :]

    @property
    def results(self) -> tuple[str, ...]:
        """The texts of the tools' results since the question, oldest first."""
        return tuple(message.text for message in self.since if message.role == "tool")

    @property
    def system(self) -> str:
        """What the system and developer messages say, the middle left out."""
        return _ends("\n".join(message.text for message in self.messages if message.role in ("system", "developer")))

    def tool(self, name: str) -> Tool | None:
        """The offered tool of that name."""
        return next((tool for tool in self.tools if tool.name == name), None)
