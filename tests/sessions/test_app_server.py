"""The engine `codex` and its agents, with a Codex that exists in a script only."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from hadesgw.sessions.app_server import (
    ANSWER_SECONDS,
    LAUNCH_SECONDS,
    MALFORMED_LINES,
    PENDING_APPROVALS,
    CodexEngine,
    Confinement,
)
from hadesgw.sessions.codex_home import Homes, remove_tree
from hadesgw.sessions.codex_program import Program, ProgramAbsent
from hadesgw.sessions.engine import (
    AgentEvent,
    ApprovalAsked,
    ApprovalSettled,
    Decision,
    EngineFailure,
    Failed,
    IAgent,
    IAgentObserver,
    IEngine,
    Launch,
    Output,
    TurnBegan,
    TurnEnded,
    Warned,
)
from tests.sessions.scripted import AppServer, ScriptedProcess, ScriptedReactor

TOKEN = "the-token-of-this-session"
LAUNCH = Launch(
    session_id="s-1",
    workspace=Path("/"),
    model="qwen3",
    approval="on-request",
    sandbox="workspace-write",
    base_url="http://127.0.0.1:8082/v1",
    token=TOKEN,
    session_header="X-Conveyance-Session-ID",
    context_tokens=32_768,
    output_tokens=2_048,
)
COMMAND = "item/commandExecution/requestApproval"


@implementer(IAgentObserver)
class Observer:
    """Hears all."""

    def __init__(self) -> None:
        self.events: list[AgentEvent] = []
        self.ends: list[str | None] = []

    def happened(self, event: AgentEvent) -> None:
        self.events.append(event)

    def ended(self, reason: str | None) -> None:
        self.ends.append(reason)


class EngineTestCase(SynchronousTestCase):
    """An engine whose trial went well, unless a test says otherwise."""

    enclosed = True

    def setUp(self) -> None:
        self.reactor = ScriptedReactor()
        self.folder = Path(self.mktemp()).absolute()
        self.workspace = self.folder / "workspace"
        self.workspace.mkdir(parents=True)
        self.homes = Homes(self.folder / "state", [], remove_tree)
        self.observer = Observer()
        self.servers: list[AppServer] = []
        self.reactor.starting = self.starting
        self.engine = self.make_engine()
        self.addCleanup(self.engine.close)

    def make_engine(self, bubblewrap: Path | None = Path("/opt/bwrap"), nice: Sequence[str] = ()) -> CodexEngine:
        program = Program(Path("/opt/codex"), Path("/opt"), bubblewrap)
        confinement = Confinement(enclosed=self.enclosed, hidden=[], readable=[Path("/opt/tools")], nice=nice)
        environment = {"PATH": "/usr/bin", "HADESGW_CLIENTS": "secret"}
        return CodexEngine(
            self.reactor, lambda: program, self.homes, confinement, environment, lambda size: b"\x01" * size
        )

    def starting(self, process: ScriptedProcess) -> None:
        """What a process does: an app-server talks, others are trials."""
        if "app-server" in process.command:
            self.servers.append(AppServer(process))
        else:
            process.obedient = False

    def probe(self, version: str = "codex-cli 0.163.0", status: int = 0, sandbox: int = 0, complaint: str = "") -> None:
        """Make the trial, with this outcome."""
        made = self.engine.probe()
        for process in list(self.reactor.processes):
            if process.ended:
                continue
            if "--version" in process.command:
                process.protocol.childDataReceived(1, version.encode())
                process.end(status)
            else:
                process.complain(complaint)
                process.end(sandbox)
        self.successResultOf(made)

    def launch(self, **changes: Any) -> Deferred[Any]:
        return self.engine.launch(replace(LAUNCH, workspace=self.workspace, **changes), self.observer)

    @property
    def server(self) -> AppServer:
        return self.servers[-1]

    @property
    def process(self) -> ScriptedProcess:
        return self.server.process

    def assert_nothing_left(self) -> None:
        self.assertTrue(all(process.ended for process in self.reactor.processes))
        self.assertEqual(self.reactor.getDelayedCalls(), [])


class TrialTests(EngineTestCase):
    """Whether it can be used at all."""

    def test_interface(self) -> None:
        """It provides what it says."""
        verifyObject(IEngine, self.engine)

    def test_good(self) -> None:
        """The right version that can be confined has no obstacle; it is tried once, however often that is asked."""
        self.probe()
        self.assertIsNone(self.engine.obstacle())
        self.successResultOf(self.engine.probe())
        self.assertEqual(len(self.reactor.processes), 2)
        self.assert_nothing_left()

    def test_confined_as_agents_are(self) -> None:
        """A trial's command runs where an agent's would: in the enclosure, in Codex's own sandbox."""
        self.probe()
        for process in self.reactor.processes:
            self.assertEqual(process.command[0], "/opt/bwrap")
            self.assertFalse(process.input_open)
        self.assertEqual(self.reactor.processes[1].command[-4:], ["/opt/codex", "sandbox", "--", "true"])

    def test_obstacles(self) -> None:
        """Each is one line that says what it is and what to do about it."""
        denied = "bwrap: setting up uid map: Permission denied\nmore"
        for outcome, words in (
            ({"version": "codex-cli 0.170.0"}, ("0.170.0", "pip install")),
            ({"version": "hello"}, ("does not say that it is Codex",)),
            ({"status": 127, "sandbox": 1}, ("does not run here",)),
            ({"sandbox": 1, "complaint": denied}, ("cannot be confined here", "Permission denied", "confinement")),
            ({"sandbox": 1}, ("cannot be confined here", "does not say why")),
        ):
            self.engine = self.make_engine()
            self.probe(**outcome)
            obstacle = self.engine.obstacle() or ""
            for word in words:
                self.assertIn(word, obstacle)
            self.assertNotIn("\n", obstacle)
            self.assertIn(obstacle, str(self.failureResultOf(self.launch(), EngineFailure).value))
        self.assertEqual(self.servers, [])

    def test_no_program(self) -> None:
        """What cannot be found is an obstacle at once."""

        def absent() -> Program:
            raise ProgramAbsent("there is none")

        confinement = Confinement(enclosed=True, hidden=[], readable=[], nice=())
        engine = CodexEngine(self.reactor, absent, self.homes, confinement, {}, bytes)
        self.assertEqual(engine.obstacle(), "there is none")
        self.successResultOf(engine.probe())
        self.failureResultOf(engine.launch(LAUNCH, self.observer), EngineFailure)

    def test_no_bubblewrap(self) -> None:
        """Nor is one started that could not be confined."""
        self.assertIn("bubblewrap", self.make_engine(bubblewrap=None).obstacle() or "")

    def test_no_place(self) -> None:
        """Nor one that has no place for its files."""
        self.homes = Homes(Path("/proc/nowhere"), [], remove_tree)
        self.engine = self.make_engine()
        self.successResultOf(self.engine.probe())
        self.assertIn("sessions.codex.state", self.engine.obstacle() or "")

    def test_stuck(self) -> None:
        """A trial that does not end is ended, and is an obstacle."""
        made = self.engine.probe()
        self.reactor.advance(LAUNCH_SECONDS + 1)
        self.successResultOf(made)
        self.assertIsNotNone(self.engine.obstacle())
        self.assert_nothing_left()

    def test_no_process_to_be_had(self) -> None:
        """A system that starts none is an obstacle too."""

        def refuse(process: ScriptedProcess) -> None:
            raise OSError(11, "Resource temporarily unavailable")

        self.reactor.starting = refuse
        self.successResultOf(self.engine.probe())
        self.assertIn("Resource temporarily unavailable", self.engine.obstacle() or "")


