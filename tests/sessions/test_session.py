"""The state machine of a session: every way into every state, and what is told on it."""

from __future__ import annotations

from typing import Any, ClassVar

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from hadesgw.sessions.commands import Command, Outcome, Verb
from hadesgw.sessions.effects import Begin, Carry, Decide, Effects, End, Interrupt, Say, Steer, Tell, TurnOver
from hadesgw.sessions.engine import (
    AgentEvent,
    ApprovalAsked,
    ApprovalSettled,
    Decision,
    Diff,
    Failed,
    FilesActive,
    FilesTouched,
    Item,
    Output,
    Plan,
    TurnBegan,
    TurnEnded,
    Usage,
    Warned,
)
from hadesgw.sessions.refusals import Reason, SessionRefused
from hadesgw.sessions.session import PROMPT, Bounds, Identity, Session, State

BOUNDS = Bounds(
    queue=3,
    input_bytes=100,
    replay_messages=10_000,
    replay_bytes=1 << 24,
    active_files=3,
    idle_seconds=600,
    age_seconds=7_200,
    approval_seconds=120,
    absence_seconds=10,
)
IDENTITY = Identity("session_1", "alice", "work", "scripted", "m")
CHOICES = (Decision.ACCEPT, Decision.DECLINE)


class SessionTestCase(SynchronousTestCase):
    """A session, and everything it wanted done."""

    claims: ClassVar[frozenset[str]] = frozenset()

    def setUp(self) -> None:
        self.clock = Clock()
        self.session = Session(IDENTITY, BOUNDS, self.clock.seconds, lambda: 1_000 + self.clock.seconds(), self.claims)

    def done(self, effects: Effects) -> list[Any]:
        """What is to be done beside telling; what is told is in `told`."""
        self.told = [effect.message for effect in effects if isinstance(effect, Tell)]
        return [effect for effect in effects if not isinstance(effect, Tell)]

    def of(self, kind: str) -> list[Any]:
        """The contents of messages of one type that were told last."""
        return [message.content for message in self.told if message.type == kind]

    def happen(self, *events: AgentEvent) -> list[Any]:
        """Let the agent tell."""
        return self.done([effect for event in events for effect in self.session.happened(event)])

    def make_ready(self) -> None:
        """Have an agent that waits."""
        self.session.start()
        self.done(self.session.launched("t"))

    def make_turn(self, turn_id: str = "u1") -> None:
        """Have a turn that runs."""
        self.make_ready()
        self.session.input("do it")
        self.happen(TurnBegan(turn_id))

    def ask(self, approval_id: str = "a", decisions: tuple[Decision, ...] = CHOICES) -> ApprovalAsked:
        """A request for approval."""
        return ApprovalAsked(approval_id, "command", {"command": "make"}, decisions)

    def refusal(self, step: Any, *arguments: Any) -> Reason:
        """Why a step is refused."""
        refused: SessionRefused = self.assertRaises(SessionRefused, step, *arguments)
        return refused.reason


