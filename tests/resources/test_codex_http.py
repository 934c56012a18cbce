"""Coding sessions by HTTP: the integration guide's four calls, ours, and how each is refused."""

from __future__ import annotations

import json
import time
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, fail, succeed
from twisted.trial.unittest import SynchronousTestCase

from hadesgw.policy.credentials import Client, Role
from hadesgw.resources.codex_answers import Availability, Committed, Done, Failed, SessionFacts, TakenBack
from hadesgw.resources.codex_calls import CALLS
from hadesgw.sessions.engine import ApprovalAsked, Decision, EngineFailure, Plan, TurnBegan, Usage
from hadesgw.sessions.refusals import Reason, SessionRefused
from hadesgw.sessions.views import Change, Commit, Entry, FileContent, GitStatus, Listing, Patch, Reverted
from tests.resources.sessions_door import PAGE, SessionsDoor
from tests.sessions.stage import ScriptedEngine
from tests.wire.answers import Answer

FORMS = ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "", "application/jsonp")
"""Content types that a page can send without being asked, no type at all, and one that only looks right."""
COMMIT = Commit(commit="c" * 40, author="Alice", when=1_763_740_000, subject="A change")
STATUS = GitStatus(branch="main", commit="c" * 40, changes=[Change("a.py", "modified")], truncated=False)


class ScriptedDesk:
    """A workspace that has one of each, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []
        self.answers: dict[str, Any] = {
            "listing": Listing("", [Entry("a.py", "a.py", "file", 3, 1.0)], False),
            "read": FileContent("a.py", 3, "x\n", False),
            "diff": Patch("--- a\n", False),
            "turn_diff": Patch("--- t\n", True),
            "status": STATUS,
            "branch": STATUS,
            "log": [COMMIT],
            "branches": ["main", "other"],
            "commit": COMMIT,
            "revert": Reverted("t1", ["a.py"], []),
            "undo": Reverted("t2", [], ["b.py"]),
        }

    def __getattr__(self, name: str) -> Any:
        def act(*arguments: Any) -> Deferred[Any]:
            self.asked.append((name, *arguments))
            answer = self.answers[name]
            return answer if isinstance(answer, Deferred) else succeed(answer)

        return act


class Case(SynchronousTestCase):
    """A door, and sessions behind it."""

    def setUp(self) -> None:
        self.hall = SessionsDoor(self.mktemp())

    def said(self, answer: Answer, status: int = 200) -> Any:
        """The JSON of an answer with that status."""
        self.assertEqual(answer.status, status, answer.body)
        self.assertEqual(answer.one(b"content-type"), b"application/json")
        return json.loads(answer.body)

    def error(self, answer: Answer, status: int) -> str:
        """The code of a refusal, which has the sessions' form."""
        failed = msgspec.json.decode(answer.body, type=Failed)
        self.assertEqual((answer.status, failed.status), (status, "error"), answer.body)
        self.assertTrue(failed.message)
        self.assertEqual(bool(answer.all(b"retry-after")), status in (429, 503))
        return str(failed.code)

    def start(self, **body: object) -> str:
        """A session's id."""
        return str(self.said(self.hall.ask("POST", "/start", body or None))["session_id"])


