"""The gateway behind TLS, as a process, with clients on real sockets that read late, leave early or are refused."""

from __future__ import annotations

import contextlib
import socket
import ssl
import subprocess
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.authority import Authority, Issued
from tests.real.gateway import Gateway
from tests.real.upstream import DONE, EVENT, Upstream
from tests.real.visitor import CHAT, Visitor
from tests.real.waiting import wait_for

TREE = {"/v1": ["metered", "guard", "proxy"], "/metrics": ["guard", "metrics"], "/healthz": ["health"]}
FORBID_EXECUTABLE_MEMORY = """
import ctypes, os, sys
PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN = 65, 1  # of Linux's include/uapi/linux/prctl.h; it outlasts an exec
if ctypes.CDLL(None).prctl(PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN, 0, 0, 0):
    sys.exit(77)
os.execv(sys.argv[1], sys.argv[1:])
"""
"""Becomes another program, whose memory cannot become executable once it could be written."""


class TlsVisitor(Visitor):
    """One TLS connection to a gateway.

    :ivar ended: as :class:`Visitor`'s, or "cut" when the connection ended without a goodbye.
    """

    socket: ssl.SSLSocket

    def __init__(self, gateway: Gateway, port: int, context: ssl.SSLContext, receive_buffer: int | None = None) -> None:
        self.gateway = gateway
        self.received = b""
        self.ended: str | None = None
        plain = socket.socket()
        if receive_buffer is not None:
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        plain.settimeout(20)
        plain.connect(("127.0.0.1", port))
        self.socket = context.wrap_socket(plain, server_hostname="localhost")

    def read(self, seconds: float) -> bool:
        """See :meth:`Visitor.read`."""
        if self.ended:
            return False
        self.socket.settimeout(seconds)
        try:
            data = self.socket.recv(65536)
        except TimeoutError:
            return False
        except ConnectionResetError:
            self.ended = "reset"
            return False
        except ssl.SSLEOFError:
            self.ended = "cut"
            return False
        self.received += data
        if not data:
            self.ended = "closed"
        return bool(data)

    def say_goodbye(self) -> None:
        """Say that we say no more, and wait for no answer."""
        self.socket.settimeout(0)
        with contextlib.suppress(ssl.SSLError, BlockingIOError):
            self.socket.unwrap()


class Case(SynchronousTestCase):
    """A gateway with two doors, one of them TLS, before an upstream."""

    def setUp(self) -> None:
        scratch = tempfile.TemporaryDirectory(prefix="hgw-")
        self.addCleanup(scratch.cleanup)
        self.folder = Path(scratch.name)
        (self.folder / "gateway").mkdir()
        now = datetime.now(UTC)
        self.authority, self.vouching = Authority(now), Authority(now, name="of clients")
        certificate, key = self.authority.issue("localhost").write(self.folder, "server")
        for authority, name in ((self.authority, "authority.pem"), (self.vouching, "clients.pem")):
            (self.folder / name).write_bytes(authority.pem)
        tls = {"certificate": str(certificate), "private_key": str(key), "client_ca": str(self.folder / "clients.pem")}
        self.upstream = Upstream(self.folder / "up.sock")
        self.addCleanup(self.upstream.stop)
        self.upstream.start()
        self.gateway = Gateway(
            self.folder / "gateway",
            self.upstream.path,
            ["m"],
            {
                "server": {"listen": ["tcp:0:interface=127.0.0.1", "tls:0:interface=127.0.0.1"]},
                "tls": tls,
                "tree": TREE,
            },
            {"certificate": "DNS:robot.example"},
        )

    def start(self) -> None:
        self.addCleanup(self.gateway.stop)
        self.gateway.start()
        self.port = wait_for(self._tls_port, "the gateway says where it listens with TLS", 60)

    def _tls_port(self) -> int | None:
        for line in self.gateway.log_lines():
            if line.get("event") == "listening" and str(line["address"]).startswith("tls:127.0.0.1:"):
                return int(str(line["address"]).rpartition(":")[2])
        return None

    def visitor(self, own: Issued | None = None, receive_buffer: int | None = None) -> TlsVisitor:
        context = ssl.create_default_context(cafile=str(self.folder / "authority.pem"))
        if own is not None:
            context.load_cert_chain(*own.write(self.folder, "client"))
        return self.visitor_of(context, receive_buffer)

    def visitor_of(self, context: ssl.SSLContext, receive_buffer: int | None = None) -> TlsVisitor:
        visitor = TlsVisitor(self.gateway, self.port, context, receive_buffer)
        self.addCleanup(visitor.close)
        return visitor


