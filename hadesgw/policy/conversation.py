"""The conversation a request carries, as far as it is judged: where its pictures and sounds are, how long it is.

The three protocols nest their texts differently, under the same few names. So one type reads them all: a message, a
part of its content, a tool's output, an item of the Responses API are each a :class:`Piece`. What it does not know it
skips.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

import msgspec
from msgspec import Raw, Struct

from hadesgw.policy import refusals
from hadesgw.policy.json_object import decoded
from hadesgw.policy.refusals import Refused

_INLINE = "data:"  # RFC 2397; model servers open nothing for it
_ABSENT = Raw(b"null")


class Medium:
    """A picture, sound, film or file that a piece points to or holds.

    :ivar characters: how long it is in the request.
    """

    __slots__ = ("characters",)

    def __init__(self, characters: int) -> None:
        self.characters = characters


class _Source(Medium):
    """Anthropic's form; a mere text there names where another text came from."""

    __slots__ = ()


class Piece(Struct, gc=False):
    """A message, or a part of one. What it holds besides is nothing we decide on."""

    type: str | None = None
    role: str | None = None
    text: str | None = None
    content: str | list[Piece] | None = None
    output: str | list[Piece] | Piece | None = None
    tool_calls: Raw = _ABSENT
    uuid: Raw = _ABSENT
    audio_embeds: Raw = _ABSENT
    image_embeds: Raw = _ABSENT
    prompt_embeds: Raw = _ABSENT
    video_embeds: Raw = _ABSENT
    image_url: Medium | None = None
    image_pil: Medium | None = None
    audio_url: Medium | None = None
    video_url: Medium | None = None
    file_url: Medium | None = None
    input_audio: Medium | None = None
    file: Medium | None = None
    source: _Source | None = None


Talk = str | list[Piece] | None
"""What one member of a request says: a text, or pieces."""


def _anywhere(kind: type[Medium], value: object) -> Medium:
    return kind(_characters(value))


def _inline_only(kind: type[Medium], value: object) -> Medium:
    if _leads_out(value) and not (kind is _Source and isinstance(value, str)):
        raise Refused(refusals.REMOTE_MEDIA)
    return kind(_characters(value))


def _leads_out(value: object) -> bool:
    """Whether there is an address in `value` that is not the thing itself."""
    if isinstance(value, str):
        return not value.startswith(_INLINE)
    if isinstance(value, dict):
        return any(
            _leads_out(value[name]) for name in value if name.endswith("url") or not isinstance(value[name], str)
        )
    return isinstance(value, list) and any(_leads_out(inner) for inner in value if not isinstance(inner, str))


def _characters(value: object) -> int:
    if isinstance(value, str):
        return len(value)
    return sum(map(_characters, value.values())) if isinstance(value, dict) else 0


_ANYWHERE: msgspec.json.Decoder[Talk] = msgspec.json.Decoder(Talk, dec_hook=_anywhere)
_INLINE_ONLY: msgspec.json.Decoder[Talk] = msgspec.json.Decoder(Talk, dec_hook=_inline_only)


def read_talk(value: Raw, remote_media: bool) -> Talk:
    """What a member of a request says.

    :param remote_media: whether it may point to media that the model server would have to fetch.
    :raises Refused: if it does and may not; if it is of no shape that the protocols know.
    """
    return decoded(_ANYWHERE if remote_media else _INLINE_ONLY, value, refusals.BAD_CONVERSATION)


_SEVERAL_ANYWHERE = msgspec.json.Decoder(list[Piece | list[Piece]], dec_hook=_anywhere)
_SEVERAL_INLINE_ONLY = msgspec.json.Decoder(list[Piece | list[Piece]], dec_hook=_inline_only)


def read_talks(value: Raw, remote_media: bool) -> list[Talk]:
    """What a member says that carries one conversation or a list of them. Parameters and errors as above."""
    decoder = _SEVERAL_ANYWHERE if remote_media else _SEVERAL_INLINE_ONLY
    found = decoded(decoder, value, refusals.BAD_CONVERSATION)
    messages = [piece for piece in found if isinstance(piece, Piece)]
    return [messages, *(talk for talk in found if isinstance(talk, list))]


