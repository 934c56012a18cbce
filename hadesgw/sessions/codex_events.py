"""What Codex's app-server tells, in the words of :mod:`hadesgw.sessions.engine`.

Values in, events out. What Codex tells is taken for nothing better than its form says: a field that is not what it
should be makes the message malformed, methods and fields that we do not know are passed over.
"""

from __future__ import annotations

import os.path
import shlex
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import msgspec

from hadesgw.sessions.engine import (
    AgentEvent,
    Decision,
    Diff,
    Failed,
    FilesTouched,
    Item,
    Output,
    Plan,
    TurnBegan,
    TurnEnded,
    Usage,
    Warned,
)
from hadesgw.sessions.jsonl import Name

LARGEST_TEXT = 256 << 10
"""Characters of one text that is told; what is in the middle of longer ones is left out."""
_REMEMBERED = 64
_LONGEST_COMMAND = 32 << 10
_SHELLS = frozenset(("bash", "sh", "zsh", "dash"))

DECISIONS = {
    "accept": Decision.ACCEPT,
    "acceptForSession": Decision.ACCEPT_FOR_SESSION,
    "decline": Decision.DECLINE,
    "cancel": Decision.CANCEL,
}
WORDS = {decision: word for word, decision in DECISIONS.items()}


# -- The forms of what is told -----------------------------------------------------------------------------------------


class _Struct(msgspec.Struct, frozen=True, rename="camel"):
    """A JSON object, of which we name what we need."""


class _Action(_Struct, frozen=True):
    """What Codex takes a part of a command to be."""

    type: str = ""
    path: str | None = None


class _ChangeKind(_Struct, frozen=True):
    """What happens to a file."""

    type: str = "update"
    move_path: str | None = msgspec.field(default=None, name="move_path")  # not in camels, alone among all


class _Change(_Struct, frozen=True):
    """What happens to one file."""

    path: str
    kind: _ChangeKind = _ChangeKind()
    diff: str = ""


class _Item(_Struct, frozen=True):
    """A step, with the fields of all kinds of steps."""

    id: Name
    type: str
    status: str | None = None
    text: str = ""
    summary: list[str] = []
    content: Any = None
    command: str = ""
    cwd: str = ""
    aggregated_output: str | None = None
    exit_code: int | None = None
    duration_ms: int | None = None
    command_actions: list[_Action] = []
    changes: list[_Change] = []
    server: str | None = None
    tool: str | None = None
    arguments: Any = None
    query: str | None = None


class _ItemTold(_Struct, frozen=True):
    """`item/started` and `item/completed`."""

    item: _Item


class _Delta(_Struct, frozen=True):
    """A piece of a step."""

    item_id: Name
    delta: str


class _Trouble(_Struct, frozen=True):
    """What went wrong."""

    message: str = ""
    additional_details: str | None = None


class _ErrorTold(_Struct, frozen=True):
    """`error`."""

    error: _Trouble = _Trouble()
    will_retry: bool = False


class _Turn(_Struct, frozen=True):
    """A turn."""

    id: Name
    status: str = ""
    error: _Trouble | None = None


class _TurnTold(_Struct, frozen=True):
    """`turn/started` and `turn/completed`."""

    turn: _Turn


class _DiffTold(_Struct, frozen=True):
    """`turn/diff/updated`."""

    diff: str = ""


class _Step(_Struct, frozen=True):
    """A step of a plan."""

    step: str = ""
    status: str = "pending"


class _PlanTold(_Struct, frozen=True):
    """`turn/plan/updated`."""

    plan: list[_Step] = []


class _Tokens(_Struct, frozen=True):
    """Tokens counted."""

    input_tokens: int = 0
    cached_input_tokens: int = 0
    output_tokens: int = 0
    total_tokens: int = 0


class _TokenUsage(_Struct, frozen=True):
    """Tokens of a conversation."""

    total: _Tokens = _Tokens()
    model_context_window: int | None = None


class _UsageTold(_Struct, frozen=True):
    """`thread/tokenUsage/updated`."""

    token_usage: _TokenUsage = _TokenUsage()


class _WarningTold(_Struct, frozen=True):
    """`warning` and its like."""

    message: str = ""
    summary: str = ""