class TlsTests(Case):
    """Streams, refusals, departures."""

    def setUp(self) -> None:
        super().setUp()
        self.start()

    def test_streams_end_as_they_should(self) -> None:
        """A whole one with its last chunk; one that the model broke off with an error for its last event, and none."""
        visitor = self.visitor()
        visitor.ask("stream", "req-1", events=200)
        visitor.read_to_end()
        answer = visitor.answer()
        self.assertEqual((answer.whole, answer.body), (True, EVENT * 200 + DONE))
        self.assertEqual(visitor.ended, "closed")
        visitor = self.visitor()
        visitor.ask("reset-in-chunk", "req-2")
        visitor.read_to_end()
        answer = visitor.answer()
        self.assertFalse(answer.whole)
        self.assertIn(b"error", answer.body)

    def test_an_early_refusal_reaches_a_client_that_still_sends(self) -> None:
        """413 to an upload of megabytes: the client can send all of it, and then read why it was in vain."""
        visitor = self.visitor()
        visitor.socket.sendall(
            f"POST {CHAT} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {self.gateway.token}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {8 << 20}\r\n\r\n".encode()
        )
        for _ in range(8):
            visitor.socket.sendall(b"x" * (1 << 20))
        visitor.read_to_end()
        answer = visitor.answer()
        self.assertEqual((answer.status, answer.whole, visitor.ended), (413, True, "closed"))

    def test_a_client_that_does_not_read_holds_the_model(self) -> None:
        """And not our memory; when it leaves, whether it says so or not, the model is told at once."""
        for number, leave in enumerate((TlsVisitor.say_goodbye, TlsVisitor.close, TlsVisitor.reset)):
            request = f"req-{number}"
            visitor = self.visitor(receive_buffer=4096)
            visitor.ask("flood", request)
            (stalled,) = wait_for(lambda: self.upstream.events("stalled", request), "nothing is taken", 20)  # noqa: B023
            self.assertLess(stalled["wrote"], 4 << 20)
            self.assertEqual(self.upstream.events("left", request), [])
            leave(visitor)
            wait_for(lambda: self.upstream.events("left", request), "the model is told", 5)  # noqa: B023

    def test_certificates_of_clients(self) -> None:
        """One names its client where no token does; one that we do not know is nobody; others end the handshake."""
        now = datetime.now(UTC)
        robot = self.vouching.issue("robot.example")
        other = self.vouching.issue("other.example")
        for own, token, status, client in (
            (robot, "", 200, "tester"),
            (other, "", 401, None),
            (None, "", 401, None),
            (other, self.gateway.token, 200, "tester"),
            (robot, "hgw_" + "x" * 43, 401, None),
        ):
            visitor = self.visitor(own)
            bearer = f"Authorization: Bearer {token}\r\n" if token else ""
            head = f"GET /v1/models HTTP/1.1\r\nHost: localhost\r\n{bearer}Connection: close\r\n\r\n"
            visitor.socket.sendall(head.encode())
            visitor.read_to_end()
            answer = visitor.answer()
            self.assertEqual(answer.status, status)
            line = self.gateway.request_log(answer.one(b"x-request-id").decode())
            self.assertEqual(line.get("client"), client)
        for bad in (
            self.vouching.issue("robot.example", ends=now - timedelta(seconds=1)),
            Authority(now, name="of clients").issue("robot.example"),
        ):
            with self.assertRaises(ssl.SSLError) as caught:
                visitor = self.visitor(bad)
                visitor.socket.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
                visitor.socket.recv(1)
            self.assertIn("alert", str(caught.exception))

    def test_what_is_measured(self) -> None:
        """How long the certificate counts, and that nothing is listened on but what is configured."""
        text = self.gateway.client().get("/metrics").body.decode()
        values = dict(line.split(" ") for line in text.splitlines() if not line.startswith("#") and "{" not in line)
        self.assertEqual(float(values["hades_codex_unexpected_listeners"]), 0)
        days = float(values["hades_codex_certificate_expiry_seconds"]) / 86400
        self.assertTrue(88.9 < days < 89, days)
        context = ssl.create_default_context(cafile=str(self.folder / "authority.pem"))
        context.set_alpn_protocols(["h2", "http/1.1"])
        self.assertEqual(self.visitor_of(context).socket.selected_alpn_protocol(), "http/1.1")


class SealedTests(Case):
    """As in the sealed service, where memory cannot become executable."""

    def test_tls_is_spoken(self) -> None:
        """Without ALPN then, which needs a callback made at run time; clients take that for HTTP/1.1."""
        prefix = [sys.executable, "-c", FORBID_EXECUTABLE_MEMORY]
        if subprocess.run([*prefix, sys.executable, "-c", ""], timeout=60, check=False).returncode == 77:
            raise SkipTest("this kernel cannot forbid executable memory (Linux 6.3 can)")
        self.gateway.prefix = prefix
        self.start()
        visitor = self.visitor()
        visitor.ask("stream", "req-1", events=3)
        visitor.read_to_end()
        self.assertTrue(visitor.answer().whole)
        context = ssl.create_default_context(cafile=str(self.folder / "authority.pem"))
        context.set_alpn_protocols(["h2", "http/1.1"])
        self.assertIsNone(self.visitor_of(context).socket.selected_alpn_protocol())
