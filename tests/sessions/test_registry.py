"""The sessions of all clients, with agents that the tests play and a clock that they move."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from twisted.internet.defer import Deferred, fail
from twisted.trial.unittest import SynchronousTestCase

from hadesgw.policy.credentials import Credential
from hadesgw.sessions.admission import Settings, Wish
from hadesgw.sessions.conductor import STOP_SECONDS
from hadesgw.sessions.engine import (
    ApprovalAsked,
    Decision,
    EngineFailure,
    FilesTouched,
    Output,
    TurnBegan,
    TurnEnded,
)
from hadesgw.sessions.refusals import Reason, SessionRefused
from hadesgw.sessions.workspace import Workspace
from tests.sessions.stage import SETTINGS, ScriptedEngine, Stage, with_bounds

SECRET = "the-words-of-the-user"  # nosecret: said by nobody


class RegistryTestCase(SynchronousTestCase):
    """A stage for each test."""

    settings: ClassVar[Settings] = SETTINGS
    at_once: ClassVar[bool] = True

    def setUp(self) -> None:
        self.stage = Stage(Path(self.mktemp()), ScriptedEngine(at_once=self.at_once), self.settings)
        self.registry = self.stage.registry
        self.engine = self.stage.engine
        self.clock = self.stage.clock

    def start(self, client: str = "alice", **wish: Any) -> str:
        """The id of a session that is ready."""
        return self.successResultOf(self.registry.start(client, Wish(**wish)))

    def refusal(self, asked: Any) -> SessionRefused:
        """Why a Deferred's question was refused."""
        failure = self.failureResultOf(asked, SessionRefused)
        assert isinstance(failure.value, SessionRefused)
        return failure.value

    def refused(self, step: Any, *arguments: Any) -> Reason:
        """Why a question was refused at once."""
        refused: SessionRefused = self.assertRaises(SessionRefused, step, *arguments)
        return refused.reason

    def stop(self, client: str = "alice", session_id: str | None = None) -> None:
        """Stop a session, and let its agent end."""
        stopping = self.registry.stop(client, session_id)
        self.end_agents()
        self.assertTrue(self.successResultOf(stopping))

    def end_agents(self) -> None:
        """Let every agent that is being stopped be gone."""
        for agent in self.engine.agents:
            if agent.stopping is not None and not agent.stopping.called:
                agent.stopping.callback(None)

    def agent_of(self, session_id: str) -> Any:
        """The last agent of a session."""
        return next(agent for agent in reversed(self.engine.agents) if agent.launch.session_id == session_id)

    def admits(self, token: str) -> bool:
        """Whether an agent's token is good."""
        return self.stage.tokens.admit(Credential(hashlib.sha256(token.encode()).digest())) is not None


