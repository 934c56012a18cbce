"""Everything that goes wrong in a session's life, done on purpose, and drawn by lot."""

from __future__ import annotations

import json
import socket
import struct
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack, suppress
from random import Random
from threading import Event
from typing import Any

from wsproto.events import BytesMessage, TextMessage

from tests.real.codex.traps import OUTSIDE
from tests.real.gateway import Gateway
from tests.real.processes import descendants
from tests.real.waiting import wait_for
from tests.real.websocket import WebSocket, of_type

SECONDS = 60.0
"""What is waited for comes within two; a loaded machine may need several times that."""
ENGINES = ("codex", "rehearsal")
HELLO = "Say hello"
EDIT = "Create greet.py that prints 'moin'."
AGENT = "app-server"
"""What the command lines of Codex and of what encloses it have in common."""
LONG = "rehearse: long tokens=3000 tokens_per_second=50"
TORRENT = "rehearse: long tokens=6000 tokens_per_second=0"
PRIED = (
    "files",
    "files?path=out",
    "files?path=sub",
    "files?path=..",
    "files/content?path=clients",
    "files/content?path=sub/greet.py",
    "files/content?path=out/etc/hostname",
    "files/content?path=../gateway/clients.toml",
    "files/content?path=.codex/clients.toml",
    "files/content?path=.git/config",
    "files/content?path=greet.py",
    "files/diff",
    "git/status",
    "git/diff",
    "git/log",
    "git/branches",
)