class LaunchTests(EngineTestCase):
    """From nothing to an agent that waits."""

    def setUp(self) -> None:
        super().setUp()
        self.probe()

    def test_ready(self) -> None:
        """It is greeted, asked for a conversation under the rules of the launch, and has a name then."""
        agent = self.successResultOf(self.launch())
        verifyObject(IAgent, agent)
        self.assertEqual(agent.thread_id, "thread-1")
        self.assertEqual(list(self.server.asked), ["initialize", "thread/start"])
        [rules] = self.server.asked["thread/start"]
        self.assertEqual(
            rules,
            {
                "cwd": str(self.workspace),
                "model": "qwen3",
                "modelProvider": "hadesgw",
                "approvalPolicy": "on-request",
                "sandbox": "workspace-write",
            },
        )
        self.assertEqual(self.observer.events, [])

    def test_stands_back(self) -> None:
        """All of it is run by the words that make it nicer; and nothing of this process is copied for it."""
        self.engine = self.make_engine(nice=("/bin/nice", "-n", "7"))
        self.probe()
        self.successResultOf(self.launch())
        self.assertEqual(self.process.command[:4], ["/bin/nice", "-n", "7", "/opt/bwrap"])
        self.assertIsNone(self.process.folder)

    def test_the_token(self) -> None:
        """Is in its environment, and neither on its command line nor in a file; nothing else of ours is with it."""
        self.successResultOf(self.launch())
        self.assertEqual(self.process.environment["HADESGW_SESSION_TOKEN"], TOKEN)
        self.assertNotIn(TOKEN, " ".join(self.process.command))
        home = Path(self.process.environment["CODEX_HOME"])
        self.assertNotIn(TOKEN, "".join(path.read_text() for path in home.iterdir() if path.is_file()))
        self.assertEqual(
            set(self.process.environment),
            {"PATH", "LANG", "NO_COLOR", "CODEX_HOME", "HOME", "TMPDIR", "HADESGW_SESSION_TOKEN"},
        )
        self.assertNotIn(TOKEN, repr(LAUNCH))

    def test_its_enclosure(self) -> None:
        """It runs in one; nothing of the workspace is writable where nothing may be written and nobody can be asked."""
        for sandbox, approval, option in (
            ("workspace-write", "never", "--bind"),
            ("workspace-write", "on-request", "--bind"),
            ("read-only", "on-request", "--bind"),
            ("read-only", "never", "--ro-bind"),
        ):
            self.launch(sandbox=sandbox, approval=approval, session_id=sandbox + approval)
            command = self.process.command
            self.assertEqual(command[0], "/opt/bwrap")
            at = command.index(str(self.workspace))
            self.assertEqual(command[at - 1], option)

    def test_resumed(self) -> None:
        """An earlier conversation is asked for by its name."""
        self.successResultOf(self.launch(resume="thread-0"))
        [asked] = self.server.asked["thread/resume"]
        self.assertEqual((asked["threadId"], asked["excludeTurns"]), ("thread-0", True))
        self.assertNotIn("thread/start", self.server.asked)

    def test_conversation_lost(self) -> None:
        """One that cannot be continued is replaced, and that is said."""
        self.reactor.starting = partial(self._with, {"thread/resume": ValueError("no rollout found")})
        agent = self.successResultOf(self.launch(resume="thread-0"))
        self.assertEqual(agent.thread_id, "thread-1")
        [warning] = self.observer.events
        self.assertIn("no rollout found", str(warning))

    def test_other_rules(self) -> None:
        """One that says it works under other rules than those asked for is ended."""
        started = {"thread": {"id": "t"}, "approvalPolicy": "on-request"}
        for changed in (
            {"sandbox": {"type": "dangerFullAccess"}},
            {"sandbox": {"type": "workspaceWrite"}, "approvalPolicy": "never"},
            {},
        ):
            self.reactor.starting = partial(self._with, {"thread/start": {**started, **changed}})
            problem = self.failureResultOf(self.launch(), EngineFailure)
            self.assertIn("other rules", str(problem.value))
        self.assert_nothing_left()

    def test_refused(self) -> None:
        """Its own word is told, with the last line it complained in, without the token."""
        self.reactor.starting = partial(self._with, {"thread/start": ValueError("no such model")})
        self.assertIn("no such model", str(self.failureResultOf(self.launch(), EngineFailure).value))
        self._with_nothing()
        launching = self.launch()
        self.process.complain(f"Error: config.toml: {TOKEN} is no key\n")
        self.process.end(1)
        said = str(self.failureResultOf(launching, EngineFailure).value)
        self.assertIn("config.toml: [token] is no key", said)
        self.assertNotIn(TOKEN, said)
        self.assertEqual(self.observer.ends, [])
        self.assert_nothing_left()

    def test_tried_again_at_once(self) -> None:
        """Whoever tries again as soon as a launch has failed finds a folder that nobody takes away."""
        self._with_nothing()
        again: list[Deferred[Any]] = []
        launching = self.launch()
        launching.addErrback(lambda failure: again.append(self.launch()))
        self.process.end(1)
        self.assertEqual(len(again), 1)
        self.assertTrue((Path(self.process.environment["CODEX_HOME"]) / "config.toml").exists())
        self.process.end(1)
        self.failureResultOf(again[0], EngineFailure)

    def test_silent(self) -> None:
        """One that never answers is ended, and its folder is gone."""
        self._with_nothing()
        launching = self.launch()
        home = Path(self.process.environment["CODEX_HOME"])
        self.assertTrue(home.exists())
        self.reactor.advance(LAUNCH_SECONDS - 1)
        self.assertNoResult(launching)
        self.reactor.advance(2)
        self.assertIn("not ready within", str(self.failureResultOf(launching, EngineFailure).value))
        self.assertFalse(home.exists())
        self.assert_nothing_left()

    def test_cancelled(self) -> None:
        """A launch that is not wanted any more ends what it has started, before it says so."""
        self._with_nothing()
        launching = self.launch()
        self.process.obedient = False
        launching.cancel()
        self.assertNoResult(launching)
        self.reactor.advance(5)
        self.failureResultOf(launching, CancelledError)
        self.assertEqual(self.observer.ends, [])
        self.assert_nothing_left()

    def test_no_process_to_be_had(self) -> None:
        """The system's word is told."""

        def refuse(process: ScriptedProcess) -> None:
            raise OSError(11, "Resource temporarily unavailable")

        self.reactor.starting = refuse
        problem = self.failureResultOf(self.launch(), EngineFailure)
        self.assertIn("Resource temporarily unavailable", str(problem.value))

    def test_too_small_a_budget(self) -> None:
        """With no room for its own instructions none is started; the refusal has the figures."""
        self.launch(context_tokens=6144, output_tokens=2048)
        self.assertEqual(len(self.servers), 1)
        problem = self.failureResultOf(self.launch(context_tokens=6143, output_tokens=2048), EngineFailure)
        self.assertIn("4095", str(problem.value))
        self.assertEqual(len(self.servers), 1)

    def test_untrusted(self) -> None:
        """To be asked always is a rule of the conversation, which its settings do not know."""
        self.launch(approval="untrusted")
        config = tomllib.loads((Path(self.process.environment["CODEX_HOME"]) / "config.toml").read_text())
        self.assertEqual(config["approval_policy"], "on-request")
        self.assertEqual(self.server.asked["thread/start"][0]["approvalPolicy"], "untrusted")

    def _with(self, answers: Mapping[str, Any], process: ScriptedProcess) -> None:
        self.servers.append(AppServer(process))
        self.server.answers.update(answers)

    def _with_nothing(self) -> None:
        """From now on app-servers answer nothing."""
        methods = ("initialize", "thread/start", "thread/resume")
        self.reactor.starting = partial(self._with, dict.fromkeys(methods))


