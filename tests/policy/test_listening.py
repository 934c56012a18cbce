"""What an entry of ``server.listen`` may say, and when two of them want one place."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from hadesgw.policy.listening import Listener, ListenerError, parse_listener


class ParseTests(SynchronousTestCase):
    """`parse_listener` reads Twisted's grammar and only what we can open."""

    def test_each_kind_is_taken_apart(self) -> None:
        """Port, interface and path come out of every kind that has them, escapes undone."""
        table = {
            "tcp:8082": ("tcp", 8082, "", ""),
            "tcp:port=8082:interface=127.0.0.1": ("tcp", 8082, "127.0.0.1", ""),
            r"tls:8443:interface=\:\:1:backlog=5": ("tls", 8443, "::1", ""),
            "tcp:0:interface=localhost": ("tcp", 0, "localhost", ""),
            "tcp:65535": ("tcp", 65535, "", ""),
            "unix:/run/a.sock:mode=660": ("unix", None, "", "/run/a.sock"),
            r"unix:address=/run/a\:b": ("unix", None, "", "/run/a:b"),
            "systemd:domain=INET:index=0": ("systemd", None, "", ""),
            "fd:3": ("fd", None, "", ""),
        }
        for description, expected in table.items():
            listener = parse_listener(description)
            found = (listener.kind, listener.port, listener.interface, listener.path)
            self.assertEqual(found, expected, description)

    def test_options_keep_what_was_given_by_name(self) -> None:
        """Further arguments are kept for whoever opens the listener."""
        options = parse_listener("unix:/a:mode=600:lockfile=0").options
        self.assertEqual(options, {"address": "/a", "mode": "600", "lockfile": "0"})

    def test_what_is_encrypted(self) -> None:
        """What begins with tls:, and inherited sockets that are said to be."""
        for description in ("tls:443", "fd:3:tls=yes", "systemd:name=web:tls=yes"):
            self.assertTrue(parse_listener(description).encrypted, description)
        for description in ("tcp:443", "unix:/a", "fd:3", "fd:3:tls=no", "systemd:index=0"):
            self.assertFalse(parse_listener(description).encrypted, description)

    def test_what_nobody_should_listen_on_is_refused_in_words(self) -> None:
        """Each refusal says what would have been right."""
        table = {
            "": "such as tcp:",
            "x=1": "such as tcp:",
            ":": "begins with tcp:",
            "stdio": "begins with tcp:",
            "haproxy:tcp:80": "begins with tcp:",
            "ssl:443:privateKey=k": "tls: instead of ssl:",
            "tcp": "a port",
            "tcp:": "a port",
            "tcp:http": "a port",
            "tcp:-1": "a port",
            "tcp:65536": "a port",
            "tcp:1234567": "a port",
            "tcp:٨٠": "a port",
            "tcp:80:127.0.0.1": "only backlog, interface, port",
            "tcp:80:mode=600": "only backlog, interface, port",
            "tcp:80:port=81": "port once",
            "tcp:80:backlog=0": "a backlog",
            "tcp:80:backlog=65536": "a backlog",
            "tcp:80:interface=a b": "an interface",
            "tcp:80\\": "after each backslash",
            "unix:relative": "an absolute path",
            "unix:": "an absolute path",
            "unix:/\0": "an absolute path",
            "unix:/" + "a" * 107: "an absolute path",
            "unix:/a:mode=999": "a mode",
            "systemd": "either index or name",
            "systemd:INET": "only domain, index, name, tls",
            "systemd:index=0:name=web": "either index or name",
            "systemd:index=-1": "an index",
            "systemd:index=0:domain=INET7": "a domain out of INET, INET6, UNIX",
            "fd": "a number after fd:",
            "fd:x": "a number after fd:",
            "fd:3:tls=true": "tls=yes or tls=no",
            "tcp:80:tls=yes": "only backlog, interface, port",
            "unix:/a:tls=yes": "only address, backlog, lockfile, mode",
        }
        for description, words in table.items():
            error = self.assertRaises(ListenerError, parse_listener, description)
            self.assertIn(words, str(error), description)

    def test_a_path_may_fill_the_kernels_field(self) -> None:
        """107 bytes is the longest path of a socket, counted in bytes."""
        self.assertEqual(len(parse_listener("unix:/" + "a" * 106).path), 107)
        self.assertRaises(ListenerError, parse_listener, "unix:/" + "é" * 54)

    @given(st.text(alphabet="tcpunixls:=\\/0127.faceport\0é", max_size=40))
    def test_any_text_is_read_or_refused(self, description: str) -> None:
        """No text raises anything but `ListenerError`, and what is read has its kind's part."""
        try:
            listener = parse_listener(description)
        except ListenerError:
            return
        self.assertEqual(listener.port is not None, listener.kind in ("tcp", "tls"))
        self.assertEqual(listener.path != "", listener.kind == "unix")


class CollisionTests(SynchronousTestCase):
    """Two listeners collide when the second could not be opened."""

    PLACES = (
        ("tcp:80", "tls:80:interface=0.0.0.0"),
        ("tcp:81", "tcp:81:interface=0.0.0.0:backlog=9"),
        ("tcp:80:interface=127.0.0.1", "tls:80:interface=127.0.0.1"),
        (r"tcp:80:interface=\:\:1", r"tcp:80:interface=0\:0\:0\:0\:0\:0\:0\:1"),
        ("tcp:80:interface=LocalHost", "tcp:80:interface=localhost"),
        ("unix:/run/a", "unix:/run//./a:mode=600"),
        ("unix:/run/b", "unix:/run/b"),
        ("systemd:domain=INET:index=0", "systemd:domain=INET:index=0"),
        ("systemd:domain=INET:index=1", "systemd:index=1:tls=yes"),
        ("systemd:name=web", "systemd:name=web:domain=INET6"),
        ("fd:3", "fd:fileno=3:domain=INET:tls=yes"),
    )

    def test_one_place_in_two_spellings_collides(self) -> None:
        """Neither spelling, nor TLS, nor other options make another place of it."""
        for one, other in self.PLACES:
            self.assertTrue(parse_listener(one).collides(parse_listener(other)), (one, other))

    def test_different_places_do_not_collide(self) -> None:
        """Listeners out of different rows are free to stand side by side."""
        for row, other_row in itertools.combinations(self.PLACES, 2):
            for one, other in itertools.product(row, other_row):
                self.assertFalse(parse_listener(one).collides(parse_listener(other)), (one, other))

    def test_any_free_port_never_collides(self) -> None:
        """Port 0 is another port each time."""
        self.assertFalse(parse_listener("tcp:0").collides(parse_listener("tcp:0")))

    def test_a_listener_is_a_value(self) -> None:
        """Equal descriptions give equal listeners."""
        self.assertEqual(parse_listener("tcp:80"), Listener(kind="tcp", port=80, options={"port": "80"}))
