"""The engines of a gateway: named from the start, made when they are wanted."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

import hadesgw
from hadesgw.config import Config, parse
from hadesgw.service.engine_makers import Engines
from hadesgw.sessions.engine import IEngine
from tests.service.test_sessions import Reactor


class Notes:
    """Remembers events."""

    def __init__(self) -> None:
        self.events: list[str] = []

    def event(self, name: str, level: str = "info", **facts: object) -> None:
        """See IRequestLog."""
        self.events.append(name)


class EnginesTests(SynchronousTestCase):
    """All there are, by name."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.environment = {"XDG_STATE_HOME": str(self.folder)}

    def engines(self, sessions: str = "", reactor: Any = None) -> Engines:
        """Those of this configuration."""
        config = parse(f"[sessions]\n{sessions}", "hadesgw.toml", self.folder)
        return Engines(config, reactor or MemoryReactorClock(), self.environment)

    def test_names(self) -> None:
        """The one that plays is there only where it is configured."""
        self.assertEqual(list(self.engines()), ["codex", "aider"])
        rehearsed = self.engines('engine = "rehearsal"')
        self.assertEqual((list(rehearsed), len(rehearsed)), (["codex", "aider", "rehearsal"], 3))
        self.assertNotIn("rehearsal", self.engines())
        self.assertRaises(KeyError, lambda: self.engines()["rehearsal"])

    def test_each_is_made_once(self) -> None:
        """And is what it is called."""
        engines = self.engines('engine = "rehearsal"')
        for name in engines:
            verifyObject(IEngine, engines[name])
            self.assertEqual(engines[name].name, name)
            self.assertIs(engines[name], engines[name])
        engines.close()

    def test_what_is_not_used_is_not_loaded(self) -> None:
        """A gateway whose clients have no coding sessions holds none of what drives agents."""
        code = "import hadesgw.tap, sys; print(*(name for name in sys.modules if name.startswith('hadesgw')))"
        command, checkout = [sys.executable, "-c", code], Path(hadesgw.__file__).parents[1]
        done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=checkout, timeout=60)
        loaded = done.stdout.split()
        self.assertIn("hadesgw.service.engine_makers", loaded)
        unused = ["sessions.registry", "sessions.app_server", "sessions.aider", "sessions.rehearsal", "http.websocket"]
        for name in [*unused, "service.hermes_client", "telemetry.trace", "demo"]:
            self.assertNotIn(f"hadesgw.{name}", loaded)

    def test_only_the_engine_to_be_used_is_tried_at_the_start(self) -> None:
        """And only where there is a workspace for it."""
        notes: Any = Notes()
        for sessions in ("", 'engine = "rehearsal"\nworkspaces = { app = "/srv/app" }'):
            self.successResultOf(self.engines(sessions).begin(notes))
        self.assertEqual(notes.events, [])
        used = self.engines('workspaces = { app = "/srv/app" }\ncodex.binary = "nothing"', Reactor())
        self.successResultOf(used.begin(notes))
        self.assertEqual(notes.events, ["engine_obstacle"])

    def test_nobody_is_let_go_of_who_was_not_there(self) -> None:
        """The end makes no engine."""
        engines = Engines(Config(), None, {})
        engines.close()
        self.assertEqual(engines._made, {})