class AgentTestCase(EngineTestCase):
    """An agent that waits for input."""

    def setUp(self) -> None:
        super().setUp()
        self.probe()
        self.agent = self.successResultOf(self.launch())

    def begin_turn(self) -> None:
        self.agent.say("Do it")
        self.server.tell("turn/started", turn={"id": "turn-1"})

    def end_turn(self, status: str = "completed") -> None:
        self.server.tell("turn/completed", turn={"id": "turn-1", "status": status})


class TurnTests(AgentTestCase):
    """Inputs and what comes of them."""

    def test_a_turn(self) -> None:
        """An input begins one; what it tells comes in order."""
        self.begin_turn()
        self.assertEqual(
            self.server.asked["turn/start"], [{"threadId": "thread-1", "input": [{"type": "text", "text": "Do it"}]}]
        )
        for piece in ("He", "l", "lo"):
            self.server.tell("item/agentMessage/delta", itemId="m", delta=piece)
        self.end_turn()
        self.assertEqual(
            self.observer.events, [TurnBegan("turn-1"), Output("He"), Output("llo"), TurnEnded("turn-1", "completed")]
        )

    def test_refused(self) -> None:
        """An input that Codex does not take is a turn that failed."""
        self.server.answers["turn/start"] = ValueError("busy")
        self.agent.say("Do it")
        [failed, ended] = self.observer.events
        self.assertIn("busy", str(failed))
        self.assertEqual(ended, TurnEnded("", "failed"))

    def test_no_answer(self) -> None:
        """A Codex that does not answer is ended."""
        self.server.answers["turn/start"] = None
        self.agent.say("Do it")
        self.reactor.advance(ANSWER_SECONDS + 1)
        [reason] = self.observer.ends
        self.assertIn("no answer to turn/start", reason or "")

    def test_steer(self) -> None:
        """Further input goes to the turn that runs."""
        self.begin_turn()
        self.agent.steer("and more")
        [asked] = self.server.asked["turn/steer"]
        self.assertEqual((asked["expectedTurnId"], asked["input"][0]["text"]), ("turn-1", "and more"))

    def test_steer_too_late(self) -> None:
        """What comes as the turn ends is not lost: it begins another."""
        self.begin_turn()
        self.server.answers["turn/steer"] = ValueError("no active turn to steer")
        self.agent.steer("and more")
        self.end_turn()
        self.agent.steer("and yet more")
        inputs = [asked["input"][0]["text"] for asked in self.server.asked["turn/start"]]
        self.assertEqual(inputs, ["Do it", "and more", "and yet more"])

    def test_interrupt(self) -> None:
        """The turn that runs is interrupted by its name."""
        self.begin_turn()
        self.agent.interrupt()
        self.assertEqual(self.server.asked["turn/interrupt"], [{"threadId": "thread-1", "turnId": "turn-1"}])

    def test_interrupt_too_early_or_late(self) -> None:
        """Before the turn has a name it waits for that; when it is over, nothing is wrong."""
        self.agent.say("Do it")
        self.agent.interrupt()
        self.assertNotIn("turn/interrupt", self.server.asked)
        self.server.tell("turn/started", turn={"id": "turn-1"})
        self.assertEqual(len(self.server.asked["turn/interrupt"]), 1)
        self.server.answers["turn/interrupt"] = ValueError("no active turn")
        self.agent.interrupt()
        self.assertEqual([event for event in self.observer.events if isinstance(event, Failed)], [])

    def test_an_old_wish_does_not_interrupt_a_new_turn(self) -> None:
        """To interrupt nothing has no effect on what is said later."""
        self.agent.interrupt()
        self.begin_turn()
        self.assertNotIn("turn/interrupt", self.server.asked)


