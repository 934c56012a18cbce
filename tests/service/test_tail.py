"""Rows and choices of `hadesgw tail`."""

from __future__ import annotations

import json

from twisted.trial.unittest import SynchronousTestCase

from hadesgw.service.tail import HEADING, News, Rows, Selection, as_json

WHO = {"request_id": "4ab2c9f0-1111", "conveyance_session_id": "chat-7", "client": "alice"}
WHERE = {"route": "/v1/chat/completions", "model": "qwen", "upstream": "vllm"}
BEGUN = {"event": "begun", **WHO, "client": None, "method": "POST", **WHERE}
ENDED = {
    "event": "ended",
    **WHO,
    "method": "POST",
    **WHERE,
    "status": 200,
    "code": None,
    "reason": None,
    "stream": True,
    "duration_ms": 2_100.0,
    "first_byte_ms": 100.0,
    "bytes_in": 10,
    "bytes_out": 20,
    "prompt_tokens": 812,
    "completion_tokens": 400,
    "tool_calls": 1,
    "memory_events": 2,
}


class RowTests(SynchronousTestCase):
    """What a person is shown."""

    def row(self, news: News, *, colour: bool = False) -> str:
        """One row at noon."""
        return Rows(colour=colour).row("12:00:00.000", news)

    def test_an_end_tells_all_that_counts(self) -> None:
        """Status, route, model, times, tokens and their pace, tool calls and memory, with the beginning of both ids."""
        self.assertEqual(
            self.row(ENDED),
            "12:00:00.000  4ab2c9f0~ chat-7    alice        < 200  POST /v1/chat/completions  qwen  first byte 100 ms"
            "  in 2.1 s  812+400 tokens  200/s  1 tool call  2 memory events",
        )

    def test_news_on_the_way_has_a_row_of_its_own(self) -> None:
        """The beginning, the first byte, a tool call, a memory event; who it is may not be known yet."""
        self.assertIn(" -            > POST /v1/chat/completions", self.row(BEGUN))
        first = {"event": "first_byte", **WHO, **WHERE, "word": None, "first_byte_ms": 212.4}
        self.assertTrue(self.row(first).endswith(". first byte after 212 ms"))
        for event, word in (("tool_call", "tool call"), ("memory_event", "memory"), ("finish", "finish")):
            news = {"event": event, **WHO, **WHERE, "word": "x"}
            self.assertTrue(self.row(news).endswith(f". {word} x"), self.row(news))

    def test_what_is_not_known_is_not_made_up(self) -> None:
        """A refusal has no tokens, no first byte and no pace; half of the tokens is shown as half."""
        refused = {**ENDED, "status": 429, "reason": "rate_limited", "stream": False, "prompt_tokens": None}
        refused |= {"completion_tokens": None, "tool_calls": 0, "memory_events": 0, "duration_ms": 1.0}
        self.assertTrue(self.row(refused).endswith("< 429  POST /v1/chat/completions  qwen  rate_limited  in 1 ms"))
        self.assertIn("?+400 tokens", self.row({**ENDED, "prompt_tokens": None}))

    def test_colour_is_there_when_it_is_wanted(self) -> None:
        """Good, refused and broken ends differ in colour, and without colours no escape is written."""
        ends = [ENDED, {**ENDED, "status": 404}, {**ENDED, "status": 502}, {**ENDED, "reason": "upstream_died"}]
        colours = [self.row(end, colour=True).split("< ")[0].rpartition("\x1b[")[2] for end in ends]
        self.assertEqual(colours, ["32m", "33m", "31m", "31m"])
        self.assertNotIn("\x1b", "".join(map(self.row, ends)))

    def test_nothing_drives_the_terminal(self) -> None:
        """A model's name may be a client's own word: what cannot be printed is shown as a question mark."""
        row = self.row({**ENDED, "model": "a\x1b[2Jb\n\u202ec"})
        self.assertIn("a?[2Jb??c", row)

    def test_who_comes_is_told_the_columns_and_what_was_missed(self) -> None:
        """The first row is a heading; a reader that is too slow learns how much it has not seen."""
        self.assertEqual(self.row({"event": "following"}), HEADING)
        self.assertIn("7 pieces of news were missed", self.row({"event": "missed", "lines": 7}))

    def test_for_a_program_it_is_json(self) -> None:
        """A line that reads back as what the gateway said."""
        self.assertEqual(json.loads(as_json(ENDED)), ENDED)


class SelectionTests(SynchronousTestCase):
    """Which requests are shown."""

    def test_each_choice_takes_its_own(self) -> None:
        """By what either id begins with, by client, by status or class of status; all of them together must fit."""
        for wanted, taken in (
            (Selection(), True),
            (Selection(id="4ab2"), True),
            (Selection(id="chat-"), True),
            (Selection(id="b2c9"), False),
            (Selection(client="alice"), True),
            (Selection(client="al"), False),
            (Selection(status="200"), True),
            (Selection(status="2xx"), True),
            (Selection(status="20x"), True),
            (Selection(status="5xx"), False),
            (Selection(client="alice", status="5xx"), False),
        ):
            self.assertIs(wanted.takes(ENDED), taken, wanted)

    def test_what_is_not_known_yet_does_not_fit(self) -> None:
        """A beginning has no client and no status; what concerns the follower itself always comes."""
        self.assertFalse(Selection(client="alice").takes(BEGUN))
        self.assertFalse(Selection(status="2xx").takes(BEGUN))
        self.assertTrue(Selection(status="2xx").takes({"event": "missed", "lines": 1}))
        self.assertTrue(Selection(client="bob").takes({"event": "following"}))
