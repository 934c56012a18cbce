"""Coding sessions as their users meet them: a gateway of its own, the rehearsal model and agent, HTTP and WebSocket."""

from __future__ import annotations

import json
from contextlib import closing
from typing import Any

from tests.real.rehearsed import RehearsedTestCase
from tests.real.websocket import Rejected, WebSocket, of_type

PAGE = "http://localhost:3000"


class SessionTests(RehearsedTestCase):
    """One gateway with a scratch repository."""

    def call(self, method: str, path: str, document: object = None, status: int = 200) -> Any:
        """What a call answers."""
        answer = self.client.ask(method, f"/api/codex{path}", document)
        self.assertEqual(answer.status, status, answer.body)
        return answer.json()

    def visit(self, **headers: str) -> WebSocket:
        """A WebSocket with the client's credential."""
        fields = {"Authorization": f"Bearer {self.gateway.token}", **headers}
        socket = WebSocket(self.gateway.port, "/ws/codex", fields, ["hades.v1"])
        self.addCleanup(socket.socket.close)
        return socket

    def test_a_session_from_its_start_to_its_end(self) -> None:
        """By HTTP and WebSocket at once: a real file is edited by real calls of the model, and nothing is left."""
        socket, other = self.visit(), self.visit()
        self.assertEqual(socket.protocol, "hades.v1")
        self.assertTrue(socket.answer_headers["x-request-id"] and socket.answer_headers["x-conveyance-session-id"])
        for visitor in (socket, other):
            self.assertFalse(visitor.hear_until(of_type("session_status"))[0]["content"]["active"])
        self.assertFalse(self.call("GET", "/status")["session_active"])
        session_id = self.call("POST", "/start")["session_id"]
        started = socket.hear_until(of_type("input_request"))
        self.assertEqual(started[-2]["content"]["session_id"], session_id)

        socket.say("input", "Add a function to greet.py")
        heard = socket.hear_until(of_type("input_request"))
        self.assertTrue("".join(message["content"] for message in heard if message["type"] == "output").strip())
        files = [message["content"] for message in heard if message["type"] == "active_files"]
        self.assertEqual(files[-1], ["greet.py"])
        self.assertIn("greet.py", self.git("status", "--short"))
        told = other.hear_until(lambda message: message.get("seq") == heard[-1]["seq"])
        self.assertEqual(told[-len(heard) :], heard)

        self.call("POST", "/input", {"text": "/drop greet.py"})
        self.assertEqual(socket.hear_until(of_type("active_files"))[-1]["content"], [])
        changes = self.call("GET", "/sessions/default/git/status")["changes"]
        self.assertEqual(changes, [{"path": "greet.py", "status": "untracked"}])
        content = self.call("GET", "/sessions/default/files/content?path=greet.py")["text"]
        self.assertEqual(content, (self.work / "greet.py").read_text())
        commit = self.call("POST", "/sessions/default/git/commit", {"message": "Greet"})["commit"]
        self.assertEqual(self.git("rev-parse", "HEAD").strip(), commit["commit"])
        for path, status in (("../secret", 400), ("/etc/passwd", 400), ("nothing", 404), (".git/config", 400)):
            self.call("GET", f"/sessions/default/files/content?path={path}", status=status)

        again = self.visit()
        first = again.hear()
        assert first is not None
        self.assertTrue(first["content"]["active"])
        again.say("resume", {"after": started[-1]["seq"], "session_id": session_id})
        replayed = again.hear_until(lambda message: message.get("seq") == heard[-1]["seq"])
        self.assertEqual([message for message in replayed if message in heard][-1], heard[-1])
        place = f"{session_id}:{heard[-2]['seq']}"
        with self.client.open(
            "GET", f"/api/codex/sessions/{session_id}/events", None, {"Last-Event-ID": place}
        ) as stream:
            self.assertEqual(stream.header("content-type"), "text/event-stream")
            stream.event()  # when to come again
            event = stream.event().decode().splitlines()
        self.assertEqual(event[0], f"id: {session_id}:{heard[-1]['seq']}")
        self.assertEqual(json.loads(event[1].removeprefix("data: ")), heard[-1])

        self.assertEqual(self.call("POST", "/stop")["status"], "success")
        ended = socket.hear_until(of_type("session_status"))[-1]["content"]
        self.assertEqual((ended["active"], ended["session_id"]), (False, session_id))
        self.assertEqual(self.call("POST", "/stop")["status"], "warning")
        socket.close()
        self.assertEqual(socket.closed, (1000, ""))
        line = self.gateway.request_log(socket.answer_headers["x-request-id"])
        self.assertEqual((line["route"], line["status"], line["client"]), ("/ws/codex", 101, "tester"))
        self.assertNotIn("greet", self.gateway.log_text())

    def test_who_is_let_in(self) -> None:
        """With a ticket, once, from its page; not without a credential, not for a strange page, not without a wish."""
        port = self.gateway.port
        ticket = self.client.ask("POST", "/api/ticket", b"", {"Origin": PAGE}).json()["ticket"]
        offers = ["hades.v1", f"hades.ticket.{ticket}"]
        with closing(WebSocket(port, "/ws/codex", {"Origin": PAGE}, offers)) as socket:
            self.assertEqual(socket.protocol, "hades.v1")
        refusals: list[tuple[dict[str, str], list[str], int, str]] = [
            ({"Origin": PAGE}, offers, 401, "invalid_ticket"),
            ({}, [], 401, "missing_api_key"),
            ({"Origin": "http://evil.example", "x-api-key": self.gateway.token}, [], 403, "origin_not_allowed"),
        ]
        for fields, protocols, status, code in refusals:
            with self.assertRaises(Rejected) as raised:
                WebSocket(port, "/ws/codex", fields, protocols)
            said = json.loads(raised.exception.body)
            self.assertEqual((raised.exception.status, said["code"], said["status"]), (status, code, "error"))
        answer = self.client.get("/ws/codex")
        self.assertEqual((answer.status, answer.header("upgrade")), (426, "websocket"))
        self.assertNotIn(ticket, self.gateway.log_text())

    def test_the_gateway_leaves(self) -> None:
        """SIGTERM: sockets are closed with a word for it, sessions end, and the gateway is gone at once."""
        socket = self.visit()
        socket.say("start_session", {"timestamp": 1})
        socket.hear_until(of_type("input_request"))
        self.assertEqual(self.gateway.stop(), 0)
        while socket.hear() is not None:
            pass
        assert socket.closed is not None
        self.assertEqual(socket.closed[0], 1001)
