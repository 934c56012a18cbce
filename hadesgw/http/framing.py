"""The rules of the wire, without a socket: what a request head and body must look like to be let in.

llhttp (by httptools) splits the fields; everything it is lenient about is decided here, before and after it:

- Bytes are counted before anything is parsed, so an unfinished head or chunk line is bounded.
- A parser lives for one head, and is fed exactly the bytes of that head: what is pipelined behind it is not looked at.
- The body's borders are found here (RFC 9112 6), because llhttp hides chunk extensions and knows no pause.

Every fault raises :class:`Refused`, after which nothing that follows on the connection may be believed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import httptools
import msgspec

from hadesgw.policy import refusals
from hadesgw.policy.refusals import Refusal, Refused

Fields = list[tuple[bytes, bytes]]

METHODS = frozenset((b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS"))

_HEAD_END = b"\r\n\r\n"
_REQUEST_LINE = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+) ([^ \r\n]+) HTTP/([0-9])\.([0-9])")
_BARE_LINE_BREAK = re.compile(rb"(?<!\r)\n|\r(?!\n|\Z)")
# RFC 3986 3.3 and 3.4: an origin-form target; percent signs must begin a full escape.
_TARGET = re.compile(
    rb"/(?:[A-Za-z0-9._~!$&'()*+,;=:@/-]|%[0-9A-Fa-f]{2})*"
    rb"(?:\?(?:[A-Za-z0-9._~!$&'()*+,;=:@/?-]|%[0-9A-Fa-f]{2})*)?"
)
_HOST = re.compile(rb"(\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9._-]{1,253})(?::([0-9]{1,5}))?")
_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,16})(?:[ \t]*;([\t\x20-\x7e\x80-\xff]*))?")
_LENGTH_DIGITS = 18
_EXTENSION_BYTES = 256


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
    :ivar length: declared body length in bytes; None when the body is chunked.
    :ivar keep_alive: whether the client wants the connection afterwards (RFC 9112 9.3).
    :ivar expects_continue: whether the client waits for `100 Continue` before it sends the body (RFC 9110 10.1.1).
    """

    method: bytes
    target: bytes
    path: bytes
    minor: int
    fields: Fields
    host: bytes
    length: int | None
    keep_alive: bool
    expects_continue: bool


class _FieldSink:
    """Collects what llhttp finds. No callback may raise: httptools would swallow the traceback."""

    def __init__(self) -> None:
        self.fields: Fields = []

    def on_header(self, name: bytes, value: bytes) -> None:
        self.fields.append((name.lower(), value))


def head_end(data: bytes, limits: HeadLimits) -> int:
    """How many bytes of `data` belong to the head it begins with; 0 while the head is incomplete.

    :raises Refused: when the head is, or can only become, too large, or has a line that no CRLF ends.
    """
    end = data.find(_HEAD_END)
    if end >= 0:
        end += len(_HEAD_END)
        if end <= limits.total:
            return end
    elif len(data) <= limits.total:
        if _BARE_LINE_BREAK.search(data):
            raise Refused(_name_bare_break(data))
        if len(data) > limits.target and b"\r\n" not in data:
            raise Refused(refusals.TARGET_TOO_LONG)
        return 0
    line_end = data.find(b"\r\n")
    raise Refused(refusals.HEAD_TOO_LARGE if 0 <= line_end <= limits.target else refusals.TARGET_TOO_LONG)


def _name_bare_break(data: bytes) -> Refusal:
    found = _BARE_LINE_BREAK.search(data)
    assert found is not None
    return refusals.BAD_FIELD if b"\r\n" in data[: found.start()] else refusals.BAD_REQUEST_LINE


def read_head(raw: bytes, limits: HeadLimits) -> RequestHead:
    """Read one complete request head.

    :param raw: the bytes up to and with the empty line.
    :raises Refused: with the refusal of the first rule that is broken.
    """
    method, target, minor = _read_request_line(raw, limits)
    fields = _read_fields(raw)
    if len(fields) > limits.fields:
        raise Refused(refusals.HEAD_TOO_LARGE)
    hosts: list[bytes] = []
    lengths: list[bytes] = []
    codings: list[bytes] = []
    keep_alive = minor == 1
    expects_continue = False
    for name, value in fields:
        if name == b"host":
            hosts.append(value)
        elif name == b"content-length":
            lengths.append(value)
        elif name == b"transfer-encoding":
            codings.append(value)
        elif name == b"connection":
            keep_alive = _persists(value, keep_alive)
        elif name == b"content-encoding":
            if value.strip().lower() not in (b"", b"identity"):
                raise Refused(refusals.ENCODED_BODY)
        elif name == b"expect" and minor == 1:
            if value.lower() != b"100-continue":
                raise Refused(refusals.BAD_EXPECTATION)
            expects_continue = True
    length = _body_length(lengths, codings, minor)
    return RequestHead(
        method=method,
        target=target,
        path=target.partition(b"?")[0],
        minor=minor,
        fields=fields,
        host=_read_host(hosts, minor),
        length=length,
        keep_alive=keep_alive,
        expects_continue=expects_continue and length != 0,
    )


