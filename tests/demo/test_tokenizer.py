"""The tokenizer: reversible, stable, and the template it is used on."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from hadesgw.demo import tokenizer
from hadesgw.demo.conversation import Call, Message, Tool

TEXTS = st.text(alphabet=st.characters(exclude_categories=["Cs"])) | st.text("a _1!\n <|>é你😀", max_size=60)


class TokenizerTests(SynchronousTestCase):
    """Text to tokens and back."""

    @given(TEXTS)
    def test_decoding_undoes_encoding(self, text: str) -> None:
        """Any text comes back from its token ids."""
        self.assertEqual(tokenizer.decode(tokenizer.encode(text)), text)

    @given(TEXTS)
    def test_pieces_are_the_text(self, text: str) -> None:
        """The pieces joined are the text, and counting them is counting ids."""
        pieces = list(tokenizer.pieces(text))
        self.assertEqual("".join(pieces), text)
        self.assertEqual(tokenizer.count(text), len(tokenizer.encode(text)))

    @given(TEXTS)
    def test_pieces_are_short(self, text: str) -> None:
        """No piece but a special token is longer than six bytes, so a text has a sixth of its bytes in tokens."""
        for piece in tokenizer.pieces(text):
            self.assertTrue(piece in tokenizer.SPECIAL or 1 <= len(piece.encode()) <= 6, piece)

    @given(st.lists(st.integers(0, tokenizer.VOCABULARY - 1)))
    def test_any_ids_are_text(self, tokens: list[int]) -> None:
        """Ids that are no UTF-8 still give text."""
        self.assertIsInstance(tokenizer.decode(tokens), str)

    def test_ids_are_the_same_in_every_process(self) -> None:
        """The ids of a text are fixed: they are its bytes."""
        self.assertEqual(tokenizer.encode("a<|im_start|>"), [100, 1])
        self.assertEqual(tokenizer.encode("hello"), [452690013554])
        self.assertLess(tokenizer.VOCABULARY, 2**53)

    def test_words_take_their_blank(self) -> None:
        """A blank belongs to the word behind it, other blanks stand alone, long words are cut."""
        self.assertEqual(
            list(tokenizer.pieces("one two  three\n\nfour")), ["one", " two", " ", " three", "\n\n", "four"]
        )
        self.assertEqual(list(tokenizer.pieces("rehearsals")), ["rehear", "sals"])
        self.assertEqual(list(tokenizer.pieces("你好吗x")), ["你好", "吗x"])

    def test_special_tokens_are_one_token_anywhere(self) -> None:
        """Even between signs that would run together with them."""
        self.assertEqual(list(tokenizer.pieces("!<|im_end|>!")), ["!", "<|im_end|>", "!"])

    def test_ids_beyond_the_vocabulary_are_refused(self) -> None:
        """The first id is 0 and the last one is the vocabulary's size less one."""
        tokenizer.decode([0, tokenizer.VOCABULARY - 1])
        for token in (-1, tokenizer.VOCABULARY):
            self.assertRaises(ValueError, tokenizer.decode, [token])

    def test_counting_stops_at_its_limit(self) -> None:
        """A limit bounds the count, and so the work."""
        self.assertEqual(tokenizer.count("a b c d", 3), 3)
        self.assertEqual(tokenizer.count("a b", 3), 2)


class TemplateTests(SynchronousTestCase):
    """The prompt of a chat."""

    def test_turns_are_in_chatml(self) -> None:
        """Each turn has its role and its end; the assistant's is opened if asked."""
        turns = (Message("system", "Be brief."), Message("user", "Hi"))
        self.assertEqual(
            tokenizer.template(turns, (), ask=True),
            "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n",
        )
        self.assertFalse(tokenizer.template(turns, (), ask=False).endswith("assistant\n"))

    def test_tools_and_calls_are_part_of_the_prompt(self) -> None:
        """What tools are offered, and what was called, costs tokens."""
        tool = Tool("look", "Looks.", {"type": "object"})
        prompt = tokenizer.template((Message("assistant", "", (Call("look", "{}"),)),), (tool,), ask=False)
        self.assertIn('"name": "look", "description": "Looks.", "parameters": {"type": "object"}', prompt)
        self.assertIn('<tool_call>{"name": "look", "arguments": {}}</tool_call>', prompt)
