"""What Codex tells, and what we make of it: tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from hadesgw.sessions.codex_events import LARGEST_TEXT, Narrator, offered, script, shortened
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

WORKSPACE = Path("/srv/app")
EDIT = {"path": "/srv/app/calc.py", "kind": {"type": "update", "move_path": None}, "diff": "@@ -1 +1 @@\n-a\n+b\n"}
EDITED = {"path": "calc.py", "change": "update", "moved_to": None, "diff": "@@ -1 +1 @@\n-a\n+b\n"}
COMMAND = {
    "type": "commandExecution",
    "id": "c1",
    "command": "/bin/bash -c 'cat calc.py'",
    "cwd": "/srv/app/sub",
    "status": "completed",
    "commandActions": [{"type": "read", "command": "cat calc.py", "name": "calc.py", "path": "/srv/app/calc.py"}],
    "aggregatedOutput": "text",
    "exitCode": 0,
    "durationMs": 12,
}


def raw(params: Any) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(params))


def item(**fields: Any) -> dict[str, Any]:
    return {"item": fields, "threadId": "t", "turnId": "u"}


TOLD: list[tuple[str, Any, list[AgentEvent]]] = [
    ("turn/started", {"turn": {"id": "u", "status": "inProgress"}}, [TurnBegan("u")]),
    ("turn/completed", {"turn": {"id": "u", "status": "completed"}}, [TurnEnded("u", "completed")]),
    ("turn/completed", {"turn": {"id": "u", "status": "interrupted"}}, [TurnEnded("u", "interrupted")]),
    (
        "turn/completed",
        {"turn": {"id": "u", "status": "failed", "error": {"message": "no model"}}},
        [Failed("no model"), TurnEnded("u", "failed")],
    ),
    ("turn/completed", {"turn": {"id": "u", "status": "whatever comes"}}, [TurnEnded("u", "failed")]),
    (
        "error",
        {"error": {"message": "Reconnecting... 1/2", "additionalDetails": "503"}, "willRetry": True},
        [Warned("Reconnecting... 1/2: 503")],
    ),
    ("error", {"error": {"message": "gone"}, "willRetry": False}, [Failed("gone")]),
    ("error", {}, [Failed("Codex has met an error and does not say which")]),
    ("warning", {"message": "slow"}, [Warned("slow")]),
    ("warning", {}, []),
    ("item/agentMessage/delta", {"itemId": "m", "delta": "He"}, [Output("He")]),
    ("item/agentMessage/delta", {"itemId": "m", "delta": ""}, []),
    (
        "item/commandExecution/outputDelta",
        {"itemId": "c1", "delta": "x"},
        [Item("delta", "c1", "command", {"text": "x"})],
    ),
    ("item/reasoning/textDelta", {"itemId": "r", "delta": "x"}, [Item("delta", "r", "reasoning", {"text": "x"})]),
    (
        "item/reasoning/summaryTextDelta",
        {"itemId": "r", "delta": "x", "summaryIndex": 0},
        [Item("delta", "r", "reasoning", {"text": "x"})],
    ),
    ("item/started", item(type="userMessage", id="1", content=[]), []),
    ("item/completed", item(type="userMessage", id="1", content=[]), []),
    (
        "item/completed",
        item(type="agentMessage", id="m", text="Hello"),
        [Output("Hello"), Item("completed", "m", "message", {"text": "Hello"})],
    ),
    (
        "item/completed",
        item(type="reasoning", id="r", summary=["first"], content=["then"]),
        [Item("completed", "r", "reasoning", {"text": "first\nthen"})],
    ),
    (
        "item/completed",
        {"item": COMMAND},
        [
            Item(
                "completed",
                "c1",
                "command",
                {
                    "command": "cat calc.py",
                    "cwd": "sub",
                    "status": "completed",
                    "output": "text",
                    "exit_code": 0,
                    "duration_ms": 12,
                },
            ),
            FilesTouched(("calc.py",)),
        ],
    ),
    (
        "item/completed",
        item(type="fileChange", id="f", status="completed", changes=[EDIT, EDIT]),
        [
            Item("completed", "f", "file_change", {"changes": [EDITED, EDITED], "status": "completed"}),
            FilesTouched(("calc.py",)),
        ],
    ),
    (
        "item/completed",
        item(type="fileChange", id="f", status="declined", changes=[EDIT]),
        [Item("completed", "f", "file_change", {"changes": [EDITED], "status": "declined"})],
    ),
    (
        "item/started",
        item(type="mcpToolCall", id="x", server="s", tool="look", arguments={"a": 1}, status="inProgress"),
        [Item("started", "x", "tool_call", {"tool": "look", "arguments": {"a": 1}, "status": "in_progress"})],
    ),
    (
        "item/completed",
        item(type="webSearch", id="w", query="q"),
        [Item("completed", "w", "tool_call", {"tool": "webSearch", "arguments": None, "status": None})],
    ),
    (
        "item/completed",
        item(type="contextCompaction", id="k"),
        [Item("completed", "k", "other", {"type": "context_compaction"})],
    ),
    (
        "item/completed",
        item(type="plan", id="p", text="First this."),
        [Item("completed", "p", "other", {"type": "plan", "text": "First this."})],
    ),
    (
        "turn/plan/updated",
        {"plan": [{"step": "look", "status": "completed"}, {"step": "change", "status": "inProgress"}]},
        [Plan([{"step": "look", "status": "completed"}, {"step": "change", "status": "in_progress"}])],
    ),
    ("turn/diff/updated", {"diff": "+a\n"}, [Diff("+a\n")]),
    ("turn/diff/updated", {"diff": ""}, []),
    (
        "thread/tokenUsage/updated",
        {
            "tokenUsage": {
                "total": {"inputTokens": 7, "cachedInputTokens": 2, "outputTokens": 3, "totalTokens": 10},
                "last": {},
                "modelContextWindow": 6144,
            }
        },
        [Usage(7, 2, 3, 10, 6144)],
    ),
    ("thread/tokenUsage/updated", {"tokenUsage": {}}, [Usage(0, 0, 0, 0, None)]),
    ("account/updated", {"anything": 1}, []),
    ("a/method/of/tomorrow", 5, []),
]
"""A notification's method, its parameters, and what a fresh narrator makes of it."""