class LifeTests(SessionTestCase):
    """From the start to the end."""

    def test_start(self) -> None:
        """An agent is launched once; when it is there the guide's client hears that it may type."""
        self.assertEqual(self.done(self.session.start()), [Begin(None)])
        status = self.of("session_status")[0]
        self.assertEqual((status["active"], status["session_id"], status["state"]), (True, "session_1", "starting"))
        self.assertEqual(self.done(self.session.start()), [])
        self.assertEqual(self.told, [])
        self.assertEqual(self.done(self.session.launched("t")), [])
        self.assertEqual([message.type for message in self.told], ["session_status", "input_request"])
        self.assertEqual(self.of("input_request"), [{"prompt": PROMPT}])
        self.assertEqual(self.session.facts()["thread_id"], "t")

    def test_input_starts(self) -> None:
        """An input to an idle session launches an agent, and reaches it when it is there."""
        self.assertEqual(self.done(self.session.input("do it")), [Begin(None)])
        self.assertEqual(self.of("input_received")[0]["text"], "do it")
        self.assertEqual(self.done(self.session.launched(None)), [Say("do it")])
        self.assertIs(self.session.state, State.IN_TURN)
        self.assertTrue(self.session.in_turn)

    def test_launch_fails(self) -> None:
        """The reason is told, what waited is dropped, and the next input tries again."""
        self.session.input("do it")
        self.assertEqual(self.done(self.session.launch_failed("no binary")), [])
        self.assertEqual(self.of("error"), ["no binary"])
        self.assertEqual(len(self.of("warning")), 1)
        self.assertFalse(self.session.active)
        self.assertEqual(self.done(self.session.input("again")), [Begin(None)])

    def test_stop(self) -> None:
        """The agent is stopped; the last word is that the session is not active, and why."""
        self.make_turn()
        self.assertEqual(self.done(self.session.stop("stopped")), [End()])
        self.assertEqual(self.done(self.session.stop("idle")), [])
        self.assertTrue(self.session.over)
        self.assertEqual(self.done(self.session.agent_ended(None)), [TurnOver("u1", "interrupted")])
        self.assertEqual(self.told[-1].type, "session_status")
        self.assertEqual(self.told[-1].content["state"], "gone")
        self.assertEqual(self.told[-1].content["reason"], "stopped")
        self.assertFalse(self.told[-1].content["active"])

    def test_stop_without_an_agent(self) -> None:
        """Nothing needs to be waited for."""
        self.assertEqual(self.done(self.session.stop("stopped")), [])
        self.assertIs(self.session.state, State.GONE)

    def test_stop_while_starting(self) -> None:
        """The launch is given up; an agent that comes all the same changes nothing."""
        self.session.input("do it")
        self.assertEqual(self.done(self.session.stop("drain")), [End()])
        self.assertEqual(self.done(self.session.launched("t")), [])
        self.assertIs(self.session.state, State.STOPPING)
        self.done(self.session.launch_failed("cancelled"))
        self.assertIs(self.session.state, State.GONE)
        self.assertEqual(self.of("error"), [])

    def test_nothing_is_told_after_the_end(self) -> None:
        """Whatever still comes in."""
        self.make_turn()
        self.session.stop("stopped")
        self.session.agent_ended(None)
        seq = self.session.log.last_seq
        for effects in (
            self.session.happened(Output("late")),
            self.session.agent_ended("late"),
            self.session.launch_failed("late"),
            self.session.launched("late"),
            self.session.carried(Command(Verb.LS, ""), Outcome("late")),
            self.session.files_gone(["late"]),
            self.session.noted("late"),
            self.session.unsaid(),
            self.session.tick(),
            self.session.answerers(1),
            self.session.stop("again"),
        ):
            self.assertEqual(effects, [])
        self.assertEqual(self.session.log.last_seq, seq)
        steps: list[tuple[Any, ...]] = [
            (self.session.start,),
            (self.session.interrupt,),
            (self.session.input, "x"),
            (self.session.steer, "x"),
            (self.session.decide, "a", Decision.ACCEPT),
        ]
        for step in steps:
            self.assertIs(self.refusal(*step), Reason.ENDED)
        self.assertIsNone(self.session.due())

    def test_the_agent_dies(self) -> None:
        """The turn is over, the error is told, and the next input resumes the conversation."""
        self.make_turn()
        self.happen(self.ask())
        self.assertEqual(self.done(self.session.agent_ended("signal 9")), [TurnOver("u1", "failed")])
        self.assertEqual(self.of("turn"), [{"turn_id": "u1", "phase": "ended", "status": "failed"}])
        self.assertEqual(self.of("approval"), [{"approval_id": "a", "decision": None, "by": "agent"}])
        self.assertEqual(self.of("error"), ["The agent has stopped unexpectedly: signal 9"])
        self.assertEqual(self.of("session_status")[-1]["active"], False)
        self.assertEqual(self.done(self.session.agent_ended(None)), [])
        self.assertEqual(self.done(self.session.input("go on")), [Begin("t")])

    def test_the_agent_dies_with_inputs_waiting(self) -> None:
        """They are not lost: another agent is launched for them."""
        self.make_turn()
        self.session.input("second")
        self.assertEqual(self.done(self.session.agent_ended(None)), [TurnOver("u1", "failed"), Begin("t")])
        self.assertEqual(self.done(self.session.launched("t")), [Say("second")])

    def test_the_agent_dies_while_it_starts(self) -> None:
        """That is a launch that failed; nothing is launched again by itself."""
        self.session.input("do it")
        self.assertEqual(self.done(self.session.agent_ended(None)), [])
        self.assertIs(self.session.state, State.IDLE)
        self.assertEqual(len(self.of("error")), 1)


