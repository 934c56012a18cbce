"""What all watches have in common: events out of bytes, bounds on what is held, and words that cannot be made up."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from hadesgw.telemetry.watch import (
    LARGEST_ANSWER,
    LONGEST_ARGUMENTS,
    LONGEST_EVENT,
    MOST_CALLS,
    MOST_TOKENS,
    NOTHING,
    Extras,
    Watch,
)
from tests.telemetry.streams import PLACES, WORDS, divided

MARK = "\ufeff"
LINES = st.sampled_from(
    [
        "data: 1",
        "data:2",
        "data:  3",
        "data",
        "event: x",
        ": c",
        ":",
        "id: 4",
        "",
        "",
        "datum: 5",
        "data:",
        MARK + "data: 6",
    ]
)
LINE_ENDS = st.sampled_from(["\n", "\r\n", "\r"])


class Echo(Watch):
    """Keeps what it is given to read."""

    def __init__(self, events: bool = True) -> None:
        self.heard: list[tuple[str, str | None]] = []
        self.read: list[bytes] = []
        Watch.__init__(self, events, WORDS, lambda fact, word: self.heard.append((fact, word)))

    def _event(self, data: bytes) -> None:
        self.read.append(data)

    _answer = _event


def events_of(text: str) -> list[str]:
    """The data of each event, as the standard says it (WHATWG HTML 9.2.6), a whole stream at once."""
    events: list[str] = []
    lines: list[str] | None = None
    for line in text.removeprefix(MARK).replace("\r\n", "\n").replace("\r", "\n").split("\n")[:-1]:
        if line.startswith("data:"):
            lines = [*(lines or []), line[5:].removeprefix(" ")]
        elif not line:
            events += [] if lines is None else ["\n".join(lines)]
            lines = None
    return events


class EventTests(SynchronousTestCase):
    """Events out of bytes."""

    def test_events_that_are_known_are_counted_and_not_read(self) -> None:
        """Whoever knows all events of a read by their bytes has them counted as they are."""

        class Knowing(Echo):
            def _know(self, blocks: list[bytes]) -> bool:
                return blocks == [b"data: 1", b"data: 2"]

        echo = Knowing()
        echo.feed(b"data: 1\n\ndata: 2\n\n")
        echo.feed(b"data: 3\n\n")
        self.assertEqual((echo.events, echo.read), (3, [b"3"]))

    @given(st.sampled_from(["", MARK]), st.lists(st.tuples(LINES, LINE_ENDS), max_size=20), PLACES)
    def test_every_split_gives_the_standards_events(
        self, mark: str, lines: list[tuple[str, str]], places: list[int]
    ) -> None:
        """Whatever ends the lines, with a byte order mark or without; comments and other fields are none."""
        text = mark + "".join(line + end for line, end in lines)
        echo = Echo()
        for piece in divided(text.encode(), places):
            echo.feed(piece)
        self.assertEqual([data.decode() for data in echo.read], events_of(text))
        self.assertEqual(echo.events, len(echo.read))

    def test_a_large_event_is_counted_and_passed_over(self) -> None:
        """At the limit it is read, one past it is not, however it comes; the next one is read again."""
        for over in (0, 1):
            stream = b"data: " + b"x" * (LONGEST_EVENT - 6 + over) + b"\n\ndata: next\n\n"
            for step in (len(stream), 1 << 16, LONGEST_EVENT, LONGEST_EVENT + 1, LONGEST_EVENT + 2):
                echo = Echo()
                for at in range(0, len(stream), step):
                    echo.feed(stream[at : at + step])
                self.assertEqual((echo.events, echo.unreadable, len(echo.read)), (2, over, 2 - over), (over, step))
                self.assertEqual(echo.read[-1], b"next")

    def test_an_endless_event_is_not_held(self) -> None:
        """Nor is anything when the answer has come to its end."""
        echo = Echo()
        for _ in range(40):
            echo.feed(b"x" * 65_536)
            self.assertLessEqual(echo.retained, LONGEST_EVENT + 65_536)
        echo.feed(b"data: x")
        echo.end(False)
        self.assertEqual((echo.retained, echo.events), (0, 0))

    def test_what_cannot_be_read_is_counted(self) -> None:
        """And nothing is raised: not for broken JSON, nor depth without end, nor bytes that are no text."""

        class Clumsy(Echo):
            errors: tuple[Exception, ...] = (msgspec.DecodeError(), RecursionError(), UnicodeError())

            def _event(self, data: bytes) -> None:
                raise self.errors[int(data)]

        clumsy = Clumsy()
        clumsy.feed(b"data: 0\n\ndata: 1\n\n:c\ndata: 2\n\n")
        self.assertEqual((clumsy.events, clumsy.unreadable), (3, 3))

    def test_nobody_reads(self) -> None:
        """A protocol of its own has to be there."""
        for read in (Watch(True, WORDS, lambda fact, word: None)._event, Watch(False, WORDS, print)._answer):
            self.assertRaises(NotImplementedError, read, b"")


class AnswerTests(SynchronousTestCase):
    """Answers in one piece."""

    def test_read_at_the_end(self) -> None:
        """As a whole, if it came to its end."""
        for whole, read in ((True, [b"abc"]), (False, [])):
            echo = Echo(events=False)
            echo.feed(b"a")
            echo.feed(b"bc")
            self.assertEqual((echo.read, echo.retained), ([], 3))
            echo.end(whole)
            self.assertEqual((echo.read, echo.retained), (read, 0))

    def test_a_large_answer_is_counted_and_passed_over(self) -> None:
        """At the limit it is read, one past it is not."""
        for over in (0, 1):
            echo = Echo(events=False)
            for piece in (b"x" * LARGEST_ANSWER, b"x" * over, b"", b"" if not over else b"y"):
                echo.feed(piece)
            echo.end(True)
            self.assertEqual((echo.unreadable, len(echo.read), echo.retained), (over, 1 - over, 0))


class NoteTests(SynchronousTestCase):
    """What is taken from an answer."""

    def test_the_id(self) -> None:
        """The first that has the form of one: nothing else comes into a log."""
        for values, expected in (
            (("chatcmpl-1", "chatcmpl-2"), "chatcmpl-1"),
            ((None, 7, "", "a b", "a\n", "x" * 129, "é", "resp_1"), "resp_1"),
            (("x" * 128,), "x" * 128),
            ((), None),
        ):
            echo = Echo()
            for value in values:
                echo._note_id(value)
            self.assertEqual(echo.response_id, expected)

    def test_the_finish(self) -> None:
        """The first, as a word of the protocols or "other"."""
        for values, expected in (((None, 3, "stop", "length"), "stop"), (("say nothing\n",), "other"), ((), None)):
            echo = Echo()
            for value in values:
                echo._note_finish(value)
            self.assertEqual(echo.finish, expected)
            self.assertEqual(echo.heard, [("finish", expected)] if expected else [])

    def test_usage(self) -> None:
        """Whole numbers that an answer can have; what is told later stands in the earlier's place."""
        echo = Echo()
        odd: tuple[Any, ...] = (
            None,
            [],
            {},
            {"p": True, "c": -1},
            {"p": "3", "c": 1.0},
            {"p": MOST_TOKENS + 1, "c": 10**30},
        )
        for usage in odd:
            echo._note_usage(usage, "p", "c")
        self.assertEqual((echo.prompt_tokens, echo.completion_tokens), (None, None))
        for usage in ({"p": MOST_TOKENS}, {"p": 3, "c": 0}, {"c": 2}, {"c": 5}):
            echo._note_usage(usage, "p", "c")
        self.assertEqual((echo.prompt_tokens, echo.completion_tokens), (3, 5))

    def test_memory_events(self) -> None:
        """One, a list, or the object itself if it has an agent or a time; of configured kinds only."""
        raw = msgspec.Raw
        echo = Echo()
        for extras in (
            Extras(memory_event=raw(b'{"type":"flush"}')),
            Extras(memory_events=raw(b'[{"type":"warning"},{"type":"made_up"},{"type":7},{}]')),
            Extras(type="warning", agent_id="a"),
            Extras(type="system_alert", time=1),
            Extras(type="warning"),
            Extras(memory_event=NOTHING),
        ):
            echo._note_extras(extras)
        self.assertEqual(echo.memory, {"flush": 1, "warning": 2, "system_alert": 1})
        self.assertEqual(echo.memory_events, 4)
        self.assertEqual(echo.heard[0], ("memory_event", "flush"))

    def test_memory_events_in_a_text(self) -> None:
        """Piece by piece; what is no text is none."""
        echo = Echo()
        for piece in ("see: ", "{", '"type":"flush",', '"agent_id":"a"}', None, 7):
            echo._note_text(piece)
        self.assertEqual(echo.memory, {"flush": 1})


