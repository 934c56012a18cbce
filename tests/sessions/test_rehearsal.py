"""The rehearsal agent, with a model that says what the test wants."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.error import ConnectionRefusedError
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from hadesgw.sessions.engine import (
    AgentEvent,
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
from hadesgw.sessions.model_call import CallFailed, FunctionCall, Reply
from hadesgw.sessions.rehearsal import MOST_STEPS, RehearsalAgent, RehearsalEngine, difference, look
from hadesgw.sessions.workspace import Workspace

PATCH = "*** Begin Patch\n*** Update File: a.py\n@@\n-one\n+ONE\n*** Add File: sub/new\n+n\n*** End Patch"


def call(name: str, **arguments: Any) -> FunctionCall:
    """A tool call."""
    return FunctionCall("c1", name, arguments)


def reply(text: str = "", *calls: FunctionCall) -> Reply:
    """An answer of the model."""
    items = [{"type": "function_call", "name": one.name, "call_id": one.call_id} for one in calls]
    usage = {"input_tokens": 10, "output_tokens": 2, "total_tokens": 12, "input_tokens_details": {"cached_tokens": 4}}
    return Reply(text, calls, items or [{"type": "message"}], usage)


class Lines:
    """A model with its lines; when it has none left, a question stays open.

    :ivar asked: the histories it was shown.
    """

    def __init__(self) -> None:
        self.replies: list[Reply | Exception] = []
        self.asked: list[list[Mapping[str, Any]]] = []
        self.open: Deferred[Reply] | None = None
        self.cancelled = 0

    def ask(self, history: Sequence[Mapping[str, Any]], tools: Any, heard: Callable[[str], None]) -> Deferred[Reply]:
        """See Model."""
        self.asked.append(list(history))
        if not self.replies:
            self.open = Deferred(self._cancel)
            return self.open
        found = self.replies.pop(0)
        if isinstance(found, Exception):
            failed: Deferred[Reply] = Deferred()
            failed.errback(found)
            return failed
        for word in found.text.split(" ") if found.text else ():
            heard(word)
        return succeed(found)

    def _cancel(self, asked: Deferred[Reply]) -> None:
        self.cancelled += 1
        asked.errback(CancelledError())


@implementer(IAgentObserver)
class Notes:
    """Keeps what the agent tells."""

    def __init__(self) -> None:
        self.events: list[AgentEvent] = []

    def happened(self, event: AgentEvent) -> None:
        """See IAgentObserver."""
        self.events.append(event)

    def ended(self, reason: str | None) -> None:
        """See IAgentObserver."""
        raise AssertionError("it does not die")


class RehearsalTestCase(SynchronousTestCase):
    """A workspace, an engine, an agent in it."""

    def setUp(self) -> None:
        self.root = Path(self.mktemp())
        self.root.mkdir()
        (self.root / "a.py").write_text("one\ntwo\n")
        self.model = Lines()
        self.launch = Launch(
            session_id="s",
            workspace=self.root.resolve(),
            model="m",
            approval="on-request",
            sandbox="workspace-write",
            base_url="http://127.0.0.1:1/v1",
            token="t",
            session_header="X",
            context_tokens=100,
            output_tokens=10,
        )
        self.engine = RehearsalEngine(lambda launch: self.model)
        verifyObject(IEngine, self.engine)
        self.assertIsNone(self.engine.obstacle())
        self.agent = self.launch_agent()

    def launch_agent(self, **changes: Any) -> RehearsalAgent:
        """An agent; what it tells is in `notes`."""
        self.notes = Notes()
        verifyObject(IAgentObserver, self.notes)
        agent = self.successResultOf(self.engine.launch(replace(self.launch, **changes), self.notes))
        verifyObject(IAgent, agent)
        assert isinstance(agent, RehearsalAgent)
        return agent

    def told(self, kind: type[Any]) -> list[Any]:
        """The events of a kind."""
        return [event for event in self.notes.events if isinstance(event, kind)]

    @property
    def ended(self) -> list[str]:
        """How the turns ended."""
        return [event.status for event in self.told(TurnEnded)]


class TurnTests(RehearsalTestCase):
    """A turn from input to end."""

    def test_an_edit(self) -> None:
        """Looked at, patched, reported: real in the workspace, told step by step."""
        self.model.replies = [
            reply("A look.", call("exec_command", cmd="head -n 5 -- a.py")),
            reply("", call("apply_patch", input=PATCH)),
            reply("Done it."),
        ]
        self.agent.say("edit a.py")
        self.assertEqual((self.root / "a.py").read_text(), "ONE\ntwo\n")
        self.assertEqual((self.root / "sub" / "new").read_text(), "n\n")
        self.assertEqual(self.ended, ["completed"])
        self.assertIsInstance(self.notes.events[0], TurnBegan)
        self.assertEqual([event.text for event in self.told(Output)], ["A", "look.", "\n", "Done", "it."])
        self.assertEqual(self.told(FilesTouched), [FilesTouched(("a.py", "sub/new"))])
        (diff,) = self.told(Diff)
        self.assertIn("-one\n+ONE\n", diff.text)
        self.assertIn("--- /dev/null\n+++ b/sub/new\n", diff.text)
        completed = [(event.kind, event.body) for event in self.told(Item) if event.phase == "completed"]
        self.assertEqual([kind for kind, _ in completed], ["message", "command", "file_change", "message"])
        self.assertEqual(completed[1][1]["output"], "one\ntwo\n")
        self.assertEqual(self.told(Plan)[-1].steps[-1]["status"], "completed")
        self.assertEqual(self.told(Usage)[-1], Usage(30, 12, 6, 36, 100))
        outputs = [item["output"] for item in self.model.asked[2] if item.get("type") == "function_call_output"]
        self.assertIn("Output:\none\ntwo\n", outputs[0])
        self.assertIn("Success", outputs[1])

    def test_tools_that_do_not_work(self) -> None:
        """The model hears why, and goes on; nothing outside is touched."""
        outside = self.root.parent / "outside"
        outside.write_text("x")
        (self.root / "link").symlink_to(outside.resolve())
        patches = [
            "nonsense",
            "*** Begin Patch\n*** Add File: ../outside\n+y\n*** End Patch",
            "*** Begin Patch\n*** Update File: link\n@@\n-x\n+y\n*** End Patch",
            "*** Begin Patch\n*** Add File: link\n+y\n*** End Patch",
            "*** Begin Patch\n*** Add File: .git/config\n+y\n*** End Patch",
            "*** Begin Patch\n*** Update File: binary\n@@\n-x\n*** End Patch",
        ]
        (self.root / "binary").write_bytes(b"\0")
        self.model.replies = [
            *(reply("", call("apply_patch", input=patch)) for patch in patches),
            reply("", call("web_search", q="x")),
            reply("I give up."),
        ]
        self.agent.say("go")
        outputs = [item["output"] for item in self.model.asked[-1] if item.get("type") == "function_call_output"]
        self.assertEqual([output.split(":")[0] for output in outputs], ["failed"] * 7)
        self.assertEqual(outside.read_text(), "x")
        self.assertFalse((self.root / ".git").exists())
        self.assertEqual(self.ended, ["completed"])

    def test_deleting(self) -> None:
        """A patch can take a file away."""
        self.model.replies = [
            reply("", call("apply_patch", input="*** Begin Patch\n*** Delete File: a.py\n*** End Patch")),
            reply("Gone."),
        ]
        self.agent.say("delete a.py")
        self.assertFalse((self.root / "a.py").exists())
        self.assertIn("+++ /dev/null", self.told(Diff)[0].text)

    def test_a_model_without_end(self) -> None:
        """Is stopped after so many steps."""
        self.model.replies = [reply("", call("exec_command", cmd="ls")) for _ in range(MOST_STEPS + 5)]
        self.agent.say("go")
        self.assertEqual(len(self.model.asked), MOST_STEPS)
        self.assertEqual(len(self.told(Failed)), 1)
        self.assertEqual(len(self.ended), 1)

    def test_failures(self) -> None:
        """Of the model, of the connection, of this agent: a line, and the turn has failed."""
        for failure, words in (
            (CallFailed("no such model"), "no such model"),
            (ConnectionRefusedError(), "cannot be reached"),
            (ZeroDivisionError("secret"), "ZeroDivisionError"),
        ):
            self.agent = self.launch_agent()
            self.model.replies = [failure]
            self.agent.say("go")
            self.assertEqual(self.ended, ["failed"])
            self.assertIn(words, self.told(Failed)[0].text)
            self.assertNotIn("secret", self.told(Failed)[0].text)

    def test_interrupt(self) -> None:
        """The question is given up at once."""
        self.agent.interrupt()
        self.agent.say("go")
        self.agent.interrupt()
        self.assertEqual((self.model.cancelled, self.ended), (1, ["interrupted"]))

    def test_steer_and_history(self) -> None:
        """What is said in a turn and in turns before is in the next question; an agent that resumes knows it too."""
        self.agent.say("go")
        self.agent.steer("rather so")
        assert self.model.open is not None
        self.model.replies = [reply("Yes."), reply("Again.")]
        self.model.open.callback(reply("", call("exec_command", cmd="ls")))
        texts = [item["content"][0]["text"] for item in self.model.asked[1] if item.get("role") == "user"]
        self.assertEqual(texts, ["go", "rather so"])
        second = self.launch_agent(resume=self.agent.thread_id)
        self.assertEqual(second.thread_id, self.agent.thread_id)
        second.say("more")
        self.assertEqual(self.model.asked[2][0]["content"][0]["text"], "go")

    def test_stop(self) -> None:
        """Gives everything up, more than once if need be."""
        self.agent.say("go")
        self.successResultOf(self.agent.stop())
        self.successResultOf(self.agent.stop())
        self.assertEqual(self.model.cancelled, 1)


class ApprovalTests(RehearsalTestCase):
    """Asking first."""

    def ask(self, said: str = "edit it but ask first", **changes: str) -> None:
        """A turn with one patch."""
        self.agent = self.launch_agent(**changes)
        self.model.replies = [reply("", call("apply_patch", input=PATCH)), reply("End.")]
        self.agent.say(said)

    def changed(self) -> bool:
        """Whether the patch is in force."""
        return (self.root / "a.py").read_text() == "ONE\ntwo\n"

    def test_when(self) -> None:
        """Where the rules or the user want it; never where nothing is asked; read-only is closed without an answer."""
        for said, changes, asked, done in (
            ("edit it", {}, False, True),
            ("edit it but ask first", {}, True, False),
            ("edit it", {"approval": "untrusted"}, True, False),
            ("edit it", {"sandbox": "read-only"}, True, False),
            ("edit it but ask first", {"approval": "never"}, False, True),
            ("edit it", {"approval": "never", "sandbox": "read-only"}, False, False),
        ):
            (self.root / "a.py").write_text("one\ntwo\n")
            self.ask(said, **changes)
            self.assertEqual((bool(self.told(ApprovalAsked)), self.changed()), (asked, done), (said, changes))

    def test_accept(self) -> None:
        """Shows the change before, makes it after; a late second answer is passed over."""
        self.ask()
        (asked,) = self.told(ApprovalAsked)
        self.assertIn("-one\n+ONE\n", asked.body["changes"][0]["diff"])
        json.dumps(asked.body)
        self.agent.decide("other", Decision.ACCEPT)
        self.agent.decide(asked.approval_id, Decision.ACCEPT)
        self.agent.decide(asked.approval_id, Decision.DECLINE)
        self.assertTrue(self.changed())
        self.assertEqual(self.told(ApprovalSettled), [ApprovalSettled(asked.approval_id)])
        self.assertEqual(self.ended, ["completed"])

    def test_accept_for_the_session(self) -> None:
        """Is not asked again."""
        self.ask(approval="untrusted")
        self.agent.decide("approval-1", Decision.ACCEPT_FOR_SESSION)
        (self.root / "a.py").write_text("one\ntwo\n")
        self.model.replies = [reply("", call("apply_patch", input=PATCH)), reply("End.")]
        self.agent.say("again")
        self.assertTrue(self.changed())
        self.assertEqual(len(self.told(ApprovalAsked)), 1)

    def test_decline_and_cancel(self) -> None:
        """The model hears no, or the turn ends; nothing is changed."""
        self.ask()
        self.agent.decide("approval-1", Decision.DECLINE)
        self.assertIn("rejected", self.model.asked[1][-1]["output"])
        self.assertEqual(self.ended, ["completed"])
        self.ask()
        self.agent.decide("approval-1", Decision.CANCEL)
        self.assertEqual(self.ended, ["interrupted"])
        self.assertFalse(self.changed())

    def test_interrupt(self) -> None:
        """Settles the question."""
        self.ask()
        self.agent.interrupt()
        self.assertEqual(len(self.told(ApprovalSettled)), 1)
        self.assertEqual(self.ended, ["interrupted"])


class LookTests(RehearsalTestCase):
    """The commands that only look."""

    def look(self, script: str) -> str:
        """What a script prints."""
        return look(Workspace("w", self.root), script)

    def test_looks(self) -> None:
        """ls, cat, head, echo, and one in place of another that finds nothing."""
        (self.root / "b").write_text("1\n2\n3\n")
        self.assertEqual(self.look("ls"), "a.py\nb\n")
        self.assertEqual(self.look("cat b"), "1\n2\n3\n")
        self.assertEqual(self.look("echo 'x:'; head -n 2 -- b 2>/dev/null || echo none"), "x:\n1\n2\n")
        self.assertEqual(self.look("echo 'x:'; head -n 2 -- c 2>/dev/null || echo none"), "x:\nnone\n")

    def test_what_is_not_run(self) -> None:
        """Anything else, however it is written; nothing happens."""
        for script in ("python3 a.py", "rm a.py", "ls | rm a.py", "'", "cat ../../etc/passwd", "head /etc/passwd"):
            self.assertNotIn("root", self.look(script))
        self.assertTrue((self.root / "a.py").exists())
        self.assertIn("runs no programs", self.look("python3 a.py"))
        (self.root / "binary").write_bytes(b"\0")
        self.assertEqual(self.look("cat binary"), "(no text)\n")

    def test_difference(self) -> None:
        """None where nothing is different; a missing last line end is told."""
        self.assertEqual(difference("a", "x\n", "x\n"), "")
        self.assertIn("\\ No newline at end of file", difference("a", "x\n", "y"))