class ApprovalTests(AgentTestCase):
    """It asks."""

    def setUp(self) -> None:
        super().setUp()
        self.begin_turn()

    def ask(self, number: int, **fields: Any) -> None:
        self.server.ask(number, COMMAND, itemId="c", command="rm x", cwd="/", **fields)

    def asked(self) -> list[ApprovalAsked]:
        return [event for event in self.observer.events if isinstance(event, ApprovalAsked)]

    def settled(self) -> list[str]:
        return [event.approval_id for event in self.observer.events if isinstance(event, ApprovalSettled)]

    def test_each_decision(self) -> None:
        """Is answered in Codex's own words, under the id of its request, and once."""
        words = {"accept": "accept", "accept_for_session": "acceptForSession", "decline": "decline", "cancel": "cancel"}
        for number, (decision, word) in enumerate(words.items()):
            self.ask(number)
            for _ in range(2):
                self.agent.decide(self.asked()[-1].approval_id, Decision(decision))
            self.assertEqual(self.server.replies()[number:], [{"id": number, "result": {"decision": word}}])

    def test_settled_elsewhere(self) -> None:
        """A request that needs no answer any more is settled, and a late answer goes nowhere."""
        self.ask(0)
        [asked] = self.asked()
        self.server.tell("serverRequest/resolved", requestId=0)
        self.agent.decide(asked.approval_id, Decision.ACCEPT)
        self.assertEqual((self.settled(), self.server.replies()), ([asked.approval_id], []))

    def test_settled_with_the_turn(self) -> None:
        """Nothing waits for an answer when the turn is over, whatever Codex has said of it."""
        self.ask(0)
        self.ask(1)
        self.end_turn("interrupted")
        self.assertEqual(len(self.settled()), 2)

    def test_two_agents_of_a_session_are_told_apart(self) -> None:
        """Their requests have the same numbers and other names."""
        marks = iter((b"\x01" * 8, b"\x02" * 8))
        self.engine._entropy = lambda size: next(marks)
        names = []
        for _ in range(2):
            agent = self.successResultOf(self.launch())
            self.ask(0)
            names.append(self.asked()[-1].approval_id)
            agent.stop()
        self.assertNotEqual(*names)

    def test_a_flood_of_requests(self) -> None:
        """So many may wait; what is more is declined."""
        for number in range(PENDING_APPROVALS + 3):
            self.ask(number)
        self.assertEqual(len(self.asked()), PENDING_APPROVALS)
        self.assertEqual([reply["result"]["decision"] for reply in self.server.replies()], ["decline"] * 3)

    def test_other_requests(self) -> None:
        """Are answered with an error, whatever they are, so that no turn waits for us."""
        for number, method in enumerate(("item/tool/call", "account/chatgptAuthTokens/refresh", "made/up")):
            self.server.ask(number, method)
        self.server.ask(9, COMMAND, itemId=5)
        self.assertEqual([reply["id"] for reply in self.server.replies()], [0, 1, 2, 9])
        self.assertTrue(all("error" in reply for reply in self.server.replies()))
        self.assertEqual(self.asked(), [])


