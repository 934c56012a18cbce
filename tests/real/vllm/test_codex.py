"""A real Codex works for a session with a real vLLM, every call of its model through the gateway."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from twisted.internet import reactor  # noqa: TID251 - the one that trial runs
from twisted.trial.unittest import TestCase

from hadesgw.sessions.app_server import CodexEngine, Confinement
from hadesgw.sessions.codex_home import Homes, remove_tree
from hadesgw.sessions.codex_program import find_program
from hadesgw.sessions.engine import FilesTouched, Launch, TurnEnded, Usage
from tests.real.clients.codex import GIT
from tests.real.clients.environment import CLIENTS, CODEX, cache_folder
from tests.real.codex.pair import Notes
from tests.real.codex.stage import say
from tests.real.gateway import Gateway
from tests.real.vllm.prompter import RESPONSES, Prompter
from tests.real.vllm.server import MODEL
from tests.real.vllm.shared import CONTEXT, VLLM

CANARY = "saffron-heron-88"
PATCH = """apply_patch <<'PATCH'
*** Begin Patch
*** Update File: calc.py
@@
 def add(a, b):
-    return a - b
+    return a + b
*** End Patch
PATCH"""
CHECK = "python3 -c 'import calc; print(calc.add(2, 3))'"
REPORT = "The sum is a sum again."


def call(command: str) -> str:
    """What a model of this vLLM says to run a command."""
    arguments = {"name": "exec_command", "arguments": {"cmd": command}}
    return f"<tool_call>\n{json.dumps(arguments)}\n</tool_call>"


def next_words(request: dict[str, Any]) -> str:
    """The patch, the check, the report: as far as the request shows that they have been."""
    results = [item for item in request["input"] if item.get("type") == "function_call_output"]
    return [call(PATCH), call(CHECK), REPORT][min(len(results), 2)]


class CodexTests(TestCase):
    """One turn."""

    timeout = 600

    def setUp(self) -> None:
        kit = CLIENTS.kit(CODEX)
        self.vllm = VLLM.running()
        self.folder = Path(tempfile.mkdtemp(prefix="hadesgw-"))
        self.addCleanup(shutil.rmtree, self.folder)
        self.workspace = self.folder / "workspace"
        self.workspace.mkdir()
        (self.workspace / "calc.py").write_text("def add(a, b):\n    return a - b\n")
        for arguments in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "--message", "Begin"]):
            subprocess.run([*GIT, *arguments], cwd=self.workspace, check=True)
        state = Path(tempfile.mkdtemp(prefix="codex-state-", dir=cache_folder(CODEX).parent))
        self.addCleanup(remove_tree, state)
        self.engine = CodexEngine(
            reactor,
            lambda: find_program(str(kit.codex)),
            Homes(state, [], remove_tree),
            Confinement(enclosed=True, hidden=[self.vllm.folder], readable=[], nice=()),
            os.environ,
            os.urandom,
        )
        self.addCleanup(self.engine.close)

    async def test_edit(self) -> None:
        """It mends a file by a function call of the model's, checks it by another, and reports."""
        relay = self.folder / "relay.sock"
        place = self.folder / "gateway"
        place.mkdir()
        sections = {"budget": {"context_tokens": CONTEXT, "output_tokens": 2048}, "timeouts": {"first_byte": 120}}
        with (
            Prompter(relay, self.vllm.socket, next_words) as prompter,
            Gateway(place, relay, [MODEL], sections) as gateway,
        ):
            notes = Notes(reactor)
            order = Launch(
                session_id="vllm-session",
                workspace=self.workspace,
                model=MODEL,
                approval="never",
                sandbox="workspace-write",
                base_url=f"{gateway.url}/v1",
                token=gateway.token,
                session_header="X-Conveyance-Session-ID",
                context_tokens=CONTEXT,
                output_tokens=2048,
            )
            agent = await self.engine.launch(order, notes)
            try:
                ended = await say(agent, notes, f"Mend calc.py, {CANARY}.")
            finally:
                await agent.stop()
            lines = gateway.route_log(RESPONSES, 3)
            text = gateway.log_text()
        self.assertEqual(ended.status, TurnEnded("", "completed").status, notes.events)
        self.assertEqual((self.workspace / "calc.py").read_text(), "def add(a, b):\n    return a + b\n")
        self.assertIn("+    return a + b", notes.diff())
        self.assertIn(FilesTouched(("calc.py",)), notes.events)
        self.assertEqual(notes.items("command")[-1].body["output"], "5\n")
        self.assertEqual(notes.said(), REPORT)
        self.assertGreater(notes.of(Usage)[-1].output_tokens, 100)
        # Codex hangs up as soon as the answer is complete, so that the end of the connection may find nobody there.
        self.assertEqual([line["conveyance_session_id"] for line in lines], ["vllm-session"] * 3)
        self.assertLessEqual({line["status"] for line in lines}, {200, 499})
        self.assertEqual({tool["type"] for request in prompter.requests for tool in request["tools"]}, {"function"})
        self.assertNotIn(CANARY, text)
        self.assertNotIn(gateway.token, text)
