"""The whole way: a client of the gateway, a session, a real Codex, its model behind the same gateway."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar
from unittest import SkipTest

from twisted.trial.unittest import SynchronousTestCase

from hadesgw.sessions.codex_home import remove_tree
from tests.real.clients.environment import CLIENTS, CODEX, cache_folder
from tests.real.clients.stage import CANARY, CONTEXT, MODEL, RehearsalModel
from tests.real.codex.watcher import Watcher
from tests.real.gateway import Gateway
from tests.real.processes import Process, descendants
from tests.real.waiting import wait_for

EDIT = f"Create greet.py that prints 'moin' for the {CANARY}."
LONG = "rehearse: long tokens=3000 tokens_per_second=50"


class SessionTestCase(SynchronousTestCase):
    """A gateway of its own for each test."""

    approval = "never"
    further: ClassVar[Mapping[str, object]] = {}
    """Keys of `[sessions]`."""

    def setUp(self) -> None:
        kit = CLIENTS.kit(CODEX)
        if shutil.which("git") is None:
            raise SkipTest("there is no git here")
        self.folder = Path(tempfile.mkdtemp(prefix="hadesgw-")).resolve()
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.state = Path(tempfile.mkdtemp(prefix="codex-state-", dir=cache_folder(CODEX).parent))
        self.addCleanup(remove_tree, self.state)
        self.workspace = self.made("workspace")
        (self.workspace / "calc.py").write_text("def add(a, b):\n    return a + b\n")
        self.model = RehearsalModel(self.made("model"), "")
        self.addCleanup(self.model.stop)
        self.model.start()
        sections: Mapping[str, Mapping[str, object]] = {
            "budget": {"context_tokens": CONTEXT, "output_tokens": 4_096},
            "limits": {"requests_per_second": 1_000, "burst": 1_000},
            "timeouts": {"drain": 2},
            "sessions": {
                "engine": "codex",
                "workspaces": {"app": str(self.workspace)},
                "default_workspace": "app",
                "approval": self.approval,
                "codex": {"binary": str(kit.codex), "state": str(self.state)},
                **self.further,
            },
        }
        self.gateway = Gateway(self.made("gateway"), self.upstream(), [MODEL], sections)
        self.addCleanup(self.gateway.stop)
        self.gateway.start()
        self.client = self.gateway.client()

    def upstream(self) -> Path:
        """The socket that the gateway takes for its model server's."""
        return self.model.socket

    def made(self, name: str) -> Path:
        (self.folder / name).mkdir()
        return self.folder / name

    def order(self, path: str, **members: Any) -> dict[str, Any]:
        """What an order answers, which is well."""
        answer = self.client.post(f"/api/codex/{path}", members)
        self.assertEqual(answer.status, 200, answer.body)
        told: dict[str, Any] = answer.json()
        return told

    def codex(self) -> list[Process]:
        """The processes of all agents."""
        return [process for process in descendants(self.gateway.pid) if "app-server" in process.title()]

    def assert_canary_unseen(self) -> None:
        """Nothing that was said is in the log."""
        self.assertNotIn(CANARY, self.gateway.log_text())
        self.assertNotIn("Traceback", self.gateway.log_text())

    def facts(self, session: str) -> dict[str, Any]:
        found: dict[str, Any] = self.client.get(f"/api/codex/sessions/{session}").json()
        return found