class GuideTests(Case):
    """What the integration guide promises."""

    def test_status(self) -> None:
        """Its five fields, and what its examples read: `status` is active, `session_active` says whether to start."""
        said = self.said(self.hall.ask("GET", "/status"))
        for name, value in (
            ("status", "active"),
            ("session_active", False),
            ("session_id", None),
            ("input_destination", "right_footer"),
        ):
            self.assertEqual(said[name], value)
        self.assertTrue(said["name"] and said["description"])
        session_id = self.start()
        said = self.said(self.hall.ask("GET", "/status"))
        self.assertEqual((said["session_active"], said["session_id"]), (True, session_id))
        msgspec.convert(said, Availability)

    def test_start_without_anything(self) -> None:
        """Neither body nor content type, as the guide's session manager asks; twice gives the same session."""
        first = self.said(self.hall.ask("POST", "/start"))
        self.assertEqual((first["status"], set(first)), ("success", {"status", "message", "session_id"}))
        again = self.said(self.hall.ask("POST", "/start"))
        self.assertEqual((again["session_id"], len(self.hall.stage.engine.agents)), (first["session_id"], 1))

    def test_input(self) -> None:
        """Is acknowledged at once, with the id of the session, which it starts if there is none."""
        said = self.said(self.hall.ask("POST", "/input", {"text": "Generate a function"}))
        self.assertEqual((said["status"], set(said)), ("success", {"status", "message", "session_id"}))
        self.assertEqual(self.hall.agent.asked, [("say", "Generate a function")])
        self.assertEqual(self.hall.agent.launch.session_id, said["session_id"])

    def test_input_is_seen_by_sockets(self) -> None:
        """All of the client's."""
        visitor = self.hall.visit()
        self.hall.ask("POST", "/input", {"text": "by HTTP"})
        self.assertEqual([content["text"] for content in visitor.told("input_received")], ["by HTTP"])

    def test_stop(self) -> None:
        """Answers when nothing is left; without a session it is a warning, by 200."""
        self.start()
        caller = self.hall.begin("POST", "/stop")
        self.assertEqual(caller.received, b"")
        stopping = self.hall.agent.stopping
        assert stopping is not None
        self.hall.agent.observer.ended(None)
        stopping.callback(None)
        said = self.said(caller.answer(b"POST"))
        self.assertEqual(said, {"status": "success", "message": "Session stopped"})
        said = self.said(self.hall.ask("POST", "/stop"))
        self.assertEqual(said, {"status": "warning", "message": "No active session to stop"})

    def test_no_text(self) -> None:
        """Empty, missing or nothing but space: an error that the guide's clients see by status and by body."""
        for body in ({}, {"text": ""}, {"text": "  \n"}, None):
            answer = self.hall.ask("POST", "/input", body)
            self.assertEqual(self.error(answer, 400), "no_input")
            self.assertEqual(json.loads(answer.body)["message"], "No input text provided")
        self.assertEqual(self.hall.stage.engine.agents, [])

    def test_from_a_listed_page(self) -> None:
        """With its origin, and with `application/json` in any spelling that means it."""
        for kind in ("application/json", "application/json; charset=utf-8", "Application/JSON;charset=UTF-8"):
            answer = self.hall.ask("POST", "/input", {"text": "x"}, Origin=PAGE, Content_Type=kind)
            self.assertEqual(answer.status, 200, kind)


class RepetitionTests(Case):
    """Asking again after a break."""

    def test_same_key(self) -> None:
        """Is answered as it was, and not done a second time; another client's key is another."""
        for _ in range(2):
            said = self.said(self.hall.ask("POST", "/input", {"text": "x"}, Idempotency_Key="k-1"))
            self.assertEqual(said["session_id"], self.hall.agent.launch.session_id)
        self.assertEqual((self.hall.agent.asked, len(self.hall.stage.engine.agents)), ([("say", "x")], 1))
        self.said(self.hall.ask("POST", "/input", {"text": "x"}, "bob", Idempotency_Key="k-1"))
        self.assertEqual(len(self.hall.stage.engine.agents), 2)

    def test_what_was_not_done(self) -> None:
        """May be asked again with its key."""
        answer = self.hall.ask("POST", "/input", {"text": ""}, Idempotency_Key="k")
        self.assertEqual(self.error(answer, 400), "no_input")
        self.said(self.hall.ask("POST", "/input", {"text": "x"}, Idempotency_Key="k"))

    def test_no_key(self) -> None:
        """What is none is refused."""
        for key in ("a b", "x" * 129, "\xe9"):
            answer = self.hall.ask("POST", "/input", {"text": "x"}, Idempotency_Key=key)
            self.assertEqual(self.error(answer, 400), "invalid_value")


