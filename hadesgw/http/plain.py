"""The heads of answers as they nearly always look, read without a parser.

llhttp calls back for every piece of a head, and each call costs more than the piece. What a model server says in front
of a JSON answer is plain: HTTP/1.1, a final status, fields of printable ASCII, and one length. Such a head is read here
line by line, and a line that came before is not even looked at again. Whatever is the least bit different is left to
llhttp and to the rules around it, so nothing is decided here that would be decided otherwise there.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

Field = tuple[bytes, bytes]

_STATUS_LINE = re.compile(rb"HTTP/1\.1 ([2-5][0-9][0-9]) ([ -~]*)")
_FIELD_LINE = re.compile(rb"([A-Za-z0-9_-]+): ([!-~](?:[ -~]*[!-~])?)")
_BODILESS = (204, 304)
_LENGTH_DIGITS = 18
_LONGEST_LINE = 256
"""Bytes of a line that is remembered, and of one that is read here at all."""
_MOST_FIELDS = 64
_DECIDING = frozenset((b"connection", b"proxy-connection", b"transfer-encoding", b"upgrade"))
"""Fields that say something about the framing or about the connection, beside the length."""


class PlainHead(NamedTuple):
    """A head that leaves no question open. The connection is kept, and the body has a stated length.

    :ivar fields: (lower-cased name, value) pairs in the order they came; no name came twice.
    :ivar by_name: the same as a mapping.
    :ivar length: bytes of the body.
    :ivar start: where the body begins.
    """

    status: int
    phrase: bytes
    fields: list[Field]
    by_name: dict[bytes, bytes]
    length: int
    start: int


@lru_cache(64)
def _status(line: bytes) -> tuple[int, bytes] | None:
    found = _STATUS_LINE.fullmatch(line)
    if found is None or int(found[1]) in _BODILESS:
        return None
    return int(found[1]), found[2]


@lru_cache(512)
def _field(line: bytes) -> Field | None:
    found = _FIELD_LINE.fullmatch(line)
    return None if found is None else (found[1].lower(), found[2])


def read_plain_head(data: bytes, limit: int) -> PlainHead | None:
    """The head that `data` begins with; None if it is not there whole, or is not plain.

    :param limit: the most bytes it may have.
    """
    end = data.find(b"\r\n\r\n", 0, limit)
    if end < 0:
        return None
    first, *lines = data[:end].split(b"\r\n")
    if len(lines) > _MOST_FIELDS or max(map(len, (first, *lines))) > _LONGEST_LINE:
        return None
    status = _status(first)
    fields = [field for field in map(_field, lines) if field is not None]
    if status is None or len(fields) < len(lines):
        return None
    by_name = dict(fields)
    length = by_name.get(b"content-length", b"")
    if not length.isdigit() or len(length) > _LENGTH_DIGITS:
        return None
    if len(by_name) < len(fields) or not _DECIDING.isdisjoint(by_name):
        return None
    return PlainHead(*status, fields, by_name, int(length), end + 4)
