"""What a request head and body must look like to be let in: every rule at its edge and one past it."""

from __future__ import annotations

import time

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from hadesgw.http.framing import (
    METHODS,
    AllowedHosts,
    ChunkedBody,
    HeadLimits,
    RequestHead,
    answer_fields,
    head_end,
    read_head,
    upstream_fields,
)
from hadesgw.policy.refusals import Refused

LIMITS = HeadLimits()
GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


def lines(*parts: bytes) -> bytes:
    """A head of these lines."""
    return b"\r\n".join([*parts, b"", b""])


def with_fields(*fields: bytes, version: bytes = b"HTTP/1.1") -> bytes:
    """A POST with a Host and these fields."""
    return lines(b"POST / " + version, b"Host: localhost", *fields)


def read(raw: bytes, limits: HeadLimits = LIMITS) -> RequestHead | str:
    """The head, or the reason why it is refused."""
    try:
        return read_head(raw, limits)
    except Refused as refused:
        return refused.refusal.reason


def admitted(raw: bytes, limits: HeadLimits = LIMITS) -> RequestHead:
    """The head, which must be admitted."""
    head = read(raw, limits)
    assert isinstance(head, RequestHead), f"{raw!r}: {head}"
    return head


def end(data: bytes, limits: HeadLimits = LIMITS, seen: int = 0) -> int | str:
    """Where the head ends, or the reason why it is refused."""
    try:
        return head_end(data, limits, seen)
    except Refused as refused:
        return refused.refusal.reason


def deliver(data: bytes, cuts: list[int], limits: HeadLimits = LIMITS) -> RequestHead | str | None:
    """What comes of a head that arrives in pieces which end at `cuts`; None while it is incomplete."""
    seen = 0
    for cut in sorted({*cuts, len(data)}):
        found = end(data[:cut], limits, seen)
        if isinstance(found, str):
            return found
        if found:
            return read(data[:found], limits)
        seen = cut
    return None


class HeadEndTests(SynchronousTestCase):
    """`head_end` finds where a head ends before anything is parsed, and bounds what never ends."""

    def test_the_head_ends_with_its_empty_line(self) -> None:
        """What stands behind it is not counted, nor looked at."""
        self.assertEqual(end(GET), len(GET))
        self.assertEqual(end(GET + b"\n\r\0"), len(GET))

    def test_an_unfinished_head_is_waited_for(self) -> None:
        """At any byte of it, a CR that waits for its LF included."""
        for cut in range(len(GET)):
            self.assertEqual(end(GET[:cut]), 0, cut)

    def test_a_line_that_no_crlf_ends_is_refused_when_it_comes(self) -> None:
        """A bare CR or LF, in the first line or behind it, is told before the head is complete."""
        table = {
            b"GET / HTTP/1.1\n": "bad_request_line",
            b"\nGET": "bad_request_line",
            b"GET /\rH": "bad_request_line",
            b"GET / HTTP/1.1\r\r": "bad_request_line",
            b"GET / HTTP/1.1\r\nA: b\n": "bad_field",
            b"GET / HTTP/1.1\r\n\n": "bad_field",
            b"GET / HTTP/1.1\r\nA: b\rc": "bad_field",
        }
        for data, reason in table.items():
            self.assertEqual(end(data), reason, data)

    def test_the_whole_head_is_bounded_to_the_byte(self) -> None:
        """One of `total` bytes is let in, one of a byte more is not, complete or not."""
        limits = HeadLimits(total=200)
        for size, verdict in ((200, 200), (201, "head_too_large")):
            head = with_fields(b"A: " + b"a" * (size - len(with_fields(b"A: "))))
            self.assertEqual(len(head), size)
            self.assertEqual(end(head, limits), verdict)
            self.assertEqual(end(head + b"more", limits), verdict)
        unfinished = b"GET / HTTP/1.1\r\nA: ".ljust(200, b"a")
        self.assertEqual(end(unfinished, limits), 0)
        self.assertEqual(end(unfinished + b"a", limits), "head_too_large")

    def test_a_first_line_without_end_is_refused_as_soon_as_it_cannot_end_well(self) -> None:
        """A target of the longest size is waited for with the longest method; nothing longer is."""
        limits = HeadLimits(target=50)
        longest = b"OPTIONS /" + b"a" * 49 + b" HTTP/1.1\r"
        self.assertEqual(end(longest, limits), 0)
        self.assertEqual(end(longest[:-1] + b"1", limits), 0)
        self.assertEqual(end(longest[:-1] + b"11", limits), "target_too_long")

    def test_the_fault_that_came_first_is_named(self) -> None:
        """Between a bare line break and a line too long, the order on the wire decides."""
        limits = HeadLimits(target=10)
        self.assertEqual(end(b"GET /a\n" + b"a" * 40, limits), "bad_request_line")
        self.assertEqual(end(b"GET /a" + b"a" * 40 + b"\n", limits), "target_too_long")

    def test_a_head_that_drips_costs_no_more_than_a_whole_one(self) -> None:
        """What was looked at once is not looked at again: the last byte of a long head costs as little as the first."""
        head = b"GET / HTTP/1.1\r\nA: " + b"a" * 32000
        began = time.process_time()
        for cut in range(1, len(head)):
            head_end(head[:cut], LIMITS, cut - 1)
        self.assertLess(time.process_time() - began, 2)  # 27 s when every byte makes all be searched again

    @given(
        st.lists(
            st.sampled_from([b"GET ", b"/", b" HTTP/1.1", b"\r", b"\n", b"\r\n", b"Host: a", b"B:c", b"\r\n\r\n"])
        ),
        st.lists(st.integers(0, 120)),
    )
    def test_how_the_bytes_are_cut_changes_nothing(self, parts: list[bytes], cuts: list[int]) -> None:
        """Head or refusal are the same for every way to cut the same bytes."""
        data = b"".join(parts)
        limits = HeadLimits(total=60, target=20)
        cuts = [cut for cut in cuts if cut < len(data)]
        self.assertEqual(deliver(data, cuts, limits), deliver(data, [], limits))
        self.assertEqual(deliver(data, list(range(len(data))), limits), deliver(data, [], limits))


