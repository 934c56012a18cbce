"""The engine `aider` as the configuration wants it."""

from __future__ import annotations

from pathlib import Path

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from hadesgw.config import Config, parse
from hadesgw.service.aider import environment_folder, make_aider

UPSTREAM = '[[upstream]]\nname = "vllm"\nsocket = "/run/hades/vllm/api.sock"\n'


class EngineTests(SynchronousTestCase):
    """Made of a configuration."""

    def configuration(self, aider: str = "") -> Config:
        return parse(f"{UPSTREAM}[sessions.aider]\n{aider}\n", "test", Path("/etc/hadesgw"))

    def test_where_aider_is(self) -> None:
        """Where it is configured, else beside what lasts of ours."""
        service = {"STATE_DIRECTORY": "/var/lib/hadesgw"}
        folder = environment_folder(self.configuration("environment = '/srv/aider'"), service)
        self.assertEqual(folder, Path("/srv/aider"))
        folder = environment_folder(self.configuration(), service)
        self.assertEqual(folder, Path("/var/lib/hadesgw/engines/aider"))

    def test_nothing_is_done_yet(self) -> None:
        """An engine that is made has looked for nothing and written nothing; asked, it says what is missing."""
        state = Path(self.mktemp()).absolute()
        config = self.configuration(f"environment = '{state}/none'\nstate = '{state}'")
        engine = make_aider(config, Clock(), {})
        self.addCleanup(engine.close)
        self.assertFalse(state.exists())
        self.assertIn("hadesgw engine install aider", engine.obstacle() or "")

    def test_commits(self) -> None:
        """Whose part they are."""
        for line, claimed in (("", True), ("commits = false", False)):
            engine = make_aider(self.configuration(line), Clock(), {})
            self.assertEqual("commit" in engine.claims, claimed, line)
