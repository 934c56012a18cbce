"""Coding sessions as the configuration has them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from hadesgw.config import Config, parse
from hadesgw.policy.credentials import ClientDirectory, ClientStore, Role, anonymous_client
from hadesgw.policy.session_tokens import SessionTokens
from hadesgw.service.rehearsal import make_rehearsal
from hadesgw.service.sessions import make_sessions
from hadesgw.sessions.admission import Wish
from hadesgw.sessions.engine import IEngine
from hadesgw.sessions.registry import SessionRegistry
from tests.sessions.stage import Ledger, ScriptedEngine


class MakingTests(SynchronousTestCase):
    """What becomes of the keys of `[sessions]`."""

    def make(self, text: str) -> SessionRegistry:
        """The sessions of a configuration."""
        self.folder = Path(self.mktemp()).absolute()
        (self.folder / "work").mkdir(parents=True)
        self.engine = ScriptedEngine("rehearsal")
        self.url: str | None = "http://127.0.0.1:8082"
        ledger = Ledger()
        clients = ClientStore(ClientDirectory(()), anonymous_client(Role.USER))
        return make_sessions(
            parse(text, "test.toml", self.folder),
            Reactor(),
            engines={"rehearsal": self.engine},
            tokens=SessionTokens(clients.standing, os.urandom),
            clients=clients,
            own_url=lambda: self.url,
            meter=ledger,
            log=ledger,
        )

    def test_defaults(self) -> None:
        """Without a workspace there is nothing to work in, and the status says what to write where."""
        status = self.make("").status("anonymous")
        self.assertEqual((status["engine"], status["workspaces"]), ("codex", []))
        self.assertIn("[sessions]", status["obstacle"])

    def test_what_is_configured(self) -> None:
        """Reaches the agent: workspace, model, rules, budget, header, and the way back."""
        registry = self.make(
            """
            headers.session_id = "X-Mine"
            budget = { context_tokens = 9000, output_tokens = 1000 }
            upstream = [{ name = "u", socket = "/s", models = ["first", "second"], output_tokens = 500 }]
            [sessions]
            engine = "rehearsal"
            workspaces = { app = "work" }
            approval = "never"
            sandbox = "read-only"
            max_per_client = 1
            """
        )
        self.assertEqual(registry.status("anonymous")["workspace"], "app")
        self.url = None
        self.assertIn("listener", registry.status("anonymous")["obstacle"])
        self.url = "http://127.0.0.1:8082"
        self.successResultOf(registry.start("anonymous", Wish()))
        launch = self.engine.agents[0].launch
        self.assertEqual(launch.workspace, (self.folder / "work").resolve())
        self.assertEqual((launch.model, launch.base_url), ("first", "http://127.0.0.1:8082/v1"))
        self.assertEqual((launch.approval, launch.sandbox, launch.session_header), ("never", "read-only", "X-Mine"))
        self.assertEqual((launch.context_tokens, launch.output_tokens), (9_000, 500))
        self.failureResultOf(registry.start("anonymous", Wish(new=True)))

    def test_which_model(self) -> None:
        """The one that is named; none where any is admitted and none is named."""
        workspaces = '[sessions]\nengine = "rehearsal"\nworkspaces = { app = "work" }\n'
        any_model = 'upstream = [{ name = "u", socket = "/s", models = ["*"] }]\n'
        registry = self.make(any_model + workspaces)
        self.failureResultOf(registry.start("anonymous", Wish()))
        registry = self.make(any_model + workspaces + 'model = "named"\n')
        self.successResultOf(registry.start("anonymous", Wish()))
        self.assertEqual(self.engine.agents[0].launch.model, "named")

    def test_the_rehearsal_engine(self) -> None:
        """Needs nothing."""
        engine = make_rehearsal(Config(), MemoryReactorClock(), {})
        verifyObject(IEngine, engine)
        self.assertIsNone(engine.obstacle())


class Reactor(MemoryReactorClock):
    """A reactor whose threads are this one."""

    def getThreadPool(self) -> Any:
        """Itself."""
        return self

    def callInThreadWithCallback(self, done: Any, work: Any, *given: Any) -> None:  # noqa: N802
        """At once."""
        done(True, work(*given))

    def callFromThread(self, work: Any, *given: Any) -> Deferred[None]:  # noqa: N802
        """At once."""
        work(*given)
        return succeed(None)
