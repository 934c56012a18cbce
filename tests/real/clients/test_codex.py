"""The real Codex, set up by docs/clients.md, works on a real repository through the gateway."""

from __future__ import annotations

import json
import stat
import tempfile
import tomllib
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import ClassVar

from tests.real.clients.codex import Codex, Run
from tests.real.clients.environment import CLIENTS, CODEX
from tests.real.clients.page import block
from tests.real.clients.stage import CANARY, MODEL, StagedTestCase
from tests.real.gateway import Gateway
from tests.real.recorder import Recorder
from tests.real.waiting import wait_for

RESPONSES = "/v1/responses"
ONCE = {"request_max_retries": 0, "stream_max_retries": 0}
ADVICE = tomllib.loads(block("What agents need of the gateway", "toml"))
"""The page's sections for a gateway that serves agents."""

LOOKS_AROUND = r"""
[[rule]]
prompt = 'look around'
answer = { calls = [{ name = "exec_command", arguments = '{"cmd": "env"}' }] }
[[rule]]
prompt = 'look around'
after_tool = true
answer = { text = "I have seen enough." }
"""


class CodexTestCase(StagedTestCase):
    """A Codex of its own for each test."""

    sections: ClassVar[Mapping[str, Mapping[str, object]]] = ADVICE

    def setUp(self) -> None:
        super().setUp()
        holder = tempfile.TemporaryDirectory(prefix="hadesgw-")
        self.addCleanup(holder.cleanup)
        self.folder = Path(holder.name)
        environment = {**self.stage.environment(), "HADES_SESSION": self.session}
        self.codex = Codex(self.kit.codex, self.folder, environment, self.stage.gateway.port)

    def require_clients(self) -> None:
        self.kit = CLIENTS.kit(CODEX)
        CLIENTS.program("git")

    def require_sandbox(self) -> None:
        """:raises SkipTest: where Codex cannot run a command in its sandbox."""
        hindrance = self.codex.sandbox()
        if hindrance:
            raise CLIENTS.absence("sandbox for Codex", hindrance)

    def assert_completed(self, run: Run) -> None:
        self.assertEqual((run.status, run.ends), (0, "turn.completed"), run.events)

    def assert_failed(self, run: Run, *words: str) -> None:
        """The turn failed, and the person is shown `words`."""
        self.assertEqual((run.status, run.ends), (1, "turn.failed"), run.events)
        for word in words:
            self.assertIn(word, run.shown)

    def statuses(self, count: int) -> list[int]:
        """Those of the first `count` requests or more."""
        return [line["status"] for line in self.stage.requests(self.session, count)]


class CodexWorkTests(CodexTestCase):
    """What it does."""

    script: ClassVar[str] = LOOKS_AROUND

    def test_new_file(self) -> None:
        """It looks, adds a file by a patch, runs it and reports, by requests that all belong to its session."""
        self.require_sandbox()
        run = self.codex.execute(f"Create greet.py that prints 'moin' for the {CANARY}.")
        self.assert_completed(run)
        self.assertEqual(self.codex.git("status", "--short"), "?? greet.py\n")
        self.assertIn('print("moin")', (self.codex.repository / "greet.py").read_text())
        [change] = run.items("file_change")
        self.assertEqual([(Path(each["path"]).name, each["kind"]) for each in change["changes"]], [("greet.py", "add")])
        ran = run.items("command_execution")[-1]
        self.assertEqual((ran["exit_code"], ran["aggregated_output"]), (0, "moin\n"))
        self.assertIn("the edit is real", run.said())
        lines = self.stage.requests(self.session, 4)
        self.assertEqual(
            [(line["route"], line["status"], line["stream"]) for line in lines], [(RESPONSES, 200, True)] * 4
        )

    def test_change(self) -> None:
        """It puts one line into a file of the repository and touches nothing else."""
        self.require_sandbox()
        self.assert_completed(self.codex.execute("Document calc.py."))
        self.assertEqual(self.codex.git("diff", "--numstat"), "1\t0\tcalc.py\n")
        self.assertEqual(self.codex.git("status", "--short"), " M calc.py\n")

    def test_headers(self) -> None:
        """The model server sees the session of `http_headers` in each request, and no credential."""
        witnessed = self.folder / "witnessed"
        witnessed.mkdir()
        with Recorder(self.folder / "recorder.sock", self.stage.model.socket) as recorder:
            gateway = Gateway(witnessed, recorder.path, [MODEL], ADVICE)
            with gateway:
                self.codex.environment["HADES_KEY"] = gateway.token
                del self.codex.environment["HADES_SESSION"]
                base = json.dumps(f"{gateway.url}/v1")
                headers = '{ "X-Conveyance-Session-ID" = "my-laptop" }'
                self.assert_completed(self.codex.execute("Say hello", base_url=base, http_headers=headers))
            [exchange] = recorder.exchanges(RESPONSES)
        self.assertEqual(exchange.request.header(b"x-conveyance-session-id"), [b"my-laptop"])
        self.assertEqual(exchange.request.header(b"authorization"), [])
        self.assertNotIn(gateway.token.encode(), exchange.request.body)

    def test_variables_of_the_editor(self) -> None:
        """Key and session may stand in `.env` in its home, for an editor that knows nothing of a shell."""
        lines = [f"{name}={self.codex.environment.pop(name)}" for name in ("HADES_KEY", "HADES_SESSION")]
        (self.codex.home / ".env").write_text("\n".join(lines) + "\n")
        (self.codex.home / ".env").chmod(stat.S_IRUSR)
        self.assert_completed(self.codex.execute("Say hello"))
        self.assertEqual(self.statuses(1), [200])

    def test_key_is_not_for_commands(self) -> None:
        """A command that the agent runs does not see the key."""
        self.require_sandbox()
        run = self.codex.execute("Look around")
        self.assert_completed(run)
        [command] = run.items("command_execution")
        self.assertIn("PATH=", command["aggregated_output"])
        self.assertNotIn("HADES_", command["aggregated_output"])

    def test_long_history(self) -> None:
        """More than the default body of 64 KiB goes through."""
        (self.codex.repository / "AGENTS.md").write_text(f"The {CANARY} is grey.\n" * 1_400)
        self.assert_completed(self.codex.execute(f"Say hello to {'all ' * 20_000}"))
        [line] = self.stage.requests(self.session, 1)
        self.assertGreater(line["bytes_in"], 128 << 10)