class RequestLineTests(SynchronousTestCase):
    """The first line."""

    def test_what_it_says_is_read(self) -> None:
        """Method, target, the target's path, and HTTP's minor version."""
        head = admitted(b"POST /v1/x?a=%20&b=/? HTTP/1.0\r\n\r\n")
        found = (head.method, head.target, head.path, head.minor)
        self.assertEqual(found, (b"POST", b"/v1/x?a=%20&b=/?", b"/v1/x", 0))

    def test_methods_are_the_ones_we_know(self) -> None:
        """Spelled exactly; any other token is not implemented, TRACE and CONNECT among them."""
        for method in METHODS:
            self.assertEqual(admitted(lines(method + b" / HTTP/1.1", b"Host: localhost")).method, method)
        for method in (b"get", b"TRACE", b"CONNECT", b"PROPFIND", b"PRI", b"G*T", b"GETT"):
            self.assertEqual(read(lines(method + b" / HTTP/1.1", b"Host: localhost")), "unknown_method", method)

    def test_a_line_out_of_shape_is_refused(self) -> None:
        """Single spaces, three parts, the protocol's name in capitals."""
        for line in (
            b"",
            b"GET",
            b"GET /",
            b"GET  / HTTP/1.1",
            b"GET /  HTTP/1.1",
            b"GET\t/ HTTP/1.1",
            b"GET / HTTP/1.1 ",
            b" GET / HTTP/1.1",
            b"GET / a HTTP/1.1",
            b"GET / http/1.1",
            b"GET / HTTP/11",
            b"GET / HTTP/1.1.1",
            b"GET / HTTP/1.",
            b"GET / ICE/1.1",
            b"G(T / HTTP/1.1",
        ):
            self.assertEqual(read(lines(line, b"Host: localhost")), "bad_request_line", line)

    def test_only_http_1_0_and_1_1_are_spoken(self) -> None:
        """Any other version is answered as such, 0.9 and 2.0 too."""
        for version in (b"0.9", b"1.2", b"1.9", b"2.0", b"3.0"):
            self.assertEqual(read(lines(b"GET / HTTP/" + version, b"Host: localhost")), "bad_version", version)

    def test_a_target_is_an_absolute_path_and_a_query(self) -> None:
        """No other form, no fragment, no character outside the grammar, and whole percent escapes."""
        for target in (b"/", b"//a//b", b"/a;b=c,d/..", b"/%00%ff", b"/?", b"/?a?b/c", b"/~!$&'()*+,;=:@-._"):
            self.assertEqual(admitted(lines(b"GET " + target + b" HTTP/1.1", b"Host: localhost")).target, target)
        for target in (
            b"*",
            b"a",
            b"http://localhost/",
            b"localhost:80",
            b"?a",
            b"/#",
            b"/a#b",
            b"/%",
            b"/%4",
            b"/%zz",
            b"/a\\b",
            b'/"',
            b"/<",
            b"/[",
            b"/{",
            b"/|",
            b"/^",
            b"/`",
            b"/\x00",
            b"/\x0b",
            b"/\x7f",
            b"/\x80",
            b"/\xc3\xa9",
            b"/?\xff",
            b"/?#",
        ):
            self.assertEqual(read(lines(b"GET " + target + b" HTTP/1.1", b"Host: localhost")), "bad_target", target)

    def test_the_target_is_bounded_to_the_byte(self) -> None:
        """One of the longest size is let in, one of a byte more is not."""
        for size, verdict in ((LIMITS.target, None), (LIMITS.target + 1, "target_too_long")):
            head = lines(b"GET /" + b"a" * (size - 1) + b" HTTP/1.1", b"Host: localhost")
            found = read(head)
            self.assertEqual(found if isinstance(found, str) else None, verdict)
            self.assertEqual(deliver(head, list(range(len(head)))), found)