class TurnTests(SessionTestCase):
    """Inputs, turns, and what the agent tells in them."""

    def test_a_turn(self) -> None:
        """Taken up, told, over: then the guide's client may type again."""
        self.make_ready()
        self.assertEqual(self.done(self.session.input("do it")), [Say("do it")])
        self.happen(TurnBegan("u1"), Output("Hel"), Output("lo\n"))
        self.assertEqual(self.of("turn"), [{"turn_id": "u1", "phase": "began", "status": None}])
        self.assertEqual("".join(self.of("output")), "Hello\n")
        self.assertEqual(self.happen(TurnEnded("u1", "completed")), [TurnOver("u1", "completed")])
        self.assertEqual(self.told[-1].type, "input_request")
        self.assertIs(self.session.state, State.READY)

    def test_rapid_inputs_queue(self) -> None:
        """Each is acknowledged once with how many wait, and each has its own turn, in order."""
        self.make_turn()
        for count, text in enumerate(("b", "c", "d"), 1):
            self.assertEqual(self.done(self.session.input(text)), [])
            self.assertEqual([(one["text"], one["queued"]) for one in self.of("input_received")], [(text, count)])
        self.assertIs(self.refusal(self.session.input, "e"), Reason.QUEUE_FULL)
        for at, text in enumerate(("b", "c", "d")):
            self.assertIn(Say(text), self.happen(TurnEnded(f"u{at}", "completed")))
            self.assertEqual(len(self.of("input_request")), 1)

    def test_a_turn_that_nobody_asked_for(self) -> None:
        """An agent that begins by itself is in a turn."""
        self.make_ready()
        self.happen(TurnBegan("u"))
        self.assertIs(self.session.state, State.IN_TURN)

    def test_an_end_that_belongs_to_no_turn(self) -> None:
        """Is passed over."""
        self.make_ready()
        self.assertEqual(self.happen(TurnEnded("u9", "completed")), [])
        self.assertEqual(self.told, [])

    def test_an_end_without_a_beginning(self) -> None:
        """An agent that only tells of the end has had a turn all the same."""
        self.make_ready()
        self.session.input("x")
        self.assertEqual(self.happen(TurnEnded("u1", "failed")), [TurnOver("u1", "failed")])

    def test_inputs_that_cannot_be(self) -> None:
        """Empty, too long, half a surrogate pair: refused, and nothing is told."""
        for text, reason in (
            ("", Reason.NO_INPUT),
            (" \n", Reason.NO_INPUT),
            ("é" * 51, Reason.TOO_LARGE),
            ("\ud800", Reason.BAD_REQUEST),
        ):
            self.assertIs(self.refusal(self.session.input, text), reason)
        self.assertEqual(self.session.log.last_seq, 0)
        self.session.input("é" * 50)

    def test_interrupt(self) -> None:
        """The agent is asked to end the turn; what waited behind it is dropped, and told so."""
        self.make_turn()
        self.session.input("b")
        self.assertEqual(self.done(self.session.interrupt()), [Interrupt()])
        self.assertEqual(self.of("warning"), ["1 input(s) that waited are dropped"])
        self.assertEqual(self.happen(TurnEnded("u1", "interrupted")), [TurnOver("u1", "interrupted")])
        self.assertIs(self.refusal(self.session.interrupt), Reason.NO_TURN)

    def test_steer(self) -> None:
        """Further input to the running turn; there must be one, and it is acknowledged as such."""
        self.assertIs(self.refusal(self.session.steer, "x"), Reason.NO_TURN)
        self.make_turn()
        self.assertEqual(self.done(self.session.steer("rather so")), [Steer("rather so")])
        self.assertEqual([one["steer"] for one in self.of("input_received")], [True])

    def test_steers_are_bounded(self) -> None:
        """One turn is given no more of them than might wait as inputs; the next begins anew."""
        self.make_turn()
        for _ in range(BOUNDS.queue):
            self.session.steer("x" * BOUNDS.input_bytes)
        self.assertIs(self.refusal(self.session.steer, "x"), Reason.QUEUE_FULL)
        self.happen(TurnEnded("u1", "completed"))
        self.session.input("b")
        self.assertEqual(self.done(self.session.steer("x")), [Steer("x")])

    def test_an_input_that_never_reached_the_agent(self) -> None:
        """No turn runs, and the next one's turn has come."""
        self.make_ready()
        self.session.input("a")
        self.session.input("b")
        self.assertEqual(self.done(self.session.unsaid()), [Say("b")])
        self.happen(TurnBegan("u"))
        self.assertEqual(self.done(self.session.unsaid()), [])

    def test_what_the_agent_tells(self) -> None:
        """Each kind of event is a message with what it knows and the turn it belongs to."""
        self.make_turn()
        self.happen(
            Warned("careful"),
            Failed("oh"),
            Item("completed", "i", "command", {"exit_code": 0}),
            Diff("--- a\n"),
            Plan([{"step": "look", "status": "completed"}]),
            Usage(10, 2, 3, 13, None),
        )
        self.assertEqual(self.of("warning"), ["careful"])
        self.assertEqual(self.of("error"), ["oh"])
        item = {"turn_id": "u1", "item_id": "i", "phase": "completed", "kind": "command", "body": {"exit_code": 0}}
        self.assertEqual(self.of("item"), [item])
        self.assertEqual(self.of("diff"), [{"turn_id": "u1", "diff": "--- a\n", "truncated": False}])
        plan = {"turn_id": "u1", "steps": [{"step": "look", "status": "completed"}]}
        self.assertEqual(self.of("plan"), [plan])
        usage = dict(zip(("input", "cached_input", "output", "total", "context"), (10, 2, 3, 13, None), strict=True))
        self.assertEqual(self.of("token_usage"), [{f"{key}_tokens": value for key, value in usage.items()}])
        facts = self.session.facts()
        self.assertEqual((facts["plan"], facts["turn_id"]), (plan, "u1"))

    def test_floods_are_bounded(self) -> None:
        """A long output comes in pieces that join to it; a long diff, warning or item is cut and says so."""
        self.make_turn()
        self.happen(Output("x" * 40_000))
        self.assertEqual("".join(self.of("output")), "x" * 40_000)
        self.assertTrue(all(len(piece) <= 16_384 for piece in self.of("output")))
        self.happen(Diff("d" * 600_000), Warned("w" * 10_000), Item("completed", "i", "command", {"o": "o" * 99_999}))
        self.assertTrue(self.of("diff")[0]["truncated"])
        self.assertEqual(len(self.of("warning")[0]), 4_096)
        self.assertTrue(self.of("item")[0]["body"]["truncated"])

    def test_nothing_that_is_no_event(self) -> None:
        """An engine that tells anything else has a defect, which shows."""
        self.make_ready()
        self.assertRaises(TypeError, self.session.happened, "hello")

    def test_events_of_nobody(self) -> None:
        """Without an agent there is nothing to tell."""
        self.assertEqual(self.session.happened(Output("x")), [])


