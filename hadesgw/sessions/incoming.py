"""What clients send to sessions, read strictly: the bodies of HTTP requests and the messages of WebSockets.

Members that nobody knows are passed over, since the integration guide's clients send some (`timestamp`) and tomorrow's
will send others; null is the same as absent. What is at fault is named by its field, and never repeated.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

import msgspec
from msgspec import Raw

from hadesgw.policy.json_object import ObjectReader, characters, decoded
from hadesgw.policy.refusals import Refused, bad_parameter
from hadesgw.sessions.engine import Decision
from hadesgw.sessions.registry import Wish

T = TypeVar("T")

_TEXT = msgspec.json.Decoder(str)
_FLAG = msgspec.json.Decoder(bool)
_NUMBER = msgspec.json.Decoder(int)
_NULL = b"null"
_NAME_CHARACTERS = 128
"""Of a session's id, a workspace's or an engine's name; model names may have twice as many."""
DECISIONS = {decision.value: decision for decision in Decision}


class Members:
    """The members of a JSON object that a client has sent; each is judged when it is asked for."""

    def __init__(self, members: Mapping[str, Raw]) -> None:
        self._members = members

    @classmethod
    def read(cls, data: bytes) -> Members:
        """The members of the one object that `data` has to be; none of nothing at all.

        :raises Refused: if it is anything else.
        """
        if not data.strip():
            return cls({})
        characters(data)
        return cls(ObjectReader().read(data))

    def inner(self, name: str) -> Members:
        """The members of a member that is an object; none if it is absent, or an empty text.

        :raises Refused: if it is anything else.
        """
        value = self._raw(name)
        if value is None or bytes(value) == b'""':
            return Members({})
        try:
            return Members(ObjectReader().read(bytes(value)))
        except Refused:
            raise Refused(bad_parameter(name, "an object")) from None

    def text(self, name: str) -> str | None:
        """A member that is a text."""
        return self._value(name, _TEXT, "a text")

    def name(self, name: str, most: int = _NAME_CHARACTERS) -> str | None:
        """A member that is a text of a few characters, at least one."""
        value = self.text(name)
        if value is not None and not 0 < len(value) <= most:
            raise Refused(bad_parameter(name, f"a text of 1 to {most} characters"))
        return value

    def flag(self, name: str) -> bool:
        """A member that is true or false; false if it is absent."""
        return self._value(name, _FLAG, "true or false") or False

    def number(self, name: str) -> int | None:
        """A member that is a whole number, at least 0."""
        value = self._value(name, _NUMBER, "a whole number from 0")
        if value is not None and value < 0:
            raise Refused(bad_parameter(name, "a whole number from 0"))
        return value

    def needed(self, name: str) -> str:
        """A member that is a text and has to be there."""
        value = self.text(name)
        if value is None:
            raise Refused(bad_parameter(name, "a text"))
        return value

    def _raw(self, name: str) -> Raw | None:
        value = self._members.get(name)
        return None if value is None or bytes(value) == _NULL else value

    def _value(self, name: str, decoder: msgspec.json.Decoder[T], words: str) -> T | None:
        value = self._raw(name)
        return None if value is None else decoded(decoder, value, bad_parameter(name, words))


def wish_of(members: Members) -> Wish:
    """What session a client means, or wants.

    :raises Refused: if a member is not what it has to be.
    """
    return Wish(
        session_id=members.name("session_id"),
        workspace=members.name("workspace"),
        engine=members.name("engine"),
        model=members.name("model", 2 * _NAME_CHARACTERS),
        restart=members.flag("restart"),
        new=members.flag("new"),
    )


def decision_of(members: Members) -> Decision:
    """How a client answers a request for approval.

    :raises Refused: if it does not, or in no word of ours.
    """
    decision = DECISIONS.get(members.text("decision") or "")
    if decision is None:
        raise Refused(bad_parameter("decision", "one of " + ", ".join(DECISIONS)))
    return decision