def _read_request_line(raw: bytes, limits: HeadLimits) -> tuple[bytes, bytes, int]:
    line = raw[: raw.index(b"\r\n")]
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
    return method, target, int(minor)


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


def _persists(value: bytes, default: bool) -> bool:
    options = {option.strip() for option in value.lower().split(b",")}
    if b"close" in options:
        return False
    return default or b"keep-alive" in options


def _body_length(lengths: list[bytes], codings: list[bytes], minor: int) -> int | None:
    """RFC 9112 6.3, stricter: no list of lengths, no coding but `chunked`, none at all in HTTP/1.0."""
    if codings:
        if lengths or minor == 0 or len(codings) > 1:
            raise Refused(refusals.BAD_LENGTH)
        if codings[0].lower() != b"chunked":
            raise Refused(refusals.UNKNOWN_CODING)
        return None
    if not lengths:
        return 0
    if len(lengths) > 1 or not lengths[0].isdigit() or len(lengths[0]) > _LENGTH_DIGITS:
        raise Refused(refusals.BAD_LENGTH)
    return int(lengths[0])


def _read_host(hosts: list[bytes], minor: int) -> bytes:
    """The host name without its port, lower-cased; empty when an HTTP/1.0 client named none (RFC 9112 3.2)."""
    if not hosts and minor == 0:
        return b""
    found = _HOST.fullmatch(hosts[0]) if len(hosts) == 1 else None
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
        self._names = frozenset(
            {b"localhost", b"[::1]", b""} | {name.lower().encode("idna" if not name.isascii() else "ascii") for name in names}
        )

    def admits(self, host: bytes) -> bool:
        """Whether `host`, as :class:`RequestHead` holds it, is one of ours."""
        return host in self._names or _LOOPBACK_V4.fullmatch(host) is not None


class ChunkedBody:
    """Incremental decoder of a chunked request body (RFC 9112 7.1), strict where the RFC is lenient.

    No trailer fields, at most 256 bytes of extensions over the whole body, at most 16 digits a size.
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
            else:
                at = self._take_line(data, at)
        return pieces, at

    def _take_line(self, data: bytes, at: int) -> int:
        end = data.find(b"\n", at)
        stop = len(data) if end < 0 else end + 1
        self._line += data[at:stop]
        if len(self._line) > 16 + _EXTENSION_BYTES + 4:
            raise Refused(refusals.BAD_CHUNK)
        if end < 0:
            if b"\r" in self._line[:-1]:
                raise Refused(refusals.BAD_CHUNK)
            return stop
        line, self._line = self._line, b""
        if not line.endswith(b"\r\n"):
            raise Refused(refusals.BAD_CHUNK)
        self._end_line(line[:-2])
        return stop

    def _end_line(self, line: bytes) -> None:
        if self._after_data:
            if line:
                raise Refused(refusals.BAD_CHUNK)
            self._after_data = False
        elif self._last:
            if line:
                raise Refused(refusals.BAD_TRAILER)
            self.complete = True
        else:
            found = _CHUNK_SIZE.fullmatch(line)
            if found is None:
                raise Refused(refusals.BAD_CHUNK)
            self._extension_bytes += len(found[2] or b"")
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
    return [field for field in fields if field[0] in _REQUEST_FIELDS]


def answer_fields(fields: Iterable[tuple[bytes, bytes]], ours: frozenset[bytes]) -> Fields:
    """The fields of the model server's answer that may go to the client.

    Dropped: hop-by-hop fields and those `Connection` names (RFC 9110 7.6.1), the length (the relay states it), CORS
    fields (the gateway's own decision), and `ours`, the correlation headers, which the gateway alone sets.

    :param fields: (name, value) pairs, names in any case.
    """
    lowered = [(name.lower(), value) for name, value in fields]
    named = {
        option.strip().lower() for name, value in lowered if name == b"connection" for option in value.split(b",")
    }
    return [
        (name, value)
        for name, value in lowered
        if name not in _HOP_BY_HOP
        and name not in ours
        and name not in named
        and name != b"content-length"
        and not name.startswith(b"access-control-")
    ]
