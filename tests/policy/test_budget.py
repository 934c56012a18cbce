"""Whether tokens fit: exact at the edge, and never wrong where nobody counted."""

from __future__ import annotations

import json
import sys
import unicodedata
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from hadesgw.policy.allowance import BYTES_PER_TOKEN
from hadesgw.policy.budget import (
    LONGEST_TOKEN,
    MEDIUM_TOKENS,
    TEMPLATE_TOKENS,
    TIMES_SHOWN,
    Budget,
    Verdict,
    counted,
    judge,
    prompt_estimate,
    told,
    weight,
)
from hadesgw.policy.request_body import CHAT, COMPLETIONS, MESSAGES, RESPONSES, BodyLimits, BodyReader, Route

LIMITS = BodyLimits(16, False, frozenset())
BUDGET = Budget(context_tokens=8192, output_tokens=2048)


def body_of(fields: dict[str, Any], ascii_only: bool = True) -> bytes:
    """A body with these fields and a model."""
    return json.dumps({"model": "m", **fields}, ensure_ascii=ascii_only).encode()


def verdict(route: Route, fields: dict[str, Any], budget: Budget = BUDGET, ascii_only: bool = True) -> Verdict:
    """What is clear about a body with these fields."""
    body = body_of(fields, ascii_only)
    return judge(BodyReader(route, LIMITS).read(body), body, budget)


def said(text: str) -> list[dict[str, Any]]:
    """A conversation in which the user says this."""
    return [{"role": "user", "content": text}]


class WeightTests(SynchronousTestCase):
    """`weight` is never less than the bytes a tokenizer may find."""

    def test_every_character(self) -> None:
        """In each of Unicode's normal forms, and in lower case: as itself, and as an escape."""
        chars = map(chr, (*range(0x80), *range(0xD800), *range(0xE000, sys.maxunicode + 1)))
        for char in (char for char in chars if char.isascii() or len(_forms(char)) > 1):
            most = max(len(form.encode()) for form in _forms(char))
            self.assertLessEqual(most, weight(len(char.encode()), 1, 0), char)
            escape = json.dumps(char)[1:-1]
            self.assertLessEqual(most, weight(len(escape), len(escape), escape.count("\\u")), char)
        for (
            char
        ) in "\x7f\x80\u07ff\u0800\uffff\U00010000\U0010ffff":  # what is in one form only weighs enough by itself
            self.assertLessEqual(len(char.encode()), weight(len(char.encode()), 1, 0))

    @given(st.text(max_size=40), st.booleans())
    def test_every_text(self, text: str, ascii_only: bool) -> None:
        """Normalizing a whole text makes no more of it than of its characters; other escapes only get shorter."""
        written = json.dumps(text, ensure_ascii=ascii_only)
        bound = weight(len(written.encode("utf-8", "surrogatepass")), len(written), written.count("\\u"))
        for form in _forms(text):
            self.assertLessEqual(len(form.encode("utf-8", "surrogatepass")), bound)


def _forms(text: str) -> set[str]:
    """What a tokenizer may make of `text` before it begins."""
    if unicodedata.is_normalized("NFKD", text) and unicodedata.is_normalized("NFC", text):
        return {text, text.lower()}
    return {text, text.lower(), *(unicodedata.normalize(form, text) for form in ("NFC", "NFD", "NFKC", "NFKD"))}


class OutputTests(SynchronousTestCase):
    """The output asked for."""

    def test_its_own_limit(self) -> None:
        """At the limit it may pass, one past it does not, whatever the prompt."""
        for route, field in ((CHAT, "max_tokens"), (RESPONSES, "max_output_tokens"), (MESSAGES, "max_tokens")):
            talk = {"messages": said("hi"), "input": "hi"}
            self.assertEqual(verdict(route, {**talk, field: 2048}), Verdict(True, 2048))
            self.assertEqual(verdict(route, {**talk, field: 2049}), Verdict(False, 2049))
            self.assertEqual(verdict(route, {**talk, field: 10**15}), Verdict(False, 10**15))

    def test_none_is_ours(self) -> None:
        """A request that names no limit is judged by the one it will get."""
        self.assertEqual(verdict(CHAT, {"messages": said("hi")}), Verdict(True, 2048))
        self.assertEqual(verdict(CHAT, {"messages": said("hi"), "max_tokens": None}), Verdict(True, 2048))

    def test_no_room_for_a_prompt(self) -> None:
        """A prompt has at least one token."""
        wide = Budget(context_tokens=4096, output_tokens=8192)
        self.assertFalse(verdict(CHAT, {"messages": said("x"), "max_tokens": 4096}, wide).fits)
        self.assertIsNone(verdict(CHAT, {"messages": said("x"), "max_tokens": 4095}, wide).fits)

    def test_choices_do_not_add_up(self) -> None:
        """Each answer has the context to itself."""
        self.assertTrue(verdict(CHAT, {"messages": said("x"), "max_tokens": 2048, "n": 16}).fits)


