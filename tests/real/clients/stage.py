"""What stands on this machine while a real client is tried: the rehearsal model, the gateway before it, and a
border that nothing passes."""

from __future__ import annotations

import atexit
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, ClassVar
from uuid import uuid4

from twisted.trial.unittest import SynchronousTestCase

from tests.real.clients.border import Border
from tests.real.clients.visitor import Visitor
from tests.real.gateway import LOG_SECONDS, PROJECT, Gateway
from tests.real.processes import end, start
from tests.real.waiting import wait_for
from tests.real.wire import Client

MODEL = "qwen3-coder-30b-a3b-instruct"
"""The name in docs/clients.md, so that its lines run as they stand."""

CANARY = "saffron-heron-73"
"""A word for prompts; it may appear in no log."""

CONTEXT = 200_000
"""Tokens; the first request of a coding agent alone may have 10,000."""

SECTIONS: Mapping[str, Mapping[str, object]] = {
    "budget": {"context_tokens": CONTEXT, "output_tokens": 4_096},
    "timeouts": {"drain": 2},
}
"""What the tests need of every gateway here, beside its defaults."""

START_SECONDS = 60.0
RUNNING = "vllm:num_requests_running"
TOKENS = "vllm:generation_tokens_total"
AUTH_FAILURES = "hades_codex_auth_failures_total"


def counted(meter: str, page: bytes) -> int:
    """The sum of a meter over its labels, on a page in Prometheus' text form."""
    found = re.findall(rf"^{meter}(?:\{{[^}}]*\}})? ([0-9.e+]+)$", page.decode(), re.MULTILINE)
    return int(sum(map(float, found)))


class RehearsalModel:
    """`python -m hadesgw.demo` as a child, on `folder/model.sock`, as fast as its reader.

    :param script: rules of a test's own in TOML, or "".
    :param name: of the model.
    """

    def __init__(self, folder: Path, script: str, name: str = MODEL) -> None:
        self.folder = folder
        self.socket = folder / "model.sock"
        self.client = Client(self.socket, {})
        self.child: subprocess.Popen[bytes] | None = None
        self.command: list[str | Path] = [sys.executable, "-m", "hadesgw.demo", "--socket", self.socket]
        self.command += ["--model", name, "--tokens-per-second", "0", "--context-tokens", str(CONTEXT)]
        if script:
            (folder / "script.toml").write_text(script)
            self.command += ["--script", folder / "script.toml"]

    def start(self) -> None:
        """Start it, where it does not run already, and wait until it serves."""
        if self.child is None:
            surroundings = {**os.environ, "PYTHONPATH": str(PROJECT)}
            self.child = start(self.command, self.folder / "model.log", surroundings, self.folder)
            wait_for(self._answers, "the rehearsal model answers", START_SECONDS)

    def stop(self) -> None:
        if self.child is not None:
            end(self.child, 5)
            self.child = None

    def kill(self) -> None:
        """SIGKILL; its socket stays behind, as after a crash."""
        assert self.child is not None, "not started"
        self.child.kill()
        self.child.wait()
        self.child = None

    def running(self) -> int:
        """How many requests it is at, by its own count."""
        return counted(RUNNING, self._metrics())

    def tokens(self) -> int:
        """How many tokens it has generated since its start."""
        return counted(TOKENS, self._metrics())

    def _metrics(self) -> bytes:
        return self.client.get("/metrics").body

    def _answers(self) -> bool:
        assert self.child is not None
        assert self.child.poll() is None, (self.folder / "model.log").read_text(errors="replace")[-2000:]
        try:
            return self.client.get("/health").status == 200
        except OSError:
            return False