class StartTests(RegistryTestCase):
    """Having a session."""

    def test_the_default_session(self) -> None:
        """Starts once; a second start answers with its id and changes nothing."""
        first = self.start()
        self.assertEqual(self.start(), first)
        self.assertEqual(len(self.engine.agents), 1)
        self.assertEqual(self.stage.ledger.counts, [1])
        self.assertTrue(self.registry.session("alice", None)["default"])

    def test_what_the_agent_is_told(self) -> None:
        """Where it works, how, and where its model is: all from the configuration, nothing from the client."""
        session_id = self.start()
        launch = self.stage.agent.launch
        self.assertEqual(launch.workspace, self.stage.work.resolve())
        self.assertEqual((launch.session_id, launch.model, launch.base_url), (session_id, "m", self.stage.url))
        self.assertEqual((launch.approval, launch.sandbox), ("on-request", "workspace-write"))
        self.assertEqual((launch.context_tokens, launch.output_tokens), (8_192, 2_048))
        self.assertTrue(self.admits(launch.token))
        self.assertNotIn(launch.token, repr(launch))

    def test_each_client_has_its_own(self) -> None:
        """Another's session is as good as none, to ask, to watch, to stop and to answer in."""
        session_id = self.start()
        self.assertEqual(self.registry.sessions("bob"), [])
        for step in (
            lambda: self.registry.session("bob", session_id),
            lambda: self.registry.observe("bob", session_id, object(), answers=True),
            lambda: self.registry.interrupt("bob", session_id),
            lambda: self.registry.decide("bob", session_id, "a", Decision.ACCEPT),
            lambda: self.registry.input("bob", "x", Wish(session_id=session_id)),
            lambda: self.registry.desk("bob", session_id),
        ):
            self.assertIs(self.refused(step), Reason.UNKNOWN_SESSION)
        for asked in (self.registry.stop("bob", session_id), self.registry.start("bob", Wish(session_id=session_id))):
            self.assertIs(self.refusal(asked).reason, Reason.UNKNOWN_SESSION)

    def test_bounds(self) -> None:
        """Two for a client, three for all; a place is free when nothing of a session is left."""
        first = self.start()
        self.start(new=True)
        self.assertIs(self.refusal(self.registry.start("alice", Wish(new=True))).reason, Reason.TOO_MANY_SESSIONS)
        self.start("bob")
        self.assertIs(self.refusal(self.registry.start("carol", Wish())).reason, Reason.TOO_MANY_SESSIONS)
        stopping = self.registry.stop("alice", first)
        self.assertIs(self.refusal(self.registry.start("carol", Wish())).reason, Reason.TOO_MANY_SESSIONS)
        self.end_agents()
        self.successResultOf(stopping)
        self.start("carol")
        self.assertEqual(self.stage.ledger.counts, [1, 2, 3, 2, 3])

    def test_another_workspace_or_model_is_another_session(self) -> None:
        """A session that is there is not changed in silence."""
        self.stage.workspaces["other"] = Workspace("other", self.stage.folder)
        self.start(workspace="work")
        self.assertIs(self.refusal(self.registry.start("alice", Wish(workspace="other"))).reason, Reason.CONFLICT)
        self.assertIs(self.refused(self.registry.input, "alice", "x", Wish(model="n")), Reason.CONFLICT)
        self.start(workspace="other", new=True)
        self.assertEqual([one["default"] for one in self.registry.sessions("alice")], [True, False])

    def test_restart(self) -> None:
        """The old session is gone before the new one, which is as the old one was, begins."""
        old = self.start(model="n")
        again = self.registry.start("alice", Wish(restart=True))
        self.assertNoResult(again)
        self.assertEqual(len(self.engine.agents), 1)
        self.end_agents()
        new = self.successResultOf(again)
        self.assertNotEqual(new, old)
        self.assertEqual(self.registry.session("alice", None)["session_id"], new)
        self.assertEqual(self.stage.agent.launch.model, "n")
        self.assertIsNone(self.stage.agent.launch.resume)

    def test_models(self) -> None:
        """The configured one, else the first the client may use; none that it may not."""
        self.start("bob")
        self.assertEqual(self.stage.agent.launch.model, "m")
        self.assertIs(self.refusal(self.registry.start("carol", Wish(model="m"))).reason, Reason.BAD_REQUEST)
        self.start("carol")
        self.assertEqual(self.stage.agent.launch.model, "small")


