"""The engine `rehearsal`: a small agent in this process, for demos and tests, that needs no program.

It asks the model through this gateway like any agent, with the session's token and header, and knows two tools: a look
at a file or folder, and a patch. It runs no programs at all; what it edits is real.
"""

from __future__ import annotations

import difflib
import shlex
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.error import ConnectError, ConnectionClosed, ConnectionDone
from twisted.python.failure import Failure
from twisted.web.client import ResponseFailed
from zope.interface import implementer

from hadesgw.sessions.engine import (
    ApprovalAsked,
    ApprovalSettled,
    Decision,
    Diff,
    Failed,
    FilesTouched,
    IAgent,
    IAgentObserver,
    IEngine,
    Item,
    Launch,
    Output,
    Plan,
    TurnBegan,
    TurnEnded,
    Usage,
)
from hadesgw.sessions.model_call import CallFailed, FunctionCall, Model, Reply
from hadesgw.sessions.patching import FilePatch, PatchRefused, parse_patch
from hadesgw.sessions.refusals import SessionRefused
from hadesgw.sessions.workspace import Workspace, segments

INSTRUCTIONS = """\
You are a small coding agent. You work in one folder; all paths are relative to it.
exec_command knows `ls FOLDER`, `cat FILE` and `head -n COUNT -- FILE`, and runs nothing else.
apply_patch takes a patch between `*** Begin Patch` and `*** End Patch`, with parts that begin with
`*** Add File: PATH`, `*** Update File: PATH` or `*** Delete File: PATH`; in an update, hunks begin with @@ and have
lines that begin with a blank, a minus or a plus. When you are done, say in a sentence what you did.
"""

TOOLS: Sequence[Mapping[str, Any]] = (
    {
        "type": "function",
        "name": "exec_command",
        "description": "Look at a file or a folder.",
        "parameters": {"type": "object", "properties": {"cmd": {"type": "string"}}, "required": ["cmd"]},
    },
    {
        "type": "function",
        "name": "apply_patch",
        "description": "Change files.",
        "parameters": {"type": "object", "properties": {"input": {"type": "string"}}, "required": ["input"]},
    },
)
MOST_STEPS = 12
"""Answers of the model in one turn; then the turn ends."""
MOST_ITEMS = 400
"""Items of a conversation that are remembered."""
KEPT_THREADS = 64
_SHOWN_BYTES = 8_000
_STEPS = ("Ask the model", "Look", "Edit", "Report")


@implementer(IEngine)
class RehearsalEngine:
    """Starts rehearsal agents.

    :param model: makes, for a launch, what answers its agent.
    :ivar threads: the conversations of agents that are not stopped, by thread.
    """

    name: Literal["rehearsal"] = "rehearsal"
    claims: frozenset[str] = frozenset()

    def __init__(self, model: Callable[[Launch], Model]) -> None:
        self._model = model
        self.threads: OrderedDict[str, list[Mapping[str, Any]]] = OrderedDict()

    def obstacle(self) -> str | None:
        """Nothing is needed."""
        return None

    def close(self) -> None:
        """See IEngine: it holds nothing."""

    def launch(self, launch: Launch, observer: Any) -> Deferred[Any]:
        """An agent at once."""
        thread_id = launch.resume or f"rehearsal-{launch.session_id}"
        history = self.threads.setdefault(thread_id, [])
        if len(self.threads) > KEPT_THREADS:
            self.threads.popitem(last=False)
        return succeed(RehearsalAgent(launch, observer, self._model(launch), thread_id, history))


class _Declined(Exception):
    """The user did not allow a change."""


