"""Sessions as event streams: what is told, from where on, at whose pace, and how it ends."""

from __future__ import annotations

import json
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from hadesgw.policy import refusals
from hadesgw.policy.credentials import Client, Role
from hadesgw.sessions.engine import ApprovalAsked, Decision, Output, TurnBegan
from tests.resources.sessions_door import SessionsDoor
from tests.sessions.stage import with_bounds
from tests.wire.answers import read_answers
from tests.wire.door import Caller


def body(caller: Caller) -> str:
    """What has come of the stream so far, out of its chunks."""
    head, _, data = bytes(caller.received).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 "), head
    text = b""
    while data and not data.startswith(b"0\r\n"):
        size, _, data = data.partition(b"\r\n")
        length = int(size, 16)
        text += data[:length]
        data = data[length + 2 :]
    return text.decode()


def events(caller: Caller) -> list[tuple[str, dict[str, Any]]]:
    """The events so far: id and message."""
    found = []
    for block in body(caller).split("\n\n"):
        lines = dict(line.split(": ", 1) for line in block.split("\n") if line and not line.startswith(":"))
        if "data" in lines:
            found.append((lines.get("id", ""), json.loads(lines["data"])))
    return found


class EventStreamTests(SynchronousTestCase):
    """One client that listens."""

    def setUp(self) -> None:
        self.hall = SessionsDoor(self.mktemp(), settings=with_bounds(replay_messages=50))

    def listen(self, path: str = "/sessions/default/events", **fields: str) -> Caller:
        """A stream."""
        return self.hall.begin("GET", path, **fields)

    def work(self) -> str:
        """A session whose agent has taken something up; its id."""
        self.hall.ask("POST", "/input", {"text": "x"})
        self.hall.agent.tell(TurnBegan("t1"))
        return self.hall.agent.launch.session_id

    def test_head(self) -> None:
        """An event stream that nobody on the way may keep or change, with both ids."""
        head = self.listen().received.partition(b"\r\n\r\n")[0].decode().lower()
        for line in (
            "content-type: text/event-stream",
            "cache-control: no-cache, no-transform",
            "x-accel-buffering: no",
            "transfer-encoding: chunked",
        ):
            self.assertIn("\r\n" + line, head)
        self.assertEqual(head.count("x-request-id"), 1)

    def test_greeting_and_what_follows(self) -> None:
        """How things stand comes first, then everything, as sockets get it, under the session's id and the seq."""
        caller, visitor = self.listen(), self.hall.visit()
        session_id = self.work()
        self.hall.agent.tell(Output("a\nb\r\n\r\ndata: c"))
        self.assertEqual([message for _, message in events(caller)], visitor.messages)
        first, *rest = events(caller)
        self.assertEqual((first[0], first[1]["type"]), ("0", "session_status"))
        self.assertEqual([name for name, _ in rest], [f"{session_id}:{message['seq']}" for _, message in rest])
        self.assertTrue(body(caller).startswith("retry: 2000\n\n"))

    def test_coming_again(self) -> None:
        """`Last-Event-ID` or `after`: what followed, without loss and doubles."""
        caller = self.listen()
        session_id = self.work()
        self.hall.agent.tell(Output("one"))
        seen = events(caller)[-1]
        caller.reset()
        self.hall.agent.tell(Output("two"), Output("three"))
        for again in (
            self.listen(Last_Event_ID=seen[0]),
            self.listen(f"/sessions/{session_id}/events?after={seen[1]['seq']}"),
            self.listen("/sessions/default/events?after=0", Last_Event_ID=str(seen[1]["seq"])),
        ):
            self.assertEqual([message["content"] for _, message in events(again)], ["two", "three"])
            again.reset()

    def test_coming_again_to_another_session(self) -> None:
        """A gap says that this is one, and all of it follows."""
        self.work()
        told = [message["type"] for _, message in events(self.listen(Last_Event_ID="session_gone:7"))]
        self.assertEqual(told[:2], ["gap", "session_status"])
        self.assertIn("input_received", told)

    def test_an_id_that_is_none_of_ours(self) -> None:
        """Is as good as none."""
        for value in ("x", "-1", "a:b", "1:2:3", "9" * 40):
            caller = self.listen(Last_Event_ID=value)
            self.assertEqual([message["type"] for _, message in events(caller)], ["session_status"], value)
            caller.reset()

    def test_who_can_answer(self) -> None:
        """A listener that says so counts as somebody who can give an approval."""
        self.work()
        caller = self.listen("/sessions/default/events?answers=true")
        self.hall.agent.tell(ApprovalAsked("a1", "command", {}, (Decision.ACCEPT,)))
        (asked,) = [message["content"] for _, message in events(caller) if message["type"] == "approval_request"]
        self.assertEqual(asked["expires"] - 1000.0, 120.0)

    def test_heartbeat(self) -> None:
        """Silence is broken by comments, which no client sees."""
        caller = self.listen()
        self.hall.door.reactor.pass_time(14.9)
        self.assertNotIn(":", body(caller).rpartition("\n\n")[2])
        for _ in range(10):
            self.hall.door.reactor.pass_time(15)
        self.assertEqual(body(caller).count(": alive\n\n"), 10)
        self.assertEqual(len(events(caller)), 1)

    def test_session_ends(self) -> None:
        """The stream of a session ends with it, whole; coming again finds none. One of the default session goes on."""
        session_id = self.work()
        caller, default = self.listen(f"/sessions/{session_id}/events"), self.listen()
        stop = self.hall.begin("POST", "/stop")
        self.hall.agent.observer.ended(None)
        assert self.hall.agent.stopping is not None
        self.hall.agent.stopping.callback(None)
        self.assertEqual(stop.answer(b"POST").status, 200)
        (answer,) = read_answers(caller.received, (b"GET",))
        self.assertIn(b'"active":false', answer.body)
        self.assertEqual(self.listen(f"/sessions/{session_id}/events").answer(b"GET").status, 404)
        self.assertFalse(default.ended)
        second = self.work()
        self.assertIn(second, events(default)[-1][0])

    def test_slow_reader(self) -> None:
        """It is not written ahead for, gets what is kept when it reads, and a gap for the rest."""
        session_id = self.work()
        caller = self.hall.door.call(room=600)
        caller.send(b"GET /api/codex/sessions/default/events HTTP/1.1\r\nHost: localhost\r\nx-api-key: alice\r\n\r\n")
        for number in range(200):
            self.hall.agent.tell(Output(f"{number:05}" * 2000))
        self.assertLess(caller.buffered, 150_000)
        caller.take()
        told = events(caller)
        self.assertIn("gap", [message["type"] for _, message in told])
        self.assertTrue(told[-1][1]["content"].startswith("00199"))
        seqs = [message["seq"] for _, message in told if message["type"] == "output"]
        self.assertEqual(seqs, sorted(set(seqs)))
        self.assertEqual(told[-1][0], f"{session_id}:{seqs[-1]}")

    def test_slow_reader_step_by_step(self) -> None:
        """Also when there is more to catch up with than it takes at once, and nothing is told twice."""
        session_id = self.work()
        caller, fast = self.hall.door.call(room=600), self.listen()
        caller.send(b"GET /api/codex/sessions/default/events HTTP/1.1\r\nHost: localhost\r\nx-api-key: alice\r\n\r\n")
        for number in range(20):
            self.hall.agent.tell(Output(f"{number:05}" * 2000))
        for _ in range(12):
            caller.take(30_000)
            self.hall.agent.tell(Output("meanwhile"))
            self.assertLess(caller.buffered, 150_000)
        caller.take()
        self.assertEqual(events(caller)[-20:], events(fast)[-20:])
        session = self.hall.sessions.living(session_id)
        assert session is not None
        count = len(events(caller))
        self.hall.sessions._told(session_id, session.log.since(0)[-1])
        self.assertEqual(len(events(caller)), count)

    def stop(self) -> None:
        """End the session."""
        self.hall.begin("POST", "/stop")
        self.hall.agent.observer.ended(None)
        assert self.hall.agent.stopping is not None
        self.hall.agent.stopping.callback(None)

    def fall_behind(self, session: str) -> Caller:
        """A stream that is behind by twenty long outputs."""
        caller = self.hall.door.call(room=600)
        path = f"/api/codex/sessions/{session}/events".encode()
        caller.send(b"GET %b HTTP/1.1\r\nHost: localhost\r\nx-api-key: alice\r\n\r\n" % path)
        for number in range(20):
            self.hall.agent.tell(Output(f"{number:05}" * 2000))
        return caller

    def test_ends_while_it_is_behind(self) -> None:
        """It is told what the log has all the same, each with its own id, and ends whole."""
        session_id = self.work()
        caller, fast = self.fall_behind(session_id), self.listen(f"/sessions/{session_id}/events")
        self.stop()
        caller.take(30_000)
        self.assertFalse(caller.ended)
        caller.take()
        (answer,) = read_answers(caller.received, (b"GET",))
        told = events(caller)
        self.assertEqual((answer.status, told[-1][1]["type"]), (200, "session_status"))
        self.assertEqual(told[-1][1]["content"]["state"], "gone")
        self.assertEqual([message["content"][:5] for _, message in told if message["type"] == "output"][-1], "00019")
        seqs = [message["seq"] for _, message in told if message["type"] == "output"]
        self.assertEqual(seqs, list(range(seqs[0], seqs[0] + 20)))
        self.assertEqual({name.partition(":")[0] for name, _ in told}, {session_id})
        self.assertEqual(told[-1], events(fast)[-1])

    def test_the_default_one_ends_while_it_is_behind(self) -> None:
        """Its rest comes first, then the next session as a whole: nothing twice, and each under its own id."""
        first = self.work()
        caller = self.fall_behind("default")
        self.stop()
        second = self.work()
        caller.take()
        told = events(caller)
        outputs = [message["content"][:5] for _, message in told if message["type"] == "output"]
        self.assertEqual(outputs, [f"{number:05}" for number in range(20)])
        names = [name.partition(":")[0] for name, _ in told]
        self.assertEqual(names, sorted(names, key=[first, second].index))
        self.assertEqual(told[-1][1]["content"]["turn_id"], "t1")
        self.hall.agent.tell(Output("more"))
        self.assertEqual([message["content"] for _, message in events(caller)][-1], "more")

    def test_who_takes_nothing_of_a_session_that_is_gone(self) -> None:
        """Is cut after its time, too."""
        caller = self.fall_behind(self.work())
        self.stop()
        self.hall.door.reactor.pass_time(30)
        self.hall.door.reactor.pass_time(60)
        self.assertEqual(caller.closed, "reset")
        self.assertEqual(self.hall.left_behind(), [])

    def test_who_takes_nothing(self) -> None:
        """Is cut after its time, and never so that it looks whole."""
        self.work()
        caller = self.hall.door.call(room=600)
        caller.send(b"GET /api/codex/sessions/default/events HTTP/1.1\r\nHost: localhost\r\nx-api-key: alice\r\n\r\n")
        for _ in range(20):
            self.hall.agent.tell(Output("x" * 10_000))
        self.hall.door.reactor.pass_time(30)
        self.hall.door.reactor.pass_time(60)
        self.assertEqual(caller.closed, "reset")
        self.assertEqual(self.hall.http.requests[-1].record.reason, "client_stalled")
        self.assertEqual(self.hall.left_behind(), [])

    def test_drain(self) -> None:
        """A gateway that stops ends its streams at once, whole: their clients come again to the next one."""
        caller = self.listen()
        self.hall.door.site.drain()
        (answer,) = read_answers(caller.received, (b"GET",))
        self.assertEqual(answer.status, 200)
        self.assertTrue(caller.ended)
        self.hall.door.site.draining = True
        self.assertEqual(self.hall.begin("GET", "/sessions/default/events").answer(b"GET").status, 503)

    def test_interrupted(self) -> None:
        """Cut from outside, it ends with an event that says so."""
        caller = self.listen()
        self.hall.door.site.interrupt(refusals.STREAM_DRAINED)
        self.assertEqual(events(caller)[-1][1]["type"], "error")
        self.assertFalse(caller.received.endswith(b"0\r\n\r\n"))

    def test_no_longer_admitted(self) -> None:
        """A client that is suspended meanwhile is told nothing more."""
        caller = self.listen()
        self.work()
        del self.hall.standing["alice"]
        self.hall.agent.tell(Output("a secret by now"))
        self.assertEqual(events(caller)[-1][1]["type"], "error")
        self.assertNotIn(b"secret", caller.received)
        self.assertEqual(self.hall.http.requests[0].record.reason, "admission_ended")

    def test_no_administrator_any_more(self) -> None:
        """Whoever looks at another's session is told of it only while an administrator; its own it may go on with."""
        admin = Client(name="bob", roles=frozenset((Role.ADMIN,)))
        self.hall.standing["bob"] = admin
        session_id = self.work()
        looking = self.listen(f"/sessions/{session_id}/events?client=alice", client="bob")
        own = self.listen(client="bob")
        self.hall.agent.tell(Output("seen"))
        self.assertIn(b"seen", looking.received)
        self.hall.standing["bob"] = Client(name="bob", roles=frozenset((Role.USER,)))
        self.hall.agent.tell(Output("a secret by now"))
        self.assertEqual(events(looking)[-1][1]["type"], "error")
        self.assertNotIn(b"secret", looking.received)
        self.assertIsNone(own.closed)

    def test_no_longer_admitted_while_behind(self) -> None:
        """Nor is it told the rest when it has caught up."""
        self.work()
        caller = self.hall.door.call(room=600)
        caller.send(b"GET /api/codex/sessions/default/events HTTP/1.1\r\nHost: localhost\r\nx-api-key: alice\r\n\r\n")
        for _ in range(20):
            self.hall.agent.tell(Output("x" * 10_000))
        self.hall.agent.tell(Output("a secret by now"))
        del self.hall.standing["alice"]
        caller.take()
        self.assertFalse(b"secret" in caller.received)
        self.assertEqual(self.hall.http.requests[-1].record.reason, "admission_ended")

    def test_nothing_is_left(self) -> None:
        """When the client has gone."""
        caller = self.listen()
        caller.reset()
        self.work()
        self.assertEqual(self.hall.left_behind(), [])