class OptionTests(Case):
    """What start, stop and input take beside the guide's."""

    def test_new_restart_and_named(self) -> None:
        """A further session; one named by its id; one that is started afresh."""
        first = self.start()
        second = self.start(new=True, workspace="work", engine="scripted", model="m2")
        self.assertNotEqual(first, second)
        self.assertEqual(self.hall.agent.launch.model, "m2")
        self.said(self.hall.ask("POST", "/input", {"text": "x", "session_id": first}))
        self.assertEqual(self.hall.stage.engine.agents[0].asked, [("say", "x")])
        caller = self.hall.begin("POST", "/start", {"restart": True})
        old = self.hall.stage.engine.agents[0]
        old.observer.ended(None)
        assert old.stopping is not None
        old.stopping.callback(None)
        self.assertNotIn(self.said(caller.answer(b"POST"))["session_id"], (first, second))

    def test_what_is_not_there(self) -> None:
        """Sessions, workspaces and engines nobody knows; a live session that is not as wished."""
        for body, code in (
            ({"session_id": "session_x"}, "unknown_session"),
            ({"workspace": "elsewhere"}, "unknown_workspace"),
            ({"engine": "magic"}, "unknown_engine"),
        ):
            self.assertEqual(self.error(self.hall.ask("POST", "/start", body), 404), code)
        self.start()
        self.assertEqual(self.error(self.hall.ask("POST", "/start", {"model": "other"}), 409), "conflict")

    def test_no_engine_and_no_workspace(self) -> None:
        """503 and 409, each with what to do."""
        self.hall.stage.engine.reason = "no codex binary: pip install hadesgw[codex]"
        answer = self.hall.ask("POST", "/start")
        self.assertEqual((self.error(answer, 503), answer.one(b"retry-after")), ("no_engine", b"60"))
        self.assertIn(b"pip install", answer.body)
        self.assertEqual(self.said(self.hall.ask("GET", "/status"))["obstacle"], self.hall.stage.engine.reason)
        self.hall.stage.work.rmdir()
        self.assertEqual(self.error(self.hall.ask("POST", "/start"), 409), "no_workspace")

    def test_too_many(self) -> None:
        """Sessions of one client; 429 says when to ask again."""
        self.start()
        self.start(new=True)
        self.assertEqual(self.error(self.hall.ask("POST", "/start", {"new": True}), 429), "too_many_sessions")

    def test_start_that_fails(self) -> None:
        """503, with the engine's own words."""
        self.hall = SessionsDoor(self.mktemp(), engine=ScriptedEngine(at_once=False))
        caller = self.hall.begin("POST", "/start")
        self.hall.stage.engine.launches[0].errback(EngineFailure("it has crashed"))
        answer = caller.answer(b"POST")
        self.assertEqual(self.error(answer, 503), "engine_failed")
        self.assertIn(b"it has crashed", answer.body)

    def test_who_leaves_before_a_refusal(self) -> None:
        """Is not answered either."""
        self.hall = SessionsDoor(self.mktemp(), engine=ScriptedEngine(at_once=False))
        caller = self.hall.begin("POST", "/start")
        caller.reset()
        self.hall.stage.engine.launches[0].errback(EngineFailure("it has crashed"))
        self.assertEqual((caller.received, self.flushLoggedErrors()), (b"", []))

    def test_who_leaves_while_waiting(self) -> None:
        """The session is started all the same, and nobody is answered."""
        self.hall = SessionsDoor(self.mktemp(), engine=ScriptedEngine(at_once=False))
        caller = self.hall.begin("POST", "/start")
        caller.reset()
        self.hall.stage.engine.launches[0].callback(self.hall.agent)
        self.assertTrue(self.hall.sessions.status("alice")["session_active"])
        self.assertEqual((caller.received, self.flushLoggedErrors()), (b"", []))