class ApprovalTests(SessionTestCase):
    """Asking, answering, and nobody there."""

    def test_an_answer(self) -> None:
        """Goes to the agent, is told to all, and the turn goes on when none is left."""
        self.make_turn()
        self.done(self.session.answerers(1))
        self.happen(self.ask("a"), self.ask("b"))
        self.assertEqual([one["approval_id"] for one in self.session.approvals], ["a", "b"])
        request = self.of("approval_request")[0]
        self.assertEqual((request["kind"], request["decisions"]), ("command", ["accept", "decline"]))
        self.assertEqual(request["expires"], 1_120)
        self.assertIs(self.session.state, State.WAITING)
        self.assertEqual(self.done(self.session.decide("a", Decision.ACCEPT)), [Decide("a", Decision.ACCEPT)])
        self.assertEqual(self.of("approval"), [{"approval_id": "a", "decision": "accept", "by": "user"}])
        self.assertIs(self.session.state, State.WAITING)
        self.done(self.session.decide("b", Decision.DECLINE))
        self.assertIs(self.session.state, State.IN_TURN)

    def test_an_answer_too_late_or_not_on_offer(self) -> None:
        """The second of two browsers, and one that makes something up, are told."""
        self.make_turn()
        self.happen(self.ask())
        self.assertIs(self.refusal(self.session.decide, "a", Decision.CANCEL), Reason.BAD_REQUEST)
        self.session.decide("a", Decision.ACCEPT)
        self.assertIs(self.refusal(self.session.decide, "a", Decision.ACCEPT), Reason.UNKNOWN_APPROVAL)

    def test_settled_elsewhere(self) -> None:
        """What the agent settles by itself, or the end of the turn, closes the card."""
        self.make_turn()
        self.happen(self.ask("a"), self.ask("b"))
        self.happen(ApprovalSettled("a"), ApprovalSettled("a"))
        self.assertEqual(self.of("approval"), [{"approval_id": "a", "decision": None, "by": "agent"}])
        self.happen(TurnEnded("u1", "completed"))
        self.assertEqual(self.of("approval"), [{"approval_id": "b", "decision": None, "by": "agent"}])
        self.assertIs(self.session.state, State.READY)

    def test_nobody_answers_in_time(self) -> None:
        """After 120 seconds it is declined with a warning, not before."""
        self.make_turn()
        self.session.answerers(1)
        self.happen(self.ask())
        self.assertEqual(self.session.due(), 120)
        self.clock.advance(119.9)
        self.assertEqual(self.done(self.session.tick()), [])
        self.clock.advance(0.1)
        self.assertEqual(self.done(self.session.tick()), [Decide("a", Decision.DECLINE)])
        self.assertEqual(self.of("warning"), ["A command was declined: nobody approved it in time"])
        self.assertEqual(self.of("approval"), [{"approval_id": "a", "decision": "decline", "by": "timeout"}])

    def test_what_is_not_shown_whole_cannot_be_accepted(self) -> None:
        """A command that is cut short could end in anything; it can be declined."""
        self.make_turn()
        command = "true #" + "x" * 70_000 + "\nrm -rf ."
        self.happen(ApprovalAsked("a", "command", {"command": command}, tuple(Decision)))
        request = self.of("approval_request")[0]
        self.assertEqual((request["body"]["truncated"], request["decisions"]), (True, ["decline", "cancel"]))
        self.assertIs(self.refusal(self.session.decide, "a", Decision.ACCEPT), Reason.BAD_REQUEST)
        self.assertEqual(self.done(self.session.decide("a", Decision.DECLINE)), [Decide("a", Decision.DECLINE)])

    def test_nobody_is_there(self) -> None:
        """Clients that know no approvals are not waited for: only as long as a page takes to come back."""
        self.make_turn()
        self.happen(self.ask("a", (Decision.ACCEPT, Decision.CANCEL)))
        self.clock.advance(10)
        self.assertEqual(self.done(self.session.tick()), [Decide("a", Decision.CANCEL)])
        self.assertEqual(self.of("approval")[0]["by"], "nobody")
        self.happen(self.ask("b", (Decision.ACCEPT,)))
        self.clock.advance(10)
        self.assertEqual(self.done(self.session.tick()), [Decide("b", Decision.DECLINE)])

    def test_somebody_comes_and_goes(self) -> None:
        """Who comes in time has the rest of the 120 seconds; when the last one goes the short time begins."""
        self.make_turn()
        self.happen(self.ask())
        self.clock.advance(5)
        self.session.answerers(1)
        self.session.answerers(2)
        self.assertEqual(self.session.due(), 120)
        self.assertEqual(self.session.approvals[0]["expires"], 1_120)
        self.session.answerers(0)
        self.assertEqual(self.session.due(), 15)
        self.assertEqual(self.session.greeting()[-1].content["expires"], 1_015)

    def test_an_agent_that_is_being_stopped_is_not_answered(self) -> None:
        """Its questions have no card."""
        self.make_turn()
        self.session.stop("stopped")
        self.assertEqual(self.happen(self.ask()), [])
        self.assertEqual(self.told, [])

    def test_outside_a_turn(self) -> None:
        """A question while the agent should wait is a question still."""
        self.make_ready()
        self.happen(self.ask())
        self.assertIs(self.session.state, State.READY)
        self.assertEqual(self.done(self.session.decide("a", Decision.ACCEPT)), [Decide("a", Decision.ACCEPT)])