class FieldTests(SynchronousTestCase):
    """Header fields as such."""

    def test_names_are_lowered_and_values_kept(self) -> None:
        """In the order they came, without the space around a value, which is no part of it."""
        head = admitted(with_fields(b"A: b", b"X_y:c", b"E: \t d\te \t", b"F:", b"G: \x80\xff"))
        self.assertEqual(
            head.fields[1:], [(b"a", b"b"), (b"x_y", b"c"), (b"e", b"d\te"), (b"f", b""), (b"g", b"\x80\xff")]
        )

    def test_all_values_of_a_name_are_found(self) -> None:
        """In their order, whether it came once, often or never."""
        once, twice = admitted(with_fields(b"A: 1", b"B: 2")), admitted(with_fields(b"A: 1", b"B: 2", b"a: 3"))
        self.assertEqual((once.values(b"a"), once.values(b"c")), ([b"1"], []))
        self.assertEqual((twice.values(b"a"), twice.values(b"b")), ([b"1", b"3"], [b"2"]))

    def test_a_field_out_of_shape_is_refused(self) -> None:
        """Space before the colon, folded lines, names and values with characters outside the grammar."""
        for field in (
            b"A : b",
            b"A\t: b",
            b" A: b",
            b": b",
            b"A",
            b"A b: c",
            b"A(: b",
            b"\x80: b",
            b"A: b\r\n c",
            b"A: b\r\n\tc",
            b"A: b\r\n\r c",
            b"A: \x00",
            b"A: b\x0bc",
            b"A: b\x0cc",
            b"A: \x7f",
            b"A: \x1b[31m",
            b"A: b\rc",
            b"A: b\nc",
        ):
            self.assertEqual(read(with_fields(field)), "bad_field", field)
            self.assertEqual(read(lines(b"GET / HTTP/1.1", field, b"Host: localhost")), "bad_field", field)

    def test_their_number_is_bounded(self) -> None:
        """The last allowed one is let in, one more is not."""
        for count, verdict in ((LIMITS.fields, None), (LIMITS.fields + 1, "head_too_large")):
            found = read(with_fields(*[b"A: b"] * (count - 1)))
            self.assertEqual(found if isinstance(found, str) else None, verdict)

    def test_an_offered_upgrade_is_read_as_any_head(self) -> None:
        """Whether it is taken is decided elsewhere."""
        head = admitted(with_fields(b"Connection: upgrade", b"Upgrade: websocket", b"A: b"))
        self.assertEqual(head.fields[-1], (b"a", b"b"))