class SessionTests(SessionTestCase):
    """An agent that does as it is told."""

    def test_stands_back(self) -> None:
        """All of its processes are nicer than the gateway, those of its commands too."""
        self.order("start")
        self.order("input", text=EDIT)
        ours = os.getpriority(os.PRIO_PROCESS, self.gateway.pid)
        wait_for((self.workspace / "greet.py").exists, "the file is there", 60)
        agent = [process.pid for process in self.codex()]
        self.assertNotEqual(agent, [])
        self.assertEqual({os.getpriority(os.PRIO_PROCESS, pid) for pid in agent}, {min(ours + 10, 19)})

    def test_by_http(self) -> None:
        """Started, given an input and stopped by HTTP alone, it edits a file; every call of its model is its own."""
        session = self.order("start")["session_id"]
        self.order("input", text=EDIT)
        wait_for((self.workspace / "greet.py").exists, "the file is there", 60)
        wait_for(lambda: self.facts(session)["state"] == "ready", "the turn is over", 60)
        self.assertEqual(self.facts(session)["active_files"], ["greet.py"])
        self.assertGreater(self.facts(session)["token_usage"]["input_tokens"], 1_000)
        calls = self.gateway.route_log("/v1/responses", 4)
        self.assertEqual([(line["status"], line["conveyance_session_id"]) for line in calls], [(200, session)] * 4)
        processes = descendants(self.gateway.pid)
        self.assertNotEqual(self.codex(), [])
        self.order("stop")
        self.assertEqual([process.title() for process in processes if process.alive()], [])
        self.assert_canary_unseen()

    def test_by_socket(self) -> None:
        """By WebSocket it tells of the reply, the diff and the files; another one is told the same afterwards."""
        with Watcher(self.gateway) as first:
            first.send("start_session")
            self.assertEqual(first.turn(EDIT)["status"], "completed")
            self.assertIn('+print("moin")', first.of("diff")[-1]["diff"])
            self.assertEqual(first.of("active_files")[-1], ["greet.py"])
            self.assertIn("the edit is real", "".join(first.of("output")))
            seq = next(message["seq"] for message in first.messages if message["type"] == "turn")
            with Watcher(self.gateway, f"?after={seq - 1}") as second:
                second.until(lambda: first.messages[-1] in second.messages, "it has been told the rest")
                for kind in ("output", "item"):  # of tokens and diffs the newest is told, and not all before it
                    told = [each for each in first.messages if each["type"] == kind and each["seq"] >= seq]
                    self.assertEqual([each for each in second.messages if each["type"] == kind], told)
        self.assert_canary_unseen()

    def test_interrupt(self) -> None:
        """A turn is interrupted, and the model's work with it; the next input is carried out."""
        with Watcher(self.gateway) as watcher:
            watcher.send("input", LONG)
            watcher.until(lambda: watcher.of("output"), "it speaks")
            watcher.send("interrupt")
            ended = watcher.until(lambda: [t for t in watcher.of("turn") if t["phase"] == "ended"], "it has ended")
            self.assertEqual(ended[0]["status"], "interrupted")
            wait_for(lambda: self.model.running() == 0, "the model has stopped", 5)
            self.assertEqual(watcher.turn("Say hello")["status"], "completed")

    def test_killed(self) -> None:
        """An agent that is killed is told of, and the next input goes on with the conversation."""
        with Watcher(self.gateway) as watcher:
            self.assertEqual(watcher.turn("Say hello")["status"], "completed")
            before = watcher.of("session_status")[-1]["thread_id"]
            for process in self.codex():
                process.kill()
            watcher.until(lambda: watcher.of("error"), "its death is told")
            self.assertEqual(watcher.turn("Say hello again")["status"], "completed")
            self.assertEqual(watcher.of("session_status")[-1]["thread_id"], before)
            self.assertEqual(watcher.of("warning"), [])

    def test_gateway_is_killed(self) -> None:
        """With the gateway all its agents are gone."""
        self.order("start")
        processes = descendants(self.gateway.pid)
        self.assertGreater(len(processes), 1)
        self.gateway.kill()
        wait_for(lambda: not any(process.alive() for process in processes), "they are gone", 5)

    def test_gateway_is_stopped(self) -> None:
        """A gateway that is asked to stop ends its agents first, even one in a turn, and leaves no folder of theirs."""
        with Watcher(self.gateway) as watcher:
            watcher.send("input", LONG)
            watcher.until(lambda: watcher.of("output"), "it speaks")
            processes = descendants(self.gateway.pid)
            self.assertEqual(self.gateway.stop(20), 0)
        self.assertEqual([process.title() for process in processes if process.alive()], [])
        self.assertEqual(list(self.state.iterdir()), [])


class ApprovalTests(SessionTestCase):
    """An agent that asks."""

    approval = "untrusted"

    def test_by_http(self) -> None:
        """Its requests wait for an answer by HTTP; accepted, the file is made."""
        session = self.order("start")["session_id"]
        with Watcher(self.gateway) as watcher:
            watcher.send("input", EDIT)
            for number in range(3):
                asked = watcher.nth("approval_request", number)
                self.order(f"sessions/{session}/approvals/{asked['approval_id']}", decision="accept")
            watcher.until(lambda: [t for t in watcher.of("turn") if t["phase"] == "ended"], "it has ended")
        self.assertIn("moin", (self.workspace / "greet.py").read_text())

    def test_by_socket(self) -> None:
        """Or by a socket; declined, nothing is changed and the turn ends by itself."""
        with Watcher(self.gateway) as watcher:
            watcher.send("input", EDIT)
            asked = watcher.until(lambda: watcher.of("approval_request"), "it asks")[0]
            self.assertEqual(asked["kind"], "command")
            watcher.send("approval", {"approval_id": asked["approval_id"], "decision": "decline"})
            ended = watcher.until(lambda: [t for t in watcher.of("turn") if t["phase"] == "ended"], "it has ended")
            self.assertEqual(ended[0]["status"], "completed")
            self.assertEqual([settled["decision"] for settled in watcher.of("approval")], ["decline"])
        self.assertFalse((self.workspace / "greet.py").exists())