class CallTests(SynchronousTestCase):
    """Tool calls as they come together."""

    def test_names(self) -> None:
        """Configured ones are told apart; a memory tool's call is an event of memory too."""
        echo = Echo()
        for number, name in enumerate(("get_weather", "search_recall", "drop table", ["x"])):
            echo._find_call(number, None, name)
        self.assertEqual(echo.tools, {"get_weather": 1, "search_recall": 1, "other": 2})
        self.assertEqual((echo.memory, echo.tool_calls), ({"tool_call": 1}, 4))

    def test_a_call_without_a_name(self) -> None:
        """It is counted when no name can come any more, or when one does."""
        echo = Echo()
        echo._find_call(0, None, None)
        echo._find_call(1, None, None)
        self.assertEqual(echo.tools, {})
        echo._find_call(1, None, "get_weather")
        echo._find_call(1, None, "search_recall")
        echo.end(True)
        self.assertEqual(echo.tools, {"get_weather": 1, "other": 1})

    def test_one_place_for_several(self) -> None:
        """A new id with a name is a new call; without a name it is not."""
        echo = Echo()
        first = echo._find_call(0, "a", "get_weather")
        self.assertIs(echo._find_call(0, "b", None), first)
        self.assertIsNot(echo._find_call(0, "b", "get_weather"), first)
        self.assertEqual(echo.tools, {"get_weather": 2})
        self.assertEqual(echo.states(True), {"whole": 2})

    def test_many_calls(self) -> None:
        """Beyond the limit they are counted by name, and nothing is kept."""
        echo = Echo()
        for number in range(MOST_CALLS + 5):
            call = echo._find_call(number, None, "get_weather")
            echo._add_arguments(call, "{}")
        self.assertIsNone(echo._find_call(-1, None, None))
        self.assertEqual((echo.tools, echo.states(True)), ({"get_weather": MOST_CALLS + 5}, {"whole": MOST_CALLS}))

    def test_long_arguments(self) -> None:
        """Beyond the limit, of all calls together, they are not judged."""
        echo = Echo()
        echo._add_arguments(echo._find_call(0, None, "x"), '{"a":"' + "x" * (LONGEST_ARGUMENTS - 8) + '"}')
        echo._add_arguments(echo._find_call(1, None, "y"), "{")
        echo._add_arguments(echo._find_call(1, None, "y"), "}")
        self.assertEqual(echo.states(True), {"whole": 1, "unjudged": 1})

    def test_arguments_of_any_type(self) -> None:
        """An object is one; nothing is nothing; what is neither text nor object is broken."""
        for arguments, state in (({"a": 1}, "whole"), (None, "whole"), ("{", "partial"), (5, "broken"), ([], "broken")):
            echo = Echo()
            echo._add_arguments(echo._find_call(0, None, "x"), arguments)
            echo._add_arguments(None, arguments)
            self.assertEqual(echo.states(True), {state: 1}, arguments)