class HostTests(SynchronousTestCase):
    """The Host field, and whom we answer for."""

    def test_exactly_one_is_asked_for(self) -> None:
        """HTTP/1.1 must name one; HTTP/1.0 may name none; nobody may name two, not even the same."""
        self.assertEqual(read(b"GET / HTTP/1.1\r\n\r\n"), "bad_host")
        self.assertEqual(admitted(b"GET / HTTP/1.0\r\n\r\n").host, b"")
        for version in (b"1.0", b"1.1"):
            twice = lines(b"GET / HTTP/" + version, b"Host: localhost", b"host: localhost")
            self.assertEqual(read(twice), "bad_host")

    def test_the_name_is_read_without_its_port(self) -> None:
        """Lower-cased, because names are compared so."""
        for value, name in (
            (b"LocalHost", b"localhost"),
            (b"localhost:8082", b"localhost"),
            (b"[::1]:65535", b"[::1]"),
            (b"[2001:DB8::1.2.3.4]", b"[2001:db8::1.2.3.4]"),
            (b"a_b-c.d", b"a_b-c.d"),
            (b"a" * 253, b"a" * 253),
        ):
            self.assertEqual(admitted(lines(b"GET / HTTP/1.1", b"Host: " + value)).host, name)

    def test_anything_but_a_name_and_a_port_is_refused(self) -> None:
        """User parts, paths, queries, fragments, lists, and ports that there are not."""
        for value in (
            b"",
            b"a@b",
            b"a/b",
            b"a#b",
            b"a?b",
            b"a/#@b",
            b"a b",
            b"a,b",
            b"a:",
            b"a:b",
            b"a:1:2",
            b"a:-1",
            b"a:+1",
            b"a:65536",
            b"a:123456",
            b":80",
            b"::1",
            b"[::1",
            b"[]",
            b"[::1]x",
            b"[fe80::1%25eth0]",
            b"http://a",
            b"a\\b",
            b"a;b",
            b"%61",
            b"\xc3\xa9",
            b"a" * 254,
        ):
            self.assertEqual(read(lines(b"GET / HTTP/1.1", b"Host: " + value)), "bad_host", value)
            self.assertEqual(read(lines(b"GET / HTTP/1.0", b"Host: " + value)), "bad_host", value)

    def test_we_answer_for_loopback_and_for_names_we_were_given(self) -> None:
        """In any case of letters; a client of HTTP/1.0 that named nobody is answered too."""
        hosts = AllowedHosts(["Gate.Example", "10.1.2.3", "[2001:db8::1]"])
        for name in (b"localhost", b"127.0.0.1", b"127.9.9.9", b"[::1]", b"", b"gate.example", b"10.1.2.3"):
            self.assertTrue(hosts.admits(name), name)
        self.assertTrue(hosts.admits(b"[2001:db8::1]"))

    def test_we_answer_for_nobody_else(self) -> None:
        """Not for names that only look like ours, as an attacker's page has one, nor for addresses in disguise."""
        hosts = AllowedHosts(["gate.example"])
        for name in (
            b"localhost.evil",
            b"evil-localhost",
            b"localhost.",
            b"127.0.0.1.",
            b"127.0.0.1.evil.example",
            b"127.1",
            b"2130706433",
            b"0x7f000001",
            b"0177.0.0.1",
            b"0.0.0.0",
            b"128.0.0.1",
            b"[::]",
            b"[::ffff:127.0.0.1]",
            b"[0:0:0:0:0:0:0:1]",
            b"gate.example.",
            b"a.gate.example",
            b"xgate.example",
        ):
            self.assertFalse(hosts.admits(name), name)