class RetellingTests(SynchronousTestCase):
    """One notification, or several."""

    def setUp(self) -> None:
        self.narrator = Narrator(WORKSPACE)

    def retell(self, *told: tuple[str, Any]) -> list[AgentEvent]:
        return [event for method, params in told for event in self.narrator.retell(method, raw(params))]

    def test_each_notification(self) -> None:
        """Has its events, or none."""
        for method, params, events in TOLD:
            self.assertEqual(Narrator(WORKSPACE).retell(method, raw(params)), events, (method, params))

    def test_pieces_joined_are_the_reply(self) -> None:
        """What came in pieces is not told again at the end; what did not is, and messages are set apart."""
        events = self.retell(
            ("item/agentMessage/delta", {"itemId": "1", "delta": "One "}),
            ("item/completed", item(type="agentMessage", id="1", text="One two.")),
            ("item/completed", item(type="agentMessage", id="2", text="Three.")),
            ("item/agentMessage/delta", {"itemId": "3", "delta": "Four."}),
            ("item/completed", item(type="agentMessage", id="3", text="Four.")),
        )
        said = "".join(event.text for event in events if isinstance(event, Output))
        self.assertEqual(said, "One two.\n\nThree.\n\nFour.")

    def test_a_new_turn_begins_afresh(self) -> None:
        """Its first message has no space before it, its first diff is told even if it is the last turn's."""
        turn = ("turn/started", {"turn": {"id": "u"}})
        told = [("item/agentMessage/delta", {"itemId": "1", "delta": "Hi"}), ("turn/diff/updated", {"diff": "+a"})]
        self.assertEqual(self.retell(turn, *told), self.retell(turn, *told))

    def test_a_diff_is_told_when_it_changes(self) -> None:
        """And not after every step."""
        told = [("turn/diff/updated", {"diff": diff}) for diff in ("+a", "+a", "+b", "+b", "")]
        self.assertEqual(self.retell(*told), [Diff("+a"), Diff("+b"), Diff("")])

    def test_a_failure_is_told_once(self) -> None:
        """Though Codex says it when it happens and when the turn ends."""
        error = {"message": "no model"}
        events = self.retell(
            ("error", {"error": error, "willRetry": False}),
            ("turn/completed", {"turn": {"id": "u", "status": "failed", "error": error}}),
        )
        self.assertEqual(events, [Failed("no model"), TurnEnded("u", "failed")])

    def test_an_interruption_is_no_failure(self) -> None:
        """Whatever Codex says of it."""
        turn = {"id": "u", "status": "interrupted", "error": {"message": "interrupted"}}
        self.assertEqual(self.retell(("turn/completed", {"turn": turn})), [TurnEnded("u", "interrupted")])


