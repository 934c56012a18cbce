"""What clients send to sessions, read strictly: bodies and queries of HTTP requests, messages of WebSockets.

The types here are also what the OpenAPI document is made of. Members that nobody knows are passed over, since the
integration guide's clients send some (`timestamp`) and tomorrow's will send others; null is the same as absent. What is
at fault is named by its place, and never repeated.
"""

from __future__ import annotations

from typing import Annotated, TypeVar
from urllib.parse import parse_qsl

import msgspec
from msgspec import Meta, Raw, Struct

from hadesgw.policy import refusals
from hadesgw.policy.json_object import ObjectReader, characters
from hadesgw.policy.refusals import Refused
from hadesgw.sessions.admission import Wish
from hadesgw.sessions.engine import Decision

T = TypeVar("T", bound=Struct)
V = TypeVar("V")

MOST_QUERY_FIELDS = 16
_DECISIONS = "|".join(decision.value for decision in Decision)

_BRANCH = r"^(?!.*(?:\.\.|//|/\.|\.lock(?:/|$)|\.(?:/|$)|/$))[A-Za-z0-9_][A-Za-z0-9._/-]*$"  # git's, in other words

Name = Annotated[str, Meta(min_length=1, max_length=128)]
ModelName = Annotated[str, Meta(min_length=1, max_length=256)]
Verdict = Annotated[str, Meta(pattern=rf"^(?:{_DECISIONS})$(?!\n)", description="One that the request offers.")]
Path = Annotated[str, Meta(max_length=4096, description="Relative to the workspace; empty: the workspace itself.")]
FilePath = Annotated[str, Meta(min_length=1, max_length=4096, description="Relative to the workspace.")]
Seq = Annotated[int, Meta(ge=0, lt=2**53)]


class Start(Struct, kw_only=True):
    """What session is meant or wanted; nothing of it: the client's default session."""

    session_id: Annotated[Name | None, Meta(description="Of a session that exists.")] = None
    workspace: Annotated[Name | None, Meta(description="Where to work, by its configured name.")] = None
    engine: Annotated[Name | None, Meta(description="The agent that does the work.")] = None
    model: ModelName | None = None
    restart: Annotated[bool | None, Meta(description="End the session that is there, and start afresh.")] = None
    new: Annotated[bool | None, Meta(description="Start a further session beside the default one.")] = None

    @property
    def wish(self) -> Wish:
        """The same, as the registry takes it."""
        return Wish(
            session_id=self.session_id,
            workspace=self.workspace,
            engine=self.engine,
            model=self.model,
            restart=bool(self.restart),
            new=bool(self.new),
        )


class Input(Start, kw_only=True):
    """A message to the agent, or a slash command."""

    text: str = ""


class Stop(Struct):
    """Which session is to end."""

    session_id: Name | None = None


class Steer(Struct):
    """Further input for the running turn."""

    text: str = ""


class Nothing(Struct):
    """There is nothing to be said."""


class Answer(Struct):
    """An answer to a request for approval."""

    decision: Verdict


class CommitOrder(Struct):
    """What to call the commit of everything that is changed."""

    message: Annotated[str, Meta(min_length=1, max_length=16_384)]


class BranchOrder(Struct):
    """How to call the new branch."""

    name: Annotated[str, Meta(min_length=1, max_length=100, extra_json_schema={"pattern": _BRANCH})]


class RevertOrder(Struct):
    """Which turn to take back; none: the last that is not taken back yet."""

    turn_id: Name | None = None


# -- Queries -----------------------------------------------------------------------------------------------------------


class Asker(Struct, kw_only=True):
    """Whose sessions are meant."""

    client: Annotated[
        Name | None, Meta(description="Another client's name: for administrators, to look at its sessions.")
    ] = None


class FolderQuery(Asker, kw_only=True):
    """Which folder."""

    path: Path = ""


class FileQuery(Asker, kw_only=True):
    """Which file."""

    path: FilePath


class DiffQuery(Asker, kw_only=True):
    """Which diff."""

    turn_id: Annotated[
        Name | None, Meta(description="What this turn has changed; else everything that is not committed.")
    ] = None


class LogQuery(Asker, kw_only=True):
    """How much of the log."""

    limit: Annotated[int, Meta(ge=1, le=200)] = 20


class EventsQuery(Asker, kw_only=True):
    """From where on, and by whom."""

    after: Annotated[Seq | None, Meta(description="Seq of the last event seen; Last-Event-ID goes before it.")] = None
    answers: Annotated[bool, Meta(description="Whether this client can answer requests for approval.")] = False


class SocketQuery(Struct, kw_only=True):
    """Which session a WebSocket begins with, and from where on."""

    session_id: Name | None = None
    after: Seq | None = None


# -- Messages of a WebSocket -------------------------------------------------------------------------------------------


class Envelope(Struct):
    """What every message is.

    :ivar id: the client's own, repeated in what answers this message alone.
    :ivar idempotency_key: of an input; another one with the same key is taken for the same.
    """

    type: Name
    content: Raw = Raw(b"null")
    id: Name | None = None
    idempotency_key: Name | None = None


class Resume(Struct):
    """From where on to tell again.

    :ivar session_id: of the session that `after` is of.
    """

    after: Seq
    session_id: Name | None = None


class Select(Struct):
    """Which session the socket is about from now on; None for the default one."""

    session_id: Name | None = None


class Approval(Answer):
    """An answer, and to which request."""

    approval_id: Name


# -- Reading -----------------------------------------------------------------------------------------------------------


def read_object(data: bytes, kind: type[T]) -> T:
    """The one JSON object that `data` is; nothing at all is an empty one.

    :raises Refused: if it is anything else, or its members are not as `kind` has them.
    """
    data = data if data.strip() else b"{}"
    characters(data)
    ObjectReader().read(data)  # which sees that no name stands twice
    return _decoded(kind, data)


def read_content(content: Raw, kind: type[T]) -> T:
    """The content of a message: an object, or null or an empty text for an empty one.

    :raises Refused: if it is anything else.
    """
    data = bytes(content)
    return _decoded(kind, b"{}" if data in (b"null", b'""') else data)


def read_text(content: Raw) -> str:
    """The content of a message that is a text.

    :raises Refused: if it is anything else.
    """
    return _decoded(str, bytes(content))


def read_query(target: bytes, kind: type[T]) -> T:
    """The query of a request's target.

    :raises Refused: if it is not as `kind` has it, or says something twice.
    """
    query = target.partition(b"?")[2].decode("ascii")
    try:
        fields = parse_qsl(query, keep_blank_values=True, errors="strict", max_num_fields=MOST_QUERY_FIELDS)
    except ValueError:
        raise Refused(refusals.BAD_QUERY) from None
    if len(dict(fields)) < len(fields):
        raise Refused(refusals.BAD_QUERY)
    try:
        return msgspec.convert(dict(fields), kind, strict=False)
    except msgspec.ValidationError as error:
        raise Refused(_misfit(error)) from None


def _decoded(kind: type[V], data: bytes) -> V:
    try:
        return msgspec.json.decode(data, type=kind)
    except msgspec.ValidationError as error:
        raise Refused(_misfit(error)) from None
    except msgspec.DecodeError:
        raise Refused(refusals.BAD_JSON) from None


def _misfit(error: msgspec.ValidationError) -> refusals.Refusal:
    """What msgspec says: what it expected and found, by type, and where. None of it is the client's."""
    return msgspec.structs.replace(refusals.BAD_PARAMETER, message=f"{error}.".replace("`", ""))

