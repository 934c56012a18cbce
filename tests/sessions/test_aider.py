"""The engine `aider` and its agents, with an Aider that exists in a script only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from hadesgw.sessions.aider import INTERRUPT_SECONDS, LAUNCH_SECONDS, AiderEngine, Manner
from hadesgw.sessions.aider_environment import PLAYER, AiderAbsent, Environment
from hadesgw.sessions.app_server import MALFORMED_LINES, Confinement
from hadesgw.sessions.codex_home import Homes, remove_tree
from hadesgw.sessions.commands import parse
from hadesgw.sessions.engine import (
    Decision,
    Diff,
    EngineFailure,
    Failed,
    FilesActive,
    IAgent,
    IEngine,
    Item,
    Output,
    TurnBegan,
    TurnEnded,
    Usage,
    Warned,
)
from tests.sessions.scripted import ScriptedProcess, ScriptedReactor
from tests.sessions.test_app_server import LAUNCH, TOKEN, Observer

MANNER = Manner(edit_format="whole", commits=True, map_tokens=0)
FOUND = Environment(Path("/opt/aider/bin/python"), (Path("/opt/aider"),))


class AiderTestCase(SynchronousTestCase):
    """An engine whose agents are ready at once, unless a test says otherwise."""

    def setUp(self) -> None:
        self.reactor = ScriptedReactor()
        self.folder = Path(self.mktemp()).absolute()
        self.workspace = self.folder / "workspace"
        self.workspace.mkdir(parents=True)
        self.homes = Homes(self.folder / "state", [], remove_tree, "sessions.aider.state")
        self.observer = Observer()
        self.found: Environment | None = FOUND
        self.engine = self.make()

    def make(
        self, manner: Manner = MANNER, bubblewrap: Path | None = Path("/opt/bwrap"), enclosed: bool = True
    ) -> AiderEngine:
        engine = AiderEngine(
            self.reactor,
            self.find,
            bubblewrap,
            self.homes,
            Confinement(enclosed=enclosed, hidden=[], readable=[], nice=()),
            manner,
            {"PATH": "/usr/bin", "OPENAI_API_KEY": "somebody's", "HADESGW_CLIENTS": "secret"},
            lambda size: b"\x01" * size,
        )
        self.addCleanup(engine.close)
        return engine

    def find(self) -> Environment:
        if self.found is None:
            raise AiderAbsent("run: hadesgw engine install aider")
        return self.found

    def launch(self, **changes: Any) -> Deferred[Any]:
        return self.engine.launch(replace(LAUNCH, workspace=self.workspace, **changes), self.observer)

    def ready(self, **changes: Any) -> Any:
        """An agent that waits for input."""
        launched = self.launch(**changes)
        self.process.say({"type": "ready", "version": "0.86.2"}, {"type": "files", "paths": []})
        return self.successResultOf(launched)

    @property
    def process(self) -> ScriptedProcess:
        return self.reactor.processes[-1]

    @property
    def written(self) -> list[dict[str, Any]]:
        """What it was told since it was opened."""
        return self.process.written[1:]

    def assert_nothing_left(self) -> None:
        self.assertTrue(all(process.ended for process in self.reactor.processes))
        self.assertEqual(list((self.folder / "state").glob("gateway-*/*/.gitconfig")), [])
        self.assertEqual(self.reactor.getDelayedCalls(), [])


class EngineTests(AiderTestCase):
    """Whether it can be used, and what is Aider's to judge."""

    def test_interface(self) -> None:
        """It provides what it says."""
        verifyObject(IEngine, self.engine)

    def test_obstacles(self) -> None:
        """The environment or bubblewrap is missing; what is installed later is found."""
        self.assertIsNone(self.engine.obstacle())
        self.assertIn("bwrap", self.make(bubblewrap=None).obstacle() or "")
        self.assertIsNone(self.make(bubblewrap=None, enclosed=False).obstacle())
        self.found = None
        self.assertIn("hadesgw engine install aider", self.engine.obstacle() or "")
        self.failureResultOf(self.launch(), EngineFailure)

    def test_claims(self) -> None:
        """Aider's commands and their beginnings are Aider's, those it has not are the session's to refuse."""
        for text in ("/add a.py", "/ad a.py", "/run ls", "/focus a.py", "/help", "/commit", "/und"):
            self.assertIsNone(parse(text, self.engine.claims), text)
        self.assertIsNotNone(parse("/frobnicate", self.engine.claims))

    def test_claims_without_commits(self) -> None:
        """Where it does not commit, committing is the session's."""
        engine = self.make(replace(MANNER, commits=False))
        for text in ("/commit it", "/undo"):
            self.assertIsNotNone(parse(text, engine.claims), text)
        self.assertIsNone(parse("/add a.py", engine.claims))

    def test_unfit_launches(self) -> None:
        """It asks for no approval, and needs room for a prompt: both are said before anything is started."""
        told = self.failureResultOf(self.launch(approval="untrusted"), EngineFailure).getErrorMessage()
        self.assertIn("sessions.approval", told)
        told = self.failureResultOf(self.launch(context_tokens=4_000), EngineFailure).getErrorMessage()
        self.assertIn("context_tokens (4000)", told)
        self.assertEqual(self.reactor.processes, [])


