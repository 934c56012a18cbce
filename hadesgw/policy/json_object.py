"""A request body as one JSON object (RFC 8259), strictly: what two readers could take for two things is refused.

The members come out as slices of the body, unread: a body costs one pass, and no more memory than its slices take,
however it was made up.
"""

from __future__ import annotations

import codecs
from typing import TypeVar

import msgspec
from msgspec import Raw

from hadesgw.policy import refusals
from hadesgw.policy.refusals import Refused

MOST_MEMBERS = 256
"""Members an object may have; the protocols that pass here know about 80."""
DEEPEST = 64
"""Levels of arrays and objects a value may have: tools and schemas need a dozen."""
MOST_CONTAINERS = 250_000
"""Arrays and objects a large body may have; braces and brackets in its texts count too."""
LARGE = 1 << 20
"""Bytes that a body must have to hold more containers than we can bear."""

_SMALL = 1 << 13  # bytes of a body that cannot hold so many members that counting them afterwards would be too late
_LEAST_MEMBER = len(b',"":0')
_WALKED_BYTES = 1 << 19  # are walked in 50 ms at worst
_CHUNK = 1 << 16

T = TypeVar("T")


def characters(body: bytes) -> int:
    """How many characters `body` has as UTF-8 (RFC 3629).

    :raises Refused: if it is not UTF-8: invalid or overlong sequences, surrogates.
    """
    if body.isascii():
        return len(body)
    try:
        if len(body) <= _CHUNK:
            return len(body.decode("utf-8"))
        return _characters_by_chunks(memoryview(body))
    except UnicodeDecodeError:
        raise Refused(refusals.BAD_ENCODING) from None


def _characters_by_chunks(view: memoryview) -> int:
    """As a whole it would cost three times as much: the text would not fit the processor's cache."""
    count = at = 0
    while at < len(view):
        text, used = codecs.utf_8_decode(view[at : at + _CHUNK], "strict", at + _CHUNK >= len(view))
        count += len(text)
        at += used
    return count


class _Name(str):
    """A member's name: a type of our own, so that the decoder asks us about each."""

    __slots__ = ()


class ObjectReader:
    """Reads objects, one after the other."""

    def __init__(self) -> None:
        names: set[str] = set()
        note = names.add

        def name_of(kind: type, name: str) -> _Name:
            if name in names:
                raise Refused(refusals.DUPLICATE_FIELD)
            if len(names) == MOST_MEMBERS:
                raise Refused(refusals.TOO_COMPLEX)
            note(name)
            return _Name(name)

        self._forget = names.clear
        self._decode = msgspec.json.Decoder(dict[_Name, Raw], dec_hook=name_of).decode
        self._decode_plain = msgspec.json.Decoder(dict[str, Raw]).decode

    def read(self, body: bytes) -> dict[str, Raw]:
        """The members of the object that `body`, which is UTF-8, consists of; their values as they stand.

        :raises Refused: if it is anything else, has a name twice or more members than it may, or is made of dust.
        """
        if len(body) <= _SMALL:
            members = self._read_small(body)
            if members is not None:
                return members
        self._forget()
        if len(body) > LARGE and _openings(body) > MOST_CONTAINERS:
            raise Refused(refusals.TOO_COMPLEX)
        try:
            return self._decode(body)  # type: ignore[return-value]  # keys are texts, by another name
        except RecursionError:
            raise Refused(refusals.TOO_DEEP) from None
        except msgspec.DecodeError:
            raise Refused(refusals.BAD_JSON) from None


    def _read_small(self, body: bytes) -> dict[str, Raw] | None:
        """The members, if it can be told by counting bytes that no name came twice; else None.

        Being asked about each name costs more than decoding all of a small body. A member takes the bytes of its name
        and of its value, two quotation marks, a colon and a comma. If no more are left over than white space and
        escapes may take, or the smallest member that was overwritten by a later one, there was none.
        """
        try:
            members = self._decode_plain(body)
        except (msgspec.DecodeError, RecursionError):
            return None
        stated = sum(map(len, members)) + sum(map(len, members.values())) + 4 * len(members) + 1
        if len(body) - stated >= _LEAST_MEMBER or len(members) > MOST_MEMBERS:
            return None
        return members


def decoded(decoder: msgspec.json.Decoder[T], value: Raw, misfit: refusals.Refusal) -> T:
    """A member's value, decoded.

    :raises Refused: with `misfit` if it is not what `decoder` expects.
    """
    try:
        return decoder.decode(value)
    except RecursionError:
        raise Refused(refusals.TOO_DEEP) from None
    except msgspec.DecodeError:
        raise Refused(misfit) from None


def check_depth(value: bytes) -> None:
    """See that a well-formed JSON value does not go deeper than :data:`DEEPEST`.

    :raises Refused: if it does, or is so large that looking would take too long.
    """
    if _openings(value) <= DEEPEST:
        return
    if len(value) > _WALKED_BYTES:
        raise Refused(refusals.TOO_COMPLEX)
    outside = b"".join(value.replace(rb"\\", b"").replace(rb"\"", b"").split(b'"')[::2])
    brackets = outside.translate(_ONE_KIND, _NO_BRACKETS)
    for _ in range(DEEPEST):
        brackets = brackets.replace(b"[]", b"")  # one level less, everywhere
        if not brackets:
            return
    raise Refused(refusals.TOO_DEEP)


_ONE_KIND = bytes.maketrans(b"{}", b"[]")
_NO_BRACKETS = bytes(byte for byte in range(256) if byte not in b"[]{}")


def _openings(value: bytes) -> int:
    return value.count(b"{") + value.count(b"[")
