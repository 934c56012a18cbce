"""`hadesgw tail`: the news of requests as rows for a person, or as JSON lines for a program."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Struct

News = Mapping[str, Any]

_COLOURS = {"bad": "31", "refused": "33", "good": "32", "dim": "2", "tool": "36", "memory": "35"}
_WORDS = {"first_byte": "first byte", "tool_call": "tool call", "memory_event": "memory", "finish": "finish"}
HEADING = f"{'TIME':12}  {'REQUEST':9} {'SESSION':9} {'CLIENT':12} WHAT HAPPENED"


class Selection(Struct, frozen=True, kw_only=True):
    """Which requests are wanted; None of a field: whatever it is.

    :ivar id: what the request's or the session's id begins with.
    :ivar client: the client's name.
    :ivar status: a status such as "429", or a class of them such as "5xx".
    """

    id: str | None = None
    client: str | None = None
    status: str | None = None

    def takes(self, news: News) -> bool:
        """Whether a piece of news is of such a request, as far as is known by then."""
        if news.get("event") in ("following", "missed"):
            return True
        ids = (str(news.get("request_id", "")), str(news.get("conveyance_session_id", "")))
        if self.id is not None and not any(each.startswith(self.id) for each in ids):
            return False
        if self.client is not None and news.get("client") != self.client:
            return False
        return self.status is None or _fits(str(news.get("status", "")), self.status)


class Rows:
    """Writes a row for each piece of news.

    :param colour: whether the rows are for a terminal that shows colours.
    """

    def __init__(self, *, colour: bool) -> None:
        self._colour = colour

    def row(self, clock: str, news: News) -> str:
        """One row.

        :param clock: the time of day, as it is to be shown.
        """
        event = news.get("event")
        if event == "following":
            return HEADING
        if event == "missed":
            return self._paint("bad", f"{clock:12}  {news['lines']} pieces of news were missed: too slow a reader")
        tell = {"begun": self._begun, "ended": self._ended}.get(str(event), self._learned)
        ids = f"{_short(news['request_id'])} {_short(news['conveyance_session_id'])}"
        return f"{clock:12}  {ids} {plain(news.get('client') or '-'):12.12} {tell(news)}"

    def _begun(self, news: News) -> str:
        return self._paint("dim", f"> {news['method']} {news['route']}")

    def _learned(self, news: News) -> str:
        event = str(news["event"])
        word = _WORDS.get(event, event)
        if event == "first_byte":
            return self._paint("dim", f". {word} after {_time(news['first_byte_ms'])}")
        colour = "tool" if event == "tool_call" else "memory" if event == "memory_event" else "dim"
        return self._paint(colour, f". {word} {plain(news.get('word') or '')}".rstrip())

    def _ended(self, news: News) -> str:
        status = int(news["status"])
        colour = "bad" if status >= 500 or (news["reason"] and status < 400) else "refused" if status >= 400 else "good"
        told = [self._paint(colour, f"< {status}"), f"{news['method']} {news['route']}"]
        told += [plain(news[name]) for name in ("model", "reason") if news.get(name)]
        if news["first_byte_ms"] is not None and news["stream"]:
            told.append(f"first byte {_time(news['first_byte_ms'])}")
        told.append(f"in {_time(news['duration_ms'])}")
        told += _tokens(news)
        for name, word in (("tool_calls", "tool call"), ("memory_events", "memory event")):
            if news[name]:
                told.append(f"{news[name]} {word}{'s' if news[name] > 1 else ''}")
        return "  ".join(told)

    def _paint(self, colour: str, text: str) -> str:
        return f"\x1b[{_COLOURS[colour]}m{text}\x1b[0m" if self._colour else text


def as_json(news: News) -> str:
    """The news as one line for a program."""
    return msgspec.json.encode(news).decode()


def _fits(status: str, pattern: str) -> bool:
    return len(status) == len(pattern) and all(map(lambda digit, wanted: wanted in ("x", digit), status, pattern))


def plain(text: object) -> str:
    """Without what could drive a terminal: a model's name may be a client's word."""
    return "".join(character if character.isprintable() else "?" for character in str(text))


def _short(identity: object) -> str:
    """The beginning of an id, and a sign that there is more of it."""
    text = str(identity)
    return f"{text:9}" if len(text) <= 9 else f"{text[:8]}~"


def _time(milliseconds: float | None) -> str:
    if milliseconds is None:
        return "-"
    return f"{milliseconds:.0f} ms" if milliseconds < 1_000 else f"{milliseconds / 1_000:.1f} s"


def _tokens(news: News) -> list[str]:
    """How many, and how fast they came once the first was there."""
    prompt, completion = news["prompt_tokens"], news["completion_tokens"]
    if prompt is None and completion is None:
        return []
    told = [f"{'?' if prompt is None else prompt}+{'?' if completion is None else completion} tokens"]
    first = news["first_byte_ms"]
    if completion and news["stream"] and first is not None and news["duration_ms"] > first:
        told.append(f"{completion * 1_000 / (news['duration_ms'] - first):.0f}/s")
    return told