class ObstacleTests(RegistryTestCase):
    """What stands in the way, and what is said of it."""

    def reason(self, **wish: Any) -> Reason:
        """Why no session starts; start and input say the same, and the status says so before."""
        refused = self.refusal(self.registry.start("alice", Wish(**wish)))
        self.assertIs(self.refused(self.registry.input, "alice", "x", Wish(**wish)), refused.reason)
        if not wish:
            self.assertEqual(self.registry.status("alice")["obstacle"], refused.text)
        self.assertEqual(self.registry.sessions("alice"), [])
        self.assertEqual(self.engine.agents, [])
        return refused.reason

    def test_no_workspace(self) -> None:
        """None configured, none by that name, one whose folder is gone, several and none named."""
        self.assertIs(self.reason(workspace="nowhere"), Reason.UNKNOWN_WORKSPACE)
        self.stage.workspaces["other"] = self.stage.workspaces["work"]
        self.assertIs(self.reason(), Reason.NO_WORKSPACE)
        self.assertIsNone(self.registry.status("alice")["workspace"])
        self.stage.workspaces.clear()
        self.assertIs(self.reason(), Reason.NO_WORKSPACE)
        self.stage.workspaces["gone"] = Workspace("gone", self.stage.folder / "gone")
        self.assertIs(self.reason(), Reason.NO_WORKSPACE)
        self.stage.workspaces["gone"] = Workspace("gone", Path("/"))
        self.assertIs(self.reason(), Reason.NO_WORKSPACE)

    def test_no_engine(self) -> None:
        """None by that name, one that cannot start here, and no listener to call back through."""
        self.assertIs(self.reason(engine="aider"), Reason.UNKNOWN_ENGINE)
        self.engine.reason = "install it: pip install hadesgw[codex]"
        self.assertIs(self.reason(), Reason.NO_ENGINE)
        self.engine.reason, self.stage.url = None, None
        self.assertIs(self.reason(), Reason.NO_ENGINE)

    def test_a_status_without_obstacles(self) -> None:
        """Tells what one could ask for."""
        self.assertEqual(
            self.registry.status("alice"),
            {
                "session_active": False,
                "session_id": None,
                "obstacle": None,
                "engine": "scripted",
                "engines": ["scripted"],
                "workspace": "work",
                "workspaces": ["work"],
                "sessions": 0,
            },
        )
        session_id = self.start()
        status = self.registry.status("alice")
        self.assertEqual((status["session_active"], status["session_id"]), (True, session_id))

    def test_an_input_that_cannot_be_starts_nothing(self) -> None:
        """It is judged before anything is made for it."""
        self.assertIs(self.refused(self.registry.input, "alice", " ", Wish()), Reason.NO_INPUT)
        self.assertEqual(self.stage.ledger.counts, [])

    def test_nothing_to_ask(self) -> None:
        """Without a session there is no turn, no approval, no desk; a stop says so and is no error."""
        for step in (
            lambda: self.registry.interrupt("alice", None),
            lambda: self.registry.steer("alice", None, "x"),
            lambda: self.registry.desk("alice", None),
            lambda: self.registry.session("alice", None),
        ):
            self.assertIs(self.refused(step), Reason.UNKNOWN_SESSION)
        self.assertFalse(self.successResultOf(self.registry.stop("alice", None)))


class NoModelTests(RegistryTestCase):
    """A configuration that admits any model and names none."""

    settings = replace(SETTINGS, model="")

    def test_a_model_is_needed(self) -> None:
        """The client says which."""
        self.assertIs(self.refusal(self.registry.start("alice", Wish())).reason, Reason.BAD_REQUEST)
        self.start(model="any")