class LengthTests(SynchronousTestCase):
    """How long the body is."""

    def test_a_length_is_plain_digits(self) -> None:
        """Without a length there is no body; with the coding there is one of unknown length."""
        self.assertEqual(admitted(with_fields()).length, 0)
        for value, length in ((b"0", 0), (b"5", 5), (b"007", 7), (b"9" * 18, 10**18 - 1), (b" 5 ", 5)):
            self.assertEqual(admitted(with_fields(b"Content-Length: " + value)).length, length)
        for value in (b"chunked", b"Chunked", b" chunked "):
            self.assertIsNone(admitted(with_fields(b"Transfer-Encoding: " + value)).length)

    def test_a_length_that_can_be_read_in_two_ways_is_refused(self) -> None:
        """Signs, other bases, lists, repeated fields, too many digits, and digits that are none."""
        for value in (
            b"",
            b"+5",
            b"-5",
            b"0x5",
            b"5_0",
            b"5.0",
            b"5e0",
            b"5, 5",
            b"5,5",
            b"5 5",
            b"5;",
            b"\xb2",
            b"\xd9\xa5",
            b"9" * 19,
            b"18446744073709551617",
            b"4" * 4301,
        ):
            self.assertEqual(read(with_fields(b"Content-Length: " + value)), "bad_length", value[:30])
        self.assertEqual(read(with_fields(b"Content-Length: 5", b"Content-Length: 5")), "bad_length")
        self.assertEqual(read(with_fields(b"Content-Length: 5", b"content-length: 6")), "bad_length")

    def test_a_length_and_a_coding_together_are_refused(self) -> None:
        """In any order, because two programs on the way may believe different ones."""
        length, coding = b"Content-Length: 5", b"Transfer-Encoding: chunked"
        for fields in ((length, coding), (coding, length), (b"Content-Length: 0", coding)):
            self.assertEqual(read(with_fields(*fields)), "bad_length", fields)

    def test_chunked_is_the_only_coding_and_comes_once(self) -> None:
        """Whatever else is named, before it, behind it or instead of it, is refused."""
        for value in (
            b"",
            b"gzip",
            b"identity",
            b"gzip, chunked",
            b"chunked, gzip",
            b"chunked, chunked",
            b"chunked,",
            b"xchunked",
            b"chunkedx",
            b"chunked;a=b",
            b'"chunked"',
            b"chun ked",
            b"\xa0chunked",
        ):
            refused = read(with_fields(b"Transfer-Encoding: " + value))
            self.assertIn(refused, ("bad_length", "unknown_coding"), value)
        for first in (b"chunked", b"gzip"):
            repeated = with_fields(b"Transfer-Encoding: " + first, b"transfer-encoding: chunked")
            self.assertEqual(read(repeated), "bad_length", first)

    def test_http_1_0_knows_no_coding(self) -> None:
        """A server of its time would have taken the chunks for the body, or for the next request."""
        self.assertEqual(read(with_fields(b"Transfer-Encoding: chunked", version=b"HTTP/1.0")), "bad_length")

    def test_fields_that_only_look_like_those_mean_nothing(self) -> None:
        """An underscore for the hyphen, a longer name."""
        head = admitted(with_fields(b"Content_Length: 5", b"Transfer_Encoding: chunked", b"Content-Length-: 6"))
        self.assertEqual(head.length, 0)


class OptionTests(SynchronousTestCase):
    """What a head says about the connection and the body's form."""

    def test_whether_the_connection_is_kept(self) -> None:
        """By the version, unless the client says otherwise; `close` wins wherever it stands."""
        table: dict[tuple[bytes, ...], tuple[bool, bool]] = {
            (): (False, True),
            (b"close",): (False, False),
            (b"Close",): (False, False),
            (b"keep-alive",): (True, True),
            (b"Keep-Alive, te",): (True, True),
            (b"te",): (False, True),
            (b"keep-alive , close",): (False, False),
            (b"close", b"keep-alive"): (False, False),
            (b"keep-alive", b"te", b"close"): (False, False),
            (b"te", b"keep-alive"): (True, True),
            (b"closed",): (False, True),
            (b"",): (False, True),
        }
        for values, expected in table.items():
            fields = [b"Connection: " + value for value in values]
            found = tuple(
                admitted(with_fields(*fields, version=version)).keep_alive for version in (b"HTTP/1.0", b"HTTP/1.1")
            )
            self.assertEqual(found, expected, values)

    def test_who_expects_100_continue(self) -> None:
        """In any case of letters; not without a body, and not in HTTP/1.0, which does not know it."""
        expect, length = b"Expect: 100-Continue", b"Content-Length: 5"
        self.assertTrue(admitted(with_fields(expect, length)).expects_continue)
        self.assertTrue(admitted(with_fields(expect, b"Transfer-Encoding: chunked")).expects_continue)
        self.assertFalse(admitted(with_fields(length)).expects_continue)
        self.assertFalse(admitted(with_fields(expect)).expects_continue)
        self.assertFalse(admitted(with_fields(expect, length, version=b"HTTP/1.0")).expects_continue)

    def test_no_other_expectation_is_met(self) -> None:
        """Other words, lists, and the known one twice."""
        for values in ((b"",), (b"100",), (b"200-ok",), (b"100-continue, a",), (b"100-continue", b"100-continue")):
            fields = [b"Expect: " + value for value in values]
            self.assertEqual(read(with_fields(*fields, b"Content-Length: 5")), "bad_expectation", values)

    def test_an_encoded_body_is_refused(self) -> None:
        """Nothing is ever inflated here. `identity` says that it is not encoded."""
        for value in (b"gzip", b"br", b"zstd", b"x-gzip", b"identity, gzip", b"gzip, identity"):
            self.assertEqual(read(with_fields(b"Content-Encoding: " + value)), "encoded_body", value)
        twice = with_fields(b"Content-Encoding: gzip", b"Content-Encoding: identity")
        self.assertEqual(read(twice), "encoded_body")
        for value in (b"", b"identity", b"Identity"):
            self.assertEqual(admitted(with_fields(b"Content-Encoding: " + value)).length, 0)