class TouchedFileTests(SynchronousTestCase):
    """Which files a step makes active."""

    def touched(self, **fields: Any) -> tuple[str, ...]:
        events = Narrator(WORKSPACE).retell("item/completed", raw({"item": {"id": "1", **fields}}))
        return next((event.paths for event in events if isinstance(event, FilesTouched)), ())

    def changed(self, path: str, kind: str = "update", move: str | None = None) -> tuple[str, ...]:
        change = {"path": path, "kind": {"type": kind, "move_path": move}, "diff": ""}
        return self.touched(type="fileChange", status="completed", changes=[change])

    def test_inside_only(self) -> None:
        """A path that leads out of the workspace by its words is not told."""
        for path, expected in {
            "/srv/app/a.py": ("a.py",),
            "/srv/app/sub/../a.py": ("a.py",),
            "a.py": ("a.py",),
            "/srv/app/../secret": (),
            "../secret": (),
            "/srv/app": (),
            "/srv/application/a.py": (),
            "/etc/passwd": (),
            "a\0b": (),
        }.items():
            self.assertEqual(self.changed(path), expected, path)

    def test_what_is_there_afterwards(self) -> None:
        """A removed file is not active, a moved one is where it went."""
        self.assertEqual(self.changed("/srv/app/a.py", "delete"), ())
        self.assertEqual(self.changed("/srv/app/a.py", "update", "/srv/app/b.py"), ("b.py",))

    def test_what_was_read(self) -> None:
        """By a command that went well, from the folder it ran in."""
        action = {"type": "read", "path": "a.py"}
        listing = {"type": "listFiles", "path": "b"}
        command = {"type": "commandExecution", "cwd": "/srv/app/sub", "commandActions": [action, listing]}
        self.assertEqual(self.touched(**command, exitCode=0), ("sub/a.py",))
        self.assertEqual(self.touched(**command, exitCode=1), ())
        self.assertEqual(self.touched(**command), ())


