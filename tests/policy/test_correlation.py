"""The two ids: which are kept, which are replaced, and how new ones are made."""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from hadesgw.policy.correlation import Correlation, Correlator, uuid4_source

GRAMMAR = re.compile(rb"[A-Za-z0-9._:-]{1,128}")
REQUEST, SESSION = b"x-request-id", b"x-conveyance-session-id"


def make(request_name: str = "X-Request-ID", session_name: str = "X-Conveyance-Session-ID") -> Correlator:
    """A correlator whose fresh ids are new-1, new-2 and so on."""
    numbers = iter(range(1, 1000))
    return Correlator(request_name, session_name, lambda: b"new-%d" % next(numbers))


def identify(*fields: tuple[bytes, bytes]) -> tuple[bytes, bytes, tuple[bytes, ...]]:
    """The two ids and the replaced names."""
    return taken(make().identify(fields))


def salvage(*lines: bytes, end: bytes = b"\r\n") -> tuple[bytes, bytes, tuple[bytes, ...]]:
    """The same, out of raw lines."""
    return taken(make().salvage(b"\r\n".join([b"GET / HTTP/1.1", *lines]) + end))


def taken(found: Correlation) -> tuple[bytes, bytes, tuple[bytes, ...]]:
    """What a correlation holds."""
    return found.request_id, found.session_id, found.replaced


class IdentifyTests(SynchronousTestCase):
    """`identify` reads the fields of a request."""

    def test_good_ids_are_kept(self) -> None:
        """Of every character of the grammar, and of 1 to 128 of them."""
        for value in (b"a", b"AZaz09._:-", b"x" * 128, str(uuid.uuid4()).encode()):
            self.assertEqual(identify((REQUEST, value), (SESSION, value)), (value, value, ()))

    def test_missing_ids_are_made(self) -> None:
        """Each on its own; nothing was replaced."""
        self.assertEqual(identify(), (b"new-1", b"new-2", ()))
        self.assertEqual(identify((b"accept", b"x")), (b"new-1", b"new-2", ()))
        self.assertEqual(identify((SESSION, b"s")), (b"new-1", b"s", ()))
        self.assertEqual(identify((REQUEST, b"r")), (b"r", b"new-1", ()))

    def test_unusable_ids_are_replaced_and_named(self) -> None:
        """Too long, empty, or with a character that could break a log line, a header or a page."""
        for value in (
            b"",
            b"x" * 129,
            b"a b",
            b"a/b",
            b"a,b",
            b"a;b",
            b"a\nb",
            b"a\n",
            b"a\x00",
            b"\x1b[31m",
            b"a\xe2\x80\xa8",
            b"\xff",
            b"<b>",
            b'"',
            b"{}",
            b"%41",
            b"x" * 65536,
        ):
            self.assertEqual(identify((REQUEST, value), (SESSION, b"s")), (b"new-1", b"s", (b"X-Request-ID",)), value)
            found = identify((REQUEST, b"r"), (SESSION, value))
            self.assertEqual(found, (b"r", b"new-1", (b"X-Conveyance-Session-ID",)), value)

    def test_two_of_one_are_replaced(self) -> None:
        """Even if they are equal: which of two would be found in whose log?"""
        for second in (b"a", b"b", b""):
            found = identify((REQUEST, b"a"), (SESSION, b"s"), (REQUEST, second))
            self.assertEqual(found, (b"new-1", b"s", (b"X-Request-ID",)))
        both = identify((REQUEST, b"a"), (SESSION, b"b"), (REQUEST, b"c"), (SESSION, b"d"))
        self.assertEqual(both, (b"new-1", b"new-2", (b"X-Request-ID", b"X-Conveyance-Session-ID")))

    def test_the_names_are_configured(self) -> None:
        """Found in lower case, kept as they were spelled for answers; the usual ones mean nothing then."""
        correlator = make("Trace_Id", "X-Hades-Session")
        fields = [(b"trace_id", b"t"), (b"x-hades-session", b"h"), (REQUEST, b"r")]
        self.assertEqual(taken(correlator.identify(fields)), (b"t", b"h", ()))
        self.assertEqual((correlator.request_name, correlator.session_name), (b"Trace_Id", b"X-Hades-Session"))
        self.assertEqual(correlator.names, frozenset((b"trace_id", b"x-hades-session")))
        raw = b"GET / HTTP/1.1\r\nTRACE_ID: t\r\nX-Hades-Session: h\r\nX-Request-ID: r\r\n"
        self.assertEqual(taken(correlator.salvage(raw)), (b"t", b"h", ()))

    @given(st.lists(st.tuples(st.sampled_from([REQUEST, SESSION, b"other"]), st.binary(max_size=8))))
    def test_whatever_was_sent_the_ids_are_good(self, fields: Sequence[tuple[bytes, bytes]]) -> None:
        """Both are there and follow the grammar."""
        found = make().identify(fields)
        self.assertTrue(GRAMMAR.fullmatch(found.request_id) and GRAMMAR.fullmatch(found.session_id))


