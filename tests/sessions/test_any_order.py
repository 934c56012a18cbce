"""All sessions, whatever clients, agents and the clock do, in any order: what holds at every moment, and at the end."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from hadesgw.sessions.admission import Wish
from hadesgw.sessions.engine import (
    ApprovalAsked,
    Decision,
    EngineFailure,
    FilesTouched,
    Output,
    TurnBegan,
    TurnEnded,
)
from hadesgw.sessions.refusals import SessionRefused
from hadesgw.sessions.registry import Subscription
from tests.sessions.stage import BOUNDS, SETTINGS, ScriptedAgent, ScriptedEngine, Stage, Watcher

CLIENTS = st.sampled_from(["alice", "bob"])
SMALL = replace(SETTINGS, bounds=replace(BOUNDS, replay_messages=20, queue=2), per_client=2, most=3)


class Registry(RuleBasedStateMachine):
    """Two clients, their sockets, and agents that start, work, fail and die when they like."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="hadesgw-any-order-"))
        self.stage = Stage(self.folder, ScriptedEngine(at_once=False), SMALL)
        self.registry = self.stage.registry
        self.subscriptions: list[tuple[str, Subscription, Watcher]] = []
        self.dead: set[ScriptedAgent] = set()
        self.asked: list[Deferred[Any]] = []

    def teardown(self) -> None:
        """The gateway stops: nothing is left of anything, and everybody has been answered."""
        self.asked.append(self.registry.close())
        for _ in range(3):
            self.end_agents()
        assert all(asked.called for asked in self.asked), "somebody waits for ever"
        for asked in self.asked:
            asked.addErrback(lambda failure: failure.trap(SessionRefused))
        assert self.stage.ledger.counts[-1:] in ([], [0])
        assert len(self.stage.tokens) == 0
        assert not (self.folder / "scratch").exists()
        assert self.stage.clock.getDelayedCalls() == []
        assert self.stage.ledger.named("session_defect") == []
        for _, subscription, _ in self.subscriptions:
            subscription.close()
        shutil.rmtree(self.folder)

    # -- Clients -------------------------------------------------------------------------------------------------------

    def attempt(self, step: Any) -> None:
        """Something that may be refused, at once or later."""
        try:
            done = step()
        except SessionRefused:
            return
        if isinstance(done, Deferred):
            self.asked.append(done)

    @rule(client=CLIENTS, restart=st.booleans(), new=st.booleans())
    def start(self, client: str, restart: bool, new: bool) -> None:
        """Somebody starts, anew, or again."""
        self.attempt(lambda: self.registry.start(client, Wish(restart=restart, new=new)))

    @rule(client=CLIENTS, text=st.sampled_from(["work", "/ls", "/undo", "/add x"]))
    def input(self, client: str, text: str) -> None:
        """Somebody types."""
        self.attempt(lambda: self.registry.input(client, text, Wish()))

    @rule(client=CLIENTS, act=st.sampled_from(["stop", "interrupt", "decide", "steer"]))
    def act(self, client: str, act: str) -> None:
        """Somebody does something else."""
        acts: dict[str, Any] = {
            "stop": lambda: self.registry.stop(client, None),
            "interrupt": lambda: self.registry.interrupt(client, None),
            "decide": lambda: self.registry.decide(client, None, "a", Decision.ACCEPT),
            "steer": lambda: self.registry.steer(client, None, "so"),
        }
        self.attempt(acts[act])

    @rule(client=CLIENTS, answers=st.booleans(), bound=st.booleans())
    def come(self, client: str, answers: bool, bound: bool) -> None:
        """A socket opens, for the default session or for one of them."""
        sessions = self.registry.sessions(client)
        session_id = sessions[-1]["session_id"] if bound and sessions else None
        watcher = Watcher()
        subscription = self.registry.observe(client, session_id, watcher, answers=answers)
        assert subscription.greeting()[0].type == "session_status"
        self.subscriptions.append((client, subscription, watcher))

    @precondition(lambda self: self.subscriptions)
    @rule(at=st.integers(0, 9))
    def go(self, at: int) -> None:
        """A socket vanishes."""
        _, subscription, _ = self.subscriptions.pop(at % len(self.subscriptions))
        subscription.close()

    @precondition(lambda self: self.subscriptions)
    @rule(at=st.integers(0, 9), after=st.integers(-1, 40))
    def resume(self, at: int, after: int) -> None:
        """A socket asks for what it has missed."""
        _, subscription, _ = self.subscriptions[at % len(self.subscriptions)]
        told = [message for _, message in subscription.replay(after, None) if message.type != "gap"]
        assert [message.seq for message in told] == sorted(message.seq for message in told)

    # -- Agents --------------------------------------------------------------------------------------------------------

    @property
    def agents(self) -> list[ScriptedAgent]:
        """Those that are launched and not gone."""
        return [
            agent
            for agent, launch in zip(self.stage.engine.agents, self.stage.engine.launches, strict=True)
            if launch.called and agent.launched and agent not in self.dead
        ]

    @rule(well=st.booleans())
    def launched(self, well: bool) -> None:
        """A launch ends."""
        for agent, launch in zip(self.stage.engine.agents, self.stage.engine.launches, strict=True):
            if not launch.called:
                agent.launched = well
                launch.callback(agent) if well else launch.errback(EngineFailure("no"))
                return

    @precondition(lambda self: self.agents)
    @rule(
        at=st.integers(0, 9),
        events=st.sampled_from(
            [
                (TurnBegan("u"), Output("x"), FilesTouched(("a",)), TurnEnded("u", "completed")),
                (TurnBegan("u"), ApprovalAsked("a", "command", {}, (Decision.ACCEPT, Decision.DECLINE))),
                (Output("x"),),
                (TurnEnded("u", "failed"),),
            ]
        ),
    )
    def tell(self, at: int, events: tuple[Any, ...]) -> None:
        """An agent tells."""
        self.agents[at % len(self.agents)].tell(*events)

    @precondition(lambda self: self.agents)
    @rule(at=st.integers(0, 9))
    def die(self, at: int) -> None:
        """An agent is killed."""
        agent = self.agents[at % len(self.agents)]
        self.dead.add(agent)
        agent.die()
        if agent.stopping is not None:
            agent.stopping.callback(None)

    @rule()
    def end_agents(self) -> None:
        """Agents that are being stopped are gone."""
        for agent in self.agents:
            if agent.stopping is not None:
                self.dead.add(agent)
                agent.stopping.callback(None)

    @rule(seconds=st.sampled_from([1, 11, 121, 601]))
    def wait(self, seconds: float) -> None:
        """Time passes, and agents that are asked to stop do."""
        self.end_agents()
        self.stage.clock.advance(seconds)

    # -- At every moment -----------------------------------------------------------------------------------------------

    @invariant()
    def bounds_hold(self) -> None:
        """Of sessions, of tokens, of timers."""
        mine = {client: self.registry.sessions(client) for client in ("alice", "bob")}
        everything = [session for sessions in mine.values() for session in sessions]
        assert all(len(sessions) <= 2 for sessions in mine.values())
        assert len(everything) <= 3
        assert self.stage.ledger.counts[-1:] in ([], [len(everything)])
        assert len(self.stage.tokens) <= len(everything)
        assert all(sum(session["default"] for session in sessions) <= 1 for sessions in mine.values())

    @invariant()
    def watchers_miss_nothing(self) -> None:
        """Of each session they are told every message once, in order, from where they came in."""
        for _, _, watcher in self.subscriptions:
            last: dict[str | None, int] = {}
            session_id = None
            for message in watcher.messages:
                if message.type == "session_status":
                    session_id = message.content["session_id"]
                if session_id in last:
                    assert message.seq > last[session_id], "told twice, or out of order"
                last[session_id] = message.seq

    @invariant()
    def nobody_sees_anothers(self) -> None:
        """A socket is told of its own client's sessions only."""
        ids = {client: {one["session_id"] for one in self.registry.sessions(client)} for client in ("alice", "bob")}
        for client, subscription, _ in self.subscriptions:
            assert subscription.session_id is None or subscription.session_id in ids[client]


class AnyOrderTests(SynchronousTestCase):
    """What holds whatever happens."""

    def test_any_order(self) -> None:
        """No session too many, no message twice, no wait without end; and when the gateway stops nothing is left."""
        run_state_machine_as_test(Registry, settings=settings(max_examples=60, stateful_step_count=30))
