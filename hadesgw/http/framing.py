"""The rules of the wire, without a socket: what a request head and body must look like to be let in.

llhttp (by httptools) splits the fields; everything it is lenient about is decided here, before and after it:

- Bytes are counted before anything is parsed, so an unfinished head or chunk line is bounded.
- A parser lives for one head, and is fed exactly the bytes of that head: what is pipelined behind it is not looked at.
- The body's borders are found here (RFC 9112 6), because llhttp hides chunk extensions and knows no pause.

Every fault raises :class:`Refused`, after which nothing that follows on the connection may be believed.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from functools import lru_cache

import httptools
import msgspec

from hadesgw.policy import refusals
from hadesgw.policy.refusals import Refusal, Refused

Fields = list[tuple[bytes, bytes]]

METHODS = frozenset((b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS"))

_HEAD_END = b"\r\n\r\n"
_REQUEST_LINE = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+) ([^ \r\n]+) HTTP/([0-9])\.([0-9])")
_BARE_BREAK = re.compile(rb"(?<!\r)\n|\r(?!\n|\Z)")
_AROUND_TARGET = len(b"OPTIONS ") + len(b" HTTP/1.1")
# RFC 3986 3.3 and 3.4: an origin-form target; percent signs must begin a full escape.
_TARGET = re.compile(
    rb"/(?:[A-Za-z0-9._~!$&'()*+,;=:@/-]|%[0-9A-Fa-f]{2})*"
    rb"(?:\?(?:[A-Za-z0-9._~!$&'()*+,;=:@/?-]|%[0-9A-Fa-f]{2})*)?"
)
_HOST = re.compile(rb"(\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9._-]{1,253})(?::([0-9]{1,5}))?")
_TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_CHUNK_SIZE = re.compile(
    rb"([0-9A-Fa-f]{1,16})((?:;%b(?:=(?:%b|\"[\t !#-\[\]-~]*\"))?)*)\r\n" % (_TOKEN, _TOKEN)
)
_LENGTH_DIGITS = 18
_EXTENSION_BYTES = 256
_SIZE_LINE_BYTES = 16 + _EXTENSION_BYTES + 2


class HeadLimits(msgspec.Struct, frozen=True):
    """Bounds on one request head.

    :ivar total: bytes from the first of the request line to the empty line's last.
    :ivar fields: number of header fields.
    :ivar target: bytes of the request target.
    """

    total: int = 32 * 1024
    fields: int = 100
    target: int = 8 * 1024


class RequestHead(msgspec.Struct, frozen=True):
    """A request head that passed every rule.

    :ivar fields: (lower-cased name, value) in the order they came.
    :ivar index: the same by name; of a name that came more than once only one value is here: see :meth:`values`.
    :ivar length: declared body length in bytes; None when the body is chunked.
    :ivar keep_alive: whether the client wants the connection afterwards (RFC 9112 9.3).
    :ivar expects_continue: whether the client waits for `100 Continue` before it sends the body (RFC 9110 10.1.1).
    """

    method: bytes
    target: bytes
    path: bytes
    minor: int
    fields: Fields
    index: dict[bytes, bytes]
    host: bytes
    length: int | None
    keep_alive: bool
    expects_continue: bool

    def values(self, name: bytes) -> list[bytes]:
        """All values of the (lower-cased) field `name`, in the order they came."""
        if name not in self.index:
            return []
        if len(self.index) == len(self.fields):
            return [self.index[name]]
        return [value for other, value in self.fields if other == name]


class _FieldSink:
    """Collects what llhttp finds. No callback may raise: httptools would swallow the traceback."""

    def __init__(self) -> None:
        self.fields: Fields = []

    def on_header(self, name: bytes, value: bytes) -> None:
        self.fields.append((name.lower(), value.rstrip(b" \t")))  # llhttp leaves the space behind a value to us


def head_end(data: bytes, limits: HeadLimits, seen: int = 0) -> int:
    """How many bytes of `data` belong to the head it begins with; 0 while the head is incomplete.

    :param seen: for how many of these bytes this function answered 0 before: they are not searched again, so that a
        head which comes byte by byte costs no more than one that comes at once.
    :raises Refused: when the head is, or can only become, too large, or has a line that no CRLF ends.
    """
    end = data.find(_HEAD_END, seen - 3 if seen > 3 else 0)
    if 0 <= end <= limits.total - len(_HEAD_END):
        return end + len(_HEAD_END)
    fault = _first_fault(data, seen, min(len(data), limits.total), limits)
    if fault is not None:
        raise Refused(fault)
    if end >= 0 or len(data) > limits.total:
        raise Refused(refusals.HEAD_TOO_LARGE)
    return 0


def _first_fault(data: bytes, seen: int, stop: int, limits: HeadLimits) -> Refusal | None:
    """What is wrong with a head so far, whatever may follow: a line break that is no CRLF, or no end of the first line.

    The fault that comes first is named, so that an answer does not hang on how the bytes were cut.
    """
    longest = limits.target + _AROUND_TARGET
    fault = _bare_break(data, seen, stop)
    if not 0 <= fault <= longest and len(data) >= longest + 2 and data.find(b"\r\n", 0, longest + 2) < 0:
        return refusals.TARGET_TOO_LONG
    if fault >= 0:
        return refusals.BAD_FIELD if b"\r\n" in data[:fault] else refusals.BAD_REQUEST_LINE
    return None


def _bare_break(data: bytes, start: int, stop: int) -> int:
    """Where between `start` and `stop` the first CR or LF stands that is no part of a CRLF; -1 if there is none."""
    if start and data[start - 1] == 0x0D:
        start -= 1
    pairs = data.count(b"\r\n", start, stop)
    waiting = data[stop - 1 : stop] == b"\r"  # its LF may follow
    if data.count(b"\n", start, stop) == pairs == data.count(b"\r", start, stop) - waiting:
        return -1
    found = _BARE_BREAK.search(data, start, stop)
    assert found is not None
    return found.start()


def read_head(raw: bytes, limits: HeadLimits) -> RequestHead:
    """Read one complete request head.

    :param raw: the bytes up to and with the empty line.
    :raises Refused: with the refusal of the first rule that is broken.
    """
    try:
        return _judge_head(raw, limits)
    except Refused:
        fault = _first_fault(raw, 0, len(raw), limits)
        if fault is None:
            raise
        raise Refused(fault) from None


def _judge_head(raw: bytes, limits: HeadLimits) -> RequestHead:
    method, target, path, minor = _read_request_line(raw[: raw.index(b"\r\n")], limits)
    fields = _read_fields(raw)
    if len(fields) > limits.fields:
        raise Refused(refusals.HEAD_TOO_LARGE)
    index = dict(fields)
    if len(index) < len(fields):
        _judge_repeated(fields, index)
    if index.get(b"content-encoding", b"").strip().lower() not in (b"", b"identity"):
        raise Refused(refusals.ENCODED_BODY)
    expectation = index.get(b"expect") if minor else None
    if expectation is not None and expectation.lower() != b"100-continue":
        raise Refused(refusals.BAD_EXPECTATION)
    length = _body_length(index.get(b"content-length"), index.get(b"transfer-encoding"), minor)
    connection = index.get(b"connection")
    return RequestHead(  # by position: ten keywords would cost as much as all the rules
        method,
        target,
        path,
        minor,
        fields,
        index,
        _read_host(index.get(b"host"), minor),
        length,
        minor == 1 if connection is None else _persists(connection, minor == 1),
        expectation is not None and length != 0,
    )


@lru_cache(256)  # a program asks the same few things again and again
def _read_request_line(line: bytes, limits: HeadLimits) -> tuple[bytes, bytes, bytes, int]:
    """Method, target, the target's path, and HTTP's minor version."""
    found = _REQUEST_LINE.fullmatch(line)
    if found is None:
        raise Refused(refusals.BAD_REQUEST_LINE)
    method, target, major, minor = found.groups()
    if major != b"1" or minor not in b"01":
        raise Refused(refusals.BAD_VERSION)
    if method not in METHODS:
        raise Refused(refusals.UNKNOWN_METHOD)
    if len(target) > limits.target:
        raise Refused(refusals.TARGET_TOO_LONG)
    if _TARGET.fullmatch(target) is None:
        raise Refused(refusals.BAD_TARGET)
    return method, target, target.partition(b"?")[0], int(minor)


def _read_fields(raw: bytes) -> Fields:
    sink = _FieldSink()
    try:
        httptools.HttpRequestParser(sink).feed_data(raw)
    except httptools.HttpParserUpgrade:
        pass  # a head that offers an upgrade: its fields are complete, whether we take the offer is not decided here
    except httptools.HttpParserError as error:
        raise Refused(_fault_of(str(error))) from None
    return sink.fields


def _fault_of(message: str) -> Refusal:
    """llhttp has one exception for most faults; its text tells a length's from a field's."""
    if "Content-Length" in message or "Transfer-Encoding" in message:
        return refusals.BAD_LENGTH
    return refusals.BAD_FIELD


def _judge_repeated(fields: Fields, index: dict[bytes, bytes]) -> None:
    """Of a field that came more than once, `index` has the last value: refuse it, or put all of them there."""
    counted = Counter(name for name, _ in fields)
    if counted[b"host"] > 1:
        raise Refused(refusals.BAD_HOST)
    if counted[b"content-length"] > 1 or counted[b"transfer-encoding"] > 1:
        raise Refused(refusals.BAD_LENGTH)
    for name in (b"connection", b"content-encoding", b"expect"):
        if counted[name] > 1:
            index[name] = b", ".join(value for other, value in fields if other == name)


def _persists(connection: bytes, default: bool) -> bool:
    """Whether the connection is to be kept (RFC 9112 9.3): `close` outweighs everything else it says."""
    options = {option.strip(b" \t") for option in connection.lower().split(b",")}
    return b"close" not in options and (default or b"keep-alive" in options)


def _body_length(length: bytes | None, coding: bytes | None, minor: int) -> int | None:
    """RFC 9112 6.3, stricter: no list of lengths, no coding but `chunked`, none at all in HTTP/1.0."""
    if coding is not None:
        if length is not None or minor == 0:
            raise Refused(refusals.BAD_LENGTH)
        if coding.lower() != b"chunked":
            raise Refused(refusals.UNKNOWN_CODING)
        return None
    if length is None:
        return 0
    if not length.isdigit() or len(length) > _LENGTH_DIGITS:
        raise Refused(refusals.BAD_LENGTH)
    return int(length)


@lru_cache(256)
def _read_host(host: bytes | None, minor: int) -> bytes:
    """The host name without its port, lower-cased; empty when an HTTP/1.0 client named none (RFC 9112 3.2)."""
    if host is None and minor == 0:
        return b""
    found = None if host is None else _HOST.fullmatch(host)
    if found is None or int(found[2] or 0) > 65535:
        raise Refused(refusals.BAD_HOST)
    name: bytes = found[1].lower()
    return name


_LOOPBACK_V4 = re.compile(rb"127\.(?:\d{1,3})\.(?:\d{1,3})\.(?:\d{1,3})")


class AllowedHosts:
    """The names this server answers for: loopback's own, those it listens on, and the configured ones.

    A page of another site can make a browser resolve *its* name to this address; the Host field still carries that
    name, and is what gives it away (DNS rebinding). Ports are not compared: a tunnel may change them.
    """

    def __init__(self, names: Iterable[str]) -> None:
        usual = {b"localhost", b"127.0.0.1", b"[::1]", b""}
        self._names = frozenset(usual | {name.lower().encode("ascii") for name in names})

    def admits(self, host: bytes) -> bool:
        """Whether `host`, as :class:`RequestHead` holds it, is one of ours."""
        return host in self._names or _LOOPBACK_V4.fullmatch(host) is not None


class ChunkedBody:
    """Incremental decoder of a chunked request body (RFC 9112 7.1), strict where the RFC is lenient.

    No trailer fields, no white space around sizes and extensions, at most 256 bytes of extensions over the whole body,
    at most 16 digits a size.
    """

    def __init__(self) -> None:
        self.complete = False
        self._left = 0  # payload bytes still to come of the chunk at hand
        self._line = b""  # a size line, or the break behind a chunk, that is not whole yet
        self._after_data = False
        self._last = False
        self._extension_bytes = 0

    def feed(self, data: bytes) -> tuple[list[bytes], int]:
        """Decode what `data` brings.

        :returns: the pieces of payload, and how many bytes of `data` were used: fewer than all only once `complete`.
        :raises Refused: BAD_CHUNK or BAD_TRAILER.
        """
        pieces: list[bytes] = []
        at = 0
        while at < len(data) and not self.complete:
            if self._left:
                piece = data[at : at + self._left]
                pieces.append(piece)
                at += len(piece)
                self._left -= len(piece)
                self._after_data = self._left == 0
            elif self._after_data or self._last:
                at = self._take_break(data, at)
            else:
                at = self._take_size(data, at)
        return pieces, at

    def _take_break(self, data: bytes, at: int) -> int:
        """The CRLF behind a chunk's payload, or behind the last chunk, where a trailer would stand."""
        stop = at + 2 - len(self._line)
        self._line += data[at:stop]
        if not b"\r\n".startswith(self._line):
            raise Refused(refusals.BAD_TRAILER if self._last else refusals.BAD_CHUNK)
        if len(self._line) == 2:
            self._line = b""
            self._after_data = False
            self.complete = self._last
        return min(stop, len(data))

    def _take_size(self, data: bytes, at: int) -> int:
        end = data.find(b"\n", at)
        stop = len(data) if end < 0 else end + 1
        self._line += data[at:stop]
        if len(self._line) > _SIZE_LINE_BYTES:
            raise Refused(refusals.BAD_CHUNK)
        if end >= 0:
            self._read_size(self._line)
            self._line = b""
        return stop

    def _read_size(self, line: bytes) -> None:
        found = _CHUNK_SIZE.fullmatch(line)
        if found is None:
            raise Refused(refusals.BAD_CHUNK)
        self._extension_bytes += len(found[2])
        if self._extension_bytes > _EXTENSION_BYTES:
            raise Refused(refusals.BAD_CHUNK)
        self._left = int(found[1], 16)
        self._last = self._left == 0