@implementer(IAgent)
class RehearsalAgent:
    """One agent: asks, looks, patches, reports.

    :param history: of the conversation; added to.
    """

    def __init__(
        self, launch: Launch, observer: Any, model: Model, thread_id: str, history: list[Mapping[str, Any]]
    ) -> None:
        self.thread_id: str | None = thread_id
        self._launch = launch
        self._observer = IAgentObserver(observer)
        self._model = model
        self._history = history
        self._workspace = Workspace("rehearsal", launch.workspace)
        self._work: Deferred[None] | None = None
        self._waiting: tuple[str, Deferred[Decision]] | None = None
        self._allowed = False  # for the rest of the session
        self._turns = self._approvals = self._items = 0
        self._originals: dict[str, str | None] = {}
        self._used = {"input_tokens": 0, "cached_input_tokens": 0, "output_tokens": 0, "total_tokens": 0}

    # -- IAgent --------------------------------------------------------------------------------------------------------

    def say(self, text: str) -> None:
        """Begin a turn."""
        self._turns += 1
        turn_id = f"turn-{self._turns}"
        self._originals = {}
        self._hear(text)
        self._tell(TurnBegan(turn_id))
        self._work = Deferred.fromCoroutine(self._turn(text))
        ended: Deferred[str] = self._work.addCallbacks(lambda _: "completed", self._broken)
        ended.addCallback(lambda status: self._over(turn_id, status))

    def steer(self, text: str) -> None:
        """Say more: the model reads it with its next step."""
        self._hear(text)

    def interrupt(self) -> None:
        """Give the running turn up."""
        if self._work is not None:
            self._work.cancel()

    def decide(self, approval_id: str, decision: Decision) -> None:
        """Take an answer."""
        if self._waiting is not None and self._waiting[0] == approval_id:
            (_, waiting), self._waiting = self._waiting, None
            self._tell(ApprovalSettled(approval_id))
            waiting.callback(decision)

    def stop(self) -> Deferred[None]:
        """Be gone."""
        self.interrupt()
        return succeed(None)

    # -- A turn --------------------------------------------------------------------------------------------------------

    async def _turn(self, text: str) -> None:
        self._plan(0)
        for _ in range(MOST_STEPS):
            reply = await self._model.ask(self._history, TOOLS, self._heard)
            self._history.extend(reply.items)
            self._note(reply)
            if not reply.calls:
                self._plan(len(_STEPS))
                return
            for call in reply.calls:
                self._hear_result(call, await self._carry_out(call, text))
        self._tell(Failed("the model goes on and on; the turn ends here"))

    def _over(self, turn_id: str, status: str) -> None:
        self._work = None
        del self._history[:-MOST_ITEMS]
        self._tell(TurnEnded(turn_id, status))

    def _broken(self, failure: Failure) -> str:
        if self._waiting is not None:
            (approval_id, _), self._waiting = self._waiting, None
            self._tell(ApprovalSettled(approval_id))
        if failure.check(CancelledError):
            return "interrupted"
        if failure.check(CallFailed):
            self._tell(Failed(failure.getErrorMessage()))
        elif failure.check(ConnectError, ConnectionClosed, ConnectionDone, ResponseFailed):
            self._tell(Failed("the gateway cannot be reached"))
        else:
            self._tell(Failed(f"the rehearsal has a fault: {type(failure.value).__name__}"))
        return "failed"

    def _heard(self, piece: str) -> None:
        self._tell(Output(piece))

    def _note(self, reply: Reply) -> None:
        """Tell of an answer as a whole."""
        if reply.text:
            self._item("message", {"text": reply.text})
            if reply.calls:
                self._tell(Output("\n"))
        usage = reply.usage
        cached = (usage.get("input_tokens_details") or {}).get("cached_tokens") or 0
        self._used["cached_input_tokens"] += cached
        for key in ("input_tokens", "output_tokens", "total_tokens"):
            self._used[key] += usage.get(key) or 0
        self._tell(Usage(**self._used, context_tokens=self._launch.context_tokens))

    # -- Tools ---------------------------------------------------------------------------------------------------------

    async def _carry_out(self, call: FunctionCall, asked: str) -> str:
        """What a tool has to say to the model."""
        try:
            if call.name == "exec_command":
                self._plan(1)
                return self._look(str(call.arguments.get("cmd", "")))
            if call.name == "apply_patch":
                self._plan(2)
                return await self._patch(str(call.arguments.get("input", "")), asked)
        except (PatchRefused, SessionRefused) as refused:
            return f"failed: {refused}"
        except _Declined:
            return "rejected by the user"
        return f"failed: there is no tool {call.name}"

    def _look(self, command: str) -> str:
        self._items += 1
        item_id = f"item-{self._items}"
        self._tell(Item("started", item_id, "command", {"command": command, "cwd": "."}))
        output = look(self._workspace, command)
        body = {"command": command, "cwd": ".", "output": output, "exit_code": 0}
        self._tell(Item("completed", item_id, "command", body))
        return f"Output:\n{output}"

    async def _patch(self, text: str, asked: str) -> str:
        files = parse_patch(text)
        before = [self._text(file.path) for file in files]
        after = [file.apply(old) for file, old in zip(files, before, strict=True)]
        changes = [_change(*each) for each in zip(files, before, after, strict=True)]
        await self._require_allowed(changes, asked)
        for file, old, new in zip(files, before, after, strict=True):
            self._originals.setdefault(file.path, old)
            self._put(file.path, new)
        self._item("file_change", {"changes": changes, "status": "completed"})
        self._tell(FilesTouched(tuple(file.path for file in files)))
        self._tell(Diff(self._diff()))
        return "Success. Updated the following files:\n" + "".join(f"{file.verb} {file.path}\n" for file in files)

    def _text(self, path: str) -> str | None:
        """A file's text; None if there is no such file."""
        if self._workspace.gone([path]):
            segments(path)  # refuses one that leads out
            return None
        content = self._workspace.read(path)
        if content.text is None or content.truncated:
            raise PatchRefused(f"{path}: no text file, or too long for this agent")
        return content.text

    def _put(self, path: str, text: str | None) -> None:
        if text is None:
            self._workspace.remove(path)
        else:
            self._workspace.write(path, text.encode())

    def _diff(self) -> str:
        """Everything the turn has changed so far."""
        return "".join(difference(path, old, self._text(path)) for path, old in sorted(self._originals.items()))

    # -- Approvals -----------------------------------------------------------------------------------------------------

    async def _require_allowed(self, changes: Sequence[Mapping[str, Any]], asked: str) -> None:
        """Ask, where this session's rules want it: always, when the input says "ask", or where nothing may be written.

        :raises _Declined: if the answer is no.
        """
        launch = self._launch
        locked = launch.sandbox == "read-only"
        if self._allowed or not (locked or launch.approval == "untrusted" or "ask" in asked.lower().split()):
            return
        if launch.approval == "never":
            if locked:
                raise _Declined
            return
        self._approvals += 1
        approval_id = f"approval-{self._approvals}"
        answers = (Decision.ACCEPT, Decision.ACCEPT_FOR_SESSION, Decision.DECLINE, Decision.CANCEL)
        waiting: Deferred[Decision] = Deferred()
        self._waiting = (approval_id, waiting)
        reason = "the sandbox is read-only" if locked else "the session's rules ask for it"
        self._tell(ApprovalAsked(approval_id, "file_change", {"changes": changes, "reason": reason}, answers))
        decision = await waiting
        if decision is Decision.CANCEL:
            raise CancelledError
        if decision is Decision.DECLINE:
            self._item("file_change", {"changes": changes, "status": "declined"})
            raise _Declined
        self._allowed = decision is Decision.ACCEPT_FOR_SESSION

    # -- Telling -------------------------------------------------------------------------------------------------------

    def _hear(self, text: str) -> None:
        self._history.append(
            {"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]},
        )

    def _hear_result(self, call: FunctionCall, output: str) -> None:
        self._history.append({"type": "function_call_output", "call_id": call.call_id, "output": output})

    def _item(self, kind: str, body: Mapping[str, Any]) -> None:
        self._items += 1
        for phase in ("started", "completed"):
            self._tell(Item(phase, f"item-{self._items}", kind, body))

    def _plan(self, at: int) -> None:
        words = [("completed" if n < at else "in_progress" if n == at else "pending") for n in range(len(_STEPS))]
        self._tell(Plan([{"step": step, "status": word} for step, word in zip(_STEPS, words, strict=True)]))

    def _tell(self, event: Any) -> None:
        self._observer.happened(event)


# -- Looking -----------------------------------------------------------------------------------------------------------


def look(workspace: Workspace, script: str) -> str:
    """What a few commands that only look would print; of any other is said that nothing was run.

    `a || b` prints b when a finds nothing, as models ask whether a file is there. Nothing is given to a shell.
    """
    try:
        lexer = shlex.shlex(script, posix=True, punctuation_chars=";|&<>()")
        lexer.whitespace_split = True
        words = list(lexer)
    except ValueError:
        return _NOTHING_RUN
    printed = []
    skip = False
    for joint, command in _commands(words):
        if joint == "||" and skip:
            continue
        found = _look(workspace, command)
        skip = found is not None
        printed.append(found or "")
    return "".join(printed)


_NOTHING_RUN = "The rehearsal agent runs no programs, so this one was not run.\n"


def _commands(words: Sequence[str]) -> list[tuple[str, list[str]]]:
    """The simple commands of a line, each with what joins it to the one before; redirections are left out."""
    found: list[tuple[str, list[str]]] = [("", [])]
    redirected = False
    for word, following in zip(words, [*words[1:], ""], strict=True):
        if word in (";", "||", "&&", "|"):
            found.append((word, []))
        elif set(word) <= set("<>&"):
            redirected = True  # what comes next is a place
        elif not redirected and not (word.isdigit() and following.startswith((">", "<"))):
            found[-1][1].append(word)
        else:
            redirected = False
    return [(joint, command) for joint, command in found if command]


def _look(workspace: Workspace, command: Sequence[str]) -> str | None:
    """What one command prints; None if it finds nothing."""
    name, *rest = command
    paths = [word for word in rest if not word.startswith("-") and not word.isdigit()]
    path = paths[-1] if paths else ""
    try:
        if name == "echo":
            return " ".join(rest) + "\n"
        if name == "ls":
            return "".join(f"{entry.name}\n" for entry in workspace.listing(path).entries)
        if name in ("cat", "head"):
            return _beginning(workspace, path, _count(rest) if name == "head" else None)
    except SessionRefused:
        return None
    return _NOTHING_RUN


def _count(words: Sequence[str]) -> int:
    return next((int(word) for word in words if word.isdigit()), 10)


def _beginning(workspace: Workspace, path: str, lines: int | None) -> str:
    text = workspace.read(path).text
    if text is None:
        return "(no text)\n"
    return "".join(text[:_SHOWN_BYTES].splitlines(keepends=True)[:lines])


def _change(file: FilePatch, before: str | None, after: str | None) -> dict[str, str]:
    return {"path": file.path, "kind": file.verb, "diff": difference(file.path, before, after)}


def difference(path: str, before: str | None, after: str | None) -> str:
    """A unified diff between two texts of a file, either of which may be none."""
    names = (f"a/{path}" if before is not None else "/dev/null", f"b/{path}" if after is not None else "/dev/null")
    lines = difflib.unified_diff(
        (before or "").splitlines(keepends=True), (after or "").splitlines(keepends=True), *names
    )
    body = "".join(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines)
    return f"diff --git a/{path} b/{path}\n{body}" if body else ""
