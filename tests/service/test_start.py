"""What a start judges before anything is opened."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from hadesgw.config import ConfigError
from hadesgw.policy.credentials import Role, entry, mint_token
from hadesgw.service.reload import ReloadRefused
from hadesgw.service.start import StartRefused, check, judge_places, load_clients, read_again, read_config
from tests.service.absence import without

_UPSTREAM = '[[upstream]]\nname = "vllm"\nsocket = "/run/vllm.sock"\n'


class StartTests(SynchronousTestCase):
    """One line for the first thing that is wrong; a summary if nothing is."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.write("clients.toml", entry("alice", mint_token(os.urandom), [Role.USER], None))

    def write(self, name: str, text: str) -> str:
        """A file of ours alone."""
        path = self.folder / name
        path.write_text(text)
        path.chmod(0o600)
        return str(path)

    def config(self, text: str = "") -> str:
        """The configuration's path."""
        return self.write("hadesgw.toml", text + "\n" + _UPSTREAM)

    def test_good(self) -> None:
        """Who is let in, where it listens and what it serves."""
        told = check(self.config(), None)
        self.assertIn("1 client(s)", told)
        self.assertIn("vllm at /run/vllm.sock", told)

    def test_a_tree_that_cannot_be_built(self) -> None:
        """Is no configuration."""
        path = self.config('tree = { "/v1" = ["proxy", "guard"] }')
        self.assertRaises(ConfigError, read_config, path, None)
        self.assertIn("'proxy' to be the last", str(self.assertRaises(ReloadRefused, read_again, path, None)))

    def test_log_format(self) -> None:
        """The command line goes before the file, and is judged as it is."""
        self.assertEqual(read_config(self.config(), "text").log.format, "text")
        self.assertRaises(StartRefused, read_config, self.config(), "xml")

    def test_traces_take_an_extra(self) -> None:
        """A check misses it as a start does, and neither needs it where no traces are wanted."""
        without(self, "hadesgw.telemetry.trace")
        wanted = self.config('[otel]\nendpoint = "http://localhost:4318/v1/traces"')
        for judge in (lambda: check(wanted, None), lambda: read_config(wanted, None)):
            self.assertIn("pip install 'hadesgw[otel]'", str(self.assertRaises(StartRefused, judge)))
        check(self.config(), None)

    def test_nobody_could_come_in(self) -> None:
        """Is told with what to do about it."""
        self.write("clients.toml", "")
        refused = self.assertRaises(StartRefused, load_clients, read_config(self.config(), None), {})
        self.assertIn("hadesgw token new", str(refused))

    def test_who_could_be_reached(self) -> None:
        """A listener in the clear that others reach is refused before it is opened."""
        path = self.config('server.listen = ["tcp:8082"]')
        self.assertRaises(StartRefused, check, path, None)
        self.assertRaises(ReloadRefused, read_again, path, None)

    def test_who_could_come_in_without_a_credential(self) -> None:
        """A path that asks for none is for this machine, by TLS or not."""
        tree = 'tree = { "/v1" = ["metered", "validation", "proxy"], "/healthz" = ["health"] }\n'
        files = 'tls = { certificate = "tls.pem", private_key = "tls.key" }\n'
        config = read_config(self.config(tree + files + 'server.listen = ["tls:8082"]'), None)
        self.assertIn("'guard'", str(self.assertRaises(StartRefused, judge_places, config)))
        judge_places(read_config(self.config(tree + 'server.listen = ["tcp:8082:interface=127.0.0.1"]'), None))
        judge_places(read_config(self.config(files + 'server.listen = ["tls:8082"]'), None))

    def test_a_reload_waits_for_no_name_server(self) -> None:
        """A listener's host name was looked up when it was opened; judging it again asks nobody."""
        path = self.config('server.listen = ["tcp:8082:interface=gateway.example"]')

        def look_up(*asked: object, **more: object) -> None:
            raise AssertionError(asked)

        self.patch(socket, "getaddrinfo", look_up)
        fresh = read_again(path, None)
        assert fresh.clients is not None
        self.assertEqual([client.name for client in fresh.clients.clients], ["alice"])