class Ear(WebSocket):
    """A socket at a session, which keeps what it is told."""

    def __init__(self, gateway: Gateway, heard: list[str], query: str = "") -> None:
        self._heard = heard
        fields = {"Authorization": f"Bearer {gateway.token}"}
        super().__init__(gateway.port, f"/ws/codex{query}", fields, ["hades.v1"], SECONDS)

    def hear(self) -> dict[str, Any] | None:
        message = super().hear()
        self._heard.append(json.dumps(message))
        return message

    def write(self, text: str | bytes) -> None:
        """Send a frame as it is."""
        self._send(TextMessage(text) if isinstance(text, str) else BytesMessage(text))

    def turn(self) -> list[dict[str, Any]]:
        """All up to the end of a turn."""
        return self.hear_until(lambda message: message["type"] == "turn" and message["content"]["phase"] == "ended")

    def reset(self) -> None:
        """Be gone without a word, in a hurry."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()


def is_ready(message: dict[str, Any]) -> bool:
    """Whether it says that an agent waits for input."""
    return message["type"] == "session_status" and bool(message["content"]["state"] == "ready")


class Mischief:
    """One session after the other.

    :ivar heard: all that the gateway has said, to anybody, by engine.
    :ivar done: how often each thing was done.
    """

    def __init__(self, gateway: Gateway, chance: Random) -> None:
        self.gateway = gateway
        self.client = gateway.client()
        self.chance = chance
        self.heard: dict[str, list[str]] = {engine: [] for engine in ENGINES}
        self.done: Counter[str] = Counter()
        self.engine = ENGINES[0]
        self.session = ""

    def live(self, engine: str) -> None:
        """A session from its start to its end, with some mischief in it.

        :raises AssertionError: if something is not answered, or wrongly.
        """
        self.engine = engine
        self.begin()
        for act in self.chance.sample(ACTS, self.chance.choice((1, 2, 2, 3))):
            self.done[act.__name__] += 1
            try:
                act(self)
                self.calm()
            except (AssertionError, OSError) as problem:
                raise AssertionError(f"{engine}, {act.__name__}: {problem!r}; {self.heard[engine][-5:]}") from problem
        self.end()

    # -- Its plain parts -----------------------------------------------------------------------------------------------

    def call(self, method: str, path: str, document: object = None) -> tuple[int, Any]:
        """What a call answers, which is no accident."""
        answer = self.client.ask(method, f"/api/codex/{path}", document)
        self.heard[self.engine].append(answer.body.decode())
        assert answer.status not in (500, 502, 504), (path, answer.status, answer.body)
        return answer.status, answer.json()

    def at(self, path: str, document: object = None) -> tuple[int, Any]:
        """What a call about the session answers."""
        return self.call("GET" if document is None else "POST", f"sessions/{self.session}/{path}", document)

    def visit(self, query: str = "") -> Ear:
        return Ear(self.gateway, self.heard[self.engine], query or f"?session_id={self.session}")

    def begin(self) -> None:
        """Start it, by the one way or the other."""
        wish = {"engine": self.engine, "workspace": "work", "new": True}
        if self.chance.random() < 0.5:
            status, told = self.call("POST", "start", wish)
            assert status == 200, told
            self.session = told["session_id"]
            return
        with self.visit("?") as ear:
            ear.say("start_session", wish)
            told = ear.hear_until(lambda m: m["type"] == "error" or is_ready(m))
            assert is_ready(told[-1]), told[-1]
            self.session = told[-1]["content"]["session_id"]

    def calm(self) -> None:
        """Let nothing run in it any more."""
        wait_for(self._calmed, "the session is calm", SECONDS, 0.1)

    def _calmed(self) -> bool:
        _, facts = self.call("GET", f"sessions/{self.session}")
        if facts["state"] in ("ready", "idle") and not facts["queued"]:
            return True
        self.at("interrupt", {})
        return False

    def end(self) -> None:
        """Stop all sessions there are, and hear what this one has told."""
        newest = self.call("GET", f"sessions/{self.session}")[1]["seq"]
        told, deadline = [b""], time.monotonic() + SECONDS
        with self.client.open("GET", f"/api/codex/sessions/{self.session}/events?after=0", None) as stream:
            assert stream.status == 200, stream.status
            while f"id: {self.session}:{newest}\n".encode() not in told[-1]:
                told.append(stream.event())
                assert told[-1] and time.monotonic() < deadline, "not all is told again"
            for session in self.call("GET", "sessions")[1]["sessions"]:
                assert self.call("POST", "stop", {"session_id": session["session_id"]})[0] == 200
            told += stream.events()
        self.heard[self.engine] += [event.decode() for event in told]
        seqs = [int(event.split(b"\n")[0].rpartition(b":")[2]) for event in told if event.startswith(b"id: ")]
        assert seqs == sorted(set(seqs)), seqs
        self.await_nobody()

    def await_nobody(self) -> None:
        """:raises AssertionError: if the gateway has children, though it has no sessions."""
        try:
            wait_for(lambda: not descendants(self.gateway.pid), "no process is left", 10)
        except AssertionError:
            raise AssertionError([process.title() for process in descendants(self.gateway.pid)]) from None

    # -- Mischief ------------------------------------------------------------------------------------------------------

    def kill(self) -> None:
        """One of its processes is killed in a turn; the next input is answered by another agent."""
        with self.visit() as ear:
            ear.say("input", LONG)
            ear.hear_until(of_type("output"))
            # Not what a command has left running: the agent does not end with that.
            agents = [process for process in descendants(self.gateway.pid) if AGENT in process.title()]
            if not agents:
                return
            self.chance.choice(agents).kill()
            ear.hear_until(of_type("error"))
            ear.say("input", HELLO)
            ear.hear_until(of_type("input_received"))
            ended = ear.turn()
            while ended[-1]["content"]["status"] != "completed":  # that of the killed one
                ended = ear.turn()

    def vanish(self) -> None:
        """Sockets are reset in the middle of what is written to them."""
        ears = [self.visit() for _ in range(3)]
        ears[0].say("input", TORRENT)
        for ear in ears:
            ear.hear_until(of_type("output"))
            ear.reset()

    def tempt(self) -> None:
        """The model wants what it may not: with commands, with patches, by links and by paths."""
        with self.visit() as ear:
            ear.say("input", "Please reach out")
            self._answer_all(ear)

    def permit(self) -> None:
        """The same outside of Codex's sandbox, approved by two answers at a time; or by the rehearsal, an edit."""
        with self.visit() as ear:
            ear.say("input", "Please run it by leave" if self.engine == "codex" else f"ask: {EDIT}")
            self._answer_all(ear)

    def _answer_all(self, ear: Ear) -> None:
        """Answer each request for approval twice, until the turn is over."""
        while True:
            message = ear.hear()
            assert message is not None, ear.closed
            if message["type"] == "turn" and message["content"]["phase"] == "ended":
                return
            if message["type"] == "approval_request":
                approval = message["content"]["approval_id"]
                answers = [
                    lambda: ear.say("approval", {"approval_id": approval, "decision": "accept"}),  # noqa: B023
                    lambda: self.at(f"approvals/{approval}", {"decision": self.chance.choice(("accept", "decline"))}),  # noqa: B023
                ]
                self.chance.shuffle(answers)
                for answer in answers:
                    answer()

    def crowd(self) -> None:
        """Two sockets and an event stream at a flood, one of them never reads."""
        with ExitStack() as parts:
            parts.enter_context(self.visit())  # who never reads
            ear = parts.enter_context(self.visit())
            events = f"/api/codex/sessions/{self.session}/events?answers=true"
            stream = parts.enter_context(self.client.open("GET", events, None))
            ear.say("input", self.chance.choice(("Please drown us", TORRENT)))
            heard = ear.turn()
            seqs = [message["seq"] for message in heard[1:] if "seq" in message]
            assert seqs == sorted(seqs), seqs
            for event in stream.events():
                self.heard[self.engine].append(event.decode())
                if b'"phase":"ended"' in event.replace(b" ", b""):
                    return
            raise AssertionError("the event stream has ended")

    def replay(self) -> None:
        """Messages come twice, in any order, for things that never were; the socket lives on."""
        approvals = [{"approval_id": f"approval-{n}", "decision": "accept"} for n in range(3)]
        frames = [
            *({"type": "resume", "content": {"after": after}} for after in (0, 3, 2**52, 2**60, -1, "x", None)),
            {"type": "resume", "content": {"after": 1, "session_id": "another"}},
            *({"type": "approval", "content": approval} for approval in approvals),
            *({"type": "input", "content": HELLO, "id": "same"} for _ in range(3)),
            {"type": "select", "content": {"session_id": "another"}},
            {"type": "stop_session", "content": {"session_id": "another"}},
            {"type": "interrupt"},
            {"type": "steer", "content": "more"},
            {"type": "nonsense", "content": []},
            {"type": "input", "content": {"text": 1}},
            {"type": "start_session", "content": {"session_id": self.session}},
        ]
        texts = [*map(json.dumps, frames), "", "{", "[" * 5_000, '{"type": "ping", "type": "ping"}', "null"]
        texts += self.chance.choices(texts, k=10)
        self.chance.shuffle(texts)
        with self.visit() as ear:
            for text in texts:
                ear.write(text)
            ear.say("ping")
            ear.hear_until(of_type("pong"))
            if self.chance.random() < 0.3:
                ear.write(b"\0\1")
                while ear.hear() is not None:
                    pass

    def interrupt(self) -> None:
        """Turns are interrupted at any moment, before they have begun or after they are over."""
        for _ in range(3):
            with self.visit() as ear:
                ear.say("input", self.chance.choice((LONG, EDIT, HELLO)))
                ear.hear_until(of_type("input_received"))
                Event().wait(self.chance.random() / 2)
                if self.chance.random() < 0.5:
                    ear.say("interrupt")
                else:
                    self.at("interrupt", {})
                self.calm()

    def restart(self) -> None:
        """It is replaced in the middle of a turn."""
        self.call("POST", "input", {"session_id": self.session, "text": LONG})
        Event().wait(self.chance.random() / 2)
        status, told = self.call("POST", "start", {"session_id": self.session, "restart": True})
        assert status == 200, told
        self.session = told["session_id"]

    def stop(self) -> None:
        """It is stopped in the middle of a turn, from two sides; and another is started."""
        with self.visit() as ear:
            ear.say("input", self.chance.choice((LONG, EDIT, "Please drown us")))
            Event().wait(self.chance.random() / 2)
            ear.say("stop_session", {"session_id": self.session})
            self.call("POST", "stop", {"session_id": self.session})
        self.begin()

    def pry(self) -> None:
        """Files and git are asked for through every link, in a turn and after it."""
        self.call("POST", "input", {"session_id": self.session, "text": EDIT})
        for path in self.chance.sample(PRIED, len(PRIED)):
            _, told = self.at(path)
            assert OUTSIDE not in json.dumps(told), path
        self.calm()
        self.at("git/commit", {"message": "All of it"})
        self.at("git/revert", {})

    def tear(self) -> None:
        """Connections end in the middle of a request, of a handshake and of an event stream."""
        host, port = "127.0.0.1", self.gateway.port
        key = f"Authorization: Bearer {self.gateway.token}\r\nHost: {host}\r\n"
        for head in (
            f"POST /api/codex/input HTTP/1.1\r\n{key}Content-Type: application/json\r\nContent-Length: 90\r\n\r\n{{",
            f"GET /ws/codex HTTP/1.1\r\n{key}Connection: Upgrade\r\nUpgrade: websocket\r\n",
            f"GET /api/codex/sessions/{self.session}/events HTTP/1.1\r\n{key}\r\n",
        ):
            with socket.create_connection((host, port), SECONDS) as torn:
                torn.sendall(head.encode())
                with suppress(OSError):
                    torn.settimeout(self.chance.random() / 20)
                    torn.recv(100)


ACTS: tuple[Callable[[Mischief], None], ...] = (
    Mischief.kill,
    Mischief.vanish,
    Mischief.tempt,
    Mischief.permit,
    Mischief.crowd,
    Mischief.replay,
    Mischief.interrupt,
    Mischief.restart,
    Mischief.stop,
    Mischief.pry,
    Mischief.tear,
)