class Stage:
    """One model and one gateway in a folder of their own, from :meth:`begin` to :meth:`end`.

    :param sections: of the gateway's configuration, in place of those in :data:`SECTIONS`.
    :param allowance: of the client, in place of one that no test exhausts.
    :param script: the model's.
    """

    def __init__(
        self, sections: Mapping[str, Mapping[str, object]], allowance: Mapping[str, object], script: str
    ) -> None:
        self.parts = ExitStack()
        self.folder = Path(self.parts.enter_context(tempfile.TemporaryDirectory(prefix="hadesgw-")))
        self.border = Border()
        self.model = RehearsalModel(self.folder, script)
        self.gateway = Gateway(self._made("gateway"), self.model.socket, [MODEL], {**SECTIONS, **sections}, allowance)
        self.visitor: Visitor | None = None

    def begin(self) -> None:
        try:
            self.parts.enter_context(self.border)
            self.parts.callback(self.model.stop)
            self.model.start()
            self.parts.enter_context(self.gateway)
        except BaseException:
            self.end()
            raise

    def end(self) -> None:
        self.parts.close()

    def invite(self, command: Sequence[str | Path]) -> Visitor:
        """The visitor of this stage, who comes at the first invitation."""
        if self.visitor is None:
            self.visitor = Visitor(command, self.folder, self.environment(), self.folder / "visitor.log")
            self.parts.callback(self.visitor.end)
        return self.visitor

    def environment(self) -> dict[str, str]:
        """The environment of a client: a home of its own, the key, nothing of ours, no way out of the machine."""
        home = self._made("home")
        return {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(home),
            "TMPDIR": str(self._made("tmp")),
            "LANG": "C.UTF-8",
            "HADES_KEY": self.gateway.token,
            **self.border.environment,
        }

    def requests(self, session: str, count: int, status: int | None = None) -> list[dict[str, Any]]:
        """The log's lines about the requests of a Conveyance session, in order, once there are `count` of them.

        :param status: that of those to wait for, if it matters; the lines of others come too.
        """
        return wait_for(lambda: self._logged(session, count, status), f"{count} requests are in the log", LOG_SECONDS)

    def auth_failures(self) -> int:
        """How many requests came without a credential that admits, by the gateway's own count."""
        return counted(AUTH_FAILURES, self.gateway.client().get("/metrics").body)

    def _logged(self, session: str, count: int, status: int | None) -> list[dict[str, Any]] | None:
        found = [line for line in self.gateway.log_lines() if line.get("conveyance_session_id") == session]
        wanted = [line for line in found if status is None or line["status"] == status]
        return found if len(wanted) >= count else None

    def _made(self, name: str) -> Path:
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        return folder


class Current:
    """The stage on which a test class is played; it makes way for the next class's, and the last one for the end.

    Trial runs no `setUpClass`, hence this.
    """

    def __init__(self) -> None:
        self.owner: type[StagedTestCase] | None = None
        self.stage: Stage | None = None
        atexit.register(self.clear)

    def of(self, owner: type[StagedTestCase]) -> Stage:
        """The stage of `owner`, begun now if need be; one that could not begin is not tried again for each test."""
        if self.owner is not owner:
            self.clear()
            self.owner = owner
            stage = Stage(owner.sections, owner.allowance, owner.script)
            stage.begin()
            self.stage = stage
        assert self.stage is not None, "it could not begin, as an earlier test of this class tells"
        return self.stage

    def clear(self) -> None:
        stage, self.stage, self.owner = self.stage, None, None
        if stage is not None:
            stage.end()


CURRENT = Current()


class StagedTestCase(SynchronousTestCase):
    """Tests with a stage for the whole class, whose log is judged after each."""

    sections: ClassVar[Mapping[str, Mapping[str, object]]] = {}
    allowance: ClassVar[Mapping[str, object]] = {}
    script: ClassVar[str] = ""

    def setUp(self) -> None:
        self.require_clients()
        self.stage = CURRENT.of(type(self))
        self.session = f"test-{uuid4()}"
        self.crossed = len(self.stage.border.crossings)
        self.addCleanup(self.judge_log)
        self.addCleanup(self.judge_border)
        self.addCleanup(self.stage.model.start)

    def require_clients(self) -> None:
        """:raises SkipTest: when what this class tries cannot be had."""
        raise NotImplementedError

    def judge_log(self) -> None:
        """No secret, nothing of what was said, and no fault of the gateway's own."""
        text = self.stage.gateway.log_text()
        for forbidden in (self.stage.gateway.token, CANARY, "Traceback", "Unhandled"):
            self.assertNotIn(forbidden, text)

    def judge_border(self) -> None:
        """Nothing wanted to leave the machine."""
        self.assertEqual(self.stage.border.crossings[self.crossed :], [])