class SalvageTests(SynchronousTestCase):
    """`salvage` reads what could not be parsed."""

    def test_what_was_legibly_sent_is_found(self) -> None:
        """Beside broken lines, in any case of letters, with any space around it, and where lines end with LF alone."""
        self.assertEqual(
            salvage(b"A b: c", b"X-Request-ID: r", b"\x00", b"X-CONVEYANCE-session-id:s \t"), (b"r", b"s", ())
        )
        self.assertEqual(salvage(b"X-Request-ID: r\nX-Conveyance-Session-ID: s\n", end=b""), (b"r", b"s", ()))
        self.assertEqual(salvage(b"X-Request-ID: r", b"X-Conveyance-Session-ID: s", b"", b""), (b"r", b"s", ()))

    def test_what_is_not_legible_is_made(self) -> None:
        """A name within a line, another name, a space before the colon, a line that breaks off."""
        for line in (
            b"A: X-Request-ID: r",
            b"XX-Request-ID: r",
            b"X-Request-ID : r",
            b" X-Request-ID: r",
            b"X-Request-ID",
        ):
            self.assertEqual(salvage(line)[0], b"new-1", line)
        self.assertEqual(salvage(b"X-Request-ID: r", end=b""), (b"new-1", b"new-2", ()))
        self.assertEqual(salvage(b"X-Request-ID: a\rb"), (b"new-1", b"new-2", ()))
        self.assertEqual(taken(make().salvage(b"")), (b"new-1", b"new-2", ()))

    def test_the_grammar_holds_here_too(self) -> None:
        """And so does the rule about two of one."""
        replaced = (b"X-Request-ID",)
        self.assertEqual(salvage(b"X-Request-ID: a b"), (b"new-1", b"new-2", replaced))
        self.assertEqual(salvage(b"X-Request-ID: a", b"x-request-id: a"), (b"new-1", b"new-2", replaced))

    def test_what_stands_behind_the_head_is_not_its(self) -> None:
        """Neither in a body nor in the next request."""
        rest = b"\r\nX-Request-ID: theirs\r\n"
        self.assertEqual(salvage(b"X-Request-ID: r", b"", rest)[0], b"r")
        self.assertEqual(salvage(b"A: b", b"", rest)[0], b"new-1")

    def test_nothing_that_can_be_sent_makes_it_slow(self) -> None:
        """It reads what nobody has checked, so its work must not grow faster than its input."""
        began = time.process_time()
        for filling in (b" ", b"\t", b"a", b" a", b"\x0b", b"\r", b"\n", b"X-Request-ID:", b"\nX-Request-ID: "):
            for tail in (b"", b"b", b"\r\n", b"\n", b"\x00\n"):
                make().salvage(b"GET /\r\nX-Request-ID: a" + (filling * 32768)[:32768] + tail)
        self.assertLess(time.process_time() - began, 5)  # the first of these alone once took half a minute


class UUIDTests(SynchronousTestCase):
    """`uuid4_source` makes random UUIDs."""

    def test_they_are_version_4_and_what_the_entropy_says(self) -> None:
        """All bits but those that name version and variant are random."""
        for byte in (0x00, 0xFF, 0x5A):
            made = uuid4_source(lambda count, byte=byte: bytes([byte]) * count)()  # type: ignore[misc]
            self.assertEqual(made.decode(), str(uuid.UUID(bytes=bytes([byte]) * 16, version=4)))

    def test_no_two_are_alike(self) -> None:
        """Beyond the supply of one call for entropy, which serves many."""
        calls: list[int] = []

        def entropy(count: int) -> bytes:
            calls.append(count)
            return b"".join((len(calls) * 10**6 + at).to_bytes(16, "big") for at in range(count // 16))

        mint = uuid4_source(entropy)
        made = [mint() for _ in range(600)]
        self.assertEqual(len(set(made)), 600)
        self.assertEqual(calls, [4096] * 3)
        self.assertEqual({uuid.UUID(each.decode()).version for each in made}, {4})