_PART_FIELDS = ("audio_embeds", "image_embeds", "prompt_embeds", "uuid", "video_embeds")


def refuse_parts(talk: Talk, fields: Collection[str]) -> None:
    """See that no part of its messages is of a type, or has a field, that is one of `fields`.

    vLLM goes by a part's type; where there is none, or a `uuid`, by the first field that it knows.

    :raises Refused: if there is one, and it is not null.
    """
    suspects = {None, *fields}
    for part in _parts(talk):
        if part.type in suspects or part.uuid is not _ABSENT:
            for name in _PART_FIELDS:
                if name in fields and (part.type == name or bytes(getattr(part, name)) != b"null"):
                    raise Refused(refusals.refused_field(name))


def _parts(talk: Talk) -> list[Piece]:
    """What the messages hold, at any depth; not the messages themselves."""
    parts: list[Piece] = []
    if isinstance(talk, list):
        _gather(talk, parts)
        _gather(parts, parts)  # which become more meanwhile
    return parts


def _gather(holding: list[Piece], parts: list[Piece]) -> None:
    for piece in holding:
        content, output = piece.content, piece.output
        if type(content) is list:  # quicker than isinstance, and a conversation has thousands
            parts += content
        if type(output) is list:
            parts += output
        elif type(output) is Piece:
            parts.append(output)


# -- Length ------------------------------------------------------------------------------------------------------------

_TEXT_TYPES = frozenset(("text", "input_text", "output_text"))
_MESSAGE_TYPES = frozenset((None, "message"))


def pieces(talk: Talk) -> Iterator[Piece]:
    """Every piece in it, the inner ones too."""
    pending: list[Piece] = list(talk) if isinstance(talk, list) else []
    while pending:
        piece = pending.pop()
        yield piece
        for inner in (piece.content, piece.output):
            if isinstance(inner, list):
                pending += inner
            elif isinstance(inner, Piece):
                pending.append(inner)


def is_plain(talk: Talk) -> bool:
    """Whether it is text and nothing else, so that its length in the prompt has to do with its length here.

    What tools were called with is parsed, and written anew on its way into the prompt with any amount of white space;
    what becomes of a picture has nothing to do with the length of its name.
    """
    return not isinstance(talk, list) or all(map(_is_text, talk))


def _is_text(piece: Piece) -> bool:
    if piece.type not in _TEXT_TYPES and (piece.role is None or piece.type not in _MESSAGE_TYPES):
        return False
    if piece.tool_calls is not _ABSENT or piece.uuid is not _ABSENT or piece.output is not None:
        return False
    inner = piece.content
    return (
        piece.image_url is piece.image_pil is piece.audio_url is piece.video_url is piece.file_url is None
        and piece.input_audio is piece.file is piece.source is None
        and (not isinstance(inner, list) or all(map(_is_text, inner)))
    )


def _media(piece: Piece) -> Iterator[Medium]:
    addresses = (piece.image_url, piece.image_pil, piece.audio_url, piece.video_url, piece.file_url)
    return filter(None, (*addresses, piece.input_audio, piece.file, piece.source))


def media(talk: Talk) -> Iterator[Medium]:
    """Every medium in it."""
    for piece in pieces(talk):
        yield from _media(piece)


def certain_characters(talk: Talk) -> int:
    """How many characters of text there are that no chat template leaves out.

    Of what the assistant said, templates drop its thinking; all the rest they show.
    """
    if not isinstance(talk, list):
        return len(talk or "")
    return sum(_own_characters(piece) for piece in talk if piece.role != "assistant" and piece.type != "reasoning")


def _own_characters(piece: Piece) -> int:
    count = len(piece.text or "")
    for said in (piece.content, piece.output):
        if isinstance(said, str):
            count += len(said)
        elif isinstance(said, list):
            count += sum(len(part.text or "") for part in said)
    return count