class FileTests(SessionTestCase):
    """The active files: always all of them, whenever they change."""

    def test_every_change_is_told_whole(self) -> None:
        """Sorted, also when the list is empty again, and not when nothing has changed."""
        self.make_turn()
        self.happen(FilesTouched(("b", "a")))
        self.assertEqual(self.of("active_files"), [["a", "b"]])
        self.happen(FilesTouched(("a",)))
        self.assertEqual(self.told, [])
        self.done(self.session.files_gone(["a", "b", "c"]))
        self.assertEqual(self.of("active_files"), [[]])

    def test_the_oldest_make_place(self) -> None:
        """By use, not by name."""
        self.make_turn()
        self.happen(FilesTouched(("a", "b", "c")), FilesTouched(("a", "d")))
        self.assertEqual(self.session.active_files, ["a", "c", "d"])

    def test_an_agent_that_knows_them_all(self) -> None:
        """May say which files are active, and then no others are; the same again is not told."""
        self.make_turn()
        self.happen(FilesTouched(("a", "b")), FilesActive(("c", "b")))
        self.assertEqual(self.session.active_files, ["b", "c"])
        before = self.session.log.last_seq
        self.happen(FilesActive(("b", "c")))
        self.assertEqual(self.session.log.last_seq, before)
        self.happen(FilesActive(()))
        self.assertEqual(self.session.active_files, [])


