"""Reading back what the door wrote, more strictly than any client would."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

_STATUS_LINE = re.compile(rb"HTTP/1\.1 ([1-5][0-9]{2}) ([ -~]*)")
_FIELD = re.compile(
    rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+): ([\x21-\x7e\x80-\xff](?:[\t -~\x80-\xff]*[\x21-\x7e\x80-\xff])?)?"
)


class Malformed(AssertionError):
    """What was written is no answer."""


class Answer(NamedTuple):
    """One answer.

    :ivar fields: (lower-cased name, value) in order.
    :ivar whole: whether it came to the end its framing promises; an answer that only the close ends is never whole.
    """

    status: int
    phrase: bytes
    fields: list[tuple[bytes, bytes]]
    body: bytes
    whole: bool

    def all(self, name: bytes) -> list[bytes]:
        """Every value of a field."""
        return [value for key, value in self.fields if key == name.lower()]

    def one(self, name: bytes) -> bytes:
        """The value of a field that must be there once."""
        values = self.all(name)
        if len(values) != 1:
            raise Malformed(f"{name!r} is there {len(values)} times")
        return values[0]


def read_answers(data: bytes, methods: Sequence[bytes] = (), cut: bool = False) -> list[Answer]:
    """Every answer in `data`, interim ones too.

    :param methods: of the requests that are answered, as far as they are not GET or the like.
    :param cut: whether the reader stopped somewhere, so that the last head may lack its end.
    :raises Malformed: if there is anything else.
    """
    answers: list[Answer] = []
    asked = list(methods)
    while data and not (cut and b"\r\n\r\n" not in data):
        answer, data = _read_answer(data, asked[0] if asked else b"GET")
        answers.append(answer)
        if answer.status >= 200 and asked:
            asked.pop(0)
    return answers


def _read_answer(data: bytes, method: bytes) -> tuple[Answer, bytes]:
    head, found, rest = data.partition(b"\r\n\r\n")
    if not found:
        raise Malformed(f"a head without its end: {data!r}")
    line, *lines = head.split(b"\r\n")
    status = _STATUS_LINE.fullmatch(line)
    if status is None:
        raise Malformed(f"a status line: {line!r}")
    fields = [_read_field(line) for line in lines]
    answer = Answer(int(status[1]), status[2], fields, b"", True)
    if method == b"HEAD" or answer.status in (204, 304) or answer.status < 200:
        return answer, rest
    codings, lengths = answer.all(b"transfer-encoding"), answer.all(b"content-length")
    if codings:
        if codings != [b"chunked"] or lengths:
            raise Malformed(f"framing: {fields!r}")
        body, whole, rest = _read_chunks(rest)
    elif lengths:
        length = int(answer.one(b"content-length"))
        body, whole, rest = rest[:length], len(rest) >= length, rest[length:]
    else:
        if answer.one(b"connection") != b"close":
            raise Malformed("nothing tells where this answer ends")
        body, whole, rest = rest, False, b""
    return answer._replace(body=body, whole=whole), rest


def _read_field(line: bytes) -> tuple[bytes, bytes]:
    found = _FIELD.fullmatch(line)
    if found is None:
        raise Malformed(f"a field: {line!r}")
    return found[1].lower(), found[2] or b""


def _read_chunks(data: bytes) -> tuple[bytes, bool, bytes]:
    body = b""
    while True:
        size, found, rest = data.partition(b"\r\n")
        if not found:
            return body, False, b""
        length = int(size, 16)
        if length == 0:
            if rest in (b"", b"\r"):
                return body, False, b""
            if not rest.startswith(b"\r\n"):
                raise Malformed(f"behind the last chunk: {rest!r}")
            return body, True, rest[2:]
        body += rest[:length]
        if len(rest) < length + 2:
            return body, False, b""
        if rest[length : length + 2] != b"\r\n":
            raise Malformed(f"behind a chunk: {rest[length:]!r}")
        data = rest[length + 2 :]