class ApprovalTests(SynchronousTestCase):
    """What is asked, and what may be answered."""

    def setUp(self) -> None:
        self.narrator = Narrator(WORKSPACE)

    def test_a_command(self) -> None:
        """Is shown as it would be run, and where."""
        asked = self.narrator.asked(
            "item/commandExecution/requestApproval",
            raw(
                {
                    "itemId": "c1",
                    "command": "/bin/bash -lc 'rm -r build'",
                    "cwd": "/srv/app",
                    "reason": "to begin anew",
                    "availableDecisions": ["accept", {"acceptWithExecpolicyAmendment": {}}, "cancel"],
                }
            ),
        )
        body = {"item_id": "c1", "command": "rm -r build", "cwd": ".", "reason": "to begin anew"}
        self.assertEqual(asked, ("command", body, (Decision.ACCEPT, Decision.DECLINE, Decision.CANCEL)))

    def test_a_change(self) -> None:
        """Is shown with what was told of it when it began."""
        self.narrator.retell("item/started", raw(item(type="fileChange", id="f", changes=[EDIT])))
        asked = self.narrator.asked(
            "item/fileChange/requestApproval", raw({"itemId": "f", "reason": None, "grantRoot": "/srv/app/sub"})
        )
        body = {"item_id": "f", "changes": [EDITED], "reason": None, "grant_root": "sub"}
        self.assertEqual(asked, ("file_change", body, tuple(Decision)))

    def test_an_unknown_change(self) -> None:
        """Of one that we have not seen beginning, no file is told."""
        asked = self.narrator.asked("item/fileChange/requestApproval", raw({"itemId": "never seen"}))
        body: dict[str, Any] = {"item_id": "never seen", "changes": [], "reason": None}
        self.assertEqual(asked, ("file_change", body, tuple(Decision)))

    def test_other_requests_are_not_ours(self) -> None:
        """They are answered with an error, by others."""
        for method in ("item/tool/call", "item/permissions/requestApproval", "account/chatgptAuthTokens/refresh", "x"):
            self.assertIsNone(self.narrator.asked(method, raw({})))

    def test_what_may_be_answered(self) -> None:
        """What Codex offers and we know; a plain no always; all of it where Codex does not say."""
        for available, expected in (
            (None, tuple(Decision)),
            ([], (Decision.DECLINE,)),
            (["acceptForSession", "surprise", 5, None], (Decision.ACCEPT_FOR_SESSION, Decision.DECLINE)),
        ):
            self.assertEqual(offered(available), expected)

    def test_what_is_remembered_is_bounded(self) -> None:
        """However many begin and never end."""
        for number in range(1_000):
            self.narrator.retell("item/started", raw(item(type="fileChange", id=str(number), changes=[EDIT])))
            self.narrator.retell("item/agentMessage/delta", raw({"itemId": str(number), "delta": "x"}))
        self.assertLessEqual(max(len(self.narrator._changes), len(self.narrator._said)), 64)


class WordTests(SynchronousTestCase):
    """Small things."""

    def test_scripts(self) -> None:
        """A shell's script is shown without the shell; anything else as it is."""
        for command, expected in {
            "/bin/bash -lc 'echo hi'": "echo hi",
            'zsh -c "a; b"': "a; b",
            "/bin/bash -lc 'echo hi' extra": "/bin/bash -lc 'echo hi' extra",
            "python3 -c 'print()'": "python3 -c 'print()'",
            "bash -x 'a'": "bash -x 'a'",
            "unclosed 'quote": "unclosed 'quote",
            "": "",
            f"bash -c '{'x' * 40_000}'": f"bash -c '{'x' * 40_000}'",
        }.items():
            self.assertEqual(script(command), expected)

    def test_long_texts(self) -> None:
        """One at the limit is told whole; one past it loses its middle and says so."""
        self.assertEqual(shortened("x" * LARGEST_TEXT), "x" * LARGEST_TEXT)
        text = shortened("a" * LARGEST_TEXT + "b" * LARGEST_TEXT)
        self.assertLess(len(text), LARGEST_TEXT + 100)
        self.assertTrue(text.startswith("a") and text.endswith("b"))
        self.assertIn(f"{LARGEST_TEXT} characters are left out", text)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["item", "id", "turn", "delta"]), inner)
    ),
    max_leaves=10,
)


class HostileTests(SynchronousTestCase):
    """An app-server that is none."""

    @given(st.sampled_from([method for method, _, _ in TOLD]), JSON)
    def test_any_parameters(self, method: str, params: Any) -> None:
        """Whatever stands in a notification, it is retold or found malformed, and nothing else happens."""
        try:
            events = Narrator(WORKSPACE).retell(method, raw(params))
        except msgspec.DecodeError:
            return
        self.assertIsInstance(events, list)

    def test_wrong_types_are_malformed(self) -> None:
        """They are not guessed at."""
        for method, params in (
            ("item/agentMessage/delta", {"itemId": "m", "delta": 5}),
            ("item/started", {"item": {"id": 1, "type": "agentMessage"}}),
            ("item/started", {}),
            ("turn/started", []),
            ("turn/started", {"turn": {"id": "x" * 257}}),
            ("item/agentMessage/delta", {"itemId": "x" * 257, "delta": "x"}),
            ("thread/tokenUsage/updated", {"tokenUsage": {"total": {"inputTokens": "many"}}}),
        ):
            self.assertRaises(msgspec.DecodeError, Narrator(WORKSPACE).retell, method, raw(params))