class CommandTests(SessionTestCase):
    """Slash commands: carried out by the session, whatever the engine."""

    claims = frozenset(("map",))

    def test_in_order(self) -> None:
        """A command that shows something waits for its turn, and the inputs after it wait for it."""
        self.make_turn()
        self.session.input("/diff")
        self.session.input("next")
        self.assertEqual(self.happen(TurnEnded("u1", "completed"))[1:], [Carry(Command(Verb.DIFF, ""))])
        self.assertEqual(self.done(self.session.carried(Command(Verb.DIFF, ""), Outcome("+x\n"))), [Say("next")])
        self.assertEqual(self.of("output"), ["+x\n"])
        self.assertEqual(len(self.of("input_request")), 1)

    def test_without_an_agent(self) -> None:
        """Nobody needs one in order to look."""
        self.assertEqual(self.done(self.session.input("/ls")), [Carry(Command(Verb.LS, ""))])
        self.session.input("work")
        self.assertEqual(self.done(self.session.carried(Command(Verb.LS, ""), Outcome(error="no"))), [Begin(None)])
        self.assertEqual(self.of("error"), ["no"])

    def test_files_beside_a_turn(self) -> None:
        """/focus, /add and /drop are carried out at once, and say nothing that looks like the end of the turn."""
        self.make_turn()
        command = Command(Verb.FOCUS, "a.py")
        self.assertEqual(self.done(self.session.input("/focus a.py")), [Carry(command)])
        self.done(self.session.carried(command, Outcome(active=("a.py",), focus="a.py")))
        self.assertEqual(self.of("active_files"), [["a.py"]])
        self.assertEqual(self.of("input_request"), [])
        self.done(self.session.carried(Command(Verb.DROP, ""), Outcome(inactive=None)))
        self.assertEqual(self.of("active_files"), [[]])

    def test_files_between_turns(self) -> None:
        """Whoever waits for the end of an input hears of it."""
        self.make_ready()
        self.done(self.session.carried(Command(Verb.ADD, "a"), Outcome(active=("a",))))
        self.assertEqual(len(self.of("input_request")), 1)

    def test_the_agent_is_told_of_the_focus(self) -> None:
        """Once, with the next input."""
        self.make_ready()
        self.session.carried(Command(Verb.FOCUS, "a.py"), Outcome(active=("a.py",), focus="a.py"))
        self.assertEqual(self.done(self.session.input("fix")), [Say("fix\n\n(The file to work on is a.py)")])
        self.session.input("more")
        self.assertIn(Say("more"), self.happen(TurnEnded("u", "completed")))

    def test_unknown(self) -> None:
        """An error that says where to look, and the word is the client's turn again."""
        self.make_ready()
        self.assertEqual(self.done(self.session.input("/exit")), [])
        self.assertEqual(self.of("error"), ["There is no command /exit; /help shows those there are."])
        self.assertEqual(len(self.of("input_request")), 1)

    def test_what_the_engine_claims(self) -> None:
        """Goes to the agent as it is."""
        self.make_ready()
        self.assertEqual(self.done(self.session.input("/map x")), [Say("/map x")])


class TimeTests(SessionTestCase):
    """Idle sessions and old ones."""

    def test_idle(self) -> None:
        """Ends a session that nobody uses; input puts it off, and a turn is use."""
        self.make_ready()
        self.assertEqual(self.session.due(), 600)
        self.clock.advance(599)
        self.session.input("x")
        self.happen(TurnBegan("u"))
        self.clock.advance(1_000)
        self.assertEqual(self.done(self.session.tick()), [])
        self.happen(TurnEnded("u", "completed"))
        self.assertEqual(self.session.due(), 1_599 + 600)
        self.clock.advance(600)
        self.assertEqual(self.done(self.session.tick()), [End()])
        self.assertEqual(self.session.ended_for, "idle")

    def test_age(self) -> None:
        """Ends any session, also one that works."""
        self.make_turn()
        self.assertEqual(self.session.due(), 7_200)
        self.clock.advance(7_200)
        self.assertEqual(self.done(self.session.tick()), [End()])
        self.assertEqual(self.session.ended_for, "age")

    def test_a_command_is_use(self) -> None:
        """A session that carries something out is not idle."""
        self.session.input("/diff")
        self.clock.advance(601)
        self.assertEqual(self.done(self.session.tick()), [])