class LaunchTests(AiderTestCase):
    """How it is started, and what happens when it is not."""

    def test_what_it_gets(self) -> None:
        """Its own home, the session's token by its environment alone, and nothing of ours; the rest by its input."""
        verifyObject(IAgent, self.ready())
        process = self.process
        self.assertEqual(process.command[0], "/opt/bwrap")
        self.assertEqual(process.command[-1], str(PLAYER))
        self.assertNotIn(TOKEN, " ".join(process.command))
        self.assertEqual(process.environment["OPENAI_API_KEY"], TOKEN)
        self.assertEqual(process.environment["OPENAI_API_BASE"], LAUNCH.base_url)
        self.assertNotIn("HADESGW_CLIENTS", process.environment)
        self.assertIn("hadesgw", (Path(process.environment["HOME"]) / ".gitconfig").read_text())
        (opened,) = process.written
        self.assertEqual(opened["headers"], {"X-Conveyance-Session-ID": "s-1"})
        self.assertEqual((opened["model"], opened["commits"], opened["writable"]), ("qwen3", True, True))
        self.assertNotIn(TOKEN, str(opened))

    def test_the_repository(self) -> None:
        """What of it says what git runs stays as it is; all of it, where nothing is committed or written."""
        for name in ("hooks", "objects"):
            (self.workspace / ".git" / name).mkdir(parents=True)
        git = str(self.workspace / ".git")
        self.ready()
        self.assertIn(f"--ro-bind {git}/hooks", " ".join(self.process.command))
        self.assertNotIn(f"--ro-bind {git} ", " ".join(self.process.command))
        self.engine = self.make(replace(MANNER, commits=False))
        self.ready(session_id="s-2")
        self.assertIn(f"--ro-bind {git} ", " ".join(self.process.command))
        self.ready(session_id="s-3", sandbox="read-only")
        self.assertIn(f"--ro-bind {self.workspace} ", " ".join(self.process.command))
        self.assertEqual((self.process.written[0]["commits"], self.process.written[0]["writable"]), (False, False))

    def test_unconfined(self) -> None:
        """Every session says so."""
        self.engine = self.make(enclosed=False)
        self.ready()
        self.assertIsInstance(self.observer.events[0], Warned)
        self.assertNotIn("/opt/bwrap", self.process.command)

    def test_it_ends_instead(self) -> None:
        """What it complained of is told, but for the token."""
        launched = self.launch()
        self.process.complain(f"Traceback\nImportError: no {TOKEN}\n")
        self.process.end(1)
        told = self.failureResultOf(launched, EngineFailure).getErrorMessage()
        self.assertIn("exit status 1 (ImportError: no [token])", told)
        self.assertEqual(self.observer.ends, [])
        self.assert_nothing_left()

    def test_it_takes_too_long(self) -> None:
        """Then it is killed."""
        launched = self.launch()
        self.reactor.advance(LAUNCH_SECONDS)
        told = self.failureResultOf(launched, EngineFailure).getErrorMessage()
        self.assertIn("not ready within", told)
        self.assert_nothing_left()

    def test_it_is_given_up(self) -> None:
        """A launch that is cancelled leaves nothing."""
        launched = self.launch()
        launched.cancel()
        self.failureResultOf(launched, CancelledError)
        self.assert_nothing_left()

    def test_no_room(self) -> None:
        """Where no process can be started, that is said."""
        self.reactor.starting = _refuse
        told = self.failureResultOf(self.launch(), EngineFailure).getErrorMessage()
        self.assertIn("Cannot allocate memory", told)

    def test_no_folder(self) -> None:
        """Nor where it can have no folder, by the key that says where."""
        (self.folder / "state").touch()
        self.assertIn("sessions.aider.state", self.failureResultOf(self.launch(), EngineFailure).getErrorMessage())