class SessionTests(Case):
    """Looking at sessions and steering them."""

    def test_facts(self) -> None:
        """A session tells all its document says, and nothing else; the list is of such."""
        session_id = self.start()
        self.hall.ask("POST", "/input", {"text": "x"})
        usage = Usage(1, 2, 3, 4, 5)
        self.hall.agent.tell(TurnBegan("t1"), Plan([{"step": "one", "status": "pending"}]), usage)
        self.hall.agent.tell(ApprovalAsked("a1", "command", {"command": "ls"}, (Decision.ACCEPT,)))
        for path in (f"/sessions/{session_id}", "/sessions/default"):
            said = self.said(self.hall.ask("GET", path))
            self.assertEqual(set(said), set(SessionFacts.__struct_fields__))
            facts = msgspec.convert(said, SessionFacts)
            self.assertEqual((facts.state, facts.approvals[0].approval_id), ("waiting_for_approval", "a1"))
        listed = self.said(self.hall.ask("GET", "/sessions"))
        self.assertEqual([found["session_id"] for found in listed["sessions"]], [session_id])

    def test_nobody_elses(self) -> None:
        """Another client's session is as good as none, by whatever call; only an administrator may look, by name."""
        session_id = self.start()
        for call in CALLS:
            if "{session_id}" in call.path:
                path = "/" + call.path.format(session_id=session_id, approval_id="a1")
                body = {"text": "x", "decision": "accept", "message": "x", "name": "x"}
                path += "?path=a.py" if path.endswith("content") else ""
                answer = self.hall.ask(call.method.decode(), path, body if call.body else None, "bob")
                self.assertEqual(self.error(answer, 404), "unknown_session", path)
        self.assertEqual(self.said(self.hall.ask("GET", "/sessions", client="bob")), {"sessions": []})
        answer = self.hall.ask("GET", "/sessions?client=alice", client="bob")
        self.assertEqual(self.error(answer, 403), "insufficient_role")
        self.hall.standing["bob"] = Client(name="bob", roles=frozenset((Role.ADMIN,)))
        listed = self.said(self.hall.ask("GET", "/sessions?client=alice", client="bob"))
        self.assertEqual(listed["sessions"][0]["session_id"], session_id)
        self.assertEqual(self.said(self.hall.ask("GET", "/sessions?client=alice"))["sessions"], listed["sessions"])

    def test_steer_interrupt_and_approve(self) -> None:
        """They reach the agent; out of their time they are refused."""
        self.start()
        default = "/sessions/default"
        for path, body in (("/steer", {"text": "x"}), ("/interrupt", {})):
            self.assertEqual(self.error(self.hall.ask("POST", default + path, body), 409), "no_turn")
        self.hall.ask("POST", "/input", {"text": "x"})
        self.hall.agent.tell(TurnBegan("t1"))
        self.hall.agent.tell(ApprovalAsked("a/1 é", "command", {}, (Decision.ACCEPT, Decision.CANCEL)))
        waits = self.said(self.hall.ask("GET", default + "/approvals"))["approvals"]
        self.assertEqual([found["approval_id"] for found in waits], ["a/1 é"])
        path = default + "/approvals/a%2F1%20%C3%A9"
        self.assertEqual(self.error(self.hall.ask("POST", path, {"decision": "decline"}), 400), "bad_request")
        self.said(self.hall.ask("POST", path, {"decision": "accept"}))
        self.assertEqual(self.error(self.hall.ask("POST", path, {"decision": "accept"}), 409), "unknown_approval")
        self.said(self.hall.ask("POST", default + "/steer", {"text": "rather in C"}))
        self.said(self.hall.ask("POST", default + "/interrupt"))
        asked = [("decide", "a/1 é", Decision.ACCEPT), ("steer", "rather in C"), ("interrupt",)]
        self.assertEqual(self.hall.agent.asked[-3:], asked)

    def test_workspace(self) -> None:
        """Each call is the desk's, and answers as its document says."""
        self.start()
        desk = ScriptedDesk()
        self.hall.sessions.desk = lambda client, session_id: desk  # type: ignore[assignment, return-value]
        cases: list[tuple[str, str, object, type, tuple[Any, ...]]] = [
            ("GET", "files", None, Listing, ("listing", "")),
            ("GET", "files?path=src%2Fa%20b", None, Listing, ("listing", "src/a b")),
            ("GET", "files/content?path=a.py", None, FileContent, ("read", "a.py")),
            ("GET", "files/diff", None, Patch, ("diff",)),
            ("GET", "git/diff?turn_id=t1", None, Patch, ("turn_diff", "t1")),
            ("GET", "git/status", None, GitStatus, ("status",)),
            ("GET", "git/log?limit=3", None, dict[str, list[Commit]], ("log", 3)),
            ("GET", "git/branches", None, dict[str, list[str]], ("branches",)),
            ("POST", "git/commit", {"message": "Why"}, Committed, ("commit", "Why")),
            ("POST", "git/branch", {"name": "try"}, GitStatus, ("branch", "try")),
            ("POST", "git/revert", {"turn_id": "t1"}, TakenBack, ("revert", "t1")),
            ("POST", "git/revert", None, TakenBack, ("undo",)),
        ]
        for method, path, body, kind, asked in cases:
            answer = self.hall.ask(method, f"/sessions/default/{path}", body)
            msgspec.convert(self.said(answer), kind)
            self.assertEqual(desk.asked.pop(), asked, path)
        commit = self.said(self.hall.ask("POST", "/sessions/default/git/commit", {"message": "Why"}))
        self.assertEqual((commit["status"], commit["commit"]["subject"]), ("success", "A change"))

    def test_refusals_of_the_workspace(self) -> None:
        """Each reason has its status, said in the sessions' form; those that waiting helps say how long."""
        self.start()
        for reason in Reason:
            desk = ScriptedDesk()
            desk.answers["status"] = fail(SessionRefused(reason, "so it is"))
            self.hall.sessions.desk = lambda client, session_id, desk=desk: desk  # type: ignore[method-assign, misc]
            answer = self.hall.ask("GET", "/sessions/default/git/status")
            self.assertEqual(self.error(answer, reason.status), reason.word)
            record = self.hall.http.requests[-1].record
            self.assertEqual((record.reason, record.code), (reason.word, reason.word))