class ReadingTests(SessionTestCase):
    """What somebody who comes later sees."""

    def test_greeting(self) -> None:
        """Status, files, and the approvals that wait; with the newest seq, so that one may resume from there."""
        self.make_turn()
        self.happen(FilesTouched(("a",)), self.ask())
        greeting = self.session.greeting()
        self.assertEqual([message.type for message in greeting], ["session_status", "active_files", "approval_request"])
        self.assertEqual({message.seq for message in greeting}, {self.session.log.last_seq})
        self.assertEqual(self.session.log.since(greeting[0].seq), [])

    def test_story(self) -> None:
        """Whose messages follow, and then all of them."""
        self.make_turn()
        status, *told = self.session.story()
        self.assertEqual((status.type, status.seq, status.content["session_id"]), ("session_status", 0, "session_1"))
        self.assertEqual(told, self.session.log.since(0))

    def test_facts(self) -> None:
        """All of it at once, as JSON values."""
        self.make_turn()
        self.session.input("b")
        self.clock.advance(2)
        facts = self.session.facts()
        expected = {
            "session_id": "session_1",
            "state": "in_turn",
            "active": True,
            "workspace": "work",
            "engine": "scripted",
            "model": "m",
            "created": 1_000.0,
            "idle_seconds": 2.0,
            "queued": 1,
            "active_files": [],
            "approvals": [],
            "token_usage": None,
            "seq": self.session.log.last_seq,
        }
        self.assertEqual({key: facts[key] for key in expected}, expected)
        self.assertEqual(self.session.session_id, "session_1")

    def test_noted(self) -> None:
        """What comes up around the agent is a warning."""
        self.done(self.session.noted("turns cannot be taken back"))
        self.assertEqual(self.of("warning"), ["turns cannot be taken back"])


