"""What is said of a model server's socket, in every state it may be in."""

from __future__ import annotations

import contextlib
import http.server
import json
import socket
import socketserver
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from hadesgw.config import parse
from hadesgw.service import model_socket
from hadesgw.service.model_socket import look_at_model_server

Answers = Mapping[str, tuple[int, object]]
WELL: Answers = {
    "/health": (200, ""),
    "/v1/models": (200, {"data": [{"id": "m", "max_model_len": 8192}]}),
    "/tokenize": (400, {}),
}


class Model(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """Answers each path as it is told, 404 else."""

    daemon_threads = True
    answers: Answers


class Visit(http.server.BaseHTTPRequestHandler):
    def _answer(self) -> None:
        assert isinstance(self.server, Model)
        self.rfile.read(int(self.headers.get("Content-Length", 0)))  # to close on what is unread resets the connection
        status, document = self.server.answers.get(self.path, (404, ""))
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = _answer

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        pass

    def address_string(self) -> str:
        return "unix"


class SocketTests(SynchronousTestCase):
    """Each finding, by what it names and what it says to do."""

    def setUp(self) -> None:
        scratch = tempfile.TemporaryDirectory(prefix="hgw-")
        self.addCleanup(scratch.cleanup)
        self.folder = Path(scratch.name)
        self.path = self.folder / "api.sock"

    def serve(self, answers: Answers) -> None:
        """A model server that answers so."""
        self.server = Model(str(self.path), Visit)
        self.server.answers = answers
        self.addCleanup(self.server.server_close)
        self.addCleanup(self.server.shutdown)
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def findings(self, keys: str = 'models = ["m"]') -> list[tuple[str, str, str]]:
        """What is found with these keys of the upstream."""
        config = parse(f'[[upstream]]\nname = "v"\nsocket = "{self.path}"\n{keys}\n', "x.toml", self.folder)
        return list(look_at_model_server(config, config.upstream[0]))

    def only(self, keys: str = 'models = ["m"]') -> tuple[str, str, str]:
        """The only finding that is not good."""
        (finding,) = [each for each in self.findings(keys) if each[0] != "good"]
        return finding

    def listening(self, backlog: int = 5) -> socket.socket:
        """A socket at the model server's place, which nobody serves yet."""
        listener = socket.socket(socket.AF_UNIX)
        self.addCleanup(listener.close)
        listener.bind(str(self.path))
        listener.listen(backlog)
        return listener

    def test_a_model_server_that_is_well_is_good_in_all(self) -> None:
        """It answers, serves the models and the length that are admitted, and counts tokens."""
        self.serve(WELL)
        findings = self.findings()
        self.assertEqual({verdict for verdict, _, _ in findings}, {"good"})
        self.assertEqual(len(findings), 4)

    def test_no_socket(self) -> None:
        """Nothing there, and something there that is no socket."""
        self.assertEqual(self.only()[:2], ("bad", f"there is no {self.path}"))
        self.path.touch()
        self.assertEqual(self.only()[:2], ("bad", f"{self.path} is no socket"))

    def test_nobody_listens(self) -> None:
        """A dead server's socket."""
        left = socket.socket(socket.AF_UNIX)
        left.bind(str(self.path))
        left.close()
        verdict, told, remedy = self.only()
        self.assertEqual((verdict, told), ("bad", f"nobody listens on {self.path}"))
        self.assertIn("start the model server", remedy)

    def test_nobody_accepts(self) -> None:
        """A full queue, which a client would meet as an error at once."""
        self.listening(0)
        for _ in range(2):
            knocking = socket.socket(socket.AF_UNIX)
            self.addCleanup(knocking.close)
            knocking.setblocking(False)
            knocking.connect_ex(str(self.path))
        self.assertIn("full queue", self.only()[1])

    def test_what_is_not_http_is_told(self) -> None:
        """Something answers that is no model server."""
        listener = self.listening()

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(1024)
                connection.sendall(b"220 mail.example ESMTP\r\n")

        thread = threading.Thread(target=serve)
        thread.start()
        self.addCleanup(thread.join)
        self.assertIn("not in HTTP", self.only()[1])

    def test_an_answer_that_comes_byte_by_byte_is_not_waited_for(self) -> None:
        """Its time is up as a whole, however often there is something of it."""
        self.patch(model_socket, "ANSWER_SECONDS", 0.3)
        listener = self.listening()

        def serve() -> None:
            connection, _ = listener.accept()
            with connection, contextlib.suppress(OSError):
                while True:
                    connection.sendall(b"H")
                    connection.settimeout(0.05)
                    with contextlib.suppress(TimeoutError):
                        while connection.recv(1024):
                            pass
                        return

        thread = threading.Thread(target=serve)
        thread.start()
        self.addCleanup(thread.join)
        self.assertIn("does not answer within", self.only()[1])

    def test_a_dead_engine(self) -> None:
        """The server answers, its engine does not."""
        self.serve({**WELL, "/health": (503, "")})
        self.assertIn("/health answers 503", self.only()[1])

    def test_other_models_than_admitted(self) -> None:
        """What is admitted and not served is bad, and what is served is named."""
        self.serve(WELL)
        verdict, told, _ = self.only('models = ["m", "other"]')
        self.assertEqual((verdict, told), ("bad", "it does not serve other, but m"))

    def test_a_shorter_context_than_admitted(self) -> None:
        """vLLM would refuse what we admit; a longer one is only a chance missed."""
        self.serve(WELL)
        verdict, _, remedy = self.only('models = ["m"]\ncontext_tokens = 8193')
        self.assertEqual((verdict, remedy), ("warning", "set context_tokens = 8192"))
        told = [finding for finding in self.findings('models = ["*"]\ncontext_tokens = 4000') if finding[2]]
        self.assertEqual([finding[0] for finding in told], ["good"])

    def test_no_tokenizer(self) -> None:
        """Budgets are then estimates, which is a warning."""
        self.serve({path: answer for path, answer in WELL.items() if path != "/tokenize"})
        self.assertIn("estimated", self.only()[1])

    def test_no_list_of_models(self) -> None:
        """Something that answers /health alone is no vLLM."""
        self.serve(WELL)
        answers: list[tuple[int, object]] = [(404, {}), (200, {"data": [{}]}), (200, []), (200, {"data": [{"id": 5}]})]
        for answer in answers:
            self.server.answers = {**WELL, "/v1/models": answer}
            self.assertIn("/v1/models", self.only()[1])
        deep: object = []
        for _ in range(900):
            deep = [deep]
        self.server.answers = {**WELL, "/v1/models": (200, {"data": [{"id": "m", "max_model_len": deep}]})}
        self.assertEqual([finding for finding in self.findings() if finding[0] == "bad"], [])

    def test_a_socket_for_everybody(self) -> None:
        """Who may pass the gateway by is a warning, with the command that ends it."""
        self.serve(WELL)
        self.path.chmod(0o777)
        self.assertEqual([finding for finding in self.findings() if finding[0] != "good"], [], "the folder is closed")
        self.folder.chmod(0o755)
        verdict, told, remedy = self.only()
        self.assertEqual(verdict, "warning")
        self.assertIn("past the gateway", told)
        self.assertIn("chmod o-rwx", remedy)