class _CommandAsked(_Struct, frozen=True):
    """`item/commandExecution/requestApproval`."""

    item_id: Name
    command: str | None = None
    cwd: str | None = None
    reason: str | None = None
    available_decisions: list[Any] | None = None


class _FilesAsked(_Struct, frozen=True):
    """`item/fileChange/requestApproval`."""

    item_id: Name
    reason: str | None = None
    grant_root: str | None = None


Asked = tuple[str, dict[str, Any], tuple[Decision, ...]]
"""Kind, body and decisions of a request for approval."""


class Narrator:
    """Retells what one app-server tells of one conversation.

    :param workspace: paths are told relative to it.
    """

    def __init__(self, workspace: Path) -> None:
        self._workspace = str(workspace)
        self._said: dict[str, int] = {}
        self._messages = 0
        self._diff = ""
        self._failure: str | None = None
        self._changes: dict[str, Sequence[_Change]] = {}

    def retell(self, method: str, params: msgspec.Raw) -> list[AgentEvent]:
        """The events of a notification; none of one that says nothing to us.

        :raises msgspec.DecodeError: if it has not the form it should have.
        """
        told = self._TOLD.get(method)
        if told is None:
            return []
        form, tell = told
        return list(tell(self, msgspec.json.decode(params, type=form)))

    def asked(self, method: str, params: msgspec.Raw) -> Asked | None:
        """A request for approval; None if the other side asks for something else.

        :raises msgspec.DecodeError: if it has not the form it should have.
        """
        if method == "item/commandExecution/requestApproval":
            return self._command_asked(msgspec.json.decode(params, type=_CommandAsked))
        if method == "item/fileChange/requestApproval":
            return self._files_asked(msgspec.json.decode(params, type=_FilesAsked))
        return None

    # -- Turns ---------------------------------------------------------------------------------------------------------

    def _turn_started(self, told: _TurnTold) -> Iterator[AgentEvent]:
        self._said.clear()
        self._changes.clear()
        self._messages, self._diff, self._failure = 0, "", None
        yield TurnBegan(told.turn.id)

    def _turn_completed(self, told: _TurnTold) -> Iterator[AgentEvent]:
        turn = told.turn
        if turn.error is not None and turn.status != "interrupted":
            yield from self._failed(turn.error)
        yield TurnEnded(turn.id, turn.status if turn.status in ("completed", "interrupted") else "failed")

    def _error(self, told: _ErrorTold) -> Iterator[AgentEvent]:
        if told.will_retry:
            yield Warned(_words(told.error))
        else:
            yield from self._failed(told.error)

    def _failed(self, trouble: _Trouble) -> Iterator[AgentEvent]:
        """A failed turn says the same once more when it ends."""
        if trouble.message != self._failure:
            self._failure = trouble.message
            yield Failed(_words(trouble))

    def _warning(self, told: _WarningTold) -> Iterator[AgentEvent]:
        text = told.message or told.summary
        if text:
            yield Warned(shortened(text))

    def _diff_updated(self, told: _DiffTold) -> Iterator[AgentEvent]:
        """It comes after every step, changed or not."""
        if told.diff != self._diff:
            self._diff = told.diff
            yield Diff(shortened(told.diff))

    def _plan_updated(self, told: _PlanTold) -> Iterator[AgentEvent]:
        yield Plan([{"step": step.step, "status": _snake(step.status) or "pending"} for step in told.plan])

    def _usage_updated(self, told: _UsageTold) -> Iterator[AgentEvent]:
        total = told.token_usage.total
        yield Usage(
            input_tokens=total.input_tokens,
            cached_input_tokens=total.cached_input_tokens,
            output_tokens=total.output_tokens,
            total_tokens=total.total_tokens,
            context_tokens=told.token_usage.model_context_window,
        )

    # -- Items ---------------------------------------------------------------------------------------------------------

    def _message_delta(self, told: _Delta) -> Iterator[AgentEvent]:
        yield from self._say(told.item_id, told.delta)

    def _command_delta(self, told: _Delta) -> Iterator[AgentEvent]:
        yield Item("delta", told.item_id, "command", {"text": told.delta})

    def _reasoning_delta(self, told: _Delta) -> Iterator[AgentEvent]:
        yield Item("delta", told.item_id, "reasoning", {"text": told.delta})

    def _item_started(self, told: _ItemTold) -> Iterator[AgentEvent]:
        item = told.item
        if item.type == "userMessage":
            return
        if item.type == "fileChange":
            self._remember(item)
        yield self._item("started", item)

    def _item_completed(self, told: _ItemTold) -> Iterator[AgentEvent]:
        item = told.item
        if item.type == "userMessage":
            return
        if item.type == "agentMessage":
            # What was not told in pieces is told now: the pieces, joined, are the reply.
            yield from self._say(item.id, item.text[self._said.get(item.id, 0) :])
            self._said.pop(item.id, None)
        self._changes.pop(item.id, None)
        yield self._item("completed", item)
        touched = tuple(dict.fromkeys(self._touched(item)))
        if touched:
            yield FilesTouched(touched)

    def _say(self, item_id: str, text: str) -> Iterator[AgentEvent]:
        if not text:
            return
        if item_id not in self._said:
            _make_room(self._said)
            self._said[item_id] = 0
            self._messages += 1
            if self._messages > 1:
                yield Output("\n\n")
        self._said[item_id] += len(text)
        yield Output(text)

    def _item(self, phase: str, item: _Item) -> Item:
        kind, body = _KINDS.get(item.type, ("other", _other))
        return Item(phase, item.id, kind, body(self, item))

    def _remember(self, item: _Item) -> None:
        _make_room(self._changes)
        self._changes[item.id] = item.changes

    def _touched(self, item: _Item) -> Iterator[str]:
        """The files in the workspace that a finished step has read or changed, and that should still be there."""
        if item.type == "fileChange" and item.status == "completed":
            paths = [change.kind.move_path or change.path for change in item.changes if change.kind.type != "delete"]
        elif item.type == "commandExecution" and item.exit_code == 0:
            paths = [action.path for action in item.command_actions if action.type == "read" and action.path]
        else:
            return
        for path in paths:
            inside = self._inside(path, item.cwd)
            if inside is not None:
                yield inside

    def _inside(self, path: str, folder: str = "") -> str | None:
        """A path relative to the workspace; None if it is outside, as far as its words tell."""
        whole = os.path.normpath(os.path.join(self._workspace, folder, path))  # noqa: PTH118 - words, not files
        if not whole.startswith(self._workspace.rstrip("/") + "/") or "\0" in whole:
            return None
        return os.path.relpath(whole, self._workspace)

    def _shown(self, path: str) -> str:
        """A path as the user should see it."""
        if os.path.normpath(path) == self._workspace:
            return "."
        return self._inside(path) or path

    # -- What is told of each kind -------------------------------------------------------------------------------------

    def _message(self, item: _Item) -> dict[str, Any]:
        return {"text": shortened(item.text)}

    def _reasoning(self, item: _Item) -> dict[str, Any]:
        pieces = item.content if isinstance(item.content, list) else []
        text = "\n".join([*item.summary, *(piece for piece in pieces if isinstance(piece, str))])
        return {"text": shortened(text)}

    def _command(self, item: _Item) -> dict[str, Any]:
        return {
            "command": shortened(script(item.command)),
            "cwd": self._shown(item.cwd),
            "status": _snake(item.status),
            "output": shortened(item.aggregated_output or ""),
            "exit_code": item.exit_code,
            "duration_ms": item.duration_ms,
        }

    def _file_change(self, item: _Item) -> dict[str, Any]:
        return {"changes": self._told_changes(item.changes), "status": _snake(item.status)}

    def _told_changes(self, changes: Sequence[_Change]) -> list[dict[str, Any]]:
        return [
            {
                "path": self._shown(change.path),
                "change": change.kind.type,
                "moved_to": None if change.kind.move_path is None else self._shown(change.kind.move_path),
                "diff": shortened(change.diff),
            }
            for change in changes
        ]

    def _tool_call(self, item: _Item) -> dict[str, Any]:
        return {"tool": item.tool or item.type, "arguments": item.arguments, "status": _snake(item.status)}

    # -- Requests for approval -----------------------------------------------------------------------------------------

    def _command_asked(self, asked: _CommandAsked) -> Asked:
        body: dict[str, Any] = {
            "item_id": asked.item_id,
            "command": shortened(script(asked.command or "")),
            "cwd": self._shown(asked.cwd or ""),
            "reason": asked.reason,
        }
        return "command", body, offered(asked.available_decisions)

    def _files_asked(self, asked: _FilesAsked) -> Asked:
        changes = self._changes.get(asked.item_id, ())
        body: dict[str, Any] = {
            "item_id": asked.item_id,
            "changes": self._told_changes(changes),
            "reason": asked.reason,
        }
        if asked.grant_root is not None:
            body["grant_root"] = self._shown(asked.grant_root)
        return "file_change", body, offered(None)

    _TOLD: ClassVar[dict[str, tuple[type[Any], Callable[[Any, Any], Iterator[AgentEvent]]]]] = {
        "error": (_ErrorTold, _error),
        "item/agentMessage/delta": (_Delta, _message_delta),
        "item/commandExecution/outputDelta": (_Delta, _command_delta),
        "item/completed": (_ItemTold, _item_completed),
        "item/reasoning/summaryTextDelta": (_Delta, _reasoning_delta),
        "item/reasoning/textDelta": (_Delta, _reasoning_delta),
        "item/started": (_ItemTold, _item_started),
        "thread/tokenUsage/updated": (_UsageTold, _usage_updated),
        "turn/completed": (_TurnTold, _turn_completed),
        "turn/diff/updated": (_DiffTold, _diff_updated),
        "turn/plan/updated": (_PlanTold, _plan_updated),
        "turn/started": (_TurnTold, _turn_started),
        "warning": (_WarningTold, _warning),
    }