class HostileTests(AgentTestCase):
    """Something that is no Codex."""

    def warnings(self) -> list[str]:
        return [event.text for event in self.observer.events if isinstance(event, Warned)]

    def test_no_messages(self) -> None:
        """A few lines that are none are passed over, with one warning; the work goes on."""
        for line in (
            b"hello\n",
            b"[]\n",
            b'"x"\n',
            b"\xff\xfe\n",
            b'{"id": []}\n',
            b'{"method": 5}\n',
            b"{" * 5000 + b"\n",
        ):
            self.process.print(line)
        self.assertEqual(len(self.warnings()), 1)
        self.begin_turn()
        self.end_turn()
        self.assertEqual(self.observer.events[-1], TurnEnded("turn-1", "completed"))

    def test_malformed_notifications(self) -> None:
        """Nor is one whose fields are not what they should be."""
        self.server.tell("item/started", item=5)
        self.process.say({"method": "turn/started"}, {"method": "serverRequest/resolved", "params": []})
        self.assertEqual((len(self.warnings()), self.observer.ends), (1, []))

    def test_too_many_of_them(self) -> None:
        """It is ended, for a reason in one line."""
        for _ in range(MALFORMED_LINES + 1):
            self.process.print(b"nonsense\n")
        self.assertEqual(self.observer.ends, ["what it says is not its protocol"])
        self.assert_nothing_left()

    def test_a_line_too_long(self) -> None:
        """Is left out, and said to be."""
        self.process.protocol._listener.overlong()  # type: ignore[attr-defined]
        self.assertIn("too long", self.warnings()[0])

    def test_answers_nobody_asked_for(self) -> None:
        """Do nothing."""
        self.process.say({"id": 1, "result": {}}, {"id": 99, "error": {"message": "x"}}, {"id": "x", "result": 1})
        self.assertEqual((self.observer.events, self.observer.ends), ([], []))