class FaultTests(Case):
    """What is not let through, or not understood."""

    def test_kinds_of_body(self) -> None:
        """Whatever acts has to say that it is JSON, which no form of another page can; nothing at all needs no type."""
        for call in CALLS:
            path = "/" + call.path.format(session_id="default", approval_id="a1")
            for kind in FORMS:
                if call.method == b"POST":
                    answer = self.hall.ask("POST", path, {"text": "x"}, Content_Type=kind)
                    self.assertEqual(self.error(answer, 415), "unsupported_media_type", (path, kind))
        empty = self.hall.begin("POST", "/start", b"", Content_Type="text/plain")
        self.assertEqual(self.error(empty.answer(b"POST"), 415), "unsupported_media_type")
        self.assertEqual(self.hall.stage.engine.agents, [])

    def test_strange_pages(self) -> None:
        """Nothing is done for them, and they are told in the sessions' form."""
        for origin in ("null", "http://evil.example", "http://localhost:3001"):
            answer = self.hall.ask("POST", "/start", Origin=origin)
            self.assertEqual(self.error(answer, 403), "origin_not_allowed")
        self.assertEqual(self.hall.stage.engine.agents, [])

    def test_bodies(self) -> None:
        """No JSON, no object, a name twice, members of another kind, too large: each its refusal."""
        cases: list[tuple[str, bytes, int, str]] = [
            ("/input", b"{", 400, "invalid_json"),
            ("/input", b"[]", 400, "invalid_json"),
            ("/input", b'"text"', 400, "invalid_json"),
            ("/input", b"null", 400, "invalid_json"),
            ("/input", b"{} {}", 400, "invalid_json"),
            ("/input", b'{"text":"\xff"}', 400, "invalid_json"),
            ("/input", b'{"text":"x","text":"y"}', 400, "duplicate_field"),
            ("/input", b'{"text":5}', 400, "invalid_value"),
            ("/input", b'{"text":"x","restart":"yes"}', 400, "invalid_value"),
            ("/input", b'{"text":"x","session_id":""}', 400, "invalid_value"),
            ("/input", b'{"text":"x","session_id":"' + b"s" * 129 + b'"}', 400, "invalid_value"),
            ("/input", b'{"text":"' + b"x" * 1001 + b'"}', 413, "too_large"),
            ("/input", b'{"text":"' + b"x" * 5000 + b'"}', 413, "body_too_large"),
            ("/input", b'{"text":"x","more":' + b"[" * 1500 + b"]" * 1500 + b"}", 400, "request_too_complex"),
            ("/start", b'{"new":1}', 400, "invalid_value"),
            ("/sessions/default/approvals/a1", b'{"decision":"<script>"}', 400, "invalid_value"),
            ("/sessions/default/git/commit", b"{}", 400, "invalid_value"),
            ("/sessions/default/git/commit", b'{"message":""}', 400, "invalid_value"),
            ("/sessions/default/git/branch", b'{"name":null}', 400, "invalid_value"),
        ]
        for path, body, status, code in cases:
            answer = self.hall.ask("POST", path, body)
            self.assertEqual(self.error(answer, status), code, body[:60])
            self.assertNotIn(b"script", answer.body)

    def test_members_nobody_knows(self) -> None:
        """Are passed over, and null is the same as absent."""
        body = {"timestamp": 1763740000000, "session_id": None, "restart": None, "more": {"a": [1]}}
        self.start(**body)

    def test_queries(self) -> None:
        """What is not as its document says, said twice, or no UTF-8."""
        for query in (
            "files?path=%FF",
            "files?path=a&path=b",
            "files/content",
            "files/content?path=",
            "git/log?limit=0",
            "git/log?limit=201",
            "git/log?limit=x",
            "events?after=-1",
            "events?answers=perhaps",
            "files?" + "&".join(f"a{n}=1" for n in range(20)),
        ):
            self.assertEqual(self.hall.ask("GET", f"/sessions/default/{query}").status, 400, query)

    def test_paths_and_methods(self) -> None:
        """Only those of the table, however they are spelled; each with the methods it has."""
        for path in (
            "",
            "/",
            "/nothing",
            "/status/",
            "/sessions/",
            "/sessions//events",
            "/sessions/a/b/c/d",
            "/%73tatus/x",
            "/sessions/default/git",
            "/start/x",
            "/%FF",
        ):
            self.assertEqual(self.error(self.hall.ask("GET", path), 404), "not_found", path)
        for method, path, allowed in (
            ("POST", "/status", b"GET, HEAD"),
            ("GET", "/start", b"POST"),
            ("DELETE", "/sessions/default", b"GET, HEAD"),
            ("PUT", "/sessions/default/approvals/a1", b"POST"),
            ("HEAD", "/sessions/default/events", b"GET"),
            ("POST", "/openapi.json", b"GET, HEAD"),
        ):
            answer = self.hall.ask(method, path)
            self.assertEqual((answer.status, answer.one(b"allow")), (405, allowed), path)
        answer = self.hall.ask("HEAD", "/status")
        self.assertEqual((answer.status, answer.body), (200, b""))

    def test_routes_are_templates(self) -> None:
        """What metrics and log are told of a path is bounded, whatever the client puts into it."""
        for path, route in (
            ("/status", "/api/codex/status"),
            ("/sessions/anything/git/log", "/api/codex/sessions/{session_id}/git/log"),
            ("/sessions/x/approvals/y", "/api/codex/sessions/{session_id}/approvals/{approval_id}"),
            ("/openapi.json", "/api/codex/openapi.json"),
        ):
            self.hall.ask("GET", path)
            self.assertEqual(self.hall.http.requests[-1].record.route, route)

    def test_slow_bodies(self) -> None:
        """A body that does not come in time is refused, one that comes in pieces is taken."""
        head = b"POST /api/codex/input HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        caller = self.hall.door.call().send(head + b'Content-Length: 12\r\n\r\n{"text')
        caller.send(b'":"x"}')
        self.assertEqual(self.said(caller.answer(b"POST"))["status"], "success")
        caller = self.hall.door.call().send(head + b"Transfer-Encoding: chunked\r\n\r\n")
        caller.send(b'c\r\n{"text":"x"}\r\n0\r\n\r\n')
        self.assertEqual(self.said(caller.answer(b"POST"))["status"], "success")
        caller = self.hall.door.call().send(head + b"Content-Length: 12\r\n\r\n{")
        self.hall.door.reactor.pass_time(30)
        self.assertEqual(self.error(caller.answer(b"POST"), 408), "body_timeout")
        caller = self.hall.door.call().send(head + b"Content-Length: 12\r\n\r\n{")
        caller.reset()
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_a_defect(self) -> None:
        """Is logged, and answered with nothing of it."""
        self.hall.sessions.status = lambda client: {"secret": 1}  # type: ignore[method-assign]
        answer = self.hall.ask("GET", "/status")
        self.assertEqual((self.error(answer, 500), len(self.flushLoggedErrors())), ("internal_error", 1))
        self.assertNotIn(b"secret", answer.body)

    def test_nobody(self) -> None:
        """Where no guard has said who asks, there is nothing."""
        self.assertEqual(self.error(self.hall.ask("GET", "/status", client=""), 404), "not_found")

    @given(st.sampled_from([call for call in CALLS if call.body]), st.binary(max_size=300))
    def test_any_body(self, call: Any, body: bytes) -> None:
        """Is answered in the form its document says, and never by a defect."""
        hall = SessionsDoor(self.mktemp())
        path = "/" + call.path.format(session_id="default", approval_id="a1")
        answer = hall.ask("POST", path, body)
        self.assertIn(answer.status, (200, 400, 404, 409, 413, 415, 429, 503))
        msgspec.json.decode(answer.body, type=Done if answer.status == 200 else Failed)
        self.assertEqual(self.flushLoggedErrors(), [])


class CostTests(Case):
    """That nothing a client sends takes long."""

    def test_bombs(self) -> None:
        """The largest body there may be, made of dust, is refused at once."""
        started = time.perf_counter()
        for dust in (b'{"a":' + b"[" * 4000, b'{"text":"' + b"\\u0000" * 600 + b'"}', b'{' + b'"a":1,' * 600):
            self.assertIn(self.hall.ask("POST", "/input", dust).status, (200, 400, 413))
        self.assertLess(time.perf_counter() - started, 1.0)