class TurnTests(AiderTestCase):
    """What is asked of it and what it tells."""

    def setUp(self) -> None:
        super().setUp()
        self.agent = self.ready()
        self.observer.events.clear()

    def heard(self, *messages: Mapping[str, Any]) -> list[Any]:
        """What the observer hears of these."""
        self.process.say(*messages)
        self.reactor.advance(1)
        return self.observer.events

    def test_files_at_the_start(self) -> None:
        """A new agent has none, whatever another had."""
        self.launch(session_id="s-2")
        self.process.say({"type": "ready"}, {"type": "files", "paths": []})
        self.assertEqual(self.observer.events, [FilesActive(())])

    def test_a_turn(self) -> None:
        """From its beginning to its end, each thing as a session understands it."""
        self.agent.say("add a docstring")
        self.assertEqual(self.written, [{"type": "say", "text": "add a docstring"}])
        events = self.heard(
            {"type": "began"},
            {"type": "piece", "text": "Well"},
            {"type": "files", "paths": ["a.py"]},
            {"type": "edited", "paths": ["a.py"], "diff": "+x"},
            {"type": "warning", "text": "hm"},
            {"type": "error", "text": f"bad {TOKEN}"},
            {"type": "usage", "input_tokens": 5, "output_tokens": 2},
            {"type": "ended", "status": "completed"},
        )
        changes = {"changes": [{"path": "a.py", "kind": "update", "diff": ""}], "status": "completed"}
        self.assertEqual(
            events,
            [
                TurnBegan("turn-1"),
                Output("Well"),
                FilesActive(("a.py",)),
                Item("completed", "edit-1", "file_change", changes),
                Diff("+x"),
                Warned("hm"),
                Failed("bad [token]"),
                Usage(5, 0, 2, 7, 32_768),
                TurnEnded("turn-1", "completed"),
            ],
        )

    def test_more_for_a_turn(self) -> None:
        """Is a further input; there are no approvals to decide."""
        self.agent.steer("and more")
        self.agent.decide("none", Decision.ACCEPT)
        self.assertEqual(self.written, [{"type": "say", "text": "and more"}])

    def test_interruption(self) -> None:
        """Is asked for; a turn that does not end by it ends with its agent."""
        self.heard({"type": "began"})
        self.agent.interrupt()
        self.agent.interrupt()
        self.assertEqual(self.written, [{"type": "interrupt"}] * 2)
        self.heard({"type": "ended", "status": "interrupted"})
        self.reactor.advance(INTERRUPT_SECONDS)
        self.assertFalse(self.process.ended)
        self.heard({"type": "began"})
        self.agent.interrupt()
        self.reactor.advance(INTERRUPT_SECONDS)
        self.assertIn("did not end its turn", self.observer.ends[0] or "")
        self.assert_nothing_left()

    def test_nonsense(self) -> None:
        """Is passed over, until it is too much; unknown types are for a later day."""
        self.assertEqual(self.heard({"type": "later"}), [])
        self.process.print(b"nonsense\n" * MALFORMED_LINES)
        self.assertFalse(self.process.ended)
        self.process.print(b'{"type": 1}\n')
        self.assertIn("not its protocol", self.observer.ends[0] or "")

    def test_too_much(self) -> None:
        """A line beyond all bounds is left out, and that is said."""
        self.agent.overlong()
        self.assertIsInstance(self.observer.events[0], Warned)

    def test_stopped(self) -> None:
        """Nothing is heard of it any more, and nothing of it is left."""
        stopped = self.agent.stop()
        self.successResultOf(stopped)
        self.process.say({"type": "piece", "text": "late"})
        self.assertEqual((self.observer.events, self.observer.ends), ([], [None]))
        self.successResultOf(self.agent.stop())
        self.assert_nothing_left()

    def test_death(self) -> None:
        """An end of its own is told with what it complained of."""
        self.process.complain("MemoryError\n")
        self.process.end(signal=9)
        self.assertEqual(self.observer.ends, ["it was ended by signal 9 (MemoryError)"])
        self.assert_nothing_left()


def _refuse(process: ScriptedProcess) -> None:
    raise OSError(12, "Cannot allocate memory")