# -- What may pass -----------------------------------------------------------------------------------------------------

# Of a request only these go upstream: no credential, no cookie, no forwarding claim, no hop-by-hop field, and no twin
# spelled with an underscore can, because they are not on the list.
_REQUEST_FIELDS = frozenset(
    (
        b"accept",
        b"accept-language",
        b"content-type",
        b"user-agent",
        b"anthropic-version",
        b"anthropic-beta",
        b"openai-beta",
        b"traceparent",
        b"tracestate",
    )
)
_HOP_BY_HOP = frozenset(
    (
        b"connection",
        b"content-length",  # not hop-by-hop, but the relay states it
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    )
)


def upstream_fields(fields: Fields) -> Fields:
    """The request's fields that may go to the model server: an allow list."""
    allowed = _REQUEST_FIELDS
    return [field for field in fields if field[0] in allowed]


def answer_fields(fields: Iterable[tuple[bytes, bytes]], ours: frozenset[bytes]) -> Fields:
    """The fields of the model server's answer that may go to the client.

    Dropped: hop-by-hop fields and those `Connection` names (RFC 9110 7.6.1), the length (the relay states it), CORS
    fields (the gateway's own decision), and `ours`, the correlation headers, which the gateway alone sets.

    :param fields: (lower-cased name, value) pairs.
    """
    passing = []
    named: set[bytes] = set()
    for name, value in fields:
        if name == b"connection":
            named.update(option.strip().lower() for option in value.split(b","))
        elif name not in _HOP_BY_HOP and name not in ours and not name.startswith(b"access-control-"):
            passing.append((name, value))
    return [field for field in passing if field[0] not in named] if named else passing