class SlowStartTests(RegistryTestCase):
    """Agents that take their time."""

    at_once = False

    def test_start_waits_for_the_agent(self) -> None:
        """Everybody who asked hears when it is ready."""
        first, second = self.registry.start("alice", Wish()), self.registry.start("alice", Wish())
        self.assertNoResult(first)
        self.engine.launches[0].callback(self.stage.agent)
        self.assertEqual(self.successResultOf(first), self.successResultOf(second))

    def test_a_start_that_fails(self) -> None:
        """Says why; the next one tries again, in the same session."""
        starting = self.registry.start("alice", Wish())
        token = self.stage.agent.launch.token
        self.engine.launches[0].errback(EngineFailure("codex: not found"))
        refused = self.refusal(starting)
        self.assertEqual((refused.reason, refused.text), (Reason.ENGINE_FAILED, "codex: not found"))
        self.assertFalse(self.admits(token))
        self.assertFalse(self.registry.status("alice")["session_active"])
        again = self.registry.start("alice", Wish())
        self.engine.launches[1].callback(self.stage.agent)
        self.successResultOf(again)
        self.assertEqual(self.stage.ledger.counts, [1])

    def test_an_engine_with_a_defect(self) -> None:
        """The client hears that it is ours; the log hears of what kind, and neither what it said."""
        starting = self.registry.start("alice", Wish())
        self.engine.launches[0].errback(ValueError(SECRET))
        self.assertNotIn(SECRET, self.refusal(starting).text)
        (defect,) = self.stage.ledger.named("session_defect")
        self.assertEqual(defect["error"], "ValueError")
        self.assertNotIn(SECRET, str(self.stage.ledger.events))

    def test_a_stop_in_between(self) -> None:
        """The launch is cancelled, who waited for it hears so, and nothing is left."""
        starting = self.registry.start("alice", Wish())
        self.assertTrue(self.successResultOf(self.registry.stop("alice", None)))
        self.assertIs(self.refusal(starting).reason, Reason.ENDED)
        self.assertEqual(self.engine.cancelled, 1)
        self.assertEqual(self.stage.ledger.counts, [1, 0])
        self.assertEqual(len(self.stage.tokens), 0)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_inputs_while_it_starts(self) -> None:
        """Wait for it."""
        self.registry.input("alice", "one", Wish())
        self.registry.input("alice", "two", Wish())
        self.engine.launches[0].callback(self.stage.agent)
        self.assertEqual(self.stage.agent.asked, [("say", "one")])


class TurnTests(RegistryTestCase):
    """What clients and the agent say to each other."""

    def test_input(self) -> None:
        """Starts the session, reaches the agent, and what it tells reaches everybody."""
        first, second = self.stage.watch(), self.stage.watch()
        session_id = self.registry.input("alice", "do it", Wish())
        agent = self.stage.agent
        self.assertEqual(agent.asked, [("say", "do it")])
        agent.tell(TurnBegan("u"), Output("done"), FilesTouched(("a.py",)), TurnEnded("u", "completed"))
        for watcher in (first, second):
            self.assertEqual(watcher.of("output"), ["done"])
            self.assertEqual(watcher.of("active_files")[0], ["a.py"])
            self.assertEqual(watcher.of("session_status")[0]["session_id"], session_id)
            self.assertEqual([message.seq for message in watcher.messages], list(range(1, len(watcher.messages) + 1)))

    def test_files_that_are_gone_are_not_active(self) -> None:
        """After each turn it is seen which are still there."""
        watcher = self.stage.watch()
        self.registry.input("alice", "do it", Wish())
        self.stage.agent.tell(TurnBegan("u"), FilesTouched(("a.py",)))
        (self.stage.work / "a.py").write_text("x")
        self.stage.agent.tell(TurnEnded("u", "completed"))
        self.registry.input("alice", "more", Wish())
        (self.stage.work / "a.py").unlink()
        self.stage.agent.tell(TurnBegan("v"), TurnEnded("v", "completed"))
        self.assertEqual(watcher.of("active_files"), [["a.py"], []])

    def test_steer_interrupt_decide(self) -> None:
        """Each reaches the agent."""
        self.stage.watch(answers=True)
        self.registry.input("alice", "do it", Wish())
        agent = self.stage.agent
        agent.tell(TurnBegan("u"), ApprovalAsked("a", "command", {}, (Decision.ACCEPT, Decision.DECLINE)))
        self.registry.steer("alice", None, "so")
        self.registry.decide("alice", None, "a", Decision.ACCEPT)
        self.registry.interrupt("alice", None)
        self.assertEqual(agent.asked[1:], [("steer", "so"), ("decide", "a", Decision.ACCEPT), ("interrupt",)])

    def test_an_agent_that_does_not_take_it(self) -> None:
        """Is told as a warning; the session waits for input again."""
        watcher = self.stage.watch()
        self.start()
        for refusing, words in ((EngineFailure("not now"), "not now"), (ValueError(SECRET), "gateway's log")):
            self.stage.agent.refusing = refusing
            self.registry.input("alice", "do it", Wish())
            self.assertIn(words, watcher.of("warning")[-1])
            self.assertEqual(self.registry.session("alice", None)["state"], "ready")
        self.assertEqual(self.stage.ledger.named("session_defect")[0]["where"], "say")
        self.assertNotIn(SECRET, str(self.stage.ledger.events))

    def test_the_agent_dies(self) -> None:
        """The session stays; the next input has another agent that resumes, with another token."""
        watcher = self.stage.watch()
        session_id = self.registry.input("alice", "do it", Wish())
        first = self.stage.agent
        first.tell(TurnBegan("u"))
        first.die("signal 9")
        self.assertFalse(self.admits(first.launch.token))
        self.assertFalse(self.registry.status("alice")["session_active"])
        self.assertEqual(len(watcher.of("error")), 1)
        self.assertEqual(self.registry.input("alice", "go on", Wish()), session_id)
        second = self.stage.agent
        self.assertEqual(second.launch.resume, first.thread_id)
        self.assertNotEqual(second.launch.token, first.launch.token)
        self.assertEqual(second.asked, [("say", "go on")])

    def test_turns_cannot_be_taken_back_without_git(self) -> None:
        """It is said once."""
        watcher = self.stage.watch()
        for text in ("one", "two"):
            self.registry.input("alice", text, Wish())
            self.stage.agent.tell(TurnBegan(text), TurnEnded(text, "completed"))
        self.assertEqual(watcher.of("warning"), ["turns cannot be taken back in this session: git add: no git here"])


