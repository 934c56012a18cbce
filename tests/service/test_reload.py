"""Taking up what has changed on disk while serving."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from hadesgw.config import Config, parse
from hadesgw.policy.certificates import CertificateError
from hadesgw.policy.credentials import ClientDirectory, ClientStore, Role, entry, mint_token, parse_clients
from hadesgw.service.reload import Fresh, Reload, ReloadRefused, differences


def configuration(text: str = "") -> Config:
    """A configuration with these lines."""
    return parse(text, "hadesgw.toml", Path("/etc"))


def directory(*names: str) -> ClientDirectory:
    """Clients of these names."""
    text = "\n".join(entry(name, mint_token(os.urandom), [Role.USER], None) for name in names)
    return parse_clients(text, "clients.toml")


class Notes:
    """Remembers events."""

    def __init__(self) -> None:
        self.events: list[tuple[str, str, dict[str, object]]] = []

    def event(self, name: str, level: str = "info", **facts: object) -> None:
        """See IRequestLog."""
        self.events.append((name, level, facts))


class Server:
    """Takes credentials, or does not."""

    def __init__(self, fault: str = "") -> None:
        self.fault = fault
        self.used: list[object] = []

    def use(self, credentials: object) -> None:
        """See TlsServer."""
        if self.fault:
            raise CertificateError(self.fault)
        self.used.append(credentials)


class ReloadTests(SynchronousTestCase):
    """All of it, or nothing."""

    def setUp(self) -> None:
        self.notes = Notes()
        self.clients = ClientStore(directory("alice"), None)

    def reload(self, fresh: Fresh | Exception, server: Server | None = None) -> Any:
        """Reload with that on disk."""

        def read() -> Fresh:
            if isinstance(fresh, Exception):
                raise fresh
            return fresh

        tls: Any = server
        log: Any = self.notes
        return Reload(read, configuration(), self.clients, tls, log)()

    def names(self) -> list[str]:
        """The clients in force."""
        return [client.name for client in self.clients.directory.clients]

    def test_clients_and_certificate_are_exchanged(self) -> None:
        """New ones count at once, and the log tells how many there are."""
        server, credentials = Server(), object()
        fresh: Any = credentials
        answer = self.reload(Fresh(configuration(), directory("bob", "carol"), fresh), server)
        self.assertEqual(self.names(), ["bob", "carol"])
        self.assertEqual(server.used, [credentials])
        self.assertEqual(answer, {"clients": 2, "restart_for": []})
        self.assertEqual(self.notes.events, [("reloaded", "info", {"clients": 2, "restart_for": []})])

    def test_a_mistake_changes_nothing(self) -> None:
        """Neither one on disk, nor a certificate that OpenSSL does not take: the clients stay, the log says why."""
        fresh: Any = object()
        for broken, server in (
            (ReloadRefused("clients.toml: expected better"), Server()),
            (Fresh(configuration(), directory("bob"), fresh), Server("a stronger key")),
        ):
            with self.assertRaises(ReloadRefused):
                self.reload(broken, server)
            self.assertEqual(self.names(), ["alice"])
            self.assertEqual(server.used, [])
        self.assertEqual([event[:2] for event in self.notes.events], [("reload_refused", "error")] * 2)

    def test_clients_that_cannot_be_read_twice_stay(self) -> None:
        """Those of the environment variable, which is gone."""
        self.reload(Fresh(configuration(), None, None))
        self.assertEqual(self.names(), ["alice"])

    def test_what_waits_for_a_restart_is_named(self) -> None:
        """Other keys of the configuration have changed: the answer and a warning name them."""
        changed = configuration("[limits]\nburst = 11\n[limits.body]\ndefault = '65KiB'")
        answer = self.reload(Fresh(changed, directory("alice"), None))
        self.assertEqual(answer["restart_for"], ["limits.body.default", "limits.burst"])
        self.assertEqual(self.notes.events[0][1], "warn")

    def test_differences_are_paths_of_keys(self) -> None:
        """A list is one value, and the same configuration has none."""
        changed = configuration("[server]\nlisten = ['tcp:9:interface=127.0.0.1']\n[headers]\nrequest_id = 'X-Id'")
        self.assertEqual(sorted(differences(configuration(), changed)), ["headers.request_id", "server.listen"])
        self.assertEqual(list(differences(changed, changed)), [])


