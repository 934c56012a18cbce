"""What a stream cost: asking the model server for it where the client did not, and knowing the event that tells it.

OpenAI's chat completions and completions tell the tokens of a stream only to who asks: in one more event before the end
mark, without choices (`stream_options.include_usage`). The other protocols always do.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec
from msgspec import Raw, Struct

from hadesgw.policy.request_body import CHAT, COMPLETIONS, Asked

_ASKING = b'{"include_usage":true}'


class _Streamed(Struct):
    stream_options: Raw


_STREAMED = msgspec.json.Decoder(_Streamed).decode
_OPTIONS = msgspec.json.Decoder(dict[str, Any] | None)


def with_usage(asked: Asked, body: bytes) -> bytes | None:
    """`body` with the question for usage in it; None where nothing is to be asked.

    Nothing is, where the answer is no stream or tells it unasked, where the client asks itself, and where it has other
    wishes about its stream that ours could change. Nothing else of the body changes.

    :param body: what `asked` was read from.
    """
    if not asked.stream or (asked.route is not CHAT and asked.route is not COMPLETIONS):
        return None
    options = asked.members.get("stream_options")
    if options is None or bytes(options) == b"null":  # readers of JSON take the later of two
        end = body.rindex(b"}")
        return b'%b,"stream_options":%b%b' % (body[:end], _ASKING, body[end:])
    return _in_place(bytes(options), body) if _wishes_nothing(options) else None


def _wishes_nothing(options: Raw) -> bool:
    try:
        members = _OPTIONS.decode(options)
    except (msgspec.DecodeError, RecursionError):
        return False  # the model server will say so
    return not any((members or {}).values())


def _in_place(options: bytes, body: bytes) -> bytes | None:
    """Our question in place of `options`, if it is beyond doubt where those stand.

    Within a text a quotation mark has a backslash to it, so this finds names of members only. The one it finds may
    stand deeper than the one that is meant, if that is spelled with escapes: so what was made is read again.
    """
    places = list(re.finditer(rb'"stream_options"[ \t\r\n]*:[ \t\r\n]*' + re.escape(options), body))
    if len(places) != 1:
        return None
    end = places[0].end()
    asking = body[: end - len(options)] + _ASKING + body[end:]
    return asking if bytes(_STREAMED(asking).stream_options) == _ASKING else None


# -- The event that tells it -------------------------------------------------------------------------------------------

_NO_CHOICES = re.compile(rb'"choices"[ \t]*:[ \t]*\[[ \t]*\]')


class _Chunk(Struct):
    choices: list[Raw]
    usage: dict[str, Any]


_CHUNK = msgspec.json.Decoder(_Chunk).decode


def tells_usage(event: bytes) -> bool:
    """Whether one event of a stream, with its border, tells the usage and nothing else."""
    if _NO_CHOICES.search(event) is None:
        return False
    lines = [line for line in event.splitlines() if line]
    if len(lines) != 1 or not lines[0].startswith(b"data:"):
        return False
    try:
        return not _CHUNK(lines[0][5:]).choices
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        return False