class LateSayTests(SynchronousTestCase):
    """An input that is still on its way while the workspace is looked at."""

    def setUp(self) -> None:
        self.looks: list[Deferred[Any]] = []
        self.stage = Stage(Path(self.mktemp()), in_thread=self.later)
        self.registry = self.stage.registry
        self.registry.input("alice", "do it", Wish())
        self.agent = self.stage.agent

    def later(self, work: Any) -> Deferred[Any]:
        """Work that is done when the test says so."""
        self.looks.append(Deferred())
        return self.looks[-1]

    def look(self) -> None:
        """Let the look at the workspace end, badly: there is no git here."""
        for look in list(self.looks):
            if not look.called:
                look.errback(SessionRefused(Reason.GIT, "no"))

    def state(self) -> object:
        """The session's state."""
        return self.registry.session("alice", None)["state"]

    def test_it_is_said_after_the_look(self) -> None:
        """What steers it comes behind it."""
        self.registry.steer("alice", None, "so")
        self.assertEqual(self.agent.asked, [])
        self.look()
        self.assertEqual(self.agent.asked, [("say", "do it"), ("steer", "so")])

    def test_an_interrupt_in_between(self) -> None:
        """The agent never hears of it."""
        self.registry.interrupt("alice", None)
        self.assertEqual(self.state(), "ready")
        self.look()
        self.assertEqual(self.agent.asked, [])

    def test_a_death_in_between(self) -> None:
        """The next agent does not get what was for the last one."""
        self.agent.die()
        self.registry.start("alice", Wish())
        self.look()
        self.assertEqual(self.stage.agent.asked, [])
        self.assertEqual(self.state(), "ready")

    def test_a_stop_in_between(self) -> None:
        """Nothing is said to an agent that is being stopped."""
        self.registry.stop("alice", None)
        self.look()
        self.assertEqual(self.agent.asked, [("stop",)])