class EndTests(AgentTestCase):
    """The end of an agent."""

    def test_died(self) -> None:
        """It is told how, once, after all it has said; its conversation is kept for another."""
        self.begin_turn()
        for piece in "abc":
            self.server.tell("item/agentMessage/delta", itemId="m", delta=piece)
        self.process.complain("thread 'main' panicked\n")
        self.process.end(101)
        self.assertEqual(self.observer.ends, ["it ended with exit status 101 (thread 'main' panicked)"])
        self.assertEqual(self.observer.events[-1], Output("bc"))
        self.assertTrue(Path(self.process.environment["CODEX_HOME"]).exists())
        self.assert_nothing_left()

    def test_said_to_the_dead(self) -> None:
        """Nothing happens."""
        self.process.end(1)
        for act in (self.agent.interrupt, lambda: self.agent.say("x"), lambda: self.agent.steer("x")):
            act()
        self.agent.decide("a", Decision.ACCEPT)
        self.successResultOf(self.agent.stop())
        self.assertEqual(len(self.observer.ends), 1)

    def test_stopped(self) -> None:
        """It is gone with its folder, told as None, and tells nothing more."""
        self.begin_turn()
        told = len(self.observer.events)
        self.process.obedient = False
        stopped = self.agent.stop()
        self.end_turn()
        self.process.end(0)
        self.successResultOf(stopped)
        self.assertEqual((self.observer.ends, len(self.observer.events)), ([None], told))
        self.assertFalse(Path(self.process.environment["CODEX_HOME"]).exists())
        self.successResultOf(self.agent.stop())
        self.assert_nothing_left()

    def test_another_after_it(self) -> None:
        """An agent for the same session finds the same folder, while what is said of the first ends."""
        home = self.process.environment["CODEX_HOME"]
        self.process.end(1)
        self.successResultOf(self.launch(resume="thread-1"))
        self.assertEqual(self.process.environment["CODEX_HOME"], home)


class UnconfinedTests(EngineTestCase):
    """Somebody has said that agents need not be confined."""

    enclosed = False

    def test_said_every_time(self) -> None:
        """Every session is told so, and asks for what it really gets."""
        self.probe()
        self.successResultOf(self.launch())
        self.assertIn("not confined", str(self.observer.events))
        self.assertNotIn("/opt/bwrap", self.process.command)
        self.assertEqual(self.server.asked["thread/start"][0]["sandbox"], "danger-full-access")