def _other(_: Narrator, item: _Item) -> dict[str, Any]:
    body: dict[str, Any] = {"type": _snake(item.type)}
    return {**body, "text": shortened(item.text)} if item.text else body


_KINDS: dict[str, tuple[str, Callable[[Narrator, _Item], dict[str, Any]]]] = {
    "agentMessage": ("message", Narrator._message),
    "reasoning": ("reasoning", Narrator._reasoning),
    "commandExecution": ("command", Narrator._command),
    "fileChange": ("file_change", Narrator._file_change),
    "mcpToolCall": ("tool_call", Narrator._tool_call),
    "dynamicToolCall": ("tool_call", Narrator._tool_call),
    "webSearch": ("tool_call", Narrator._tool_call),
}


# -- Words -------------------------------------------------------------------------------------------------------------


def offered(available: list[Any] | None) -> tuple[Decision, ...]:
    """What may be answered. A plain no is understood always, whether it is on Codex's list or not."""
    if available is None:
        return tuple(DECISIONS.values())
    listed = [DECISIONS[word] for word in available if isinstance(word, str) and word in DECISIONS]
    return tuple(decision for decision in Decision if decision in listed or decision is Decision.DECLINE)


def script(command: str) -> str:
    """What a shell is given to run, without the shell; any other command as it is, and one that is too long to read."""
    if len(command) > _LONGEST_COMMAND:
        return command
    try:
        words = shlex.split(command)
    except ValueError:
        return command
    if len(words) == 3 and os.path.basename(words[0]) in _SHELLS and words[1] in ("-c", "-lc"):  # noqa: PTH119
        return words[2]
    return command


def shortened(text: str) -> str:
    """A text with its middle left out, if it is too long."""
    if len(text) <= LARGEST_TEXT:
        return text
    half = LARGEST_TEXT // 2
    return f"{text[:half]}\n[... {len(text) - 2 * half} characters are left out ...]\n{text[-half:]}"


def _make_room(remembered: dict[str, Any]) -> None:
    """For one more; the oldest is forgotten, should Codex begin more than it ends."""
    while len(remembered) >= _REMEMBERED:
        del remembered[next(iter(remembered))]


def _words(trouble: _Trouble) -> str:
    said = trouble.message or "Codex has met an error and does not say which"
    return f"{said}: {trouble.additional_details}" if trouble.additional_details else said


def _snake(word: str | None) -> str | None:
    """`inProgress` as `in_progress`."""
    if word is None:
        return None
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in word)