class WatchingTests(RegistryTestCase):
    """Observers that come before, between and after."""

    def test_before_there_is_a_session(self) -> None:
        """Is told that there is none, and of the one that begins."""
        watcher = self.stage.watch()
        subscription = self.registry.observe("alice", None, watcher, answers=False)
        (nothing,) = subscription.greeting()
        self.assertEqual((nothing.type, nothing.seq), ("session_status", 0))
        self.assertEqual((nothing.content["active"], nothing.content["session_id"]), (False, None))
        self.assertEqual(next(subscription.replay(5, None))[1].content, nothing.content)
        session_id = self.start()
        self.assertEqual(subscription.session_id, session_id)
        self.assertEqual(watcher.of("session_status")[0]["state"], "starting")

    def test_replay(self) -> None:
        """What was missed, once; for another session than is thought, a gap and everything."""
        session_id = self.start()
        subscription = self.registry.observe("alice", None, self.stage.watch(), answers=False)
        newest = subscription.greeting()[0].seq
        self.assertEqual(list(subscription.replay(newest, session_id)), [])
        self.stage.agent.tell(Output("a"), Output("b"))
        self.assertEqual([one.content for _, one in subscription.replay(newest, None)], ["a", "b"])
        gap, *rest = [one for _, one in subscription.replay(newest, "session_of_yesterday")]
        self.assertEqual(gap.type, "gap")
        self.assertEqual([one.content for one in rest if one.type == "output"], ["a", "b"])
        self.assertTrue(all(json.loads(one.encoded)["seq"] == one.seq for one in rest))

    def test_a_session_by_its_id(self) -> None:
        """Ends for its observer when it is gone; who follows the default waits for the next one."""
        session_id = self.start()
        bound, follower = self.stage.watch("alice", session_id), self.stage.watch()
        self.stop()
        self.assertEqual((bound.over, follower.over), (1, 0))
        self.assertEqual(follower.messages[-1].content["state"], "gone")
        next_id = self.start()
        self.assertEqual(follower.messages[-1].type, "input_request")
        self.assertEqual(follower.of("session_status")[-1]["session_id"], next_id)
        self.assertEqual(bound.messages[-1].content["state"], "gone")

    def test_a_new_default_while_the_old_one_ends(self) -> None:
        """Its followers are told everything of it, after the end of the old one."""
        follower = self.stage.watch()
        self.start()
        stopping = self.registry.stop("alice", None)
        new = self.start()
        self.agent_of(new).tell(Output("hello"))
        self.assertEqual(follower.of("output"), [])
        self.end_agents()
        self.successResultOf(stopping)
        self.assertEqual(follower.of("output"), ["hello"])
        ids = [status["session_id"] for status in follower.of("session_status")]
        self.assertEqual(ids, sorted(ids, key=lambda one: one == new))

    def test_close(self) -> None:
        """A closed subscription hears nothing; closing is done once, with and without a session."""
        waiting = self.registry.observe("alice", None, self.stage.watch(), answers=True)
        waiting.close()
        watcher = self.stage.watch("bob")
        self.start()
        subscription = self.registry.observe("alice", None, watcher, answers=True)
        subscription.close()
        subscription.close()
        self.stage.agent.tell(Output("x"))
        self.assertEqual(watcher.messages, [])
        self.stop()

    def test_closing_while_being_told(self) -> None:
        """An observer that leaves at a message hears no other, and disturbs nobody."""
        self.start()
        watcher, other = self.stage.watch("bob"), self.stage.watch()
        subscription = self.registry.observe("alice", None, watcher, answers=False)
        watcher.told = lambda message: subscription.close()  # type: ignore[method-assign]
        last = self.stage.watch()
        self.stage.agent.tell(Output("x"), Output("y"))
        self.assertEqual((other.of("output"), last.of("output")), (["x", "y"], ["x", "y"]))