class CountedTests(SynchronousTestCase):
    """Prompts whose length is known."""

    def test_at_the_edge(self) -> None:
        """One less, exactly, one more."""
        for prompt, fits in ((6143, True), (6144, True), (6145, False)):
            self.assertEqual(counted(prompt, 2048, BUDGET), Verdict(fits, 2048, prompt))
            for tokens in ([1] * prompt, [[1], [1] * prompt, [1, 2]]):
                self.assertEqual(verdict(COMPLETIONS, {"prompt": tokens}), Verdict(fits, 2048, prompt))

    @given(st.integers(0, 20_000), st.integers(1, 5000))
    def test_it_is_a_sum(self, prompt: int, output: int) -> None:
        """For all numbers."""
        self.assertEqual(counted(prompt, output, BUDGET).fits, prompt + output <= 8192)


class ShortTests(SynchronousTestCase):
    """What is surely short needs no counting."""

    def body(self, size: int) -> tuple[dict[str, Any], int]:
        """A chat whose body has so many bytes, and the budget at which that is just enough."""
        fields: dict[str, Any] = {"messages": said(""), "max_tokens": 1}
        fields["messages"] = said("x" * (size - len(body_of(fields))))
        return fields, TIMES_SHOWN * size + TEMPLATE_TOKENS + 1

    def test_the_bound(self) -> None:
        """At the edge and one below it."""
        for size in (100, 1000, 100_000):
            fields, enough = self.body(size)
            self.assertEqual(verdict(CHAT, fields, Budget(enough, 8)), Verdict(True, 1))
            self.assertEqual(verdict(CHAT, fields, Budget(enough - 1, 8)), Verdict(None, 1))

    def test_other_scripts_weigh_more(self) -> None:
        """In their own bytes, and as escapes."""
        fields = {"messages": said("\ufdfa" * 100), "max_tokens": 1}
        for ascii_only in (True, False):
            written = body_of(fields, ascii_only)
            size = weight(len(written), len(written.decode()), written.count(b"\\u"))
            self.assertGreater(size, 3300)
            enough = TIMES_SHOWN * size + TEMPLATE_TOKENS + 1
            self.assertTrue(verdict(CHAT, fields, Budget(enough, 8), ascii_only).fits)
            self.assertIsNone(verdict(CHAT, fields, Budget(enough - 1, 8), ascii_only).fits)

    def test_what_is_written_anew_has_no_bound(self) -> None:
        """Tools, schemas, templates, pictures, calls: their length in the prompt is another."""
        large = Budget(10**9, 2048)
        call = {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]}
        picture = {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:,"}}]}
        plain: dict[str, Any] = {"messages": said("hi"), "input": "hi", "prompt": None}
        self.assertTrue(verdict(CHAT, plain, large).fits)
        self.assertTrue(verdict(RESPONSES, plain, large).fits)
        for fields in (
            {"tools": [{"type": "function"}]},
            {"functions": [{"name": "f"}]},
            {"documents": [{"text": "x"}]},
            {"response_format": {"type": "json_object"}},
            {"chat_template": "x"},
            {"chat_template_kwargs": {"x": 1}},
            {"mm_processor_kwargs": {"x": 1}},
            {"media_io_kwargs": {"x": 1}},
            {"messages": [call]},
            {"messages": [picture]},
        ):
            self.assertIsNone(verdict(CHAT, {**plain, **fields}, large).fits, fields)
        for fields in (
            {"previous_response_id": "resp_1"},
            {"previous_input_messages": said("x")},
            {"prompt": {"id": "x"}},
            {"input": [{"type": "function_call_output", "output": "x"}]},
        ):
            self.assertIsNone(verdict(RESPONSES, {**plain, **fields}, large).fits, fields)
        self.assertIsNone(verdict(COMPLETIONS, {"prompt": "x", "prompt_embeds": "AAAA"}, large).fits)
        self.assertTrue(
            verdict(CHAT, {**plain, "tools": [], "documents": None, "chat_template_kwargs": {}}, large).fits
        )

    def test_the_usual_request_is_short(self) -> None:
        """A kilobyte, in the built-in budget."""
        fields, _ = self.body(1024)
        self.assertTrue(verdict(CHAT, {**fields, "max_tokens": None}).fits)


class LongTests(SynchronousTestCase):
    """What is surely long needs no counting either."""

    def test_the_bound(self) -> None:
        """At the edge and one past it, in every protocol."""
        room = 8192 - 2048
        for route, fields in (
            (CHAT, lambda text: {"messages": said(text)}),
            (RESPONSES, lambda text: {"input": text}),
            (RESPONSES, lambda text: {"input": said(text), "instructions": ""}),
            (RESPONSES, lambda text: {"input": [{"type": "function_call_output", "output": text}]}),
            (MESSAGES, lambda text: {"messages": [], "system": text}),
            (COMPLETIONS, lambda text: {"prompt": text}),
            (COMPLETIONS, lambda text: {"prompt": ["short", text]}),
        ):
            just = verdict(route, fields("x" * (room * LONGEST_TOKEN)))
            self.assertIsNone(just.fits)
            over = verdict(route, fields("x" * (room * LONGEST_TOKEN + 1)))
            self.assertEqual(over, Verdict(False, 2048, room + 1, "bound"))

    def test_what_may_be_left_out_does_not_count(self) -> None:
        """What the assistant thought, what a picture weighs, what no template shows."""
        much = "x" * (8192 * LONGEST_TOKEN)
        picture = [{"type": "image_url", "image_url": {"url": f"data:,{much}"}}]
        for fields in (
            {"messages": [{"role": "assistant", "content": much}]},
            {"messages": [{"role": "user", "content": picture}]},
            {"messages": said("x"), "metadata": {"x": much}},
        ):
            self.assertIsNone(verdict(CHAT, fields).fits)

    def test_prompts_do_not_add_up(self) -> None:
        """Each has the context to itself."""
        half = "x" * (8192 - 2048) * LONGEST_TOKEN
        self.assertIsNone(verdict(COMPLETIONS, {"prompt": [half, half, half]}).fits)


class SoundnessTests(SynchronousTestCase):
    """A verdict without counting agrees with every tokenizer and template there could be."""

    @given(
        st.lists(st.tuples(st.sampled_from(["system", "user", "assistant"]), st.text(max_size=30)), max_size=4),
        st.integers(2050, 9000),
        st.integers(1, 40),
        st.booleans(),
    )
    def test_no_false_verdict(self, turns: list[tuple[str, str]], context: int, output: int, ascii_only: bool) -> None:
        """Neither for the one that makes a token of each byte, with a wordy template, nor for the thriftiest."""
        messages = [{"role": role, "content": text} for role, text in turns]
        try:
            body = body_of({"messages": messages, "max_tokens": output}, ascii_only)
        except UnicodeEncodeError:
            return
        found = judge(BodyReader(CHAT, LIMITS).read(body), body, Budget(context, 100))
        texts = [unicodedata.normalize("NFKC", text) for _, text in turns]
        wordy = sum(2 * len(text.encode()) + 40 for text in texts) + TEMPLATE_TOKENS
        thrifty = sum(len(text) for role, text in turns if role != "assistant") // 128
        if found.fits is True:
            self.assertLessEqual(wordy + output, context)
        if found.fits is False:
            self.assertGreater(thrifty + output, context)


class EstimateTests(SynchronousTestCase):
    """Where nobody counts."""

    def estimate(self, route: Route, fields: dict[str, Any]) -> tuple[int, int]:
        """The estimate, and the body's size."""
        body = body_of(fields)
        return prompt_estimate(BodyReader(route, LIMITS).read(body), body), len(body)

    def test_text(self) -> None:
        """A token for so many bytes, rounded up."""
        for text in ("", "x", "xx", "xxx", "x" * 3000):
            estimate, size = self.estimate(CHAT, {"messages": said(text)})
            self.assertEqual(estimate, -(-size // BYTES_PER_TOKEN))

    def test_media(self) -> None:
        """As much for each, however long."""
        estimates = set()
        for length in (3, 30_000):
            part = {"type": "image_url", "image_url": {"url": "data:" + "x" * length}}
            estimate, _ = self.estimate(CHAT, {"messages": [{"role": "user", "content": [part, part]}]})
            estimates.add(estimate)
        (only,) = estimates
        self.assertGreater(only, 2 * MEDIUM_TOKENS)
        self.assertLess(only, 2 * MEDIUM_TOKENS + 100)


class ToldTests(SynchronousTestCase):
    """The verdict as a header field."""

    def test_what_is_known_is_told(self) -> None:
        """And how."""
        table = {
            Verdict(False, 4096): b"output=4096; context_tokens=8192; output_tokens=2048",
            counted(6145, 2048, BUDGET): (
                b"prompt=6145; counted=exact; output=2048; context_tokens=8192; output_tokens=2048"
            ),
            counted(9000, 1, BUDGET, "estimate"): (
                b"prompt=9000; counted=estimate; output=1; context_tokens=8192; output_tokens=2048"
            ),
            Verdict(False, 1, 9000, "bound"): (
                b"prompt=9000; counted=bound; output=1; context_tokens=8192; output_tokens=2048"
            ),
        }
        for found, value in table.items():
            self.assertEqual(told(found, BUDGET), value)
