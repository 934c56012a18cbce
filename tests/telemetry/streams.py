"""Answers whose truth is known: what three protocols would say of the same work, in every manner a model server has."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from hypothesis import strategies as st

from hadesgw.telemetry.memory import Vocabulary
from hadesgw.telemetry.watch import Watch

WORDS = Vocabulary(
    frozenset(("get_weather",)),
    frozenset(("search_recall", "core_memory_append")),
    frozenset(("warning", "flush", "error", "system_alert")),
)
"""The names told apart in these tests."""

Events = Sequence[tuple[str, str]]
"""(name, data) of Server-Sent Events; an empty name is none."""


@dataclass(frozen=True)
class Call:
    """One tool call that a model makes.

    :ivar pieces: its arguments, as they are divided.
    :ivar state: what the arguments are.
    """

    name: str
    pieces: tuple[str, ...]
    state: str

    @property
    def arguments(self) -> str:
        """The arguments as they are in one piece."""
        return "".join(self.pieces)

    @property
    def label(self) -> str:
        """The name it is counted under."""
        return self.name if self.name in WORDS.tools | WORDS.memory_tools else "other"


@dataclass(frozen=True)
class Work:
    """What a model does for one answer.

    :ivar order: whose piece comes next, while calls are made in parallel: any number, taken modulo those not complete.
    :ivar usage: (prompt, completion) tokens, or None where the server does not tell.
    :ivar end: "done"; "error", then nothing; "error, done", as vLLM ends when its engine dies; or "cut".
    """

    texts: tuple[str, ...] = ()
    calls: tuple[Call, ...] = ()
    order: tuple[int, ...] = ()
    finish: str = "stop"
    usage: tuple[int, int] | None = None
    end: str = "done"
    memory: tuple[str, ...] = ()

    def turns(self) -> Iterable[tuple[int, int]]:
        """(number of the call, number of its piece), in the order they come; piece -1 is its beginning."""
        waiting = dict.fromkeys(range(len(self.calls)), -1)
        for choice in (*self.order, *(0 for _ in range(1_000))):
            if not waiting:
                return
            number = list(waiting)[choice % len(waiting)]
            yield number, waiting[number]
            waiting[number] += 1
            if waiting[number] == len(self.calls[number].pieces):
                del waiting[number]


@dataclass
class Facts:
    """What is known of an answer, or found out by a watch."""

    tools: dict[str, int] = field(default_factory=dict)
    states: dict[str, int] = field(default_factory=dict)
    memory: dict[str, int] = field(default_factory=dict)
    finish: str | None = None
    usage: tuple[int | None, int | None] = (None, None)
    counted: int = 0
    failed: bool = False
    done: bool = False
    response_id: str | None = None
    events: int = 0
    unreadable: int = 0


def truth(work: Work, *, events: int, counted: int, end: bool = True) -> Facts:
    """What a watch must find.

    :param events: how many of them there are.
    :param counted: the tokens that can be seen.
    :param end: whether an end mark was sent.
    """
    memory = Counter(work.memory)
    memory["tool_call"] = sum(call.name in WORDS.memory_tools for call in work.calls)
    finished = work.end == "done"
    return Facts(
        tools=dict(Counter(call.label for call in work.calls)),
        states=dict(Counter(call.state for call in work.calls)),
        memory={kind: count for kind, count in memory.items() if count},
        finish=work.finish if finished else None,
        usage=(work.usage if work.usage is not None and finished else None) or (None, None),
        counted=counted,
        failed=work.end.startswith("error"),
        done=end and work.end.endswith("done"),
        response_id="answer-1",
        events=events,
    )


def found(watch: Watch, whole: bool) -> Facts:
    """What a watch has found, after its end."""
    watch.end(whole)
    return Facts(
        watch.tools,
        watch.states(whole),
        watch.memory,
        watch.finish,
        (watch.prompt_tokens, watch.completion_tokens),
        watch.counted_tokens,
        watch.failed,
        watch.done,
        watch.response_id,
        watch.events,
        watch.unreadable,
    )


def watched(kind: type[Watch], pieces: Iterable[bytes], *, events: bool = True, whole: bool = True) -> Facts:
    """What a watch finds in an answer that comes in these pieces."""
    watch = kind(events, WORDS, lambda fact, word: None)
    for piece in pieces:
        watch.feed(piece)
    facts = found(watch, whole)
    assert watch.retained == 0
    return facts


def sse(events: Events, line_end: str = "\n", comments: bool = False) -> bytes:
    """Server-Sent Events as bytes."""
    lines: list[str] = []
    for name, data in events:
        lines += [": keep-alive", ""] * comments
        lines += [f"event: {name}"] * bool(name)
        lines += [f"data: {data}", ""]
    return "".join(line + line_end for line in lines).encode()


def compact(value: Any) -> str:
    """JSON as vLLM writes it."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def divided(data: bytes, places: Iterable[int]) -> list[bytes]:
    """`data` cut at these places, each taken modulo its length."""
    at = sorted({place % (len(data) + 1) for place in places})
    return [data[begin:end] for begin, end in zip([0, *at], [*at, len(data)], strict=True)]


# -- Strategies --------------------------------------------------------------------------------------------------------

_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
_OBJECTS = st.dictionaries(
    _TEXT,
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | _TEXT,
    max_size=3,
)
_NAMES = st.sampled_from(["search_recall", "core_memory_append", "get_weather", "read_file", "läuft", "a\nb"])


@st.composite
def calls(draw: st.DrawFn) -> Call:
    """Any call, its arguments whole, cut off or broken, in any pieces."""
    text = json.dumps(draw(_OBJECTS), ensure_ascii=draw(st.booleans()))
    state = draw(st.sampled_from(["whole", "whole", "partial", "broken"]))
    if state == "partial":
        text = text[: draw(st.integers(1, len(text) - 1))]
    elif state == "broken":
        text = draw(
            st.sampled_from(["[1]", '"text"', "null", "{]", "{'a': 1}", text + "}", text[:-1] + ",}", "no JSON"])
        )
    places = draw(st.lists(st.integers(0, len(text)), max_size=4))
    at = [0, *sorted(places), len(text)]
    return Call(draw(_NAMES), tuple(text[a:b] for a, b in pairwise(at)), state)


@st.composite
def works(draw: st.DrawFn) -> Work:
    """Any work."""
    return Work(
        texts=tuple(draw(st.lists(_TEXT.filter(bool), max_size=4))),
        calls=tuple(draw(st.lists(calls(), max_size=4))),
        order=tuple(draw(st.lists(st.integers(0, 9), max_size=12))),
        finish=draw(st.sampled_from(["stop", "length", "tool_calls", "end_turn"])),
        usage=draw(st.none() | st.tuples(st.integers(0, 9_999), st.integers(1, 9_999))),
        end=draw(st.sampled_from(["done", "done", "error", "error, done", "cut"])),
        memory=tuple(draw(st.lists(st.sampled_from(sorted(WORDS.memory_events)), max_size=2))),
    )


LINE_ENDS = st.sampled_from(["\n", "\r\n", "\r"])
PLACES = st.lists(st.integers(0, 1 << 20), max_size=30)
