"""The engine `codex` as the configuration wants it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from hadesgw.config import Config, parse
from hadesgw.service.codex import make_codex, state_folder, try_codex
from hadesgw.sessions.app_server import CodexEngine


class Log:
    """Events, as they are logged."""

    def __init__(self) -> None:
        self.events: list[tuple[str, str, dict[str, object]]] = []

    def event(self, name: str, level: str = "info", **facts: object) -> None:
        self.events.append((name, level, facts))


class StateTests(SynchronousTestCase):
    """Where agents keep their files."""

    def test_the_first_that_is_said(self) -> None:
        """The configuration's place, systemd's, the user's."""
        service, own = {"STATE_DIRECTORY": "/var/lib/hadesgw:/var/lib/more"}, {"XDG_STATE_HOME": "/home/me/state"}
        for configured, environment, expected in (
            ("/srv/state", {**service, **own}, "/srv/state"),
            ("", {**service, **own}, "/var/lib/hadesgw/codex"),
            ("", own, "/home/me/state/hadesgw/codex"),
            ("", {}, str(Path("~/.local/state/hadesgw/codex").expanduser())),
        ):
            self.assertEqual(state_folder(configured, environment, "codex"), Path(expected))


class EngineTests(SynchronousTestCase):
    """Made, and tried."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir(parents=True)
        self.codex = self.folder / "codex"
        self.codex.touch(mode=0o755)
        self.log: Any = Log()

    def configuration(self, sessions: str) -> Config:
        upstream = '[[upstream]]\nname = "vllm"\nsocket = "/run/hades/vllm/api.sock"\n'
        return parse(f"{upstream}[sessions]\n{sessions}\n", "test", self.folder)

    def make(self, config: Config) -> CodexEngine:
        return make_codex(config, Clock(), {"CREDENTIALS_DIRECTORY": "/run/credentials/hadesgw"})

    def test_what_is_hidden(self) -> None:
        """What the gateway rests on, and every workspace, which each agent gets its own of."""
        engine = self.make(self.configuration(f'workspaces = {{ app = "/srv/app" }}\ncodex.binary = "{self.codex}"'))
        hidden = {str(path) for path in engine._confinement.hidden}
        for path in (f"{self.folder}/clients.toml", "/run/hades/vllm/api.sock", "/run/credentials/hadesgw", "/srv/app"):
            self.assertIn(path, hidden)
        self.assertTrue(engine._confinement.enclosed)

    def test_nothing_happens_before_it_is_wanted(self) -> None:
        """Where another engine is configured, or no workspace, nothing is tried and no folder is made."""
        for sessions in ('engine = "rehearsal"\nworkspaces = { app = "/srv/app" }', 'engine = "codex"'):
            config = self.configuration(f'{sessions}\ncodex.binary = "{self.codex}"\ncodex.state = "state"')
            self.successResultOf(try_codex(self.make(config), config, self.log))
        self.assertEqual(([path.name for path in self.folder.iterdir()], self.log.events), (["codex"], []))

    def test_an_obstacle_is_logged(self) -> None:
        """At the start, in a line that says what to do."""
        config = self.configuration('workspaces = { app = "/srv/app" }\ncodex.binary = "nothing"')
        self.successResultOf(try_codex(self.make(config), config, self.log))
        [(name, level, facts)] = self.log.events
        self.assertEqual((name, level, facts["engine"]), ("engine_obstacle", "warn", "codex"))
        self.assertIn("pip install", str(facts["reason"]))

    def test_no_obstacle_is_nothing_to_log(self) -> None:
        """An engine that works says nothing."""

        class Good:
            def probe(self) -> Deferred[None]:
                return succeed(None)

            def obstacle(self) -> None:
                return None

        good: Any = Good()
        config = self.configuration('workspaces = { app = "/srv/app" }')
        self.successResultOf(try_codex(good, config, self.log))
        self.assertEqual(self.log.events, [])
