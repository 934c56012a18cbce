"""One tool call as it comes together in an answer, and whether its arguments are what they should be."""

from __future__ import annotations

import re

import msgspec

UNREADABLE = (msgspec.DecodeError, RecursionError, UnicodeError)
"""What a decoder raises for bytes that are not the JSON it expects."""
_NUMBER = re.compile(r"invalid number \(byte (\d+)\)\Z")


class Call:
    """One tool call as it comes together.

    :ivar label: the tool's name if it is a configured one, else "other"; None before any name has come.
    """

    __slots__ = ("_identity", "_pieces", "label")

    def __init__(self, identity: object) -> None:
        self._identity = identity
        self.label: str | None = None
        self._pieces: list[str] | None = []

    def is_other(self, identity: object) -> bool:
        """Whether `identity` is another call's: some servers give every call the same place."""
        return isinstance(identity, str) and isinstance(self._identity, str) and identity != self._identity

    @property
    def silent(self) -> bool:
        """Whether nothing of its arguments has come."""
        return self._pieces == []

    def add(self, piece: str) -> None:
        """Some more of the arguments."""
        if self._pieces is not None:
            self._pieces.append(piece)

    def give_up(self) -> None:
        """Its arguments are too long to be judged."""
        self._pieces = None

    def state(self, whole: bool) -> str:
        """What the arguments are: "whole", "partial" (cut off), "broken" (no JSON object), "unjudged" (too long).

        :param whole: whether the answer has come to its end.
        """
        if self._pieces is None:
            return "unjudged"
        text = "".join(self._pieces).strip().encode("utf-8", "replace")
        if not text:
            return "whole" if whole else "partial"  # who wants no arguments may send none
        if not text.startswith(b"{"):
            return "broken"
        try:
            msgspec.json.decode(text)
        except msgspec.ValidationError:
            return "whole"  # well formed, with a number that no machine holds
        except UNREADABLE as error:
            return "partial" if _cut_off(str(error), len(text)) else "broken"
        return "whole"


def _cut_off(error: str, length: int) -> bool:
    """Whether all that a decoder found wrong is that the text ends."""
    number = _NUMBER.search(error)  # such as `1.`, which it does not take for one that goes on
    return "truncated" in error or (number is not None and int(number[1]) == length)
