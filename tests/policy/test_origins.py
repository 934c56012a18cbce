"""Origins: whose pages may call."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from hadesgw.policy.origins import Origins, own_origin

LISTED = b"http://localhost:3000"
STRANGERS = (
    b"null",
    b"",
    b"*",
    b"http://localhost:3000.evil",
    b"http://localhost:3000.evil.example",
    b"http://evil-localhost:3000",
    b"http://evil.localhost:3000",
    b"http://localhost:3000@evil.example",
    b"http://localhost:3000#",
    b"http://localhost:3000/",
    b"http://localhost.:3000",
    b"http://localhost:3000.",
    b"https://localhost:3000",
    b"ws://localhost:3000",
    b"http://localhost:3001",
    b"http://localhost:30000",
    b"http://localhost",
    b"http://127.0.0.1:3000",
    b"HTTP://localhost:3000",
    b"http://LOCALHOST:3000",
    b"http://localhost:3000 ",
    b"http://localhost:3000, http://localhost:3000",
    b"http://localhost:3000 http://evil.example",
    b"http://localhost:3000\xff",
    b"file://",
    b"chrome-extension://abcdefghijklmnop",
)
"""What is not `http://localhost:3000`, however near it comes."""


class OwnOriginTests(SynchronousTestCase):
    """The origin of our own pages."""

    def test_scheme_and_host(self) -> None:
        """It is the connection's scheme and the Host with its port, as a browser would write it."""
        table = {
            (False, b"localhost:8082"): b"http://localhost:8082",
            (True, b"localhost:8082"): b"https://localhost:8082",
            (False, b"LocalHost:8082"): b"http://localhost:8082",
            (False, b"[::1]:8082"): b"http://[::1]:8082",
            (False, b"gateway.example"): b"http://gateway.example",
        }
        self.assertEqual({asked: own_origin(*asked) for asked in table}, table)

    def test_the_port_a_scheme_implies(self) -> None:
        """A browser leaves it out, whatever Host says; the other scheme's port it does not."""
        self.assertEqual(own_origin(False, b"localhost:80"), b"http://localhost")
        self.assertEqual(own_origin(True, b"localhost:443"), b"https://localhost")
        self.assertEqual(own_origin(True, b"localhost:80"), b"https://localhost:80")
        self.assertEqual(own_origin(False, b"localhost:8080"), b"http://localhost:8080")

    def test_without_a_name(self) -> None:
        """An HTTP/1.0 client that names no host has no page of ours."""
        self.assertIsNone(own_origin(False, None))
        self.assertIsNone(own_origin(True, b""))


class OriginsTests(SynchronousTestCase):
    """The rule."""

    def setUp(self) -> None:
        self.origins = Origins(["http://localhost:3000", "https://app.example"])

    def test_programs(self) -> None:
        """Whoever sends no Origin is no page."""
        self.assertTrue(self.origins.admits([], b"http://localhost:8082"))
        self.assertTrue(self.origins.admits([], None))

    def test_our_own_page_and_listed_ones(self) -> None:
        """Both may act; only the latter are listed."""
        own = b"http://localhost:8082"
        for presented in (own, LISTED, b"https://app.example"):
            self.assertTrue(self.origins.admits([presented], own))
        self.assertIsNone(self.origins.listed([own]))
        self.assertEqual(self.origins.listed([LISTED]), LISTED)

    def test_strangers(self) -> None:
        """Nothing that only looks like a listed origin is one, and `null` is nobody."""
        for stranger in STRANGERS:
            self.assertFalse(self.origins.admits([stranger], b"http://localhost:8082"), stranger)
            self.assertIsNone(self.origins.listed([stranger]), stranger)

    def test_several(self) -> None:
        """Two Origin fields are nobody's, even if they agree."""
        for second in (LISTED, b"http://evil.example"):
            self.assertFalse(self.origins.admits([LISTED, second], LISTED))
            self.assertIsNone(self.origins.listed([LISTED, second]))

    def test_nothing_presented(self) -> None:
        """No origin is not listed."""
        self.assertIsNone(self.origins.listed([]))

    @given(st.binary(max_size=40), st.none() | st.binary(max_size=40))
    def test_only_equals_are_admitted(self, presented: bytes, own: bytes | None) -> None:
        """Whatever is sent: it is admitted if it is, to the byte, one of those that may."""
        self.assertEqual(
            self.origins.admits([presented], own), presented in (own, LISTED, b"https://app.example"), presented
        )
