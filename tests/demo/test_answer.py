"""From an answer to the pieces of its deltas: limits, stops, groups."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from hadesgw.demo import tokenizer
from hadesgw.demo.answer import Answer, Generation, Piece, as_written, perform
from hadesgw.demo.conversation import Call

CALL = Call("get_weather", '{"city": "Oslo"}')
WORDS = st.text("ab \n.ü", max_size=40)


def texts(generation: Generation) -> list[str]:
    return [piece.text for piece in generation.pieces]


class WritingTests(SynchronousTestCase):
    """An answer where nobody takes it apart."""

    def test_thoughts_and_calls_are_text(self) -> None:
        """As models write them; how it is played stays as it was."""
        call = Call("look", '{"at": "sky"}')
        written = as_written(Answer(reasoning="Hm.", text="So.", calls=(call, call), wait_seconds=2))
        tag = '<tool_call>\n{"name": "look", "arguments": {"at": "sky"}}\n</tool_call>'
        self.assertEqual(written.text, f"<think>\nHm.\n</think>\n\nSo.\n{tag}\n{tag}")
        self.assertEqual((written.reasoning, written.calls, written.wait_seconds), ("", (), 2))
        self.assertEqual(as_written(Answer(calls=(call,))).text, tag)
        self.assertEqual(as_written(Answer(text="So.")), Answer(text="So."))


class PerformTests(SynchronousTestCase):
    """An answer made out to its last token."""

    def test_an_answer_is_thought_said_and_called_in_that_order(self) -> None:
        """Every token is a piece; a call begins with its name."""
        made = perform(Answer(reasoning="hm", text="so", calls=(CALL,)), limit=100)
        self.assertEqual([p.kind for p in made.pieces][:4], ["reasoning", "text", "call", "arguments"])
        self.assertEqual((made.finish, made.stop_string), ("tool_calls", None))
        self.assertEqual(made.calls(), (CALL,))
        self.assertEqual(made.reasoning_tokens, 1)
        self.assertEqual(made.tokens, 2 + sum(map(tokenizer.count, (CALL.name, CALL.arguments))))

    @given(WORDS, st.integers(1, 30))
    def test_the_limit_is_exact(self, text: str, limit: int) -> None:
        """As many tokens as allowed are made, and a length stop is told exactly when there would be more."""
        made = perform(Answer(text=text), limit=limit)
        whole = tokenizer.count(text)
        self.assertEqual(made.tokens, min(whole, limit))
        self.assertEqual(made.finish, "length" if whole > limit else "stop")

    def test_a_call_that_is_cut_is_a_length_stop(self) -> None:
        """In its name or in its arguments, and what was written of it stays."""
        self.assertEqual(perform(Answer(calls=(CALL,)), limit=1).finish, "length")
        made = perform(Answer(calls=(CALL,)), limit=5)
        self.assertEqual((made.finish, made.calls()), ("length", (Call("get_weather", '{"'),)))

    @given(WORDS, WORDS, st.booleans())
    def test_a_stop_string_ends_the_text(self, text: str, stop: str, keep: bool) -> None:
        """What is said is what stands before the first stop string, or ends with it if it is to be kept."""
        made = perform(Answer(text=text, calls=(CALL,)), limit=200, stop=(stop,), keep_stop=keep)
        if stop and stop in text:
            before = text[: text.index(stop)]
            self.assertEqual(made.joined("text"), before + stop if keep else before)
            self.assertEqual((made.finish, made.stop_string, made.calls()), ("stop", stop, ()))
        else:
            self.assertEqual((made.joined("text"), made.stop_string, made.calls()), (text, None, (CALL,)))

    def test_the_earliest_of_several_stop_strings_counts(self) -> None:
        """And reasoning is not searched."""
        made = perform(Answer(reasoning="b", text="one two three"), limit=99, stop=("three", " two", "b"))
        self.assertEqual((made.joined("text"), made.stop_string), ("one", " two"))
        self.assertEqual(made.joined("reasoning"), "b")

    def test_tokens_make_a_text_exactly_so_long(self) -> None:
        """A short text goes on in prose, a long one is cut, and neither is a length stop."""
        for wanted in (3, 300):
            made = perform(Answer(text="one two three four", tokens=wanted), limit=1000)
            self.assertEqual((made.tokens, made.finish), (wanted, "stop"))
            self.assertTrue(made.joined("text").startswith("one two three"))

    def test_an_ignored_end_goes_on_to_the_limit(self) -> None:
        """As vLLM's ignore_eos does."""
        made = perform(Answer(text="one", calls=(CALL,)), limit=77, ignore_end=True)
        self.assertEqual((made.tokens, made.finish, made.calls()), (77, "length", ()))

    def test_nothing_is_an_answer(self) -> None:
        """No text gives no piece and a plain stop."""
        self.assertEqual(perform(Answer(), limit=5), Generation((), "stop", None))

    def test_tokens_can_share_a_piece(self) -> None:
        """As many as asked for, the rest in a smaller one, and never across kinds."""
        made = perform(Answer(reasoning="a b c", text="d e f g", tokens_per_event=2), limit=99)
        self.assertEqual(texts(made), ["a b", " c", "d e", " f g"])
        self.assertEqual([piece.tokens for piece in made.pieces], [2, 1, 2, 2])

    def test_arguments_can_come_whole(self) -> None:
        """Each call then has its name and one piece of arguments; text stays token by token."""
        made = perform(Answer(text="a b", calls=(CALL, CALL), whole_arguments=True), limit=99)
        self.assertEqual(texts(made), ["a", " b", CALL.name, CALL.arguments, CALL.name, CALL.arguments])
        self.assertEqual([piece.call for piece in made.pieces], [0, 0, 0, 0, 1, 1])

    def test_calls_are_read_back_from_pieces(self) -> None:
        """A call without arguments has empty ones."""
        pieces = (Piece("call", "look", 0, 1), Piece("call", "leap", 1, 1), Piece("arguments", "{}", 1, 1))
        self.assertEqual(Generation(pieces, "tool_calls", None).calls(), (Call("look", ""), Call("leap", "{}")))