class SessionMachine(RuleBasedStateMachine):
    """Anything in any order: the session's promises hold after every step.

    The machine plays clients, agent and conductor; what the session wants done it does later, or never.
    """

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.session = Session(IDENTITY, BOUNDS, self.clock.seconds, lambda: 1_000.0, ())
        self.told: list[Any] = []
        self.launching = self.agent = self.ending = self.turn = False
        self.carrying: list[Command] = []
        self.inputs = self.says = 0

    def take(self, effects: Effects) -> None:
        """What a conductor would do, as far as it can be wrong."""
        for effect in effects:
            if isinstance(effect, Tell):
                self.told.append(effect.message)
            elif isinstance(effect, Begin):
                assert not (self.launching or self.agent), "two agents"
                self.launching = True
            elif isinstance(effect, Say):
                assert self.agent and not self.turn, "an input to nobody, or in the middle of a turn"
                self.turn = True
                self.says += 1
            elif isinstance(effect, Interrupt | Steer):
                assert self.turn, "there is nothing to interrupt"
            elif isinstance(effect, Carry):
                self.carrying.append(effect.command)
                assert sum(not command.at_once for command in self.carrying) <= 1, "two commands at one time"
            elif isinstance(effect, End):
                assert (self.launching or self.agent) and not self.ending, "nothing to end, or twice"
                self.ending = True

    def attempt(self, step: Any, *arguments: Any) -> bool:
        """A client's step, which may be refused; then nothing has changed."""
        before = (self.session.state, self.session.log.last_seq)
        try:
            effects = step(*arguments)
        except SessionRefused as refused:
            assert 400 <= refused.reason.status < 600 and refused.text
            assert (self.session.state, self.session.log.last_seq) == before
            return False
        self.take(effects)
        return True

    @rule()
    def input(self) -> None:
        """Somebody types."""
        if self.attempt(self.session.input, "work"):
            self.inputs += 1

    @rule(text=st.sampled_from(["/ls", "/focus a", "/drop", "/nope", "", "x" * 101]))
    def command(self, text: str) -> None:
        """Somebody types something else."""
        self.attempt(self.session.input, text)

    @precondition(lambda self: not self.agent and not self.launching)
    @rule()
    def start(self) -> None:
        """Somebody starts."""
        self.attempt(self.session.start)

    @precondition(lambda self: self.turn)
    @rule()
    def steer(self) -> None:
        """Somebody steers."""
        self.attempt(self.session.steer, "so")

    @precondition(lambda self: self.turn)
    @rule()
    def interrupt(self) -> None:
        """Somebody interrupts."""
        self.attempt(self.session.interrupt)

    @precondition(lambda self: self.session.approvals)
    @rule(approval=st.sampled_from("ab"), decision=st.sampled_from(list(Decision)))
    def decide(self, approval: str, decision: Decision) -> None:
        """Somebody answers."""
        self.attempt(self.session.decide, approval, decision)

    @rule(at=st.integers(0, 3))
    def misuse(self, at: int) -> None:
        """Somebody asks for anything at any time."""
        steps: list[tuple[Any, ...]] = [
            (self.session.start,),
            (self.session.steer, "so"),
            (self.session.interrupt,),
            (self.session.decide, "a", Decision.ACCEPT),
        ]
        self.attempt(*steps[at])

    @rule(count=st.integers(0, 2))
    def watch(self, count: int) -> None:
        """Sockets come and go."""
        self.take(self.session.answerers(count))

    @precondition(lambda self: len(self.told) > 30)
    @rule()
    def stop(self) -> None:
        """Somebody stops, once there has been something to see."""
        self.take(self.session.stop("stopped"))

    @rule(seconds=st.sampled_from([1, 15, 130]))
    def wait(self, seconds: float) -> None:
        """Time passes."""
        self.clock.advance(seconds)
        self.take(self.session.tick())
        due = self.session.due()
        assert due is None or due > self.clock.seconds(), "it would ring for ever"

    @precondition(lambda self: self.launching and not self.ending)
    @rule()
    def launched(self) -> None:
        """An agent is there."""
        self.launching, self.agent = False, True
        self.take(self.session.launched("t"))

    @precondition(lambda self: self.launching and len(self.told) > 15)
    @rule()
    def launch_failed(self) -> None:
        """No agent is there."""
        self.launching = False
        self.take(self.session.launch_failed("no"))

    @precondition(lambda self: self.agent)
    @rule(
        event=st.sampled_from(
            [
                ApprovalAsked("a", "command", {}, CHOICES),
                ApprovalAsked("b", "command", {}, CHOICES),
                ApprovalSettled("a"),
                TurnBegan("u"),
                Output("x"),
                Warned("w"),
                FilesTouched(("a", "b")),
            ]
        )
    )
    def tell(self, event: AgentEvent) -> None:
        """The agent tells, in a turn of its own or of ours."""
        self.turn = self.turn or (isinstance(event, TurnBegan) and not self.ending)
        self.take(self.session.happened(event))

    @precondition(lambda self: self.agent and self.turn)
    @rule(status=st.sampled_from(["completed", "interrupted", "failed"]))
    def end_turn(self, status: str) -> None:
        """The agent's turn is over."""
        self.turn = False
        self.take(self.session.happened(TurnEnded("u", status)))

    @precondition(lambda self: self.agent and (self.ending or len(self.told) > 15))
    @rule()
    def die(self) -> None:
        """The agent is gone, of itself or because it was stopped."""
        self.agent = self.turn = False
        self.take(self.session.agent_ended(None if self.ending else "killed"))

    @precondition(lambda self: self.carrying)
    @rule(error=st.booleans())
    def carried(self, error: bool) -> None:
        """A command is carried out."""
        outcome = Outcome(error="no") if error else Outcome("ls", active=("a",))
        self.take(self.session.carried(self.carrying.pop(0), outcome))

    @invariant()
    def seqs_rise(self) -> None:
        """What was told is numbered without a hole, in the order in which it was told."""
        assert [message.seq for message in self.told] == list(range(1, len(self.told) + 1))

    @invariant()
    def every_input_once(self) -> None:
        """No input is said twice, and none more than came in."""
        assert self.says <= self.inputs

    @invariant()
    def states_are_true(self) -> None:
        """The state says what there is."""
        state = self.session.state
        assert (state is State.STARTING) == (self.launching and not self.ending)
        assert not self.agent or state not in (State.IDLE, State.GONE)
        assert self.session.in_turn == (self.turn and not self.ending)
        assert state is not State.WAITING or self.session.approvals
        assert not (state is State.IN_TURN and self.session.approvals)
        if state is State.GONE:
            assert self.told[-1].type == "session_status" and not self.told[-1].content["active"]

    @invariant()
    def files_are_as_told(self) -> None:
        """The last list that was told is the list there is."""
        told = [message.content for message in self.told if message.type == "active_files"]
        assert self.session.active_files == (told[-1] if told else [])


class AnyOrderTests(SynchronousTestCase):
    """What holds whatever happens."""

    def test_any_order(self) -> None:
        """Clients, agent and clock in every order: one agent at a time, one turn at a time, each input at most once."""
        run_state_machine_as_test(SessionMachine, settings=settings(max_examples=200, stateful_step_count=25))