class CodexTroubleTests(CodexTestCase):
    """What its user sees when something is wrong."""

    def test_wrong_key(self) -> None:
        """The gateway's words and the id of the request that is in its log."""
        self.codex.environment["HADES_KEY"] = "wrong"
        run = self.codex.execute("Say hello", **ONCE)
        [line] = self.stage.requests(self.session, 1)
        self.assert_failed(run, "401 Unauthorized", "The API key is not known here.", line["request_id"])

    def test_no_key(self) -> None:
        """The name of the variable that is missing; nothing is sent."""
        del self.codex.environment["HADES_KEY"]
        self.assert_failed(self.codex.execute("Say hello"), "HADES_KEY")

    def test_absent_model(self) -> None:
        """That the model server is not there."""
        self.stage.model.kill()
        run = self.codex.execute("Say hello", **ONCE)
        self.assert_failed(run, "503 Service Unavailable", "The model server is not listening on its socket.")

    def test_model_comes_back(self) -> None:
        """Nothing: while the model server restarts, Codex asks again as often as it was told to wait."""
        self.stage.model.stop()
        child = self.codex.begin("Say hello", request_max_retries=20)
        self.stage.requests(self.session, 1)
        self.stage.model.start()
        self.assert_completed(self.codex.finish(child))
        statuses = self.statuses(2)
        self.assertEqual((set(statuses[:-1]), statuses[-1]), ({503}, 200))

    def test_waiting_as_told(self) -> None:
        """After a 429 it waits as long as it was told, then gives up and says why."""
        run = self.codex.execute("rehearse: 429 retry_after=2", request_max_retries=0, stream_max_retries=1)
        self.assert_failed(run, "429 Too Many Requests")
        first, second = (datetime.fromisoformat(line["ts"]) for line in self.stage.requests(self.session, 2))
        self.assertGreater((second - first).total_seconds(), 1.9)

    def test_budget(self) -> None:
        """The budget's word, at once: it is not asked for again."""
        self.assert_failed(self.codex.execute("rehearse: budget"), "TOKEN_BUDGET_EXCEEDED")
        self.assertEqual(self.statuses(1), [400])

    def test_broken_stream(self) -> None:
        """That the stream broke; the half answer is not taken for a whole one."""
        run = self.codex.execute("rehearse: cut", **ONCE)
        self.assert_failed(run, "stream disconnected before completion")
        self.assertEqual(run.items("agent_message"), [])

    def test_engine_dies(self) -> None:
        """The model server's own words."""
        self.assert_failed(self.codex.execute("rehearse: engine-death", **ONCE), "EngineCore encountered an issue.")

    def test_model_is_killed(self) -> None:
        """That the stream broke, when the model server is killed in the middle of it."""
        before = self.stage.model.tokens()
        child = self.codex.begin("rehearse: long tokens=3000 tokens_per_second=50", **ONCE)
        wait_for(lambda: self.stage.model.tokens() > before + 10, "the model speaks", seconds=60)
        self.stage.model.kill()
        self.assert_failed(self.codex.finish(child), "stream disconnected before completion")


class CodexNarrowTests(CodexTestCase):
    """A gateway that does not know of agents."""

    sections: ClassVar[Mapping[str, Mapping[str, object]]] = {"limits": {"body": {RESPONSES: "16KiB"}}}

    def test_too_large(self) -> None:
        """The gateway's words, once."""
        run = self.codex.execute("Say hello", **ONCE)
        self.assert_failed(run, "413 Payload Too Large", "The request body is larger than this route allows.")
        self.assertEqual(self.statuses(1), [413])