def decode(data: bytes, cuts: list[int] | None = None) -> tuple[bytes, bytes, bool] | str:
    """Payload, what is left over, and whether the body is complete; or the reason why it is refused."""
    decoder = ChunkedBody()
    payload, begin = b"", 0
    try:
        for cut in sorted({*(cuts or []), len(data)}):
            while begin < cut and not decoder.complete:
                pieces, used = decoder.feed(data[begin:cut])
                payload += b"".join(pieces)
                begin += used
    except Refused as refused:
        return refused.refusal.reason
    return payload, data[begin:], decoder.complete


class ChunkedBodyTests(SynchronousTestCase):
    """`ChunkedBody` decodes what follows the grammar and refuses the rest."""

    def test_chunks_are_joined_and_what_follows_is_left(self) -> None:
        """Sizes in either case, with leading zeros, and with extensions, which mean nothing to us."""
        data = b'5\r\nhello\r\n00A;a;b=c;d="e;f 1"\r\n0123456789\r\n0\r\n\r\nGET'
        self.assertEqual(decode(data), (b"hello0123456789", b"GET", True))
        self.assertEqual(decode(b"0\r\n\r\n"), (b"", b"", True))
        self.assertEqual(decode(b"0000000000000000\r\n\r\n"), (b"", b"", True))

    def test_an_unfinished_body_is_waited_for(self) -> None:
        """At any byte of it."""
        data = b"5;a=b\r\nhello\r\n0\r\n\r\n"
        for cut in range(len(data)):
            found = decode(data[:cut])
            self.assertFalse(isinstance(found, str) or found[2], cut)

    def test_a_size_is_up_to_16_hexadecimal_digits(self) -> None:
        """No sign, no prefix, no space, no other digit, and no size that has no end."""
        self.assertEqual(decode(b"ffffffffffffffff\r\nab"), (b"ab", b"", False))
        for line in (
            b"",
            b" 5",
            b"5 ",
            b"5\t",
            b"+5",
            b"-5",
            b"0x5",
            b"5_",
            b"g",
            b"\xd9\xa5",
            b"00000000000000005",
            b"1" + b"0" * 16,
            b"5\x00",
            b"5\x0b",
        ):
            self.assertEqual(decode(line + b"\r\nhello\r\n0\r\n\r\n"), "bad_chunk", line)
        self.assertEqual(decode(b"5" * 300), "bad_chunk")

    def test_an_extension_is_names_and_values(self) -> None:
        """Tokens or quoted strings; nothing else, above all no line break that another program might take for one."""
        for extension in (
            b";",
            b";;a",
            b"; a",
            b" ;a",
            b";a ",
            b";a=",
            b";a=b c",
            b';a="b',
            b';a="b"c',
            b';a="\\""',
            b";a\n",
            b";a\rb",
            b";a=\x00",
            b";\xff",
            b"x",
        ):
            self.assertEqual(decode(b"5" + extension + b"\r\nhello\r\n0\r\n\r\n"), "bad_chunk", extension)

    def test_extensions_are_bounded_over_the_whole_body(self) -> None:
        """256 bytes may come, in one chunk or in many; one more may not."""
        for sizes, verdict in (([256], True), ([257], False), ([128, 128], True), ([128, 129], False), ([300], False)):
            data = b"".join(b"1;" + b"a" * (size - 1) + b"\r\nx\r\n" for size in sizes) + b"0\r\n\r\n"
            self.assertEqual(decode(data) != "bad_chunk", verdict, sizes)

    def test_lines_end_with_crlf(self) -> None:
        """Neither half of it will do, behind a size, a chunk or the last chunk."""
        for data in (
            b"5\nhello\r\n0\r\n\r\n",
            b"5\rhello\r\n0\r\n\r\n",
            b"5\r\nhello\n0\r\n\r\n",
            b"5\r\nhello\r0\r\n\r\n",
            b"5\r\nhello0\r\n\r\n",
            b"5\r\nhellox",
            b"0\n\r\n",
        ):
            self.assertEqual(decode(data), "bad_chunk", data)

    def test_trailers_are_refused_at_their_first_byte(self) -> None:
        """Whatever they are called: nobody behind us would look for fields there."""
        for data in (b"0\r\nX", b"0\r\n\n", b"0\r\n\r\r", b"1\r\na\r\n0\r\nContent-Length: 5\r\n\r\n"):
            self.assertEqual(decode(data), "bad_trailer", data)

    @given(st.lists(st.binary(min_size=1, max_size=20)), st.binary(max_size=5), st.lists(st.integers(0, 200)))
    def test_what_was_chunked_comes_out_whole(self, chunks: list[bytes], rest: bytes, cuts: list[int]) -> None:
        """Any content, cut anywhere."""
        data = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"
        cuts = [cut for cut in cuts if cut < len(data + rest)]
        self.assertEqual(decode(data + rest, cuts), (b"".join(chunks), rest, True))

    @given(
        st.lists(
            st.sampled_from([b"0", b"1", b"a", b"\r", b"\n", b"\r\n", b"x", b";", b";a", b"1\r\nx\r\n", b"0\r\n\r\n"])
        ),
        st.lists(st.integers(0, 60)),
    )
    def test_how_the_bytes_are_cut_changes_nothing(self, parts: list[bytes], cuts: list[int]) -> None:
        """Payload or refusal are the same for every way to cut the same bytes."""
        data = b"".join(parts)
        whole = decode(data)
        self.assertEqual(decode(data, [cut for cut in cuts if cut < len(data)]), whole)
        self.assertEqual(decode(data, list(range(len(data)))), whole)


