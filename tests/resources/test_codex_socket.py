"""The WebSocket of coding sessions: the integration guide's messages, ours, and what is not understood."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import fail
from twisted.trial.unittest import SynchronousTestCase

from hadesgw.sessions.engine import ApprovalAsked, Decision, EngineFailure, FilesTouched, Output, TurnBegan, TurnEnded
from tests.http.frames import BINARY, TEXT, frame
from tests.resources.sessions_door import PAGE, SEATS, SessionsDoor
from tests.sessions.stage import ScriptedEngine, with_bounds

BOTH = (Decision.ACCEPT, Decision.DECLINE)
NAMES = st.sampled_from(["type", "content", "after", "session_id", "new", "text"]) | st.text()
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(NAMES, inner),
)
OURS = {"Sec-WebSocket-Protocol": "hades.v1"}


class Case(SynchronousTestCase):
    """A door, and sessions behind it."""

    def setUp(self) -> None:
        self.hall = SessionsDoor(self.mktemp())

    def turn(self, *pieces: str, number: int = 1) -> None:
        """The agent takes an input up, says this, and is done."""
        said = map(Output, pieces)
        self.hall.agent.tell(TurnBegan(f"t{number}"), *said, TurnEnded(f"t{number}", "completed"))


class HandshakeTests(Case):
    """Who gets a socket."""

    def test_open(self) -> None:
        """A client without a subprotocol, as the guide's are; one with ours, which is selected."""
        head = self.hall.visit().head.decode().lower()
        self.assertTrue(head.startswith("http/1.1 101 "))
        self.assertNotIn("sec-websocket-protocol", head)
        self.assertIn("\r\nsec-websocket-protocol: hades.v1", self.hall.visit(fields=OURS).head.decode().lower())

    def test_not_a_handshake(self) -> None:
        """An ordinary request is told what is spoken here, with both ids and in the sessions' form."""
        for fields, status in (
            (b"", 426),
            (b"Upgrade: websocket\r\nConnection: Upgrade\r\n", 400),
            (b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 8\r\n", 426),
        ):
            caller = self.hall.door.call().send(b"GET /ws/codex HTTP/1.1\r\nHost: localhost\r\n%b\r\n" % fields)
            answer = caller.answer(b"GET")
            self.assertEqual(answer.status, status)
            self.assertEqual(json.loads(answer.body)["status"], "error")
            self.assertTrue(answer.one(b"x-request-id") and answer.one(b"x-conveyance-session-id"))
            if status == 426:
                self.assertEqual((answer.one(b"upgrade"), answer.one(b"connection")), (b"websocket", b"Upgrade"))
            if b"Version: 8" in fields:
                self.assertEqual(answer.one(b"sec-websocket-version"), b"13")
        for request, status in ((b"POST /ws/codex", 405), (b"GET /ws/codex/", 404), (b"GET /ws/codex/x", 404)):
            caller = self.hall.door.call().send(request + b" HTTP/1.1\r\nHost: localhost\r\n\r\n")
            self.assertEqual(caller.answer(request.split()[0]).status, status)

    def test_origins(self) -> None:
        """Absent, our own and listed ones are let in, any other page is not."""
        for origin, good in (
            (None, True),
            ("http://localhost", True),
            (PAGE, True),
            ("null", False),
            ("http://evil.example", False),
            ("http://localhost:8080", False),
        ):
            visitor = self.hall.visit(fields={} if origin is None else {"Origin": origin})
            self.assertEqual(visitor.head.startswith(b"HTTP/1.1 101"), good, origin)
            self.assertTrue(good or visitor.head.startswith(b"HTTP/1.1 403"))

    def test_nobody(self) -> None:
        """Where no guard has said who it is, there is none."""
        self.assertTrue(self.hall.visit(client="").head.startswith(b"HTTP/1.1 404"))

    def test_so_many(self) -> None:
        """A client has its number of sockets and streams; what it closes it can open again."""
        visitors = [self.hall.visit() for _ in range(SEATS)]
        stream = self.hall.begin("GET", "/sessions/default/events")
        self.assertTrue(stream.received.startswith(b"HTTP/1.1 429"))
        refused = self.hall.visit()
        self.assertTrue(refused.head.startswith(b"HTTP/1.1 429"))
        self.assertIn(b"\r\nretry-after: 1", refused.head.lower())
        self.assertTrue(self.hall.visit("bob").head.startswith(b"HTTP/1.1 101"))
        visitors[0].leave()
        self.assertTrue(self.hall.visit().head.startswith(b"HTTP/1.1 101"))

    def test_gateway_goes_away(self) -> None:
        """No socket is opened any more; those that are open are closed with a word for it."""
        visitor = self.hall.visit()
        self.hall.door.site.draining = True
        self.assertTrue(self.hall.visit().head.startswith(b"HTTP/1.1 503"))
        self.hall.door.site.drain()
        self.assertEqual(visitor.code, 1001)

    def test_query(self) -> None:
        """A session that is not the client's is not found; a query that means nothing is refused."""
        session_id = self.hall.visit().say("start_session").told("session_status")[-1]["session_id"]
        for client, query, status in (
            ("alice", f"?session_id={session_id}", 101),
            ("bob", f"?session_id={session_id}", 404),
            ("alice", "?session_id=other", 404),
            ("alice", "?after=x", 400),
            ("alice", "?after=-1", 400),
            ("alice", "?session_id=", 400),
            ("alice", "?after=1&after=2", 400),
            ("alice", "?token=of-somebody", 101),
        ):
            head = self.hall.visit(client, query).head
            self.assertTrue(head.startswith(b"HTTP/1.1 %d " % status), (query, head))

    def test_nothing_is_left(self) -> None:
        """When all have gone, in whatever way."""
        for leave in ("leave", "reset"):
            visitor = self.hall.visit()
            visitor.say("start_session")
            getattr(visitor if leave == "leave" else visitor.caller, leave)()
        self.assertEqual(self.hall.left_behind(), [])
        self.assertTrue(self.hall.sessions.status("alice")["session_active"])  # it outlives its sockets


class GuideTests(Case):
    """What the integration guide promises, message by message."""

    def test_first_message(self) -> None:
        """`session_status`, whether there is a session or not."""
        status = self.hall.visit().messages[0]
        self.assertEqual(status["type"], "session_status")
        content = {name: status["content"][name] for name in ("active", "session_id", "timestamp")}
        self.assertEqual(content, {"active": False, "session_id": None, "timestamp": 1000.0})
        started = self.hall.visit().say("start_session", {"timestamp": 1763740000000})
        later = self.hall.visit().messages[0]
        self.assertEqual((later["type"], later["content"]["active"]), ("session_status", True))
        self.assertEqual(later["content"]["session_id"], started.told("session_status")[-1]["session_id"])

    def test_dialog(self) -> None:
        """Input starts a session by itself; the pieces of output, joined, are the reply; `input_request` ends it."""
        visitor = self.hall.visit().say("input", "Write a function")
        self.assertEqual(self.hall.agent.asked, [("say", "Write a function")])
        self.turn("def f():\n", "    return 1\n")
        self.assertEqual("".join(visitor.told("output")), "def f():\n    return 1\n")
        received = visitor.told("input_received")
        self.assertEqual([content["text"] for content in received], ["Write a function"])
        self.assertIn("prompt", visitor.told("input_request")[-1])
        self.assertEqual(visitor.types[-1], "input_request")

    def test_everybody_hears_everything(self) -> None:
        """Every socket of the client's session, whoever spoke; no other client's."""
        first, second, other = self.hall.visit(), self.hall.visit(), self.hall.visit("bob")
        first.say("input", "hello")
        self.turn("hi")
        self.assertEqual(first.messages, second.messages)
        self.assertEqual(other.types, ["session_status"])

    def test_active_files(self) -> None:
        """The full list, sorted, at every change, also when it is empty again."""
        visitor = self.hall.visit().say("start_session")
        self.hall.agent.tell(FilesTouched(("b.py",)), FilesTouched(("a.py",)))
        visitor.say("input", "/drop")
        self.assertEqual(visitor.told("active_files"), [["b.py"], ["a.py", "b.py"], []])

    def test_starting_twice(self) -> None:
        """Changes nothing, and is answered all the same."""
        visitor = self.hall.visit().say("start_session", "").say("start_session", {"timestamp": 1})
        self.assertEqual(len(self.hall.stage.engine.agents), 1)
        statuses = visitor.told("session_status")
        self.assertEqual([status["active"] for status in statuses], [False, True, True, True])
        self.assertEqual(len({status["session_id"] for status in statuses[1:]}), 1)

    def test_stop(self) -> None:
        """Ends it for everybody; without one it is a warning."""
        visitor = self.hall.visit().say("start_session").say("stop_session")
        stopping = self.hall.agent.stopping
        assert stopping is not None
        self.hall.agent.observer.ended(None)
        stopping.callback(None)
        self.assertFalse(visitor.told("session_status")[-1]["active"])
        visitor.say("stop_session")
        self.assertEqual(visitor.messages[-1]["type"], "warning")
        self.assertEqual(visitor.messages[-1]["content"], "No active session to stop")

    def test_ping(self) -> None:
        """`pong`, and nothing beside it."""
        self.assertEqual(self.hall.visit().say("ping", "").messages[-1], {"type": "pong"})

    def test_seq_rises(self) -> None:
        """By one from message to message of the session."""
        visitor = self.hall.visit().say("input", "hello")
        self.turn("a", "b", "c")
        seqs = [message["seq"] for message in visitor.messages]
        self.assertEqual(seqs, list(range(len(seqs))))

    def test_the_agent_dies(self) -> None:
        """Everybody is told, and the next input starts another."""
        visitor = self.hall.visit().say("start_session")
        self.hall.agent.die("killed by signal 9")
        self.assertIn("killed by signal 9", visitor.told("error")[-1])
        self.assertFalse(visitor.told("session_status")[-1]["active"])
        visitor.say("input", "again")
        self.assertEqual(len(self.hall.stage.engine.agents), 2)
        self.assertEqual(self.hall.agent.asked, [("say", "again")])

    def test_rapid_inputs(self) -> None:
        """They queue and are taken up one after the other; one too many is refused, and the rest goes on."""
        visitor = self.hall.visit()
        for number in range(6):
            visitor.say("input", f"input {number}")
        self.assertEqual(len(visitor.told("input_received")), 5)
        self.assertEqual((visitor.messages[-1]["type"], visitor.messages[-1]["code"]), ("error", "queue_full"))
        for number in range(5):
            self.turn(number=number)
        self.assertEqual(self.hall.agent.asked, [("say", f"input {number}") for number in range(5)])


class AdditionTests(Case):
    """What we have beside the guide."""

    def setUp(self) -> None:
        Case.setUp(self)
        self.visitor = self.hall.visit(fields=OURS).say("input", "hello")
        self.agent = self.hall.agent
        self.agent.tell(TurnBegan("t1"))

    def test_steer_and_interrupt(self) -> None:
        """They reach the running turn."""
        self.visitor.say("steer", "rather in C").say("interrupt")
        self.assertEqual(self.agent.asked[1:], [("steer", "rather in C"), ("interrupt",)])

    def test_approval(self) -> None:
        """Asked of everybody, answered by one; another's answer comes too late, and the socket lives on."""
        other = self.hall.visit()
        self.agent.tell(ApprovalAsked("a1", "command", {"command": "rm -r build"}, BOTH))
        asked = self.visitor.told("approval_request")[-1]
        self.assertEqual((asked["approval_id"], asked["decisions"]), ("a1", ["accept", "decline"]))
        self.visitor.say("approval", {"approval_id": "a1", "decision": "accept"})
        self.assertEqual(self.agent.asked[-1], ("decide", "a1", Decision.ACCEPT))
        settled = other.told("approval")[-1]
        self.assertEqual((settled["decision"], settled["by"]), ("accept", "user"))
        other.say("approval", {"approval_id": "a1", "decision": "decline"})
        self.assertEqual((other.messages[-1]["code"], len(self.agent.asked)), ("unknown_approval", 2))

    def test_who_can_give_an_approval(self) -> None:
        """A client of the guide cannot, so nobody waits long for it; one of ours, or one that shows that it is, can."""
        self.visitor.leave()
        guide = self.hall.visit()
        for expected, act in ((10.0, None), (120.0, "resume")):
            if act is not None:
                guide.say(act, {"after": 0})
            self.agent.tell(ApprovalAsked(f"a{expected}", "command", {}, BOTH))
            asked = guide.told("approval_request")[-1]
            self.assertEqual(asked["expires"] - 1000.0, expected)

    def test_resume(self) -> None:
        """Who comes again is told what followed, without loss and without doubles."""
        self.agent.tell(Output("one"))
        seen = self.visitor.messages
        self.visitor.caller.reset()
        self.agent.tell(Output("two"), Output("three"))
        again = self.hall.visit(fields=OURS)
        self.assertEqual(again.messages[0]["type"], "session_status")
        count = len(again.messages)
        session_id = again.messages[0]["content"]["session_id"]
        again.say("resume", {"after": seen[-1]["seq"], "session_id": session_id})
        missed = again.messages[count:]
        self.assertEqual([message["content"] for message in missed], ["two", "three"])
        self.agent.tell(Output("four"))
        self.assertEqual(again.messages[-1]["seq"], missed[-1]["seq"] + 1)

    def test_resume_in_the_address(self) -> None:
        """The same at once: the state first, then what was missed."""
        self.agent.tell(Output("one"))
        after = self.visitor.messages[-1]["seq"]
        self.agent.tell(Output("two"))
        again = self.hall.visit(query=f"?after={after}")
        self.assertEqual(again.types[0], "session_status")
        self.assertEqual(again.told("output"), ["two"])

    def test_resume_after_another_session(self) -> None:
        """What was seen of another session is no place in this one: a gap says so, and all of this one follows."""
        self.visitor.say("resume", {"after": 7, "session_id": "session_gone"})
        tail = self.visitor.types[self.visitor.types.index("gap") :]
        self.assertEqual(tail[1], "session_status")
        self.assertIn("input_received", tail)

    def test_sessions_beside_each_other(self) -> None:
        """A new one is about itself: its socket hears of it alone, and its input goes there; `select` goes back."""
        self.visitor.say("start_session", {"new": True})
        second = self.hall.agent
        self.assertIsNot(second, self.agent)
        self.visitor.say("input", "for the second")
        self.assertEqual(second.asked, [("say", "for the second")])
        count = len(self.visitor.messages)
        self.agent.tell(Output("of the first"))
        self.assertEqual(len(self.visitor.messages), count)
        self.visitor.say("select").say("steer", "for the first")
        self.assertEqual(self.agent.asked[-1], ("steer", "for the first"))
        self.visitor.say("select", {"session_id": second.launch.session_id}).say("interrupt")
        self.assertEqual(second.asked[-1], ("interrupt",))

    def test_a_new_one_tells_all(self) -> None:
        """Also what it has told before the socket was about it: it is ready, and waits for an input."""
        before = len(self.visitor.messages)
        self.visitor.say("start_session", {"new": True})
        told = self.visitor.messages[before:]
        self.assertEqual([message["type"] for message in told], ["session_status", "input_request"])
        self.assertEqual(told[0]["content"]["state"], "ready")
        self.hall.agent.tell(Output("of the second"))
        self.assertEqual(self.visitor.told("output")[-1], "of the second")
        seqs = [message["seq"] for message in self.visitor.messages[before:]]
        self.assertEqual(seqs, sorted(set(seqs)))

    def test_another_one_is_started_again(self) -> None:
        """One whose agent has died, and that the socket was not about: it hears that it waits for an input."""
        first = self.agent.launch.session_id
        self.visitor.say("start_session", {"new": True})
        self.agent.die()
        before = len(self.visitor.messages)
        self.visitor.say("start_session", {"session_id": first})
        told = [message["type"] for message in self.visitor.messages[before:]]
        self.assertEqual((told[0], told[-1]), ("session_status", "input_request"))

    def test_said_again(self) -> None:
        """An input whose key was received is not taken twice, whoever of the client says it again, by any way."""
        self.visitor.say_bytes(b'{"type":"input","content":"once","idempotency_key":"i-1"}')
        self.visitor.caller.reset()
        again = self.hall.visit().say_bytes(b'{"type":"input","content":"once","idempotency_key":"i-1","id":7}')
        self.assertEqual(again.messages[-1]["code"], "invalid_value")
        again.say_bytes(b'{"type":"input","content":"once","idempotency_key":"i-1","id":"7"}')
        last = again.messages[-1]
        self.assertEqual((last["type"], last["code"], last["id"]), ("warning", "duplicate", "7"))
        answer = self.hall.ask("POST", "/input", {"text": "once"}, Idempotency_Key="i-1")
        self.assertEqual(answer.status, 200)
        self.assertEqual(self.hall.sessions.session("alice", None)["queued"], 1)
        again.say_bytes(b'{"type":"input","content":"twice","idempotency_key":"i-2"}')
        self.assertEqual(self.hall.sessions.session("alice", None)["queued"], 2)

    def test_numbered_messages(self) -> None:
        """Clients number their messages anew with each connection: an id that comes twice is no input said again."""
        self.visitor.say_bytes(b'{"type":"input","content":"one","id":"1"}')
        self.hall.visit().say_bytes(b'{"type":"input","content":"two","id":"1"}')
        self.assertEqual([received["text"] for received in self.visitor.told("input_received")][-2:], ["one", "two"])

    def test_ids_come_back(self) -> None:
        """An error says which message it answers; one that was not done may be said again with its id."""
        for payload in (
            b'{"type":"nothing","id":"x"}',
            b'{"type":"input","id":"x","content":5}',
            b'{"type":"input","id":"x","content":""}',
            b'{"type":"start_session","id":"x","content":{"engine":"none"}}',
            b'{"type":"stop_session","id":"x","content":{"session_id":"none"}}',
        ):
            self.visitor.say_bytes(payload)
            self.assertEqual((self.visitor.messages[-1]["type"], self.visitor.messages[-1]["id"]), ("error", "x"))
        self.visitor.say_bytes(b'{"type":"input","id":"x","content":"now"}')
        self.assertEqual(self.visitor.told("input_received")[-1]["text"], "now")

    def test_selecting_what_is_not_there(self) -> None:
        """Changes nothing."""
        self.visitor.say("select", {"session_id": "session_of_bob"}).say("steer", "still here")
        self.assertEqual(self.visitor.told("error")[-1], "there is no such session; it has ended, or never was")
        self.assertEqual(self.agent.asked[-1], ("steer", "still here"))

    def test_a_selected_session_ends(self) -> None:
        """It says so; the socket lives on, and can be about another."""
        self.visitor.say("start_session", {"new": True})
        second = self.hall.agent
        self.visitor.say("stop_session")
        second.observer.ended(None)
        assert second.stopping is not None
        second.stopping.callback(None)
        self.assertFalse(self.visitor.told("session_status")[-1]["active"])
        self.visitor.say("input", "lost")
        self.assertEqual(self.visitor.messages[-1]["code"], "unknown_session")
        self.visitor.say("select").say("steer", "found")
        self.assertEqual(self.agent.asked[-1], ("steer", "found"))


class FaultTests(Case):
    """What is not understood or not done: an `error`, and the socket lives on."""

    def test_malformed(self) -> None:
        """No JSON, no object, no type, a type nobody knows, a content of another kind."""
        visitor = self.hall.visit()
        cases: list[bytes] = [
            b"",
            b"hello",
            b"[]",
            b"null",
            b"1",
            b"{",
            b'{"type":"ping"',
            b'{"type":"ping"} {}',
            b'{"type":null}',
            b'{"type":5}',
            b'{"content":"x"}',
            b'{"type":""}',
            b'{"type":"' + b"x" * 200 + b'"}',
            b'{"type":"ping","type":"ping"}',
            b'{"type":"output","content":"x"}',
            b'{"type":"input"}',
            b'{"type":"input","content":{"text":"x"}}',
            b'{"type":"input","content":""}',
            b'{"type":"input","content":"   "}',
            b'{"type":"start_session","content":[]}',
            b'{"type":"start_session","content":{"workspace":5}}',
            b'{"type":"start_session","content":{"engine":"none"}}',
            b'{"type":"start_session","content":{"session_id":"none"}}',
            b'{"type":"stop_session","content":{"session_id":"none"}}',
            b'{"type":"resume"}',
            b'{"type":"resume","content":{"after":-1}}',
            b'{"type":"resume","content":{"after":1.5}}',
            b'{"type":"approval","content":{"approval_id":"x"}}',
            b'{"type":"approval","content":{"approval_id":"x","decision":"perhaps"}}',
            b'{"type":"steer","content":"no turn runs"}',
            b'{"type":"interrupt"}',
            b'{"type":"input","content":' + b"[" * 1500 + b"]" * 1500 + b"}",
        ]
        for count, payload in enumerate(cases, 1):
            visitor.say_bytes(payload)
            errors = [message for message in visitor.messages if message["type"] == "error"]
            self.assertEqual(len(errors), count, payload)
            self.assertEqual(set(errors[-1]), {"type", "content", "code", "seq"}, payload)
            self.assertIsNone(visitor.code, payload)
        self.assertNotIn("perhaps", json.dumps(visitor.messages))
        self.assertEqual(visitor.say("ping").types[-1], "pong")

    @given(ANY_JSON)
    def test_any_json(self, value: object) -> None:
        """Whatever it is, it is answered or done, and the socket lives on."""
        hall = SessionsDoor(self.mktemp())
        visitor = hall.visit()
        for kind in ("start_session", "input", "resume", "approval", "select", "stop_session"):
            visitor.say(kind, value)
        visitor.say_bytes(json.dumps(value).encode())
        if visitor.code is None:
            self.assertEqual(visitor.say("ping").types[-1], "pong")
        else:
            self.assertEqual(visitor.code, 1009)
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_frames(self) -> None:
        """What is no text, or too large, ends the socket; the session goes on."""
        cases = ((frame(BINARY, b"{}"), 1003), (frame(TEXT, b"\xff"), 1007), (frame(TEXT, b"x" * 5000), 1009))
        for data, code in cases:
            visitor = self.hall.visit()
            visitor.say("start_session")
            visitor.caller.send(data)
            self.assertEqual(visitor.code, code)
        self.assertTrue(self.hall.sessions.status("alice")["session_active"])

    def test_no_engine(self) -> None:
        """It is told what to do about it."""
        self.hall.stage.engine.reason = "no codex binary here: pip install hadesgw[codex]"
        visitor = self.hall.visit().say("start_session").say("input", "hello")
        self.assertEqual([message["code"] for message in visitor.messages[1:]], ["no_engine"] * 2)
        self.assertIn("pip install", visitor.told("error")[-1])

    def test_start_that_fails(self) -> None:
        """Is told by the session to everybody, and to who asked in answer; the client may have left meanwhile."""
        self.hall = SessionsDoor(self.mktemp(), engine=ScriptedEngine(at_once=False))
        visitor, gone = self.hall.visit().say("start_session"), self.hall.visit().say("start_session")
        gone.leave()
        self.hall.stage.engine.launches[0].errback(EngineFailure("it has crashed"))
        self.assertTrue(any("it has crashed" in error for error in visitor.told("error")))
        self.assertIsNone(visitor.code)

    def test_a_defect(self) -> None:
        """Ends the socket with the word for that, and is logged."""
        self.hall.sessions.start = lambda client, wish: fail(ValueError("of ours"))  # type: ignore[method-assign]
        visitor = self.hall.visit().say("start_session")
        self.assertEqual((visitor.code, len(self.flushLoggedErrors(ValueError))), (1011, 1))

    def test_no_longer_admitted(self) -> None:
        """A client that is suspended is neither heard nor told any more: the socket ends with the next message."""
        visitor, listener = self.hall.visit(), self.hall.visit()
        visitor.say("start_session")
        alice = self.hall.standing.pop("alice")
        visitor.say("input", "hello")
        self.assertEqual((visitor.code, self.hall.agent.asked), (1008, []))
        self.hall.agent.tell(Output("a secret by now"))
        self.assertEqual((listener.code, listener.told("output")), (1008, []))
        self.hall.standing["alice"] = alice


class PaceTests(Case):
    """Clients that read slowly."""

    def setUp(self) -> None:
        self.hall = SessionsDoor(self.mktemp(), settings=with_bounds(replay_messages=50))
        self.fast = self.hall.visit().say("input", "hello")
        self.slow = self.hall.visit()
        self.slow.caller.take(0)
        self.slow.caller.socket.room = 0
        self.hall.agent.tell(TurnBegan("t1"))

    def _floods(self, pieces: int) -> None:
        for number in range(pieces):
            self.hall.agent.tell(Output(f"{number:04}" * 2500))

    def test_catches_up(self) -> None:
        """It gets everything that is kept, in order, and nothing twice; meanwhile nobody waits for it."""
        self._floods(20)
        self.assertEqual(len(self.fast.told("output")), 20)
        self.assertLess(self.slow.caller.buffered, 150_000)
        self.slow.caller.take()
        self.assertEqual(self.slow.told("output"), self.fast.told("output"))
        seqs = [message["seq"] for message in self.slow.messages][2:]
        self.assertEqual(seqs, sorted(set(seqs)))
        self._floods(1)
        self.assertEqual(self.slow.messages[-1], self.fast.messages[-1])

    def test_no_longer_admitted_while_behind(self) -> None:
        """Whoever is suspended before it has caught up is told no more of what it has missed."""
        self._floods(20)
        self.hall.agent.tell(Output("a secret by now"))
        del self.hall.standing["alice"]
        self.slow.caller.take()
        self.assertEqual((self.slow.code, "a secret by now" in self.slow.told("output")), (1008, False))

    def test_catches_up_step_by_step(self) -> None:
        """Also when there is more to catch up with than it takes at once, and more is told meanwhile."""
        self._floods(20)
        for _ in range(12):
            self.slow.caller.take(30_000)
            self.hall.agent.tell(Output("meanwhile"))
            self.assertLess(self.slow.caller.buffered, 150_000)
        self.slow.caller.take()
        self.assertEqual(self.slow.told("output"), self.fast.told("output"))

    def test_the_session_ends_meanwhile(self) -> None:
        """It is told the rest of it all the same, then the next one as a whole."""
        self._floods(20)
        self.fast.say("stop_session")
        self.hall.agent.observer.ended(None)
        self.fast.say("input", "another")
        self.slow.caller.take()
        self.assertEqual(self.slow.told("output"), self.fast.told("output"))
        self.assertEqual(self.slow.told("input_received")[-1]["text"], "another")
        self.assertEqual(self.slow.messages[-1], self.fast.messages[-1])
        self.hall.agent.tell(Output("more"))
        self.assertEqual(self.slow.told("output")[-1], "more")

    def test_nothing_is_told_twice(self) -> None:
        """Not even when the session tells what the client has had from the log already."""
        self._floods(1)
        again = self.hall.visit(query="?after=0")
        count = len(again.messages)
        session = self.hall.sessions.living(self.hall.agent.launch.session_id)
        assert session is not None
        for message in session.log.since(0):
            self.hall.sessions._told(session.session_id, message)
        self.assertEqual(len(again.messages), count)

    def test_falls_too_far_behind(self) -> None:
        """What is lost is told as a gap, and what is kept follows."""
        self._floods(200)
        self.slow.caller.take()
        gap = self.slow.told("gap")[0]
        outputs = [message["seq"] for message in self.slow.messages if message["type"] == "output"]
        self.assertIn(gap["next"], outputs)
        self.assertEqual(self.slow.messages[-1], self.fast.messages[-1])
        self.assertLess(len(outputs), 100)

    def test_takes_nothing(self) -> None:
        """After its time it is closed; the session and the others go on."""
        self._floods(20)
        self.hall.door.reactor.pass_time(30)
        self.hall.door.reactor.pass_time(3)
        self.assertEqual(self.slow.caller.closed, "reset")
        self.assertIsNone(self.fast.code)
        self.assertEqual(len(self.hall.seats), 1)

    def test_talks_and_does_not_listen(self) -> None:
        """Answers to mistakes are bounded too."""
        self._floods(20)
        for _ in range(900):
            self.slow.caller.send(frame(TEXT, b"nonsense"))
        self.assertLess(self.slow.caller.buffered, 300_000)
        self.assertEqual(self.hall.socket.requests[1].record.reason, "too_slow")