class ApprovalTests(RegistryTestCase):
    """Who can answer, and when nobody does."""

    ASK = ApprovalAsked("a", "command", {}, (Decision.ACCEPT, Decision.DECLINE))

    def ask(self) -> None:
        """Have a turn that waits."""
        self.registry.input("alice", "do it", Wish())
        self.stage.agent.tell(TurnBegan("u"), self.ASK)

    def test_nobody_who_knows_approvals(self) -> None:
        """A guide's client is there, and is not waited for."""
        watcher = self.stage.watch()
        self.ask()
        self.clock.advance(9.9)
        self.assertEqual(self.stage.agent.asked[1:], [])
        self.clock.advance(0.1)
        self.assertEqual(self.stage.agent.asked[1:], [("decide", "a", Decision.DECLINE)])
        self.assertIn("nobody is connected", watcher.of("warning")[-1])

    def test_somebody_who_does_not_answer(self) -> None:
        """Has 120 seconds."""
        self.stage.watch(answers=True)
        self.ask()
        self.clock.pump([1] * 119)
        self.assertEqual(self.stage.agent.asked[1:], [])
        self.clock.advance(1)
        self.assertEqual(self.stage.agent.asked[1:], [("decide", "a", Decision.DECLINE)])

    def test_a_page_that_loads_again(self) -> None:
        """Comes back in time and finds the card."""
        subscription = self.registry.observe("alice", None, self.stage.watch(), answers=True)
        self.ask()
        self.clock.advance(30)
        subscription.close()
        self.clock.advance(8)
        again = self.registry.observe("alice", None, self.stage.watch(), answers=True)
        self.assertEqual(again.greeting()[-1].content["approval_id"], "a")
        self.clock.advance(60)
        self.registry.decide("alice", None, "a", Decision.ACCEPT)
        self.assertEqual(self.stage.agent.asked[1:], [("decide", "a", Decision.ACCEPT)])


class TimeTests(RegistryTestCase):
    """Sessions that nobody uses, and ends in general."""

    def test_idle(self) -> None:
        """Ends by itself, observers or not; output does not move the end, input does."""
        self.stage.watch()
        self.start()
        self.clock.advance(400)
        self.registry.input("alice", "x", Wish())
        self.stage.agent.tell(TurnBegan("u"), TurnEnded("u", "completed"))
        self.clock.advance(599)
        self.assertEqual(self.stage.agent.stopping, None)
        self.clock.advance(1)
        self.end_agents()
        self.assertEqual(self.stage.ledger.named("session_ended")[0]["reason"], "idle")
        self.assertEqual(self.registry.sessions("alice"), [])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_age(self) -> None:
        """Ends any session."""
        self.registry.input("alice", "x", Wish())
        self.stage.agent.tell(TurnBegan("u"))
        self.clock.pump([600] * 12)
        self.end_agents()
        self.assertEqual(self.stage.ledger.named("session_ended")[0]["reason"], "age")

    def test_one_timer(self) -> None:
        """However much is told, a session has one timer."""
        self.registry.input("alice", "x", Wish())
        for _ in range(50):
            self.stage.agent.tell(Output("x"))
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)

    def test_an_agent_that_will_not_end(self) -> None:
        """Is given up after a while: a defect in the log, and the place is free."""
        self.start()
        stopping = self.registry.stop("alice", None)
        self.clock.advance(STOP_SECONDS)
        self.assertTrue(self.successResultOf(stopping))
        self.assertEqual(self.stage.ledger.named("session_defect")[0]["where"], "stop")
        self.assertEqual(self.stage.ledger.counts, [1, 0])

    def test_the_log_tells_of_lives_and_of_nothing_said(self) -> None:
        """Start, readiness, loss, end; no word of user, agent or token."""
        self.registry.input("alice", SECRET, Wish())
        self.stage.agent.tell(TurnBegan("u"), Output(SECRET), TurnEnded("u", "completed"))
        self.stage.agent.die(SECRET)
        self.stop()
        names = [name for name, _, _ in self.stage.ledger.events]
        self.assertEqual(names, ["session_started", "session_agent_ready", "session_agent_lost", "session_ended"])
        ended = self.stage.ledger.named("session_ended")[0]
        self.assertEqual((ended["client"], ended["reason"], ended["turns"]), ("alice", "stopped", 1))
        everything = str(self.stage.ledger.events)
        self.assertNotIn(SECRET, everything)
        self.assertNotIn("hgw_", everything)