class PassingTests(SynchronousTestCase):
    """Which fields go from one side to the other."""

    def test_of_a_request_only_the_listed_fields_go_upstream(self) -> None:
        """No credential, cookie, forwarding claim, hop-by-hop field, nor a twin with underscores."""
        passing = [
            (b"accept", b"text/event-stream"),
            (b"accept-language", b"de"),
            (b"content-type", b"application/json"),
            (b"user-agent", b"a/1"),
            (b"anthropic-version", b"2023-06-01"),
            (b"anthropic-beta", b"x"),
            (b"openai-beta", b"y"),
            (b"traceparent", b"00-1-2-01"),
            (b"tracestate", b"a=b"),
        ]
        staying = b"""
            authorization x-api-key cookie proxy-authorization x-forwarded-for x-forwarded-host
            x-forwarded-uri x-real-ip forwarded x-user x_forwarded_for content_type content-length
            transfer-encoding connection te trailer upgrade keep-alive host origin referer expect x-request-id
            x-conveyance-session-id
        """.split()
        self.assertEqual(upstream_fields([(name, b"z") for name in staying]), [])
        self.assertEqual(upstream_fields(passing), passing)

    @given(st.lists(st.tuples(st.binary(max_size=20), st.binary(max_size=20))))
    def test_fields_go_upstream_unchanged_or_not_at_all(self, fields: list[tuple[bytes, bytes]]) -> None:
        """Whatever is in them, in the order they came."""
        kept = [(b"accept", b"a"), (b"content-type", b"b"), (b"accept", b"c")]
        passed = upstream_fields([kept[0], *fields, *kept[1:]])
        self.assertEqual([field for field in passed if field not in fields or field in kept], kept)
        self.assertTrue({field for field in passed if field not in kept} <= set(fields))

    def test_of_an_answer_what_is_ours_to_say_is_dropped(self) -> None:
        """Hop-by-hop fields, those `Connection` names, framing, CORS, and the correlation headers."""
        fields = [
            (b"content-type", b"text/plain"),
            (b"content-length", b"5"),
            (b"x-other", b"1"),
            (b"connection", b"close, X-Hop"),
            (b"connection", b" x-other "),
            (b"x-hop", b"2"),
            (b"access-control-allow-origin", b"*"),
            (b"x-request-id", b"theirs"),
            (b"x-kept", b"3"),
        ]
        passed = answer_fields(fields, frozenset((b"x-request-id",)))
        self.assertEqual(passed, [(b"content-type", b"text/plain"), (b"x-kept", b"3")])
        for name in b"""connection keep-alive proxy-authenticate proxy-authorization proxy-connection te trailer
            transfer-encoding upgrade access-control-max-age""".split():
            self.assertEqual(answer_fields([(name, b"x"), fields[-1]], frozenset()), [fields[-1]], name)