class DrainTests(RegistryTestCase):
    """The end of the gateway."""

    def test_ends_all(self) -> None:
        """Every session of everybody; it is over when the last agent is, and nothing new begins meanwhile."""
        self.start()
        self.start("bob")
        watcher = self.stage.watch()
        closing = self.registry.close()
        self.assertNoResult(closing)
        self.assertIs(self.refusal(self.registry.start("carol", Wish())).reason, Reason.DRAINING)
        self.assertIs(self.refused(self.registry.input, "alice", "x", Wish()), Reason.DRAINING)
        self.end_agents()
        self.successResultOf(closing)
        self.assertEqual(watcher.messages[-1].content["reason"], "drain")
        self.assertEqual(self.stage.ledger.counts[-1], 0)
        self.assertEqual(len(self.stage.tokens), 0)
        self.assertFalse((self.stage.folder / "scratch").exists())
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.successResultOf(self.registry.close())

    def test_nothing_to_end(self) -> None:
        """Is over at once."""
        self.successResultOf(self.registry.close())


class CommandTests(RegistryTestCase):
    """Slash commands that need no git."""

    def setUp(self) -> None:
        super().setUp()
        (self.stage.work / "src").mkdir()
        (self.stage.work / "src" / "a.py").write_text("x")
        (self.stage.work / "b.txt").write_text("x")
        self.watcher = self.stage.watch()

    def type(self, text: str) -> None:
        """Type it."""
        self.registry.input("alice", text, Wish())

    def test_ls_and_help(self) -> None:
        """Show what there is, without an agent."""
        self.type("/ls")
        self.type("/ls src")
        self.type("/help")
        self.assertEqual(self.watcher.of("output")[:2], ["src/\nb.txt\n", "src/a.py\n"])
        self.assertIn("/undo", self.watcher.of("output")[2])
        self.assertEqual(self.engine.agents, [])

    def test_files(self) -> None:
        """/focus and /add make active what exists, in its one spelling; /drop takes away one or all."""
        for text in ("/focus ./src//a.py", "/add b.txt", "/add missing", "/add ../../etc/passwd", "/drop nothing"):
            self.type(text)
        self.assertEqual(self.watcher.of("active_files"), [["src/a.py"], ["b.txt", "src/a.py"]])
        self.assertEqual(len(self.watcher.of("error")), 3)
        self.type("/drop ./b.txt")
        self.type("/drop")
        self.assertEqual(self.watcher.of("active_files")[2:], [["src/a.py"], []])

    def test_every_command_ends_with_a_prompt(self) -> None:
        """Whether it went well or not: a bridge waits for that."""
        texts = ("/ls", "/ls nowhere", "/add b.txt", "/add missing", "/diff", "/commit x", "/undo", "/bad")
        for text in texts:
            self.type(text)
        self.assertEqual(len(self.watcher.of("input_request")), len(texts))

    def test_a_command_with_a_defect(self) -> None:
        """The client hears that it is ours, and the session goes on."""
        self.start()
        desk = self.registry.desk("alice", None)
        desk.listing = lambda path: fail(ZeroDivisionError(SECRET))  # type: ignore[method-assign]
        self.type("/ls")
        self.type("/help")
        self.assertNotIn(SECRET, str(self.watcher.of("error")))
        self.assertIn("/undo", self.watcher.of("output")[-1])
        self.assertEqual(self.stage.ledger.named("session_defect")[0]["error"], "ZeroDivisionError")


class QueueTests(RegistryTestCase):
    """More than fits."""

    settings = with_bounds(queue=1)

    def test_full(self) -> None:
        """One waits, the next is refused, and the session is none the worse."""
        self.registry.input("alice", "a", Wish())
        self.registry.input("alice", "b", Wish())
        self.assertIs(self.refused(self.registry.input, "alice", "c", Wish()), Reason.QUEUE_FULL)
        self.assertEqual(self.registry.session("alice", None)["queued"], 1)
